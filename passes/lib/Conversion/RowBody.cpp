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
  assert(valueTiles.size() == tile.parts(describe(value)).size());
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
  for (const RowPart &part : tile.parts(describe(result)))
    results.push_back(
        TypeSwitch<Operation *, Value>(&op)
            .Case([&](arith::ConstantOp constant) {
              return lowerConstant(constant);
            })
            .Case([&](graph::BroadcastOp broadcast) {
              return lowerBroadcast(broadcast, part);
            })
            .Case([&](graph::SliceOp slice) { return lowerSlice(slice, part); })
            .Case([&](graph::ConcatOp concat) {
              return lowerConcat(concat, part);
            })
            .Case([&](graph::ReshapeOp reshape) {
              return tileIn(part, reshape.getInput());
            })
            .Default([&](Operation *other) {
              return lowerElementwise(*other, part);
            }));
  define(result, results, keepsZero(op));
}

// Which element of an unrolled factor the element `at` of a dimension is in.
static int64_t indexAlong(unsigned factor, ArrayRef<unsigned> dim, int64_t at,
                          ArrayRef<int64_t> factors) {
  int64_t stride = 1;
  for (unsigned inner : llvm::reverse(dim)) {
    if (inner == factor)
      break;
    stride *= factors[inner];
  }
  return at / stride % factors[factor];
}

// A slice starts and ends with elements of unrolled factors.
Value RowBody::lowerSlice(graph::SliceOp op, const RowPart &part) {
  const RowValue &input = describe(op.getInput());
  const RowValue &result = describe(op.getResult());
  ArrayRef<unsigned> dim = input.dims[op.getDim() - input.leading];
  RowPart from = part;
  for (unsigned factor : dim)
    if (shape.isUnrolled(factor))
      from.at[factor] = (result.covers(factor) ? part.at[factor] : 0) +
                        indexAlong(factor, dim, op.getBegin(), shape.factors);
  return tileIn(from, op.getInput());
}

// Each part of the result is a part of one operand.
Value RowBody::lowerConcat(graph::ConcatOp op, const RowPart &part) {
  const RowValue &result = describe(op.getResult());
  unsigned place = op.getDim() - result.leading;
  int64_t at = 0, stride = 1;
  for (unsigned factor : llvm::reverse(result.dims[place])) {
    at += part.at[factor] * stride;
    stride *= shape.factors[factor];
  }
  for (Value input : op.getInputs()) {
    int64_t size =
        cast<RankedTensorType>(input.getType()).getDimSize(op.getDim());
    if (at >= size) {
      at -= size;
      continue;
    }
    RowPart from = part;
    ArrayRef<unsigned> dim = describe(input).dims[place];
    for (unsigned factor : dim)
      if (shape.isUnrolled(factor))
        from.at[factor] = indexAlong(factor, dim, at, shape.factors);
    return tileIn(from, input);
  }
  llvm_unreachable("a part of a concatenation is a part of an operand");
}

Value RowBody::lowerConstant(arith::ConstantOp op) {
  auto splat = cast<SplatElementsAttr>(op.getValue());
  return tile.constant(splat.getSplatValue<Attribute>(), dims(op.getResult()));
}

Value RowBody::lowerBroadcast(graph::BroadcastOp op, const RowPart &part) {
  SmallVector<int64_t> wanted = dims(op.getResult());
  if (auto constant = op.getInput().getDefiningOp<arith::ConstantOp>())
    return tile.constant(
        cast<SplatElementsAttr>(constant.getValue()).getSplatValue<Attribute>(),
        wanted);
  return tile.fit(tileIn(part, op.getInput()), wanted);
}

//===----------------------------------------------------------------------===//
// Elementwise ops
//===----------------------------------------------------------------------===//

// A cast to or from fp8 is tt.fp_to_fp, any other one is arith's. Torch goes
// through f32, which is exact from f16 and bf16. What does not fit into e4m3
// saturates, as in the hardware and in torch from 2.13 on (before, it gave
// NaN).
Value RowBody::lowerFloatCast(Operation &op, const RowPart &part) {
  Value source = tileIn(part, op.getOperand(0));
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
Value RowBody::inversePower(Value divisor, const RowPart &part) {
  SmallVector<int64_t> wanted = dims(divisor);
  while (isa_and_present<graph::BroadcastOp, graph::ReshapeOp>(
      divisor.getDefiningOp()))
    divisor = divisor.getDefiningOp()->getOperand(0);
  auto scale = divisor.getDefiningOp<arith::ExtFOp>();
  if (!scale || !isUe8m0(getElementTypeOrSelf(scale.getIn())))
    return {};
  return tile.fit(casts.inverseOfUe8m0(tileIn(part, scale.getIn())), wanted);
}

Value RowBody::lowerElementwise(Operation &op, const RowPart &part) {
  if (isa<arith::ExtFOp, arith::TruncFOp>(op))
    return lowerFloatCast(op, part);
  if (auto power = dyn_cast<graph::ToUe8m0Op>(op))
    return casts.toUe8m0(tileIn(part, power.getInput()), power.getRounding(),
                         power.getLess());
  if (isa<arith::DivFOp>(op))
    if (Value inverse = inversePower(op.getOperand(1), part))
      return arith::MulFOp::create(builder, tileIn(part, op.getOperand(0)),
                                   inverse);
  Type wanted = tileType(op.getResult(0));
  SmallVector<Value> operands;
  for (Value operand : op.getOperands())
    operands.push_back(tileIn(part, operand));
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
