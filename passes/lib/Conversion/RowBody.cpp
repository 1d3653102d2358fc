//===- RowBody.cpp - The arithmetic of a row program in Triton IR ---------===//
// Every rounding of the graph stays where it is: a cast is never folded into
// its neighbour, divisions and square roots are the correctly rounded ones.
//===----------------------------------------------------------------------===//

#include "RowBody.h"

#include "epiq/Analysis/RowOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"

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

Type RowBody::tileType(Value value) const {
  Type element = getElementTypeOrSelf(value);
  if (isUe8m0(element))
    element = builder.getI8Type();
  if (isE2m1(element))
    element = builder.getF32Type();
  return RowTile::type(dims(value), element);
}

void RowBody::define(Value value, ArrayRef<Value> valueTiles,
                     bool isZeroPadded) {
  assert(valueTiles.size() == tile.chunks(describe(value)));
  tiles[value].assign(valueTiles.begin(), valueTiles.end());
  if (isZeroPadded)
    zeroPadded.insert(value);
}

bool RowBody::keepsZero(Operation &op) const {
  auto isZero = [&](Value value) { return zeroPadded.contains(value); };
  // The product of 0 and a number that may be infinite is not 0.
  if (isa<graph::ReshapeOp, arith::ExtFOp, arith::TruncFOp, math::AbsFOp,
          arith::MulFOp, arith::AddFOp, arith::SubFOp>(op))
    return llvm::all_of(op.getOperands(), isZero);
  return false;
}

void RowBody::lower(Operation &op) {
  Value result = op.getResult(0);
  if (auto reduce = dyn_cast<graph::ReduceOp>(op)) {
    if (shape.tensorMaxes.contains(result))
      return define(result, {maximizeTile(reduce)}, /*zeroPadded=*/false);
    return define(result, lowerReduce(reduce), /*zeroPadded=*/false);
  }
  SmallVector<Value> results;
  for (unsigned chunk = 0; chunk < tile.chunks(describe(result)); ++chunk)
    results.push_back(TypeSwitch<Operation *, Value>(&op)
                          .Case([&](arith::ConstantOp constant) {
                            return lowerConstant(constant);
                          })
                          .Case([&](graph::BroadcastOp broadcast) {
                            return lowerBroadcast(broadcast, chunk);
                          })
                          .Case([&](graph::ReshapeOp reshape) {
                            return tileIn(chunk, reshape.getInput());
                          })
                          .Default([&](Operation *other) {
                            return lowerElementwise(*other, chunk);
                          }));
  define(result, results, keepsZero(op));
}

Value RowBody::lowerConstant(arith::ConstantOp op) {
  auto splat = cast<SplatElementsAttr>(op.getValue());
  return tile.constant(splat.getSplatValue<Attribute>(), dims(op.getResult()));
}

