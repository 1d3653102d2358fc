//===- RowDomain.cpp - Which dimensions are tokens, which the row ---------===//
// Passes.td states the rules that the refusals name.
//===----------------------------------------------------------------------===//

#include "RowDomainInference.h"

#include "epiq/Analysis/RowOps.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

namespace detail {

namespace {

// Whether splits at `a` and `b` differ by dimensions of size 1 only.
bool sameSplit(RankedTensorType type, RowSplit a, RowSplit b) {
  if (a.kind != b.kind)
    return false;
  unsigned low = std::min(a.lead, b.lead), high = std::max(a.lead, b.lead);
  return llvm::all_of(type.getShape().slice(low, high - low),
                      [](int64_t size) { return size == 1; });
}

} // namespace

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
  if (!sameSplit(rankedType(value), it->second, split))
    fail("F3: ", rankedType(value), " is used as rows of different tokens");
}

void Inference::link(Value a, Value b) {
  if (std::optional<RowSplit> split = known(a))
    assign(b, *split);
  if (std::optional<RowSplit> split = known(b))
    assign(a, *split);
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
           rankedType(value));
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

// F6: rows are static, and not too wide for one program.
void Inference::checkWidths(int64_t maxWidth) {
  widest = 0;
  for (auto [value, split] : splits) {
    if (split.isMemory())
      continue;
    std::optional<int64_t> width = tailWidth(value.getType(), split.lead);
    if (!width)
      return fail("F6: the row of ", rankedType(value), " has no static width");
    Operation *producer = value.getDefiningOp();
    // A layout may pack or pad what it stores.
    bool isStored =
        isa_and_present<RelayoutOp>(producer) && members.contains(producer);
    if (split.isRows() && !isStored && !isOnlySliced(value))
      widest = std::max(widest, *width);
  }
  if (widest > maxWidth)
    fail("F6: a row of ", widest, " elements is wider than ", maxWidth);
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

} // namespace detail

OrRefusal<RowDomain> RowDomain::infer(ArrayRef<Operation *> ops, Value anchor,
                                      unsigned lead, int64_t maxWidth) {
  for (Operation *op : ops)
    if (!isRowOp(op))
      return refuse("F2: ", op->getName(), " is not a row op");
  RowDomain domain;
  if (std::optional<Refusal> refusal =
          detail::Inference(ops, domain.splits, domain.widest)
              .run(anchor, lead, maxWidth))
    return *refusal;
  return domain;
}

bool RowDomain::isRowLike(Value value) const {
  auto it = splits.find(value);
  return it != splits.end() && it->second.isRows();
}

int64_t RowDomain::width(Value value) const {
  auto it = splits.find(value);
  unsigned lead = it == splits.end() ? 0 : it->second.lead;
  return tailWidth(value.getType(), lead).value_or(0);
}

} // namespace epiq
