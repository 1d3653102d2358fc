//===- RowDomainVisit.cpp - What each op says of the splits around it -----===//
// Passes.td states the rules that the refusals name.
//===----------------------------------------------------------------------===//

#include "RowDomainInference.h"

#include "epiq/Analysis/RowOps.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq::detail {

namespace {

// The split of `to` with a tail as wide as that of `from` behind `lead`.
std::optional<unsigned> splitAcrossReshape(RankedTensorType from, unsigned lead,
                                           RankedTensorType to) {
  std::optional<int64_t> width = tailWidth(from, lead);
  if (!width)
    return std::nullopt;
  int64_t tail = 1;
  unsigned split = to.getRank();
  while (tail < *width && split > 0 && !to.isDynamicDim(split - 1))
    tail *= to.getDimSize(--split);
  if (tail != *width)
    return std::nullopt;
  // Dimensions of size 1 may lie on either side: stay as near as possible.
  while (split > lead && to.getDimSize(split - 1) == 1)
    --split;
  return split;
}

} // namespace

void Inference::visitElementwise(Operation *op) {
  for (Value operand : op->getOperands())
    link(operand, op->getResult(0));
  for (Value operand : op->getOperands())
    link(op->getResult(0), operand);
}

void Inference::visitBroadcast(BroadcastOp op) {
  RankedTensorType source = rankedType(op.getInput()),
                   result = rankedType(op.getResult());
  unsigned missing = result.getRank() - source.getRank();
  std::optional<RowSplit> split = known(op.getResult());
  if (!split) {
    std::optional<RowSplit> below = known(op.getInput());
    if (!below || !below->isRows())
      return;
    split = RowSplit::rows(below->lead + missing);
    assign(op.getResult(), *split);
  }
  if (!split->isRows())
    return assign(op.getInput(), *split);

  bool same = missing == 0 || split->lead == 0, repeated = true;
  for (unsigned i = missing; i < split->lead; ++i) {
    int64_t size = source.getDimSize(i - missing);
    same &= size == result.getDimSize(i);
    repeated &= size == 1;
  }
  if (same)
    return assign(op.getInput(), *split);
  if (repeated)
    return assign(op.getInput(), RowSplit::shared());
  fail("F3: epiq.broadcast repeats ", source, " along some of the tokens of ",
       result);
}

void Inference::visitReduce(ReduceOp op) {
  if (isTensorMax(op)) {
    // All tokens share it, whatever they are.
    std::optional<RowSplit> input = known(op.getInput());
    if (input && isOverTokens(*input))
      assign(op.getResult(), RowSplit::shared());
    else if (input)
      link(op.getInput(), op.getResult());
    return;
  }
  std::optional<RowSplit> split = known(op.getInput());
  if (!split)
    split = known(op.getResult());
  if (split && split->isRows() && llvm::any_of(op.getDims(), [&](int64_t dim) {
        return dim < static_cast<int64_t>(split->lead);
      }))
    return fail("F1: epiq.reduce ", stringifyReduceKind(op.getKind()), " of ",
                rankedType(op.getInput()), " combines several tokens");
  link(op.getInput(), op.getResult());
}

void Inference::visitReshape(ReshapeOp op) {
  auto across = [&](Value from, Value to) {
    std::optional<RowSplit> split = known(from);
    if (!split)
      return;
    if (!split->isRows())
      return assign(to, *split);
    if (auto lead =
            splitAcrossReshape(rankedType(from), split->lead, rankedType(to)))
      return assign(to, RowSplit::rows(*lead));
    fail("F3: the row of ", rankedType(from),
         " is not a run of whole dimensions of ", rankedType(to));
  };
  across(op.getInput(), op.getResult());
  across(op.getResult(), op.getInput());
}

// What `value` is a view of: through the reshapes and slices among the ops.
Value Inference::viewedBase(Value value) const {
  Operation *op = value.getDefiningOp();
  while (op && members.contains(op) && isa<ReshapeOp, SliceOp>(op)) {
    value = op->getOperand(0);
    op = value.getDefiningOp();
  }
  return value;
}

// Whether the ops read nothing of `value`, a view of what they do not compute,
// but slices.
bool Inference::isOnlySliced(Value value) const {
  Operation *base = viewedBase(value).getDefiningOp();
  if (base && members.contains(base))
    return false;
  return llvm::all_of(value.getUsers(), [&](Operation *user) {
    if (isa<SliceOp>(user) || !members.contains(user))
      return true;
    return isa<ReshapeOp>(user) && isOnlySliced(user->getResult(0));
  });
}

