//===- RowDomain.cpp - Which dimensions are tokens, which the row ---------===//
// Splits spread from the anchor, from op to op in both directions, until
// nothing changes. Passes.td states the rules that the refusals name.
//===----------------------------------------------------------------------===//

#include "epiq/Analysis/RowDomain.h"

#include "epiq/Analysis/RowOps.h"
#include "epiq/Graph/Graph.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/TypeSwitch.h"
#include <set>

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

namespace {

RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

// Whether splits at `a` and `b` differ by dimensions of size 1 only.
bool sameSplit(RankedTensorType type, RowSplit a, RowSplit b) {
  if (a.uniform != b.uniform)
    return false;
  unsigned low = std::min(a.lead, b.lead), high = std::max(a.lead, b.lead);
  return llvm::all_of(type.getShape().slice(low, high - low),
                      [](int64_t size) { return size == 1; });
}

// Whether what is taken over all of a value is taken over several tokens.
bool isOverTokens(RowSplit split) { return !split.uniform && split.lead > 0; }

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

class Inference {
public:
  Inference(ArrayRef<Operation *> ops, llvm::MapVector<Value, RowSplit> &splits,
            int64_t &widest)
      : splits(splits), widest(widest) {
    for (Operation *op : ops)
      addOp(op);
  }

  std::optional<Refusal> run(Value anchor, unsigned lead, int64_t maxWidth);

private:
  void addOp(Operation *op);
  void assign(Value value, RowSplit split);
  void link(Value a, Value b);
  std::optional<RowSplit> known(Value value) const;

  void visit(Operation *op);
  void visitElementwise(Operation *op);
  void visitBroadcast(BroadcastOp op);
  void visitReduce(ReduceOp op);
  void visitReshape(ReshapeOp op);
  void visitSlice(SliceOp op);
  void visitTranspose(TransposeOp op);
  void visitRelayout(RelayoutOp op);
  void visitComposite(CompositeOp op);

  Value viewedBase(Value value) const;
  bool isOnlySliced(Value value) const;

  void checkTensorMaxes();
  void checkWidths(int64_t maxWidth);
  template <typename... Parts> void fail(const Parts &...parts) {
    if (!refusal)
      refusal = refuse(parts...);
  }

