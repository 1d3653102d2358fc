//===- Outline.cpp - Moves ops of a block into a region op ----------------===//

#include "Outline.h"

#include "epiq/Analysis/RowDomain.h"
#include "epiq/Graph/Graph.h"

#include "mlir/Analysis/TopologicalSortUtils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

bool isFree(Operation *op) {
  return isa<arith::ExtFOp, BroadcastOp, ReshapeOp, SliceOp, TransposeOp>(op);
}

namespace {

bool usedOutside(Value value, const OpSet &ops, const OpSet &others) {
  return llvm::any_of(value.getUsers(), [&](Operation *user) {
    return !ops.contains(user) && !others.contains(user);
  });
}

int64_t staticElements(Value value) {
  int64_t elements = 1;
  for (int64_t size : cast<RankedTensorType>(value.getType()).getShape())
    elements *= ShapedType::isDynamic(size) ? 1 : size;
  return elements;
}

// A widened scale: narrower than `ops` compute, and all that is read outside of
// the value that it widens. A kernel for the cast alone would cost more.
bool isWidenedScale(Operation *op, const OpSet &ops) {
  Operation *scale = op->getOperand(0).getDefiningOp();
  if (!isa<arith::ExtFOp>(op) || !ops.contains(scale) || isFree(scale))
    return false;
  bool isNarrow = llvm::any_of(ops, [&](Operation *other) {
    return staticElements(other->getResult(0)) >
           staticElements(op->getResult(0));
  });
  return isNarrow && !usedOutside(op->getOperand(0), ops, OpSet());
}

// The values that must be results so that `value` can be had outside.
void collectNeeded(Value value, const OpSet &ops,
                   llvm::SetVector<Value> &needed) {
  Operation *op = value.getDefiningOp();
  if (!op || !ops.contains(op) || isSplat(value) || needed.contains(value))
    return;
  if (!isFree(op) || isWidenedScale(op, ops)) {
    needed.insert(value);
    return;
  }
  for (Value operand : op->getOperands())
    collectNeeded(operand, ops, needed);
}

} // namespace

Boundary findBoundary(const OpSet &ops, ArrayRef<Value> wanted,
                      const OpSet &others) {
  Boundary boundary;
  boundary.ops.assign(ops.begin(), ops.end());
  llvm::sort(boundary.ops,
             [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });

  llvm::SetVector<Value> inputs, needed(wanted.begin(), wanted.end());
  for (Operation *op : boundary.ops) {
    for (Value operand : op->getOperands())
      if (!ops.contains(operand.getDefiningOp()) && !isSplat(operand))
        inputs.insert(operand);
    for (Value result : op->getResults())
      if (usedOutside(result, ops, others))
        collectNeeded(result, ops, needed);
  }
  boundary.inputs = inputs.takeVector();
  boundary.results = needed.takeVector();
  return boundary;
}

bool isConvex(const OpSet &ops,
              llvm::function_ref<const OpSet *(Operation *)> clusterOf) {
  SmallVector<Operation *> worklist;
  llvm::SmallPtrSet<Operation *, 32> seen;
  auto leave = [&](Operation *op) {
    for (Operation *user : op->getUsers())
      if (!ops.contains(user) && seen.insert(user).second)
        worklist.push_back(user);
  };
  // A cast or view of an input stays outside for its users there.
  for (Operation *op : ops) {
    llvm::SetVector<Value> needed;
    for (Value result : op->getResults())
      collectNeeded(result, ops, needed);
    if (!needed.empty())
      leave(op);
  }
  while (!worklist.empty()) {
    Operation *op = worklist.pop_back_val();
    auto reaches = [&](Operation *from) {
      return llvm::any_of(from->getUsers(),
                          [&](Operation *user) { return ops.contains(user); });
    };
    if (reaches(op))
      return false;
    for (Operation *user : op->getUsers())
      if (seen.insert(user).second)
        worklist.push_back(user);
    const OpSet *cluster = clusterOf(op);
    if (!cluster)
      continue;
    for (Operation *member : *cluster)
      if (seen.insert(member).second)
        worklist.push_back(member);
  }
  return true;
}

namespace {

// Clones `value`, which is made of constants, and what it is made of.
void cloneSplat(Value value, OpBuilder &builder, IRMapping &mapping) {
  if (mapping.contains(value))
    return;
  Operation *op = value.getDefiningOp();
  for (Value operand : op->getOperands())
    cloneSplat(operand, builder, mapping);
  builder.clone(*op, mapping);
}

} // namespace

void cloneInto(const Boundary &boundary, Block &block) {
  IRMapping mapping;
  mapping.map(boundary.inputs, block.getArguments());
  OpBuilder builder = OpBuilder::atBlockEnd(&block);
  for (Operation *op : boundary.ops) {
    if (op->getNumResults() == 1 && mapping.contains(op->getResult(0)))
      continue;
    for (Value operand : op->getOperands())
      if (isSplat(operand))
        cloneSplat(operand, builder, mapping);
    builder.clone(*op, mapping);
  }
  SmallVector<Value> yielded;
  for (Value result : boundary.results)
    yielded.push_back(mapping.lookup(result));
  YieldOp::create(builder, block.getParentOp()->getLoc(), yielded);
}

void replaceWith(const Boundary &boundary, Operation *region) {
  for (auto [i, result] : llvm::enumerate(boundary.results)) {
    Value old = result;
    old.replaceAllUsesWith(region->getResult(i));
  }
  // Uses that now are outside pull their view or cast with them; all other ops
  // of the boundary are dead.
  Block *block = region->getBlock();
  for (Operation *op : llvm::reverse(boundary.ops))
    if (op->use_empty())
      op->erase();
  sortTopologically(block);
}

void eraseUnusedSplats(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (op.getNumResults() == 1 && op.use_empty() && isSplat(op.getResult(0)))
      op.erase();
}

namespace {

StringRef locationName(Operation *op) {
  auto name = op->getLoc()->findInstanceOf<NameLoc>();
  return name ? name.getName().getValue() : StringRef();
}

} // namespace

bool isHelper(Operation *op) { return locationName(op).ends_with(".aux"); }

StringRef nodeName(Operation *op) {
  StringRef name = locationName(op);
  name.consume_back(".aux");
  return name;
}

} // namespace epiq
