//===- RowShape.cpp - How the values of a row program lie over rows -------===//
// The rules L1-L8 are stated with epiq-lower-row-program in Passes.td.
//===----------------------------------------------------------------------===//

#include "RowShapeDetail.h"

#include "epiq/Analysis/RowOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace epiq {

namespace detail {

std::string typeText(Value value) {
  std::string text;
  llvm::raw_string_ostream(text) << value.getType();
  return text;
}

ArrayRef<int64_t> rowDims(Value value, const LeadingDims &leading) {
  return tensorType(value).getShape().drop_front(leading.lookup(value));
}

int64_t rowElements(Value value, const LeadingDims &leading) {
  int64_t elements = 1;
  for (int64_t dim : rowDims(value, leading))
    elements *= dim;
  return elements;
}

bool isElementwise(Operation &op) {
  if (isa<graph::ToUe8m0Op>(op))
    return true;
  if (!isa<arith::ArithDialect, math::MathDialect>(op.getDialect()))
    return false;
  return op.getNumOperands() > 0 && op.getNumResults() == 1;
}

} // namespace detail

using namespace detail;

namespace {

// L3, L6: only ops and types that the lowering knows are in the body.
LogicalResult checkOps(graph::RowProgramOp program, std::string &reason) {
  auto checkTypes = [&](ValueRange values) -> LogicalResult {
    for (Value value : values)
      if (!isa<RankedTensorType>(value.getType()) ||
          !isTritonElement(getElementTypeOrSelf(value)))
        return refuse(reason,
                      "L6: Triton has no values of type " + typeText(value));
    return success();
  };
  if (failed(checkTypes(program.getBlock().getArguments())))
    return failure();
  for (Operation &op : program.getBlock()) {
    if (failed(checkTypes(op.getResults())))
      return failure();
    bool isScaled = llvm::any_of(op.getOperandTypes(), [](Type type) {
      Type element = getElementTypeOrSelf(type);
      return isUe8m0(element) || isE2m1(element);
    });
    if (isScaled && isa<graph::ReduceOp, graph::SliceOp, graph::ConcatOp>(op))
      return refuse(reason, "L6: " + op.getName().getStringRef() + " of " +
                                typeText(op.getOperand(0)) +
                                " has no counterpart in Triton");
    if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
      Type element = getElementTypeOrSelf(constant.getResult());
      if (isUe8m0(element) || isE2m1(element))
        return refuse(reason, "L6: Triton has no constants of type " +
                                  typeText(constant.getResult()));
      if (!isa<SplatElementsAttr>(constant.getValue()))
        return refuse(reason, "L3: a constant of type " +
                                  typeText(constant.getResult()) +
                                  " is not a splat");
      continue;
    }
    if (isa<graph::BroadcastOp, graph::ReduceOp, graph::ReshapeOp,
            graph::SliceOp, graph::ConcatOp, graph::GatherRowsOp,
            graph::ScatterRowsOp, graph::YieldOp>(op))
      continue;
    if (!isElementwise(op))
      return refuse(reason, "L3: " + op.getName().getStringRef() +
                                " cannot be part of a row program");
    if (failed(checkElementwise(op, reason)))
      return failure();
    for (Value operand : op.getOperands())
      if (!isa<RankedTensorType>(operand.getType()) ||
          tensorType(operand).getShape() !=
              tensorType(op.getResult(0)).getShape())
        return refuse(reason, "L3: operands of " + op.getName().getStringRef() +
                                  " have shapes " + typeText(operand) +
                                  " and " + typeText(op.getResult(0)));
  }
  return success();
}

// L5: a result whose layout is that of a matrix has one dimension of tokens and
// one of the row.
LogicalResult checkLayouts(graph::RowProgramOp program,
                           const LeadingDims &leading, std::string &reason) {
  for (auto [index, value] : llvm::enumerate(program.getYield().getValues())) {
    graph::Layout layout = program.getLayout(index);
    if (!graph::isMatrixLayout(layout))
      continue;
    ArrayRef<int64_t> shape = tensorType(value).getShape();
    unsigned tokens = leading.lookup(value);
    bool isMatrix = tokens > 0 && shape.size() == tokens + 1 &&
                    llvm::all_of(shape.take_front(tokens - 1),
                                 [](int64_t dim) { return dim == 1; });
    if (!isMatrix)
      return refuse(reason, "L5: " + graph::stringifyLayout(layout) +
                                " result " + typeText(value) +
                                " is not a matrix of tokens by row");
  }
  return success();
}

