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

// Orders shapes by size where dynamic extents are unknown: more of them first.
TokenCount countTokens(ArrayRef<int64_t> dims) {
  TokenCount count;
  for (int64_t dim : dims) {
    count.dynamicDims += ShapedType::isDynamic(dim);
    count.known *= ShapedType::isDynamic(dim) ? 1 : dim;
  }
  return count;
}

namespace {

// The product of `shape`, none when a dimension is dynamic.
std::optional<int64_t> staticProduct(ArrayRef<int64_t> shape) {
  if (llvm::any_of(shape, ShapedType::isDynamic))
    return std::nullopt;
  return std::accumulate(shape.begin(), shape.end(), int64_t{1},
                         std::multiplies<>());
}

class LeadingSolver {
public:
  LeadingSolver(graph::RowProgramOp program, std::optional<int64_t> limit,
                std::string &reason)
      : program(program), body(program.getBlock()), limit(limit),
        memory(findMemory(body)), reason(reason) {}

  FailureOr<LeadingDims> solve();

private:
  void initialize();
  LogicalResult visit(Operation &op);
  void visitBroadcast(graph::BroadcastOp op);
  LogicalResult visitReshape(graph::ReshapeOp op);
  void keepLimit();
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
  std::optional<int64_t> limit;
  llvm::DenseSet<Value> memory;
  // Rows of tables, and what is computed from them: each token has its own,
  // even where there is one token.
  llvm::DenseSet<Value> indexed;
  std::string &reason;
  LeadingDims leading;
  bool changed = false;
  // Counts are final but for values that turn out to be shared.
  bool isSettled = false;
};

void LeadingSolver::initialize() {
  TokenCount largest{0, 0};
  for (BlockArgument argument : body.getArguments())
    if (!memory.contains(argument))
      largest = std::max(largest, countTokens(tensorType(argument).getShape()));
  for (BlockArgument argument : body.getArguments()) {
    unsigned rank = tensorType(argument).getRank();
    bool isLargest = countTokens(tensorType(argument).getShape()) == largest;
    leading[argument] = isLargest && rank > 0 ? rank - 1 : rank;
  }
  for (Operation &op : body)
    for (Value result : op.getResults())
      leading[result] = tensorType(result).getRank();
  for (Value value : memory)
    leading[value] = 0;
  for (Operation &op : body)
    if (isa<graph::GatherRowsOp, graph::ScatterRowsOp>(op)) {
      Value index = op.getOperands().back();
      leading[index] = tensorType(index).getRank();
    }
  for (Operation &op : body)
    if (isa<graph::GatherRowsOp>(op) ||
        llvm::any_of(op.getOperands(),
                     [&](Value operand) { return indexed.contains(operand); }))
      indexed.insert(op.result_begin(), op.result_end());
  for (auto [index, value] : llvm::enumerate(program.getYield().getValues()))
    if (graph::isMatrixLayout(program.getLayout(index)))
      if (int64_t rank = tensorType(value).getRank())
        lower(value, rank - 1);
}

bool LeadingSolver::isShared(graph::BroadcastOp op) {
  if (indexed.contains(op.getInput()))
    return false;
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
  // What is repeated behind a dimension of tokens is repeated along the row.
  ArrayRef<int64_t> from = tensorType(op.getInput()).getShape();
  ArrayRef<int64_t> to = tensorType(op.getResult()).getShape();
  bool differs = indexed.contains(op.getInput());
  for (unsigned dim = 0; dim < leading[op.getResult()]; ++dim) {
    if (differs && from[dim] == 1 && to[dim] != 1 &&
        !ShapedType::isDynamic(to[dim]))
      lower(op.getResult(), dim);
    differs |= from[dim] != 1;
  }
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
    return memory.contains(reshape.getResult()) ? success()
                                                : visitReshape(reshape);
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
  if (auto concat = dyn_cast<graph::ConcatOp>(op)) {
    lower(concat.getResult(), concat.getDim());
    for (Value input : concat.getInputs())
      tie(input, concat.getResult());
    return success();
  }
  // A row for each element of the index.
  if (auto gather = dyn_cast<graph::GatherRowsOp>(op))
    tie(gather.getIndex(), gather.getResult());
  if (auto scatter = dyn_cast<graph::ScatterRowsOp>(op))
    tie(scatter.getIndex(), scatter.getRows());
  if (!isElementwise(op))
    return success();
  for (Value operand : op.getOperands())
    tie(operand, op.getResult(0));
  return success();
}

// Makes dimensions that count more tokens than there are part of the row.
void LeadingSolver::keepLimit() {
  if (!limit)
    return;
  for (auto &[value, count] : leading) {
    ArrayRef<int64_t> dims = tensorType(value).getShape();
    while (count > 0 && !ShapedType::isDynamic(dims[count - 1]) &&
           countTokens(dims.take_front(count)).known > *limit) {
      --count;
      changed = true;
    }
  }
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
    return countTokens(tensorType(value).getShape().take_front(leading[value]));
  };
  auto size = [&](Value value) {
    return std::make_pair(countTokens(tensorType(value).getShape()),
                          leading[value]);
  };
  SmallVector<BlockArgument> arguments;
  for (BlockArgument argument : body.getArguments())
    if (!memory.contains(argument))
      arguments.push_back(argument);
  if (arguments.empty())
    return refuse(reason, "L1: the program has no input");
  Value reference = *llvm::max_element(
      arguments, [&](Value a, Value b) { return size(a) < size(b); });

  TokenCount tokens = tokensOf(reference);
  if (tokens.known == 0)
    return refuse(reason, "L1: " + typeText(reference) + " has no tokens");
  auto hasTokens = [&](Value value) {
    TokenCount other = tokensOf(value);
    if (tokens.dynamicDims > 0)
      return other.dynamicDims > 0;
    return other == tokens;
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
    if (!memory.contains(value) && !isNumber(value) && failed(check(value)))
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
      keepLimit();
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
                                       std::optional<int64_t> limit,
                                       std::string &reason) {
  return LeadingSolver(program, limit, reason).solve();
}

} // namespace epiq::detail
