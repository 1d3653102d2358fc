//===- Group.h - Which ops become one row program ---------------*- C++ -*-===//

#ifndef EPIQ_TRANSFORMS_GROUP_H
#define EPIQ_TRANSFORMS_GROUP_H

#include "GraphMatch.h"

#include "epiq/Analysis/Refusal.h"
#include "epiq/Analysis/RowDomain.h"

#include "llvm/ADT/DenseMap.h"
#include <functional>
#include <memory>
#include <vector>

namespace epiq {

// Ops that become one row program.
struct Group {
  OpSet ops;
  llvm::SmallVector<mlir::Operation *> seeds;
  // A result of a seed, and how many of its dimensions are tokens.
  mlir::Value anchor;
  unsigned lead = 0;
  RowDomain domain;
};

// A quantization, the amax of one or a store of rows by index, and what became
// of it.
struct Seed {
  mlir::Operation *op;
  Group *group = nullptr;
  // Why its first producer did not join, or it has no group.
  std::string blocked;
  // The rule L1-L8 that the group broke which it was in at first.
  std::string broken;
};

// Whether `op` is a quantization: a named one or a bare cast to fp8.
bool isQuantization(mlir::Operation *op);

// Forms the groups of a block. Nothing in the block is changed.
class Grouper {
public:
  // `keepOut` names kinds of composites that join no group; `check` says why no
  // kernel can be made of a group, if so.
  using Check = std::function<std::optional<Refusal>(const Group &)>;
  Grouper(mlir::Block &block, int64_t maxWidth,
          llvm::ArrayRef<std::string> keepOut, Check check)
      : block(block), maxWidth(maxWidth), keepOut(keepOut),
        check(std::move(check)) {}

  // Grows a group from each quantization.
  void growAll();
  // Makes each composite a group of its own.
  void splitAll();

  std::vector<std::unique_ptr<Group>> groups;
  std::vector<Seed> seeds;

private:
  std::optional<Refusal> start(mlir::Operation *op, Group &group);
  std::optional<Refusal> tryAdd(Group &group, const OpSet &more);
  std::optional<Refusal> tryMerge(Group &group, Group &other);
  std::optional<Refusal> addProducer(Group &group, mlir::Value input);
  void grow(Seed &seed);
  void growProducers(Group &group, Seed &seed);
  void growConsumers(Group &group);
  bool addConsumer(Group &group, mlir::Operation *user, mlir::Value value);
  void mergeSiblings();
  // Grows the groups that `check` refuses again, asking it at each step: the
  // producers that it refuses, and those beyond, are left out.
  void prune();
  void dropCopies();
  Group *ownerOf(mlir::Operation *op) const { return owner.lookup(op); }

  mlir::Block &block;
  int64_t maxWidth;
  llvm::ArrayRef<std::string> keepOut;
  Check check;
  bool checksEachStep = false;
  llvm::DenseMap<mlir::Operation *, Group *> owner;
};

} // namespace epiq

#endif // EPIQ_TRANSFORMS_GROUP_H