// L6: neighbours that share a byte lie next to each other in the tile, and a
// tile of bytes is not a single one.
LogicalResult checkPacked(graph::RowProgramOp program, const RowShape &shape,
                          std::string &reason) {
  for (auto [index, value] : llvm::enumerate(program.getYield().getValues())) {
    bool packs = program.getLayout(index) == graph::Layout::packed_e2m1;
    if (packs != isE2m1(getElementTypeOrSelf(value)))
      return refuse(
          reason, "L6: a result of type " + typeText(value) + " is stored as " +
                      graph::stringifyLayout(program.getLayout(index)));
    if (!packs)
      continue;
    unsigned last = shape.factors.size() - 1;
    if (shape.factors.empty() || shape.factors[last] % 2 != 0 ||
        shape.isUnrolled(last) ||
        !shape.values.find(value)->second.covers(last) || shape.width == 2)
      return refuse(reason, "L6: pairs of " + typeText(value) +
                                " are torn by other shapes of the row");
  }
  return success();
}

// L8: the maximum of all tokens is known when every program has run.
LogicalResult findTensorMaxes(Block &body, const LeadingDims &leading,
                              RowShape &shape, std::string &reason) {
  for (auto reduce : body.getOps<graph::ReduceOp>()) {
    if (!isTensorMax(reduce) || leading.lookup(reduce.getInput()) == 0)
      continue;
    for (Operation *user : reduce.getResult().getUsers())
      if (!isa<graph::YieldOp>(user))
        return refuse(reason, "L8: " + user->getName().getStringRef() +
                                  " reads the maximum of all tokens");
    shape.tensorMaxes.insert(reduce.getResult());
  }
  return success();
}

// The widest row of which one tile holds all.
constexpr int64_t kMaxRowWidth = 32768;

int64_t paddedWidth(const RowShape &shape) {
  int64_t width = 1;
  for (int64_t factor : shape.factors)
    width *= llvm::PowerOf2Ceil(factor);
  return width;
}

// A reduction over the outermost factor spans the row.
bool spansRow(graph::ReduceOp reduce, const RowShape &shape) {
  if (shape.tensorMaxes.contains(reduce.getResult()))
    return false;
  const RowValue &input = shape.values.find(reduce.getInput())->second;
  return llvm::any_of(reduce.getDims(), [&](int64_t dim) {
    return llvm::is_contained(input.dims[dim - input.leading], 0u);
  });
}

// The tokens: those of the first result that has some, or else of the first
// such input.
void staticTokens(graph::RowProgramOp program, const LeadingDims &leading,
                  RowShape &shape) {
  SmallVector<Value> candidates(program.getYield().getValues());
  llvm::append_range(candidates, program.getBlock().getArguments());
  Value *found = llvm::find_if(
      candidates, [&](Value value) { return leading.lookup(value) > 0; });
  if (found == candidates.end())
    return;
  shape.tokens = countTokens(
      tensorType(*found).getShape().take_front(leading.lookup(*found)));
  shape.staticRows = shape.tokens.known;
}

// L9: a sum takes its operand whole, which a concatenation is not.
LogicalResult checkWholeSums(Block &body, const RowShape &shape,
                             std::string &reason) {
  for (auto reduce : body.getOps<graph::ReduceOp>()) {
    if (!reducesWhole(reduce, shape))
      continue;
    SmallVector<Value> pending = {reduce.getInput()};
    while (!pending.empty()) {
      Value value = pending.pop_back_val();
      Operation *op = value.getDefiningOp();
      if (shape.loads.contains(value) || !op || !shape.values.contains(value))
        continue;
      if (!shape.isUnrolled(shape.values.find(value)->second))
        continue;
      if (isa<graph::ConcatOp, graph::SliceOp>(op))
        return refuse(reason, "L9: epiq.reduce " +
                                  stringifyReduceKind(reduce.getKind()) +
                                  " over " + op->getName().getStringRef() +
                                  " of computed values, " + typeText(value));
      llvm::append_range(pending, op->getOperands());
    }
  }
  return success();
}

