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
    if (isScaled && isa<graph::ReduceOp, graph::SliceOp>(op))
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
            graph::SliceOp, graph::YieldOp>(op))
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
        !shape.values.find(value)->second.covers(last) || shape.width == 2)
      return refuse(reason, "L6: pairs of " + typeText(value) +
                                " are torn by other shapes of the row");
  }
  return success();
}

SmallVector<int64_t> rowMajorStrides(ArrayRef<int64_t> dims) {
  SmallVector<int64_t> strides(dims.size(), 1);
  for (size_t dim = dims.size(); dim > 1; --dim)
    strides[dim - 2] = strides[dim - 1] * dims[dim - 1];
  return strides;
}

// The strides of the same elements, in the same order, with dimensions `to`
// instead of `from`; none where they lie at no fixed distances.
std::optional<SmallVector<int64_t>> viewedStrides(ArrayRef<int64_t> from,
                                                  ArrayRef<int64_t> strides,
                                                  ArrayRef<int64_t> to) {
  SmallVector<int64_t> result(to.size(), 1);
  size_t dim = to.size();
  for (size_t last = from.size(); last > 0;) {
    // A run of dimensions, `elements` in all, each `stride` from the next.
    int64_t stride = strides[last - 1], elements = from[last - 1];
    --last;
    while (last > 0 && (from[last - 1] == 1 || elements == 1 ||
                        strides[last - 1] == stride * elements)) {
      if (elements == 1)
        stride = strides[last - 1];
      elements *= from[--last];
    }
    int64_t taken = 1;
    while (dim > 0 && taken < elements) {
      result[--dim] = stride * taken;
      taken *= to[dim];
    }
    if (taken != elements)
      return std::nullopt;
  }
  return result;
}

// Finds the values that are parts of inputs as these lie in memory: inputs,
// their slices, and their reshapes where these need no copy.
MemoryViews findViews(Block &body, const LeadingDims &leading) {
  MemoryViews views;
  for (BlockArgument argument : body.getArguments())
    views[argument] = {argument.getArgNumber(), 0,
                       rowMajorStrides(rowDims(argument, leading))};
  for (Operation &op : body) {
    if (auto slice = dyn_cast<graph::SliceOp>(op)) {
      auto source = views.find(slice.getInput());
      if (source == views.end())
        continue;
      MemoryView view = source->second;
      unsigned dim = slice.getDim() - leading.lookup(slice.getInput());
      view.offset += view.strides[dim] * slice.getBegin();
      views[slice.getResult()] = view;
    }
    if (auto reshape = dyn_cast<graph::ReshapeOp>(op)) {
      auto source = views.find(reshape.getInput());
      if (source == views.end())
        continue;
      std::optional<SmallVector<int64_t>> strides = viewedStrides(
          rowDims(reshape.getInput(), leading), source->second.strides,
          rowDims(reshape.getResult(), leading));
      if (!strides)
        continue;
      MemoryView view = source->second;
      view.strides = *strides;
      views[reshape.getResult()] = view;
    }
  }
  return views;
}

// True when `value` is read only through views of it, or not at all.
bool isOnlyViewed(Value value, const MemoryViews &views) {
  return views.contains(value) &&
         llvm::all_of(value.getUsers(), [&](Operation *user) {
           return user->getNumResults() == 1 &&
                  views.contains(user->getResult(0));
         });
}

// Memory strides by factor, from those by dimension.
SmallVector<int64_t> factorStrides(const MemoryView &view,
                                   const RowValue &value,
                                   ArrayRef<int64_t> factors) {
  SmallVector<int64_t> strides(factors.size(), 0);
  for (auto [covered, dimStride] : llvm::zip_equal(value.dims, view.strides)) {
    int64_t stride = dimStride;
    for (unsigned factor : llvm::reverse(covered)) {
      strides[factor] = stride;
      stride *= factors[factor];
    }
  }
  return strides;
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

// The product of the static token dimensions: those of the first result that
// has tokens, or else of the first such input.
int64_t staticTokens(graph::RowProgramOp program, const LeadingDims &leading) {
  SmallVector<Value> candidates(program.getYield().getValues());
  llvm::append_range(candidates, program.getBlock().getArguments());
  Value *found = llvm::find_if(
      candidates, [&](Value value) { return leading.lookup(value) > 0; });
  if (found == candidates.end())
    return 1;
  int64_t tokens = 1;
  for (int64_t dim :
       tensorType(*found).getShape().take_front(leading.lookup(*found)))
    tokens *= ShapedType::isDynamic(dim) ? 1 : dim;
  return tokens;
}

} // namespace

FailureOr<RowShape> analyzeRows(graph::RowProgramOp program,
                                std::string &reason) {
  Block &body = program.getBlock();
  if (program.getYield().getValues().empty())
    return refuse(reason, "L1: the program has no result");
  if (failed(checkOps(program, reason)))
    return failure();
  FailureOr<LeadingDims> leading = findLeadingDims(program, reason);
  if (failed(leading) || failed(checkLayouts(program, *leading, reason)))
    return failure();

  RowShape shape;
  if (failed(findTensorMaxes(body, *leading, shape, reason)))
    return failure();
  MemoryViews views = findViews(body, *leading);
  SmallVector<Value> values;
  auto add = [&](Value value) {
    if (!isOnlyViewed(value, views))
      values.push_back(value);
  };
  llvm::for_each(body.getArguments(), add);
  for (Operation &op : body) {
    if (isa<graph::SliceOp>(op) && !views.contains(op.getResult(0)))
      return refuse(reason, "L3: a slice of a computed value, " +
                                typeText(op.getOperand(0)) +
                                ", cannot be part of a row program");
    llvm::for_each(op.getResults(), add);
  }
  for (Value value : values)
    shape.width = std::max(shape.width, rowElements(value, *leading));
  if (failed(factorRow(body, values, *leading, shape, reason)))
    return failure();

  for (Value value : values)
    if (auto view = views.find(value); view != views.end())
      shape.loads[value] = {
          view->second.input, view->second.offset,
          factorStrides(view->second, shape.values[value], shape.factors)};
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

  if (failed(checkPacked(program, shape, reason)))
    return failure();

  shape.staticRows = staticTokens(program, *leading);
  return shape;
}

} // namespace epiq
