//===- RowOps.cpp - The elementwise ops of row programs -------------------===//
// The rules L3 and L6 are stated with epiq-lower-row-program in Passes.td.
//===----------------------------------------------------------------------===//

#include "epiq/Analysis/RowOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace epiq {

namespace {

// How far up a chain of ops a bound is looked for.
constexpr unsigned kMaxDepth = 16;

std::optional<double> splatValue(Value value) {
  DenseElementsAttr constant;
  if (!matchPattern(value, m_Constant(&constant)) || !constant.isSplat() ||
      !isa<FloatType>(constant.getElementType()))
    return std::nullopt;
  return constant.getSplatValue<APFloat>().convertToDouble();
}

// Whether sign * value <= limit, or value is NaN. `limit` must be a bf16
// number, so that roundings to bf16 and wider keep the bound.
bool isBounded(Value value, double sign, double limit, unsigned depth = 0) {
  if (std::optional<double> number = splatValue(value))
    return sign * *number <= limit;
  Operation *op = value.getDefiningOp();
  if (!op || depth == kMaxDepth)
    return false;
  auto operandIsBounded = [&](Value operand) {
    return isBounded(operand, sign, limit, depth + 1);
  };
  if (isa<graph::BroadcastOp, graph::ReshapeOp, graph::ContiguousOp,
          graph::RelayoutOp>(op))
    return operandIsBounded(op->getOperand(0));
  if (isa<arith::ExtFOp, arith::TruncFOp>(op) &&
      !isFp8(getElementTypeOrSelf(op->getOperand(0))))
    return operandIsBounded(op->getOperand(0));
  bool isMin = isa<arith::MinimumFOp, arith::MinNumFOp>(op);
  bool isMax = isa<arith::MaximumFOp, arith::MaxNumFOp>(op);
  if ((isMin && sign > 0) || (isMax && sign < 0))
    return llvm::any_of(op->getOperands(), operandIsBounded);
  if (isMin || isMax)
    return llvm::all_of(op->getOperands(), operandIsBounded);
  if (isa<math::AbsFOp>(op) && sign < 0)
    return true;
  return false;
}

// Whether the operand of a cast to e5m2 is bounded by its largest number, as
// far as can be seen from the ops that compute it.
bool isClampedForCast(Operation &cast) {
  constexpr double limit = 57344.0;
  Value source = cast.getOperand(0);
  return isBounded(source, 1.0, limit) && isBounded(source, -1.0, limit);
}

bool isKnownOp(Operation &op) {
  // clang-format off
  return isa<
      arith::AddFOp, arith::SubFOp, arith::MulFOp, arith::DivFOp, arith::NegFOp,
      arith::MaximumFOp, arith::MinimumFOp, arith::MaxNumFOp, arith::MinNumFOp,
      arith::CmpFOp, arith::CmpIOp, arith::SelectOp, arith::ExtFOp, arith::TruncFOp,
      arith::SIToFPOp, arith::UIToFPOp, arith::FPToSIOp, arith::FPToUIOp,
      arith::AddIOp, arith::SubIOp, arith::MulIOp, arith::AndIOp, arith::OrIOp,
      arith::XOrIOp, arith::ShLIOp, arith::ShRSIOp, arith::ShRUIOp,
      arith::MaxSIOp, arith::MinSIOp, arith::MaxUIOp, arith::MinUIOp,
      arith::ExtSIOp, arith::ExtUIOp, arith::TruncIOp, arith::BitcastOp,
      math::AbsFOp, math::AbsIOp, math::ExpOp, math::Exp2Op, math::LogOp,
      math::Log2Op, math::SinOp, math::CosOp, math::ErfOp, math::FloorOp,
      math::CeilOp, math::SqrtOp, math::RsqrtOp, math::FmaOp, graph::ToUe8m0Op>(op);
  // clang-format on
}

LogicalResult refuse(std::string &reason, const Twine &why) {
  reason = why.str();
  return failure();
}

std::string typeText(Type type) {
  std::string text;
  llvm::raw_string_ostream(text) << type;
  return text;
}

} // namespace

