//===- RowShapeLeading.cpp - Where the token dimensions of a value end ----===//
// Nothing in the graph says which dimensions are tokens, so the split is solved
// for: the largest inputs start with every dimension but the last as tokens,
// the other values with all of theirs, and each op lowers the counts of the
// values it ties together until nothing changes. Counts only fall, so this
// ends.
//===----------------------------------------------------------------------===//

#include "RowShapeDetail.h"

#include "epiq/Analysis/RowOps.h"

#include <numeric>

using namespace mlir;

namespace epiq::detail {

namespace {

// Orders shapes by size when dynamic extents are unknown: more of them first.
std::pair<unsigned, int64_t> sizeRank(ArrayRef<int64_t> shape) {
  unsigned dynamic = llvm::count_if(shape, ShapedType::isDynamic);
  int64_t product = 1;
  for (int64_t dim : shape)
    product *= ShapedType::isDynamic(dim) ? 1 : dim;
  return {dynamic, product};
}

// The product of `shape`, none when a dimension is dynamic.
std::optional<int64_t> staticProduct(ArrayRef<int64_t> shape) {
  if (llvm::any_of(shape, ShapedType::isDynamic))
    return std::nullopt;
  return std::accumulate(shape.begin(), shape.end(), int64_t{1},
                         std::multiplies<>());
}

class LeadingSolver {
public:
  LeadingSolver(graph::RowProgramOp program, std::string &reason)
      : program(program), body(program.getBlock()), reason(reason) {}

  FailureOr<LeadingDims> solve();

private:
  void initialize();
  LogicalResult visit(Operation &op);
  void visitBroadcast(graph::BroadcastOp op);
  LogicalResult visitReshape(graph::ReshapeOp op);
  LogicalResult checkBroadcast(graph::BroadcastOp op);
  LogicalResult checkTokens();

  // True when `op` repeats a value that all tokens share.
  bool isShared(graph::BroadcastOp op);

  void lower(Value value, unsigned count) {
    unsigned &current = leading[value];
    if (current <= count)
      return;
    current = count;
    changed = true;
  }
  void tie(Value a, Value b) {
    lower(a, leading[b]);
    lower(b, leading[a]);
  }