// L10: rows by index lie in inputs, and the index has one for each token.
LogicalResult checkMemory(Block &body, const LeadingDims &leading,
                          const MemoryViews &views, std::string &reason) {
  auto check = [&](Value memory, Value index, Value rows) -> LogicalResult {
    if (!views.contains(memory))
      return refuse(reason, "L10: " + typeText(memory) +
                                " is no input, or its rows are not at "
                                "static distances");
    unsigned tokens = tensorType(index).getRank();
    if (leading.lookup(index) != tokens || leading.lookup(rows) != tokens)
      return refuse(reason, "L10: index " + typeText(index) + " of " +
                                typeText(memory) +
                                " has not one row for each token");
    return success();
  };
  for (Operation &op : body) {
    auto gather = dyn_cast<graph::GatherRowsOp>(op);
    if (gather &&
        failed(check(gather.getTable(), gather.getIndex(), gather.getResult())))
      return failure();
    auto scatter = dyn_cast<graph::ScatterRowsOp>(op);
    if (!scatter)
      continue;
    if (failed(
            check(scatter.getBuffer(), scatter.getIndex(), scatter.getRows())))
      return failure();
    for (Operation *user : scatter.getResult().getUsers())
      if (!isa<graph::YieldOp>(user))
        return refuse(reason, "L10: " + user->getName().getStringRef() +
                                  " reads what the program stores by index");
  }
  return success();
}

void findScatters(Block &body, const MemoryViews &views, RowShape &shape) {
  for (auto scatter : body.getOps<graph::ScatterRowsOp>()) {
    MemoryView view = views.find(scatter.getBuffer())->second;
    view.index = scatter.getIndex();
    view.rowStride = view.strides.front();
    view.strides.erase(view.strides.begin());
    shape.scatters[scatter.getResult()] =
        viewByFactor(view, shape.values[scatter.getRows()], shape.factors);
  }
}

} // namespace

bool RowShape::isUnrolled(const RowValue &value) const {
  return llvm::any_of(llvm::seq<unsigned>(0, factors.size()),
                      [&](unsigned factor) {
                        return isUnrolled(factor) && value.covers(factor);
                      });
}

bool reducesWhole(graph::ReduceOp reduce, const RowShape &shape) {
  if (reduce.getKind() == graph::ReduceKind::max ||
      reduce.getKind() == graph::ReduceKind::min)
    return false;
  const RowValue &input = shape.values.find(reduce.getInput())->second;
  return llvm::any_of(reduce.getDims(), [&](int64_t dim) {
    return llvm::any_of(input.dims[dim - input.leading], [&](unsigned factor) {
      return shape.isUnrolled(factor);
    });
  });
}

FailureOr<RowShape> analyzeRows(graph::RowProgramOp program,
                                std::string &reason,
                                std::optional<int64_t> limit) {
  Block &body = program.getBlock();
  if (program.getYield().getValues().empty())
    return refuse(reason, "L1: the program has no result");
  if (failed(checkOps(program, reason)))
    return failure();
  FailureOr<LeadingDims> leading = findLeadingDims(program, limit, reason);
  if (failed(leading) || failed(checkLayouts(program, *leading, reason)))
    return failure();

  RowShape shape;
  if (failed(findTensorMaxes(body, *leading, shape, reason)))
    return failure();
  MemoryViews views = findViews(body, *leading);
  if (failed(checkMemory(body, *leading, views, reason)))
    return failure();
  llvm::DenseSet<Value> memory = findMemory(body);
  SmallVector<Value> values;
  auto add = [&](Value value) {
    if (!memory.contains(value) && !isOnlyViewed(value, views))
      values.push_back(value);
  };
  llvm::for_each(body.getArguments(), add);
  for (Operation &op : body)
    llvm::for_each(op.getResults(), add);
  for (Value value : values)
    shape.width = std::max(shape.width, rowElements(value, *leading));
  if (failed(factorRow(body, values, *leading, views, shape, reason)))
    return failure();

  for (Value value : values)
    if (auto view = views.find(value); view != views.end())
      shape.loads[value] =
          viewByFactor(view->second, shape.values[value], shape.factors);
  findScatters(body, views, shape);
  for (auto reduce : body.getOps<graph::ReduceOp>())
    shape.fullRow |= spansRow(reduce, shape);
  if (!shape.factors.empty())
    shape.columnUnit = shape.width / shape.factors.front();
  for (BlockArgument argument : body.getArguments())
    shape.inputs.emplace_back(leading->lookup(argument),
                              rowElements(argument, *leading));

  if (shape.fullRow && paddedWidth(shape) > kMaxRowWidth)
    return refuse(reason, "L7: a reduction spans a row of " +
                              Twine(shape.width) + ", more than the " +
                              Twine(kMaxRowWidth) + " of one tile");

  if (failed(checkPacked(program, shape, reason)) ||
      failed(checkWholeSums(body, shape, reason)))
    return failure();

  staticTokens(program, *leading, shape);
  return shape;
}

} // namespace epiq
