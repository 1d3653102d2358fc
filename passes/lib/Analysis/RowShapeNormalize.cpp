//===- RowShapeNormalize.cpp - A row program without names and layouts ----===//

#include "epiq/Analysis/RowShape.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;

namespace epiq {

namespace {

// Moves the body of `composite` before it and erases it.
void inlineComposite(graph::CompositeOp composite) {
  Block &body = composite.getBlock();
  graph::YieldOp yield = composite.getYield();
  for (auto [argument, input] :
       llvm::zip_equal(body.getArguments(), composite.getInputs()))
    argument.replaceAllUsesWith(input);
  composite.replaceAllUsesWith(yield.getValues());
  yield.erase();
  composite->getBlock()->getOperations().splice(composite->getIterator(),
                                                body.getOperations());
  composite.erase();
}

// The value that `op`, a layout op, is equal to; null when it moves elements.
Value seeThroughLayout(Operation *op) {
  if (isa<graph::ContiguousOp, graph::RelayoutOp>(op))
    return op->getOperand(0);
  auto outer = dyn_cast<graph::TransposeOp>(op);
  if (!outer)
    return nullptr;
  ArrayRef<int64_t> outerPerm = outer.getPerm();
  bool movesNothing = llvm::all_of(llvm::enumerate(outerPerm), [](auto entry) {
    return entry.value() == static_cast<int64_t>(entry.index());
  });
  if (movesNothing)
    return outer.getInput();
  auto inner = outer.getInput().getDefiningOp<graph::TransposeOp>();
  if (!inner)
    return nullptr;
  for (auto [dim, source] : llvm::enumerate(outerPerm))
    if (inner.getPerm()[source] != static_cast<int64_t>(dim))
      return nullptr;
  return inner.getInput();
}

} // namespace

OwningOpRef<graph::RowProgramOp>
normalizeRowProgram(graph::RowProgramOp program) {
  OwningOpRef<graph::RowProgramOp> copy(program.clone());
  Block &body = copy->getBlock();

  SmallVector<graph::CompositeOp> composites;
  auto collect = [&] {
    composites.clear();
    for (auto composite : body.getOps<graph::CompositeOp>())
      composites.push_back(composite);
    return !composites.empty();
  };
  while (collect())
    llvm::for_each(composites, inlineComposite);

  for (Operation &op : llvm::make_early_inc_range(body)) {
    if (Value same = seeThroughLayout(&op)) {
      op.getResult(0).replaceAllUsesWith(same);
      op.erase();
    }
  }
  for (Operation &op :
       llvm::make_early_inc_range(llvm::reverse(body.getOperations())))
    if (isOpTriviallyDead(&op))
      op.erase();
  return copy;
}

} // namespace epiq
