//===- Outline.h - Moves ops of a block into a region op --------*- C++ -*-===//

#ifndef EPIQ_TRANSFORMS_OUTLINE_H
#define EPIQ_TRANSFORMS_OUTLINE_H

#include "GraphMatch.h"

#include "mlir/IR/Builders.h"

namespace epiq {

// What enters and leaves a set of ops of one block.
struct Boundary {
  // The ops in block order.
  llvm::SmallVector<mlir::Operation *> ops;
  llvm::SmallVector<mlir::Value> inputs;
  llvm::SmallVector<mlir::Value> results;
};

// Whether an op is a widening cast or a view: computing it again costs nothing,
// and storing its result would.
bool isFree(mlir::Operation *op);

// `wanted` are results in any case, and come first. Other values that are used
// outside become results too, except views and widening casts: their originals
// stay outside and read what they are made from. Uses by `others`, which get
// copies of their own, are not outside.
Boundary findBoundary(const OpSet &ops, llvm::ArrayRef<mlir::Value> wanted,
                      const OpSet &others = {});

// Whether no path leaves `ops` and enters it again. Ops that `clusterOf` maps
// to one key count as one op.
bool isConvex(
    const OpSet &ops,
    llvm::function_ref<const OpSet *(mlir::Operation *)> clusterOf =
        [](mlir::Operation *) { return nullptr; });

// Clones the ops of `boundary` to `block`, whose arguments stand for its
// inputs, splat constants with them, and ends the block in epiq.yield.
void cloneInto(const Boundary &boundary, mlir::Block &block);

// Uses the results of `region` in place of those of `boundary`, erases the ops
// that nothing uses any more, and restores the block's order.
void replaceWith(const Boundary &boundary, mlir::Operation *region);

// Erases the splat constants of `block` that nothing uses.
void eraseUnusedSplats(mlir::Block &block);

// The name of the torch node that `op` belongs to, helpers included.
llvm::StringRef nodeName(mlir::Operation *op);

// Whether `op` computes an intermediate value of its node.
bool isHelper(mlir::Operation *op);

} // namespace epiq

#endif // EPIQ_TRANSFORMS_OUTLINE_H