Value RowBody::lowerBroadcast(graph::BroadcastOp op, unsigned chunk) {
  SmallVector<int64_t> wanted = dims(op.getResult());
  if (auto constant = op.getInput().getDefiningOp<arith::ConstantOp>())
    return tile.constant(
        cast<SplatElementsAttr>(constant.getValue()).getSplatValue<Attribute>(),
        wanted);
  return tile.fit(tileIn(chunk, op.getInput()), wanted);
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

// The operand of `op` with the neutral element in lanes outside of `factors`.
Value RowBody::neutralizePadding(graph::ReduceOp op, ArrayRef<unsigned> factors,
                                 unsigned chunk) {
  Value source = tileIn(chunk, op.getInput());
  SmallVector<int64_t> sizes = dims(op.getInput());
  bool isNeutral = zeroPadded.contains(op.getInput()) &&
                   (op.getKind() == graph::ReduceKind::sum ||
                    (op.getKind() == graph::ReduceKind::max &&
                     isNonNegative(op.getInput())));
  if (isNeutral)
    return source;
  Value mask = tile.factorMask(factors, sizes, chunk);
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
Value RowBody::existing(Value value, unsigned chunk) {
  if (tile.countsRows())
    return tile.loadMask(describe(value), chunk);
  return lanes.lookup(value);
}

// The largest element of the rows that this program holds, a scalar. Rows and
// columns that do not exist count as 0, and no element is less.
Value RowBody::maximizeTile(graph::ReduceOp op) {
  const RowValue &input = describe(op.getInput());
  SmallVector<int64_t> sizes = dims(op.getInput());
  Value combined;
  for (unsigned chunk = 0; chunk < tile.chunks(input); ++chunk) {
    Value part = tileIn(chunk, op.getInput());
    if (!zeroPadded.contains(op.getInput()))
      if (Value mask = existing(op.getInput(), chunk)) {
        Value zero = tile.constant(builder.getF32FloatAttr(0.0), sizes);
        part = arith::SelectOp::create(builder, mask, part, zero);
      }
    combined = combined ? combine(builder, op.getKind(), combined, part) : part;
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

// Chunks are combined lane by lane, from the first to the last, before lanes
// are: the order of a sum depends on the chunk's size, and one tile is reduced.
SmallVector<Value> RowBody::lowerReduce(graph::ReduceOp op) {
  const RowValue &input = describe(op.getInput());
  SmallVector<unsigned> factors;
  for (int64_t dim : op.getDims())
    llvm::append_range(factors, input.dims[dim - input.leading]);
  llvm::sort(factors);

  SmallVector<Value> parts;
  for (unsigned chunk = 0; chunk < tile.chunks(input); ++chunk)
    parts.push_back(neutralizePadding(op, factors, chunk));
  if (llvm::is_contained(factors, 0u)) {
    Value combined = parts.front();
    for (Value part : llvm::drop_begin(parts))
      combined = combine(builder, op.getKind(), combined, part);
    parts = {combined};
  }
  for (Value &part : parts)
    part = reduceFactors(part, dims(op.getInput()), factors, op.getKind());
  return parts;
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

//===----------------------------------------------------------------------===//
// Elementwise ops
//===----------------------------------------------------------------------===//

// A cast to or from fp8 is tt.fp_to_fp, any other one is arith's. Torch goes
// through f32, which is exact from f16 and bf16. What does not fit into e4m3
// saturates, as in the hardware and in torch from 2.13 on (before, it gave
// NaN).
Value RowBody::lowerFloatCast(Operation &op, unsigned chunk) {
  Value source = tileIn(chunk, op.getOperand(0));
  if (isE2m1(getElementTypeOrSelf(op.getResult(0))))
    return source;
  if (isUe8m0(getElementTypeOrSelf(op.getOperand(0))))
    return casts.fromUe8m0(source);
  Type wanted = tileType(op.getResult(0));
  Type from = getElementTypeOrSelf(source);
  Type to = getElementTypeOrSelf(wanted);
  if (isFp8(from) && to.isF64()) {
    source = tt::FpToFpOp::create(
        builder, RowTile::type(dims(op.getResult(0)), builder.getF32Type()),
        source, tt::RoundingModeAttr());
    return arith::ExtFOp::create(builder, wanted, source);
  }
  if (isFp8(from))
    return tt::FpToFpOp::create(builder, wanted, source,
                                tt::RoundingModeAttr());
  if (!isFp8(to)) {
    if (isa<arith::ExtFOp>(op))
      return arith::ExtFOp::create(builder, wanted, source);
    return arith::TruncFOp::create(builder, wanted, source);
  }
  Type f32 = builder.getF32Type();
  if (from != f32)
    source = arith::ExtFOp::create(
        builder, RowTile::type(dims(op.getResult(0)), f32), source);
  return tt::FpToFpOp::create(
      builder, wanted, source,
      tt::RoundingModeAttr::get(builder.getContext(), tt::RoundingMode::RTNE));
}

// `__nv_tanhf` for f32, `__nv_tanh` for f64.
Value RowBody::callLibdevice(StringRef name, ValueRange operands, Type wanted) {
  bool isF32 = getElementTypeOrSelf(wanted).isF32();
  std::string symbol = ("__nv_" + name + (isF32 ? "f" : "")).str();
  return tt::ExternElementwiseOp::create(builder, wanted, operands,
                                         /*libname=*/"", /*libpath=*/"", symbol,
                                         /*pure=*/true);
}

// One over `divisor`, in its shape, if it is a repeated power of two; or null.
// A product with it has the bits of the quotient.
Value RowBody::inversePower(Value divisor, unsigned chunk) {
  SmallVector<int64_t> wanted = dims(divisor);
  while (isa_and_present<graph::BroadcastOp, graph::ReshapeOp>(
      divisor.getDefiningOp()))
    divisor = divisor.getDefiningOp()->getOperand(0);
  auto scale = divisor.getDefiningOp<arith::ExtFOp>();
  if (!scale || !isUe8m0(getElementTypeOrSelf(scale.getIn())))
    return {};
  return tile.fit(casts.inverseOfUe8m0(tileIn(chunk, scale.getIn())), wanted);
}

Value RowBody::lowerElementwise(Operation &op, unsigned chunk) {
  if (isa<arith::ExtFOp, arith::TruncFOp>(op))
    return lowerFloatCast(op, chunk);
  if (auto power = dyn_cast<graph::ToUe8m0Op>(op))
    return casts.toUe8m0(tileIn(chunk, power.getInput()), power.getRounding(),
                         power.getLess());
  if (isa<arith::DivFOp>(op))
    if (Value inverse = inversePower(op.getOperand(1), chunk))
      return arith::MulFOp::create(builder, tileIn(chunk, op.getOperand(0)),
                                   inverse);
  Type wanted = tileType(op.getResult(0));
  SmallVector<Value> operands;
  for (Value operand : op.getOperands())
    operands.push_back(tileIn(chunk, operand));
  if (getElementTypeOrSelf(wanted).isF32()) {
    if (isa<arith::DivFOp>(op))
      return tt::PreciseDivFOp::create(builder, wanted, operands[0],
                                       operands[1]);
    if (isa<math::SqrtOp>(op))
      return tt::PreciseSqrtOp::create(builder, wanted, operands[0]);
  }
  if (StringRef name = libdeviceFunction(op); !name.empty())
    return callLibdevice(name, operands, wanted);
  if (isa<arith::BitcastOp>(op) && operands[0].getType() == wanted)
    return operands[0];
  if (isa<arith::BitcastOp>(op))
    return tt::BitcastOp::create(builder, wanted, operands[0]);
  // Triton takes no negation; a product with -1 is one, -0 included.
  if (isa<arith::NegFOp>(op)) {
    Value minusOne =
        tile.constant(builder.getFloatAttr(getElementTypeOrSelf(wanted), -1.0),
                      dims(op.getResult(0)));
    return arith::MulFOp::create(builder, operands[0], minusOne);
  }
  OperationState state(builder.getLoc(), op.getName(), operands, wanted,
                       op.getAttrs());
  return builder.create(state)->getResult(0);
}

} // namespace epiq
