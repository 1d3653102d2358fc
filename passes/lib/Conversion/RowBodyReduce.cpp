//===- RowBodyReduce.cpp - The reductions of a row program in Triton IR ---===//

#include "RowBody.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;

namespace epiq {

namespace {

// The scalar that does not change a reduction.
TypedAttr neutralElement(graph::ReduceKind kind, Type type) {
  if (auto floatType = dyn_cast<FloatType>(type)) {
    const llvm::fltSemantics &semantics = floatType.getFloatSemantics();
    switch (kind) {
    case graph::ReduceKind::sum:
      return FloatAttr::get(type, APFloat::getZero(semantics));
    case graph::ReduceKind::prod:
      return FloatAttr::get(type, APFloat::getOne(semantics));
    case graph::ReduceKind::max:
      return FloatAttr::get(type,
                            APFloat::getInf(semantics, /*Negative=*/true));
    case graph::ReduceKind::min:
      return FloatAttr::get(type, APFloat::getInf(semantics));
    }
  }
  unsigned width = type.getIntOrFloatBitWidth();
  switch (kind) {
  case graph::ReduceKind::sum:
    return IntegerAttr::get(type, APInt::getZero(width));
  case graph::ReduceKind::prod:
    return IntegerAttr::get(type, APInt(width, 1));
  case graph::ReduceKind::max:
    return IntegerAttr::get(type, APInt::getSignedMinValue(width));
  case graph::ReduceKind::min:
    return IntegerAttr::get(type, APInt::getSignedMaxValue(width));
  }
  llvm_unreachable("unknown reduction");
}

Value combine(ImplicitLocOpBuilder &builder, graph::ReduceKind kind, Value a,
              Value b) {
  bool isFloat = isa<FloatType>(getElementTypeOrSelf(a));
  switch (kind) {
  case graph::ReduceKind::sum:
    if (isFloat)
      return arith::AddFOp::create(builder, a, b);
    return arith::AddIOp::create(builder, a, b);
  case graph::ReduceKind::prod:
    if (isFloat)
      return arith::MulFOp::create(builder, a, b);
    return arith::MulIOp::create(builder, a, b);
  case graph::ReduceKind::max:
    if (isFloat)
      return arith::MaximumFOp::create(builder, a, b);
    return arith::MaxSIOp::create(builder, a, b);
  case graph::ReduceKind::min:
    if (isFloat)
      return arith::MinimumFOp::create(builder, a, b);
    return arith::MinSIOp::create(builder, a, b);
  }
  llvm_unreachable("unknown reduction");
}

// A value that is an absolute value, perhaps widened.
bool isNonNegative(Value value) {
  while (auto cast = value.getDefiningOp<arith::ExtFOp>())
    value = cast.getIn();
  return value.getDefiningOp<math::AbsFOp>() != nullptr;
}

} // namespace

// The operand of `op` with the neutral element in lanes outside of `factors`.
Value RowBody::neutralizePadding(graph::ReduceOp op, ArrayRef<unsigned> factors,
                                 const RowPart &part) {
  Value source = tileIn(part, op.getInput());
  SmallVector<int64_t> sizes = dims(op.getInput());
  bool isNeutral = zeroPadded.contains(op.getInput()) &&
                   (op.getKind() == graph::ReduceKind::sum ||
                    (op.getKind() == graph::ReduceKind::max &&
                     isNonNegative(op.getInput())));
  if (isNeutral)
    return source;
  Value mask = tile.factorMask(factors, sizes, part);
  if (!mask)
    return source;
  Value neutral = tile.constant(
      neutralElement(op.getKind(), getElementTypeOrSelf(source)), sizes);
  return arith::SelectOp::create(builder, mask, source, neutral);
}

Value RowBody::reduceAxis(Value source, unsigned axis, graph::ReduceKind kind) {
  auto type = cast<RankedTensorType>(source.getType());
  SmallVector<int64_t> rest(type.getShape());
  rest.erase(rest.begin() + axis);
  Type element = type.getElementType();
  Type result = rest.empty() ? element : RankedTensorType::get(rest, element);
  auto reduce = tt::ReduceOp::create(builder, TypeRange{result},
                                     ValueRange{source}, axis);
  OpBuilder::InsertionGuard guard(builder);
  Location loc = builder.getLoc();
  Block *body = builder.createBlock(&reduce.getCombineOp(), {},
                                    {element, element}, {loc, loc});
  Value combined =
      combine(builder, kind, body->getArgument(0), body->getArgument(1));
  tt::ReduceReturnOp::create(builder, ValueRange{combined});
  return reduce.getResult().front();
}

// Which elements of a tile are there; null for all.
Value RowBody::existing(Value value, const RowPart &part) {
  if (tile.countsRows())
    return tile.loadMask(describe(value), part);
  return lanes.lookup(value);
}

// The largest element of the rows that this program holds, a scalar. Rows and
// columns that do not exist count as 0, and no element is less.
Value RowBody::maximizeTile(graph::ReduceOp op) {
  const RowValue &input = describe(op.getInput());
  SmallVector<int64_t> sizes = dims(op.getInput());
  Value combined;
  for (const RowPart &part : tile.parts(input)) {
    Value held = tileIn(part, op.getInput());
    if (!zeroPadded.contains(op.getInput()))
      if (Value mask = existing(op.getInput(), part)) {
        Value zero = tile.constant(builder.getF32FloatAttr(0.0), sizes);
        held = arith::SelectOp::create(builder, mask, held, zero);
      }
    combined = combined ? combine(builder, op.getKind(), combined, held) : held;
  }
  auto type = dyn_cast<RankedTensorType>(combined.getType());
  if (!type)
    return combined;
  if (type.getRank() > 1)
    combined = tt::ReshapeOp::create(
        builder,
        RankedTensorType::get({type.getNumElements()}, type.getElementType()),
        combined, /*allow_reorder=*/false, /*efficient_layout=*/false);
  return reduceAxis(combined, 0, op.getKind());
}

// Parts are combined lane by lane, from the first to the last, before lanes
// are: the order of a sum depends on the chunk's size, and one tile is reduced.
SmallVector<Value> RowBody::lowerReduce(graph::ReduceOp op) {
  const RowValue &input = describe(op.getInput());
  const RowValue &result = describe(op.getResult());
  SmallVector<unsigned> factors;
  for (int64_t dim : op.getDims())
    llvm::append_range(factors, input.dims[dim - input.leading]);
  llvm::sort(factors);

  SmallVector<Value> reduced(tile.parts(result).size());
  for (const RowPart &part : tile.parts(input)) {
    Value &combined = reduced[tile.find(result, part)];
    Value next = neutralizePadding(op, factors, part);
    combined = combined ? combine(builder, op.getKind(), combined, next) : next;
  }
  llvm::erase_if(factors,
                 [&](unsigned factor) { return shape.isUnrolled(factor); });
  for (Value &part : reduced)
    part = reduceFactors(part, dims(op.getInput()), factors, op.getKind());
  return reduced;
}

// Reduces `factors`, which ascend, of a tile of `sizes`. Neighbouring factors
// are reduced together, as one axis: the order of a sum is then that of the
// same row with fewer factors.
Value RowBody::reduceFactors(Value value, SmallVector<int64_t> sizes,
                             SmallVector<unsigned> factors,
                             graph::ReduceKind kind) {
  while (!factors.empty()) {
    unsigned last = tile.axis(factors.pop_back_val());
    unsigned first = last;
    while (!factors.empty() && tile.axis(factors.back()) + 1 == first)
      first = tile.axis(factors.pop_back_val());

    // Merge axes first..last; with nothing else left, to one dimension.
    int64_t merged = 1;
    SmallVector<int64_t> before(ArrayRef<int64_t>(sizes).take_front(first));
    SmallVector<int64_t> after(ArrayRef<int64_t>(sizes).drop_front(last + 1));
    for (unsigned axis = first; axis <= last; ++axis) {
      merged *= sizes[axis];
      sizes[axis] = 1;
    }
    if (merged == 1)
      continue;
    bool isScalar = llvm::all_of(sizes, [](int64_t size) { return size == 1; });
    SmallVector<int64_t> shape;
    if (!isScalar)
      shape = before;
    unsigned axis = shape.size();
    shape.push_back(merged);
    if (!isScalar)
      llvm::append_range(shape, after);
    Type element = getElementTypeOrSelf(value);
    auto type = RankedTensorType::get(shape, element);
    if (value.getType() != type)
      value = tt::ReshapeOp::create(builder, type, value,
                                    /*allow_reorder=*/false,
                                    /*efficient_layout=*/false);
    value = reduceAxis(value, axis, kind);
    if (isScalar)
      continue;
    shape.erase(shape.begin() + axis);
    for (unsigned missing = first; missing <= last; ++missing) {
      shape.insert(shape.begin() + missing, 1);
      value = tt::ExpandDimsOp::create(
          builder, RankedTensorType::get(shape, element), value, missing);
    }
  }
  return value;
}

} // namespace epiq