  llvm::MapVector<Value, RowSplit> &splits;
  int64_t &widest;
  SmallVector<Operation *> ops;
  llvm::SmallPtrSet<Operation *, 32> members;
  std::optional<Refusal> refusal;
  bool changed = false;
};

void Inference::addOp(Operation *op) {
  ops.push_back(op);
  members.insert(op);
  if (auto composite = dyn_cast<CompositeOp>(op))
    for (Operation &inner : composite.getBlock().without_terminator())
      addOp(&inner);
}

std::optional<RowSplit> Inference::known(Value value) const {
  auto it = splits.find(value);
  if (it == splits.end())
    return std::nullopt;
  return it->second;
}

void Inference::assign(Value value, RowSplit split) {
  if (isSplat(value))
    return;
  auto [it, inserted] = splits.try_emplace(value, split);
  if (inserted) {
    changed = true;
    return;
  }
  if (!sameSplit(typeOf(value), it->second, split))
    fail("F3: ", typeOf(value), " is used as rows of different tokens");
}

void Inference::link(Value a, Value b) {
  if (std::optional<RowSplit> split = known(a))
    assign(b, *split);
  if (std::optional<RowSplit> split = known(b))
    assign(a, *split);
}

void Inference::visitElementwise(Operation *op) {
  for (Value operand : op->getOperands())
    link(operand, op->getResult(0));
  for (Value operand : op->getOperands())
    link(op->getResult(0), operand);
}

void Inference::visitBroadcast(BroadcastOp op) {
  RankedTensorType source = typeOf(op.getInput()),
                   result = typeOf(op.getResult());
  unsigned missing = result.getRank() - source.getRank();
  std::optional<RowSplit> split = known(op.getResult());
  if (!split) {
    std::optional<RowSplit> below = known(op.getInput());
    if (!below || below->uniform)
      return;
    split = RowSplit::rows(below->lead + missing);
    assign(op.getResult(), *split);
  }
  if (split->uniform)
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
  if (split && !split->uniform && llvm::any_of(op.getDims(), [&](int64_t dim) {
        return dim < static_cast<int64_t>(split->lead);
      }))
    return fail("F1: epiq.reduce ", stringifyReduceKind(op.getKind()), " of ",
                typeOf(op.getInput()), " combines several tokens");
  link(op.getInput(), op.getResult());
}

void Inference::visitReshape(ReshapeOp op) {
  auto across = [&](Value from, Value to) {
    std::optional<RowSplit> split = known(from);
    if (!split)
      return;
    if (split->uniform)
      return assign(to, *split);
    if (auto lead = splitAcrossReshape(typeOf(from), split->lead, typeOf(to)))
      return assign(to, RowSplit::rows(*lead));
    fail("F3: the row of ", typeOf(from),
         " is not a run of whole dimensions of ", typeOf(to));
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
  if (split->uniform)
    return fail("F7: slice of ", typeOf(op.getInput()),
                ", which all tokens share");
  auto dim = static_cast<int64_t>(op.getDim());
  if (dim < static_cast<int64_t>(split->lead))
    return fail("F3: epiq.slice takes some of the tokens of ",
                typeOf(op.getInput()));
  if (Operation *producer = viewedBase(op.getInput()).getDefiningOp();
      producer && members.contains(producer))
    fail("F7: slice of a value that ", producer->getName(),
         " computes in the same program");
}

void Inference::visitTranspose(TransposeOp op) {
  auto moved = [&](unsigned lead) {
    ArrayRef<int64_t> shape = typeOf(op.getInput()).getShape();
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
  if (split && split->uniform)
    return fail("F3: epiq.transpose of ", typeOf(op.getInput()),
                ", which all tokens share");
  if (split && moved(split->lead))
    return fail("F3: epiq.transpose moves the tokens or the row of ",
                typeOf(op.getInput()));
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
  if (llvm::any_of(typeOf(op.getInput()).getShape().drop_back(2),
                   [](int64_t size) { return size != 1; }))
    fail("F8: ", stringifyLayout(op.getLayout()), " of ", typeOf(op.getInput()),
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

// F9: what is taken over all tokens is known when every program has run.
void Inference::checkTensorMaxes() {
  auto isRead = [&](Value value) {
    return llvm::any_of(value.getUsers(), [&](Operation *user) {
      return members.contains(user);
    });
  };
  auto checkUnread = [&](Value value) {
    if (isRead(value))
      fail("F9: the same program would read the maximum of all tokens, a ",
           typeOf(value));
  };
  for (Operation *op : ops) {
    auto reduce = dyn_cast<ReduceOp>(op);
    if (!reduce || !isTensorMax(reduce) ||
        !isOverTokens(*known(reduce.getInput())))
      continue;
    checkUnread(reduce.getResult());
    auto composite = dyn_cast<CompositeOp>(reduce->getParentOp());
    if (!composite)
      continue;
    for (auto [outer, inner] : llvm::zip_equal(
             composite.getOutputs(), composite.getYield().getValues()))
      if (inner == reduce.getResult())
        checkUnread(outer);
  }
}

// F3 for widths: a row is as wide as the widest, or what a reduction left of
// it, or what is repeated along it. F6: rows are static, and not too wide for
// one program.
void Inference::checkWidths(int64_t maxWidth) {
  widest = 0;
  std::set<int64_t> narrow = {1};
  SmallVector<std::pair<Value, int64_t>> computed;
  for (auto [value, split] : splits) {
    std::optional<int64_t> width =
        tailWidth(value.getType(), split.uniform ? 0 : split.lead);
    if (!width)
      return fail("F6: the row of ", typeOf(value), " has no static width");
    if (split.uniform)
      continue;
    Operation *producer = value.getDefiningOp();
    // A layout may pack or pad what it stores.
    bool isStored =
        isa_and_present<RelayoutOp>(producer) && members.contains(producer);
    if (isStored)
      narrow.insert(*width);
    if (isStored || isOnlySliced(value))
      continue;
    computed.emplace_back(value, *width);
    widest = std::max(widest, *width);
    bool isRepeated = llvm::any_of(value.getUsers(), [&](Operation *user) {
      return isa<BroadcastOp>(user) && members.contains(user);
    });
    if (isRepeated || isa_and_present<ReduceOp>(producer))
      narrow.insert(*width);
  }
  if (widest > maxWidth)
    return fail("F6: a row of ", widest, " elements is wider than ", maxWidth);
  for (auto [value, width] : computed)
    if (width != widest && !narrow.count(width))
      return fail("F3: row widths ", widest, " and ", width, " differ");
}

std::optional<Refusal> Inference::run(Value anchor, unsigned lead,
                                      int64_t maxWidth) {
  assign(anchor, RowSplit::rows(lead));
  do {
    changed = false;
    for (Operation *op : ops)
      visit(op);
  } while (changed && !refusal);
  // What no row reaches is the same for all tokens.
  for (Operation *op : ops) {
    for (Value operand : op->getOperands())
      if (!known(operand))
        assign(operand, RowSplit::shared());
    for (Value result : op->getResults())
      if (!known(result))
        assign(result, RowSplit::shared());
  }
  if (!refusal)
    checkTensorMaxes();
  if (!refusal)
    checkWidths(maxWidth);
  return refusal;
}

} // namespace

OrRefusal<RowDomain> RowDomain::infer(ArrayRef<Operation *> ops, Value anchor,
                                      unsigned lead, int64_t maxWidth) {
  for (Operation *op : ops)
    if (!isRowOp(op))
      return refuse("F2: ", op->getName(), " is not a row op");
  RowDomain domain;
  if (std::optional<Refusal> refusal =
          Inference(ops, domain.splits, domain.widest)
              .run(anchor, lead, maxWidth))
    return *refusal;
  return domain;
}

bool RowDomain::isRowLike(Value value) const {
  auto it = splits.find(value);
  return it != splits.end() && !it->second.uniform;
}

int64_t RowDomain::width(Value value) const {
  auto it = splits.find(value);
  unsigned lead =
      it == splits.end() || it->second.uniform ? 0 : it->second.lead;
  return tailWidth(value.getType(), lead).value_or(0);
}

} // namespace epiq