void Inference::visitSlice(SliceOp op) {
  link(op.getInput(), op.getResult());
  std::optional<RowSplit> split = known(op.getInput());
  if (!split)
    return;
  if (!split->isRows())
    return fail("F7: slice of ", rankedType(op.getInput()),
                ", which all tokens share");
  auto dim = static_cast<int64_t>(op.getDim());
  if (dim < static_cast<int64_t>(split->lead))
    return fail("F3: epiq.slice takes some of the tokens of ",
                rankedType(op.getInput()));
}

// What is computed along the row is put together in registers.
void Inference::visitConcat(ConcatOp op) {
  for (Value input : op.getInputs())
    link(input, op.getResult());
  std::optional<RowSplit> split = known(op.getResult());
  if (!split)
    return;
  if (!split->isRows())
    return fail("F7: concat to ", rankedType(op.getResult()),
                ", which all tokens share");
  if (op.getDim() < split->lead)
    fail("F3: epiq.concat puts tokens of ", rankedType(op.getResult()),
         " together");
}

void Inference::visitGather(GatherRowsOp op) {
  assign(op.getTable(), RowSplit::memory());
  linkIndexed(op.getIndex(), op.getResult());
}

void Inference::visitScatter(ScatterRowsOp op) {
  assign(op.getBuffer(), RowSplit::memory());
  assign(op.getResult(), RowSplit::memory());
  linkIndexed(op.getIndex(), op.getRows());
}

// An index has one element for each token.
void Inference::linkIndexed(Value index, Value rows) {
  if (!known(index) && !known(rows))
    return;
  RowSplit split = RowSplit::rows(rankedType(index).getRank());
  assign(index, split);
  assign(rows, split);
}

void Inference::visitTranspose(TransposeOp op) {
  auto moved = [&](unsigned lead) {
    ArrayRef<int64_t> shape = rankedType(op.getInput()).getShape();
    SmallVector<int64_t> order;
    for (auto [i, dim] : llvm::enumerate(op.getPerm())) {
      if ((i < lead) != (static_cast<uint64_t>(dim) < lead))
        return true;
      if (shape[dim] != 1)
        order.push_back(dim);
    }
    return !llvm::is_sorted(order);
  };
  std::optional<RowSplit> split = known(op.getInput());
  if (!split)
    split = known(op.getResult());
  if (split && !split->isRows())
    return fail("F3: epiq.transpose of ", rankedType(op.getInput()),
                ", which all tokens share");
  if (split && moved(split->lead))
    return fail("F3: epiq.transpose moves the tokens or the row of ",
                rankedType(op.getInput()));
  link(op.getInput(), op.getResult());
}

void Inference::visitRelayout(RelayoutOp op) {
  if (op.getLayout() == Layout::swizzled_128x4) {
    // A run of bytes in which rows are mixed: only its input has rows.
    if (known(op.getInput()))
      assign(op.getResult(), RowSplit::rows(1));
  } else {
    link(op.getInput(), op.getResult());
  }
  if (!isMatrixLayout(op.getLayout()))
    return;
  if (llvm::any_of(rankedType(op.getInput()).getShape().drop_back(2),
                   [](int64_t size) { return size != 1; }))
    fail("F8: ", stringifyLayout(op.getLayout()), " of ",
         rankedType(op.getInput()),
         " is one matrix for each of several batches");
}

void Inference::visitComposite(CompositeOp op) {
  for (auto [outer, inner] :
       llvm::zip_equal(op.getInputs(), op.getBlock().getArguments()))
    link(outer, inner);
  for (auto [outer, inner] :
       llvm::zip_equal(op.getOutputs(), op.getYield().getValues()))
    link(outer, inner);
}

void Inference::visit(Operation *op) {
  if (op->getNumResults() == 1 && isSplat(op->getResult(0)))
    return;
  llvm::TypeSwitch<Operation *>(op)
      .Case([&](BroadcastOp op) { visitBroadcast(op); })
      .Case([&](ReduceOp op) { visitReduce(op); })
      .Case([&](ReshapeOp op) { visitReshape(op); })
      .Case([&](SliceOp op) { visitSlice(op); })
      .Case([&](ConcatOp op) { visitConcat(op); })
      .Case([&](GatherRowsOp op) { visitGather(op); })
      .Case([&](ScatterRowsOp op) { visitScatter(op); })
      .Case([&](TransposeOp op) { visitTranspose(op); })
      .Case([&](RelayoutOp op) { visitRelayout(op); })
      .Case([&](ContiguousOp op) { link(op.getInput(), op.getResult()); })
      .Case([&](CompositeOp op) { visitComposite(op); })
      .Default([&](Operation *op) {
        if (isElementwise(op))
          return visitElementwise(op);
        fail("F2: ", op->getName(), " is not a row op");
      });
}

} // namespace epiq::detail