// The functions that Inductor calls there too, so that the bits are the same.
StringRef libdeviceFunction(Operation &op) {
  return llvm::TypeSwitch<Operation *, StringRef>(&op)
      .Case([](math::AcosOp) { return "acos"; })
      .Case([](math::AsinOp) { return "asin"; })
      .Case([](math::AtanOp) { return "atan"; })
      .Case([](math::CoshOp) { return "cosh"; })
      .Case([](math::ErfcOp) { return "erfc"; })
      .Case([](math::ExpM1Op) { return "expm1"; })
      .Case([](math::Log1pOp) { return "log1p"; })
      .Case([](math::Log10Op) { return "log10"; })
      .Case([](math::PowFOp) { return "pow"; })
      .Case([](math::RoundEvenOp) { return "nearbyint"; })
      .Case([](math::SinhOp) { return "sinh"; })
      .Case([](math::TanOp) { return "tan"; })
      .Case([](math::TanhOp) { return "tanh"; })
      .Case([](math::TruncOp) { return "trunc"; })
      .Default([](Operation *) { return ""; });
}

bool isTensorMax(graph::ReduceOp reduce) {
  auto type = cast<RankedTensorType>(reduce.getInput().getType());
  return reduce.getKind() == graph::ReduceKind::max &&
         type.getElementType().isF32() && type.getRank() > 0 &&
         static_cast<int64_t>(reduce.getDims().size()) == type.getRank() &&
         isBounded(reduce.getInput(), /*sign=*/-1.0, /*limit=*/0.0);
}

bool isTritonElement(Type type) {
  if (isa<Float64Type, Float32Type, Float16Type, BFloat16Type>(type) ||
      isFp8(type) || isUe8m0(type) || isE2m1(type))
    return true;
  auto integer = dyn_cast<IntegerType>(type);
  return integer && integer.isSignless() &&
         llvm::is_contained({1u, 8u, 16u, 32u, 64u}, integer.getWidth());
}

// L6 for ue8m0 and e2m1: what is computed with them is f32.
static LogicalResult checkScaled(Operation &op, Type from, Type to,
                                 std::string &reason) {
  bool movesBits = isa<arith::SelectOp, arith::BitcastOp>(op);
  bool isValue = isa<arith::ExtFOp>(op) && isUe8m0(from) && to.isF32();
  bool isScale = isa<graph::ToUe8m0Op>(op) || (movesBits && !isE2m1(to));
  bool isElement = isa<arith::TruncFOp>(op) && from.isF32() && isE2m1(to);
  if (isValue || isScale || isElement)
    return success();
  return refuse(reason, "L6: " + op.getName().getStringRef() + " from " +
                            typeText(from) + " to " + typeText(to) +
                            " has no counterpart in Triton");
}

LogicalResult checkElementwise(Operation &op, std::string &reason) {
  StringRef name = op.getName().getStringRef();
  bool isLibrary = !libdeviceFunction(op).empty();
  if (!isKnownOp(op) && !isLibrary)
    return refuse(reason, "L3: " + name + " cannot be part of a row program");
  Type from = getElementTypeOrSelf(op.getOperand(0));
  Type to = getElementTypeOrSelf(op.getResult(0));
  if (llvm::any_of(op.getOperandTypes(), [](Type type) {
        return isE2m1(getElementTypeOrSelf(type));
      }))
    return refuse(reason, "L6: " + name + " of f4E2M1FN, which is only packed");
  if (isUe8m0(from) || isUe8m0(to) || isE2m1(to))
    return checkScaled(op, from, to, reason);
  bool isCast = isa<arith::ExtFOp, arith::TruncFOp>(op);
  bool movesBits = isa<arith::SelectOp, arith::BitcastOp>(op);
  if (!isCast && !movesBits && (isFp8(from) || isFp8(to)))
    return refuse(reason, "L6: " + name + " on " +
                              typeText(isFp8(to) ? to : from) +
                              " has no counterpart in Triton");
  // clang-format off
  bool isWide = isa<arith::DivFOp, math::SqrtOp, math::RsqrtOp, math::ExpOp, math::Exp2Op,
                    math::LogOp, math::Log2Op, math::SinOp, math::CosOp, math::ErfOp>(op);
  // clang-format on
  if ((isWide || isLibrary) && !to.isF32() && !to.isF64())
    return refuse(reason, "L6: " + name + " rounds in f32 or f64, not in " +
                              typeText(to));
  if (isCast && isFp8(to) && (from.isF64() || isFp8(from)))
    return refuse(reason, "L6: cast from " + typeText(from) + " to " +
                              typeText(to) + " has no counterpart in Triton");
  if (isCast && isa<Float8E5M2Type>(to) && !isClampedForCast(op))
    return refuse(reason, "L6: cast to " + typeText(to) +
                              " of values that are not clamped to +-57344");
  return success();
}

} // namespace epiq
