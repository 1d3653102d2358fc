//===- PullQuantOps.cpp - Triton's ops as those of row programs -----------===//

#include "PullQuantOps.h"

#include "epiq/Analysis/RowOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSwitch.h"

#include <cmath>
#include <limits>

using namespace mlir;

namespace epiq::detail {

namespace {

// A number in the shape of `type`.
Value splat(ImplicitLocOpBuilder &builder, double number,
            RankedTensorType type) {
  auto scalar = RankedTensorType::get({}, type.getElementType());
  Value value = arith::ConstantOp::create(
      builder,
      DenseElementsAttr::get(
          scalar, builder.getFloatAttr(type.getElementType(), number)));
  if (scalar == type)
    return value;
  return graph::BroadcastOp::create(builder, type, value);
}

template <typename Max, typename Min>
Value clamp(ImplicitLocOpBuilder &builder, Value x, Value low, Value high) {
  Value bounded = Max::create(builder, x, low);
  return Min::create(builder, bounded, high);
}

// Whether `value` is a clamp to at most +-limit.
bool isClamped(Value value, double limit) {
  bool hasMax = false, hasMin = false;
  for (Operation *op = value.getDefiningOp();
       isa_and_present<arith::MaxNumFOp, arith::MaximumFOp, arith::MinNumFOp,
                       arith::MinimumFOp>(op);
       op = op->getOperand(0).getDefiningOp()) {
    auto wide = op->getOperand(1).getDefiningOp<graph::BroadcastOp>();
    DenseElementsAttr bound;
    if (!wide || !matchPattern(wide.getInput(), m_Constant(&bound)))
      return false;
    double number = bound.getSplatValue<APFloat>().convertToDouble();
    if (isa<arith::MaxNumFOp, arith::MaximumFOp>(op))
      hasMax |= number >= -limit;
    else
      hasMin |= number <= limit;
  }
  return hasMax && hasMin;
}

// A cast of Triton's. Its casts to fp8 saturate; those of a row program are
// torch's, which do not.
FailureOr<Value> writeCast(ImplicitLocOpBuilder &builder, tt::FpToFpOp cast,
                           Value value, RankedTensorType type,
                           std::string &reason) {
  Type from = getElementTypeOrSelf(value), to = type.getElementType();
  if (from.getIntOrFloatBitWidth() < to.getIntOrFloatBitWidth())
    return arith::ExtFOp::create(builder, type, value).getResult();
  if (cast.getRounding() && *cast.getRounding() != tt::RoundingMode::RTNE) {
    reason = "a cast does not round to nearest";
    return failure();
  }
  if (isFp8(to)) {
    double limit = isa<Float8E5M2Type>(to) ? 57344.0 : 448.0;
    auto wide = cast_or_null<RankedTensorType>(value.getType());
    if (!isClamped(value, limit))
      value = clamp<arith::MaximumFOp, arith::MinimumFOp>(
          builder, value, splat(builder, -limit, wide),
          splat(builder, limit, wide));
  }
  return arith::TruncFOp::create(builder, type, value).getResult();
}

// The op that a function of CUDA's device library is.
StringRef opOfLibrary(StringRef symbol) {
  return llvm::StringSwitch<StringRef>(symbol)
      .Cases({"__nv_rintf", "__nv_nearbyintf"}, "math.roundeven")
      .Case("__nv_fabsf", "math.absf")
      .Case("__nv_floorf", "math.floor")
      .Case("__nv_ceilf", "math.ceil")
      .Case("__nv_truncf", "math.trunc")
      .Case("__nv_exp2f", "math.exp2")
      .Case("__nv_fmaxf", "arith.maxnumf")
      .Case("__nv_fminf", "arith.minnumf")
      .Case("__nv_fdiv_rn", "arith.divf")
      .Default("");
}

// The name of the op of a row program that computes the same on elements.
StringRef nameOf(Operation *op) {
  if (auto call = dyn_cast<tt::ExternElementwiseOp>(op))
    return opOfLibrary(call.getSymbol());
  if (isa<tt::PreciseDivFOp>(op))
    return "arith.divf";
  if (isa<tt::PreciseSqrtOp>(op))
    return "math.sqrt";
  if (isa<tt::BitcastOp>(op))
    return "arith.bitcast";
  StringRef dialect = op->getName().getDialectNamespace();
  return dialect == "arith" || dialect == "math" ? op->getName().getStringRef()
                                                 : StringRef();
}

std::optional<double> splatNumber(Value value) {
  if (auto wide = value.getDefiningOp<graph::BroadcastOp>())
    value = wide.getInput();
  DenseElementsAttr number;
  if (!matchPattern(value, m_Constant(&number)) || !number.isSplat() ||
      !isa<FloatType>(number.getElementType()))
    return std::nullopt;
  return number.getSplatValue<APFloat>().convertToDouble();
}

// Whether `value` is what writeExtremum() keeps NaN from, and arithmetic with
// numbers that makes none.
bool isNeverNaN(Value value) {
  if (std::optional<double> number = splatNumber(value))
    return !std::isnan(*number);
  Operation *op = value.getDefiningOp();
  if (isa_and_present<graph::BroadcastOp, graph::ReshapeOp, arith::MaximumFOp,
                      arith::MinimumFOp>(op))
    return llvm::all_of(op->getOperands(), isNeverNaN);
  if (auto reduce = dyn_cast_or_null<graph::ReduceOp>(op)) {
    auto kept = reduce.getInput().getDefiningOp<arith::SelectOp>();
    auto test = kept ? kept.getCondition().getDefiningOp<arith::CmpFOp>()
                     : arith::CmpFOp();
    return test && test.getPredicate() == arith::CmpFPredicate::UNO &&
           test.getLhs() == test.getRhs() &&
           test.getLhs() == kept.getFalseValue();
  }
  if (!isa_and_present<arith::MulFOp, arith::DivFOp>(op))
    return false;
  std::optional<double> factor = splatNumber(op->getOperand(1));
  return factor && std::isfinite(*factor) && *factor != 0.0 &&
         isNeverNaN(op->getOperand(0));
}

} // namespace

FailureOr<Value> writeElements(ImplicitLocOpBuilder &builder, Operation *op,
                               ArrayRef<Value> operands, RankedTensorType type,
                               std::string &reason) {
  if (auto cast = dyn_cast<tt::FpToFpOp>(op))
    return writeCast(builder, cast, operands[0], type, reason);
  if (auto bounds = dyn_cast<tt::ClampFOp>(op)) {
    bool propagates = bounds.getPropagateNan() == tt::PropagateNan::ALL;
    return propagates ? clamp<arith::MaximumFOp, arith::MinimumFOp>(
                            builder, operands[0], operands[1], operands[2])
                      : clamp<arith::MaxNumFOp, arith::MinNumFOp>(
                            builder, operands[0], operands[1], operands[2]);
  }
  StringRef name = nameOf(op);
  // Without NaN the two kinds of maxima are the same; torch's is the usual one.
  bool isExtreme = isa<arith::MaxNumFOp, arith::MinNumFOp>(op);
  if (isExtreme && llvm::all_of(operands, isNeverNaN))
    name = isa<arith::MaxNumFOp>(op) ? "arith.maximumf" : "arith.minimumf";
  if (name.empty()) {
    std::string what = op->getName().getStringRef().str();
    if (auto call = dyn_cast<tt::ExternElementwiseOp>(op))
      what = call.getSymbol().str();
    reason = what + " cannot be part of a row program";
    return failure();
  }
  bool isOwn = name == op->getName().getStringRef();
  OperationState state(builder.getLoc(), name, operands, type,
                       isOwn ? op->getAttrs() : ArrayRef<NamedAttribute>());
  Operation *made = builder.create(state);
  if (failed(checkElementwise(*made, reason)))
    return failure();
  return made->getResult(0);
}

std::optional<Extremum> getExtremum(tt::ReduceOp reduce) {
  Block &combine = reduce.getCombineOp().front();
  if (reduce.getSrcs().size() != 1 || combine.getOperations().size() != 2)
    return std::nullopt;
  Operation *op = &combine.front();
  if (op->getNumOperands() != 2 || op->getOperand(0) == op->getOperand(1) ||
      !llvm::all_of(op->getOperands(), llvm::IsaPred<BlockArgument>) ||
      combine.getTerminator()->getOperand(0) != op->getResult(0))
    return std::nullopt;
  if (isa<arith::MaxNumFOp>(op))
    return Extremum{true, false};
  if (isa<arith::MaximumFOp>(op))
    return Extremum{true, true};
  if (isa<arith::MinNumFOp>(op))
    return Extremum{false, false};
  if (isa<arith::MinimumFOp>(op))
    return Extremum{false, true};
  return std::nullopt;
}

Value writeExtremum(ImplicitLocOpBuilder &builder, Extremum extremum,
                    Value value, int64_t dim, RankedTensorType type,
                    std::optional<double> rest) {
  auto source = cast<RankedTensorType>(value.getType());
  double infinity = std::numeric_limits<double>::infinity();
  if (!extremum.propagatesNaN) {
    // Reductions of row programs let NaN through; this one does not see it.
    Value isNaN =
        arith::CmpFOp::create(builder, arith::CmpFPredicate::UNO, value, value);
    Value neutral =
        splat(builder, extremum.isMax ? -infinity : infinity, source);
    value = arith::SelectOp::create(builder, isNaN, neutral, value);
  }
  auto kind = extremum.isMax ? graph::ReduceKind::max : graph::ReduceKind::min;
  Value result = graph::ReduceOp::create(builder, type, kind, value,
                                         ArrayRef<int64_t>{dim});
  if (!rest)
    return result;
  Value also = splat(builder, *rest, type);
  if (extremum.isMax)
    return arith::MaximumFOp::create(builder, result, also);
  return arith::MinimumFOp::create(builder, result, also);
}

} // namespace epiq::detail