  graph::RowProgramOp program;
  Block &body;
  std::string &reason;
  LeadingDims leading;
  bool changed = false;
  // Counts are final but for values that turn out to be shared.
  bool isSettled = false;
};

void LeadingSolver::initialize() {
  std::pair<unsigned, int64_t> largest{0, 0};
  for (BlockArgument argument : body.getArguments())
    largest = std::max(largest, sizeRank(tensorType(argument).getShape()));
  for (BlockArgument argument : body.getArguments()) {
    unsigned rank = tensorType(argument).getRank();
    bool isLargest = sizeRank(tensorType(argument).getShape()) == largest;
    leading[argument] = isLargest && rank > 0 ? rank - 1 : rank;
  }
  for (Operation &op : body)
    for (Value result : op.getResults())
      leading[result] = tensorType(result).getRank();
  for (auto [index, value] : llvm::enumerate(program.getYield().getValues()))
    if (graph::isMatrixLayout(program.getLayout(index)))
      if (int64_t rank = tensorType(value).getRank())
        lower(value, rank - 1);
}

bool LeadingSolver::isShared(graph::BroadcastOp op) {
  ArrayRef<int64_t> from = tensorType(op.getInput()).getShape();
  ArrayRef<int64_t> to = tensorType(op.getResult()).getShape();
  if (from.size() < to.size() || (!to.empty() && from.front() != to.front()))
    return true;
  // Whether other dimensions that are repeated are tokens is known at the end.
  if (!isSettled)
    return false;
  ArrayRef<int64_t> tokens = from.take_front(leading[op.getResult()]);
  return llvm::all_of(tokens, [](int64_t dim) { return dim == 1; }) &&
         tokens != to.take_front(tokens.size());
}

void LeadingSolver::visitBroadcast(graph::BroadcastOp op) {
  if (isShared(op))
    return lower(op.getInput(), 0);
  tie(op.getInput(), op.getResult());
}

// The rows before and after a reshape have the same elements.
LogicalResult LeadingSolver::visitReshape(graph::ReshapeOp op) {
  ArrayRef<int64_t> from = tensorType(op.getInput()).getShape();
  ArrayRef<int64_t> to = tensorType(op.getResult()).getShape();
  for (int64_t a = leading[op.getInput()]; a >= 0; --a) {
    for (int64_t b = leading[op.getResult()]; b >= 0; --b) {
      std::optional<int64_t> row = staticProduct(from.drop_front(a));
      if (!row || row != staticProduct(to.drop_front(b)))
        continue;
      lower(op.getInput(), a);
      lower(op.getResult(), b);
      return success();
    }
  }
  return refuse(reason, "L1: reshape from " + typeText(op.getInput()) + " to " +
                            typeText(op.getResult()) +
                            " keeps no dimension of tokens");
}

LogicalResult LeadingSolver::visit(Operation &op) {
  if (auto broadcast = dyn_cast<graph::BroadcastOp>(op)) {
    visitBroadcast(broadcast);
    return success();
  }
  if (auto reshape = dyn_cast<graph::ReshapeOp>(op))
    return visitReshape(reshape);
  if (auto reduce = dyn_cast<graph::ReduceOp>(op)) {
    // Taken over all tokens, or over a row that all tokens share.
    if (isTensorMax(reduce)) {
      lower(reduce.getResult(), 0);
      return success();
    }
    for (int64_t dim : reduce.getDims())
      lower(reduce.getInput(), dim);
    tie(reduce.getInput(), reduce.getResult());
    return success();
  }
  if (auto slice = dyn_cast<graph::SliceOp>(op)) {
    lower(slice.getInput(), slice.getDim());
    tie(slice.getInput(), slice.getResult());
    return success();
  }
  if (!isElementwise(op))
    return success();
  for (Value operand : op.getOperands())
    tie(operand, op.getResult(0));
  return success();
}

LogicalResult LeadingSolver::checkBroadcast(graph::BroadcastOp op) {
  ArrayRef<int64_t> from = tensorType(op.getInput()).getShape();
  ArrayRef<int64_t> to = tensorType(op.getResult()).getShape();
  size_t grown = to.size() - from.size();
  bool shared = isShared(op);
  for (size_t dim = grown; dim < leading[op.getResult()]; ++dim)
    if (from[dim - grown] != (shared ? 1 : to[dim]))
      return refuse(reason, "L4: " + typeText(op.getInput()) +
                                " broadcast to " + typeText(op.getResult()) +
                                " differs along some token dimensions only");
  return success();
}

// Every value that differs by token has the tokens of the largest input, and so
// has every result but single numbers.
LogicalResult LeadingSolver::checkTokens() {
  auto tokensOf = [&](Value value) {
    return sizeRank(tensorType(value).getShape().take_front(leading[value]));
  };
  auto size = [&](Value value) {
    return std::make_pair(sizeRank(tensorType(value).getShape()),
                          leading[value]);
  };
  ArrayRef<BlockArgument> arguments = body.getArguments();
  if (arguments.empty())
    return refuse(reason, "L1: the program has no input");
  Value reference = *llvm::max_element(
      arguments, [&](Value a, Value b) { return size(a) < size(b); });

  auto [dynamic, product] = tokensOf(reference);
  if (product == 0)
    return refuse(reason, "L1: " + typeText(reference) + " has no tokens");
  auto hasTokens = [&, dynamic = dynamic, product = product](Value value) {
    auto [otherDynamic, otherProduct] = tokensOf(value);
    if (dynamic > 0)
      return otherDynamic > 0;
    return otherDynamic == 0 && otherProduct == product;
  };
  auto check = [&](Value value) {
    if (hasTokens(value))
      return success();
    return refuse(reason, "L1: " + typeText(value) +
                              " is not one row for each token of " +
                              typeText(reference));
  };
  for (Value argument : arguments)
    if (leading[argument] > 0 && !argument.use_empty() &&
        failed(check(argument)))
      return failure();
  for (Operation &op : body)
    for (Value result : op.getResults())
      if (leading[result] > 0 && failed(check(result)))
        return failure();
  auto isNumber = [&](Value value) {
    return leading[value] == 0 &&
           staticProduct(tensorType(value).getShape()) == 1;
  };
  for (Value value : program.getYield().getValues())
    if (!isNumber(value) && failed(check(value)))
      return failure();
  return success();
}

FailureOr<LeadingDims> LeadingSolver::solve() {
  initialize();
  for (bool settled : {false, true}) {
    isSettled = settled;
    do {
      changed = false;
      for (Operation &op : body)
        if (failed(visit(op)))
          return failure();
    } while (changed);
  }

  for (auto broadcast : body.getOps<graph::BroadcastOp>())
    if (failed(checkBroadcast(broadcast)))
      return failure();
  if (failed(checkTokens()))
    return failure();
  return leading;
}

} // namespace

FailureOr<LeadingDims> findLeadingDims(graph::RowProgramOp program,
                                       std::string &reason) {
  return LeadingSolver(program, reason).solve();
}

} // namespace epiq::detail
