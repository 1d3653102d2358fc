//===- ElementCasts.cpp - Casts that Triton IR lacks ----------------------===//
// NUMERICS.md states the rules; PTX ISA, cvt, is the source for instructions.
//===----------------------------------------------------------------------===//

#include "ElementCasts.h"

#include "epiq/TritonIR/Triton.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;

namespace epiq {

namespace {

// From this architecture on there are instructions for ue8m0 and e2m1.
constexpr int64_t kHasScaledCasts = 100;
constexpr int64_t kExponentBit = 23;

Type withElement(Type type, Type element) {
  if (auto tensor = dyn_cast<RankedTensorType>(type))
    return tensor.clone(element);
  return element;
}

} // namespace

Type ElementCasts::typeLike(Value value, Type element) {
  return withElement(value.getType(), element);
}

Value ElementCasts::integer(Value like, int64_t number) {
  auto scalar = builder.getIntegerAttr(getElementTypeOrSelf(like), number);
  if (auto tensor = dyn_cast<RankedTensorType>(like.getType()))
    return arith::ConstantOp::create(builder,
                                     DenseElementsAttr::get(tensor, scalar));
  return arith::ConstantOp::create(builder, scalar);
}

Value ElementCasts::real(Value like, double number) {
  auto scalar = builder.getFloatAttr(getElementTypeOrSelf(like), number);
  if (auto tensor = dyn_cast<RankedTensorType>(like.getType()))
    return arith::ConstantOp::create(builder,
                                     DenseElementsAttr::get(tensor, scalar));
  return arith::ConstantOp::create(builder, scalar);
}

Value ElementCasts::bitcast(Value value, Type element) {
  return tt::BitcastOp::create(builder, typeLike(value, element), value);
}

// a ? b : `then`, where the integer comparison of `a` with a number holds.
Value ElementCasts::select(arith::CmpIPredicate predicate, Value a, int64_t b,
                           int64_t then, Value otherwise) {
  Value condition = arith::CmpIOp::create(builder, predicate, a, integer(a, b));
  return arith::SelectOp::create(builder, condition, integer(otherwise, then),
                                 otherwise);
}

Value ElementCasts::assembly(StringRef text, StringRef constraints,
                             int64_t packed, ValueRange operands,
                             Type element) {
  Type type = typeLike(operands.front(), element);
  return tt::ElementwiseInlineAsmOp::create(builder, TypeRange{type}, text,
                                            constraints, /*pure=*/true, packed,
                                            operands)
      ->getResult(0);
}

//===----------------------------------------------------------------------===//
// UE8M0
//===----------------------------------------------------------------------===//

Value ElementCasts::toUe8m0(Value x, graph::ScaleRounding rounding,
                            int64_t less) {
  Type i8 = builder.getI8Type(), i32 = builder.getI32Type();
  Value bits = bitcast(x, i32);
  bool up = rounding == graph::ScaleRounding::rceil;
  if (target >= kHasScaledCasts && up && less == 0) {
    // Zero for the other half, which nothing reads.
    Value byte = assembly(
        "{ .reg .b16 pair; cvt.rp.satfinite.ue8m0x2.f32 pair, 0f00000000, $1; "
        "cvt.u32.u16 $0, pair; }",
        "=r,f", 1, x, i32);
    // A value up to 2^-127 is that scale, byte 0, to the instruction; here only
    // 0 is, and everything above it at least 2^-126.
    Value one = integer(bits, 1);
    Value least = arith::MinUIOp::create(builder, bits, one);
    byte = arith::MaxUIOp::create(builder, byte, least);
    return arith::TruncIOp::create(builder, typeLike(x, i8), byte);
  }
  Value exponent = bits;
  if (up)
    exponent = arith::AddIOp::create(builder, bits,
                                     integer(bits, (1ll << kExponentBit) - 1));
  exponent =
      arith::ShRUIOp::create(builder, exponent, integer(bits, kExponentBit));
  // Inf is 255 here, whichever way it rounds, and NaN overwritten below.
  if (up)
    exponent = arith::MinUIOp::create(builder, exponent, integer(bits, 255));
  if (less != 0) {
    exponent = arith::SubIOp::create(builder, exponent, integer(bits, less));
    exponent = arith::MaxSIOp::create(builder, exponent, integer(bits, 0));
  } else {
    exponent = arith::MinUIOp::create(builder, exponent, integer(bits, 254));
  }
  Value isNan = arith::CmpFOp::create(builder, arith::CmpFPredicate::UNE, x, x);
  Value byte =
      arith::SelectOp::create(builder, isNan, integer(bits, 255), exponent);
  return arith::TruncIOp::create(builder, typeLike(x, i8), byte);
}

Value ElementCasts::wideByte(Value bytes) {
  return arith::ExtUIOp::create(builder, typeLike(bytes, builder.getI32Type()),
                                bytes);
}

Value ElementCasts::fromUe8m0(Value bytes) {
  Value byte = wideByte(bytes);
  Value bits =
      arith::ShLIOp::create(builder, byte, integer(byte, kExponentBit));
  bits = select(arith::CmpIPredicate::eq, byte, 0, 0x400000, bits);
  bits = select(arith::CmpIPredicate::eq, byte, 255, 0x7fc00000, bits);
  return bitcast(bits, builder.getF32Type());
}

Value ElementCasts::inverseOfUe8m0(Value bytes) {
  Value byte = wideByte(bytes);
  Value inverse = arith::SubIOp::create(builder, integer(byte, 254), byte);
  Value bits =
      arith::ShLIOp::create(builder, inverse, integer(byte, kExponentBit));
  bits = select(arith::CmpIPredicate::eq, byte, 254, 0x400000, bits);
  bits = select(arith::CmpIPredicate::eq, byte, 255, 0x7fc00000, bits);
  return bitcast(bits, builder.getF32Type());
}

//===----------------------------------------------------------------------===//
// e2m1
//===----------------------------------------------------------------------===//

// The code of each value in 4 bits of an i32. With p the power of two at or
// under the magnitude, at least 1, e2m1 numbers near it are p / 2 apart.
// Adding p * 2^22 to the magnitude rounds it to a multiple of that, once, and
// leaves the multiple in the low bits of the sum; its exponent counts the rest:
//   sum = (149 + log2 p) << 23 | (6 + multiple), code = multiple + 2 * log2 p
// The 6, which the factor 2^22 + 3 puts there, and 298 = 2 * 149 add up to 304,
// which is 0 in three bits.
Value ElementCasts::codesOf(Value x) {
  Type i32 = builder.getI32Type(), f32 = builder.getF32Type();
  // Not a NaN from here on: 6 for it, as cvt has it.
  Value six = real(x, 6.0);
  Value bounded = arith::MinNumFOp::create(builder, x, six);
  Value magnitude =
      arith::MinNumFOp::create(builder, math::AbsFOp::create(builder, x), six);
  Value least = arith::MaxNumFOp::create(builder, magnitude, real(x, 1.0));
  Value leastBits = bitcast(least, i32);
  Value power = bitcast(
      arith::AndIOp::create(builder, leastBits, integer(leastBits, 0x7f800000)),
      f32);
  Value sum =
      math::FmaOp::create(builder, power, real(x, 4194307.0), magnitude);
  Value bits = bitcast(sum, i32);
  Value code = arith::AddIOp::create(
      builder, bits, arith::ShRUIOp::create(builder, bits, integer(bits, 22)));
  code = arith::AndIOp::create(builder, code, integer(bits, 7));
  Value sign =
      arith::ShRUIOp::create(builder, bitcast(bounded, i32), integer(bits, 28));
  sign = arith::AndIOp::create(builder, sign, integer(bits, 8));
  return arith::OrIOp::create(builder, code, sign);
}

Value ElementCasts::packE2m1(Value x) {
  auto type = cast<RankedTensorType>(x.getType());
  SmallVector<int64_t> shape(type.getShape());
  shape.back() /= 2;
  shape.push_back(2);
  Value pairs = tt::ReshapeOp::create(builder, type.clone(shape), x,
                                      /*allow_reorder=*/false,
                                      /*efficient_layout=*/false);
  shape.pop_back();
  Type half = type.clone(shape);
  auto split = tt::SplitOp::create(builder, half, half, pairs);
  Value low = split.getOutLHS(), high = split.getOutRHS();
  if (target >= kHasScaledCasts) {
    std::string text = "{ .reg .b8 b0, b1, b2, b3; ";
    for (unsigned i = 0; i < 4; ++i)
      text += llvm::formatv("cvt.rn.satfinite.e2m1x2.f32 b{0}, ${1}, ${2}; ", i,
                            i + 5, i + 1);
    text += "mov.b32 $0, {b0, b1, b2, b3}; }";
    return assembly(text, "=r,f,f,f,f,f,f,f,f", 4, {low, high},
                    builder.getI8Type());
  }
  Value lowCodes = codesOf(low), highCodes = codesOf(high);
  Value shifted =
      arith::ShLIOp::create(builder, highCodes, integer(highCodes, 4));
  Value bytes = arith::OrIOp::create(builder, lowCodes, shifted);
  return arith::TruncIOp::create(builder, typeLike(bytes, builder.getI8Type()),
                                 bytes);
}

} // namespace epiq
