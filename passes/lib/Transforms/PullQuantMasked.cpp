//===- PullQuantMasked.cpp - What lanes beyond the mask hold --------------===//
// Passes.td states the rule Q7 with epiq-pull-quant. A masked load gives its
// `other` to lanes that the mask leaves out, and the slice computes with it.
// The loads that replace the slice must give what it made of that.
//===----------------------------------------------------------------------===//

#include "PullQuantDetail.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/TypeSwitch.h"

#include <cmath>
#include <limits>

using namespace mlir;

namespace epiq::detail {

namespace {

// The same in every lane that is left out: a number, a value of what is given,
// or something that cannot be told.
struct Lane {
  enum Kind { Number, Given, Unknown } kind = Unknown;
  double number = 0.0;

  bool isZero() const { return kind == Number && number == 0.0; }
};

Lane numberLane(double number) {
  // The sign of a NaN that is computed is the machine's.
  return {Lane::Number, std::isnan(number)
                            ? std::numeric_limits<double>::quiet_NaN()
                            : number};
}

// Rounds what f64 has computed to the type of a value. Sums, products and
// quotients of f32 and narrower types are rounded once that way.
double roundTo(double number, Type type) {
  auto element = dyn_cast<FloatType>(getElementTypeOrSelf(type));
  if (!element)
    return number;
  APFloat rounded(number);
  bool losesInfo = false;
  rounded.convert(element.getFloatSemantics(), APFloat::rmNearestTiesToEven,
                  &losesInfo);
  rounded.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven,
                  &losesInfo);
  return rounded.convertToDouble();
}

// The larger or the smaller of two, NaN if either is and `propagates`.
double extreme(double a, double b, bool isMax, bool propagates) {
  if (propagates && (std::isnan(a) || std::isnan(b)))
    return std::numeric_limits<double>::quiet_NaN();
  return isMax ? std::fmax(a, b) : std::fmin(a, b);
}

// What an op makes of numbers; nothing for an op that is not known.
std::optional<double> apply(Operation *op, ArrayRef<double> x) {
  using Result = std::optional<double>;
  return llvm::TypeSwitch<Operation *, Result>(op)
      .Case<tt::SplatOp, tt::BroadcastOp, tt::ExpandDimsOp, tt::ReshapeOp,
            tt::TransOp, arith::ExtFOp, arith::TruncFOp, tt::FpToFpOp,
            arith::SIToFPOp, arith::ExtSIOp, arith::TruncIOp>(
          [&](auto) { return x[0]; })
      // cvt gives 0 for NaN.
      .Case([&](arith::FPToSIOp) {
        return std::isnan(x[0]) ? 0.0 : std::trunc(x[0]);
      })
      .Case([&](math::AbsFOp) { return std::fabs(x[0]); })
      .Case([&](math::RoundEvenOp) { return std::nearbyint(x[0]); })
      .Case([&](arith::NegFOp) { return -x[0]; })
      .Case([&](arith::AddFOp) { return x[0] + x[1]; })
      .Case([&](arith::SubFOp) { return x[0] - x[1]; })
      .Case([&](arith::MulFOp) { return x[0] * x[1]; })
      .Case<arith::DivFOp, tt::PreciseDivFOp>([&](auto) { return x[0] / x[1]; })
      .Case([&](arith::MaxNumFOp) { return extreme(x[0], x[1], true, false); })
      .Case([&](arith::MaximumFOp) { return extreme(x[0], x[1], true, true); })
      .Case([&](arith::MinNumFOp) { return extreme(x[0], x[1], false, false); })
      .Case([&](arith::MinimumFOp) { return extreme(x[0], x[1], false, true); })
      .Case([&](tt::ClampFOp clamp) {
        bool propagates = clamp.getPropagateNan() == tt::PropagateNan::ALL;
        return extreme(extreme(x[0], x[1], true, propagates), x[2], false,
                       propagates);
      })
      .Case([&](arith::CmpFOp cmp) {
        return arith::applyCmpPredicate(cmp.getPredicate(), APFloat(x[0]),
                                        APFloat(x[1]))
                   ? 1.0
                   : 0.0;
      })
      .Case([&](arith::SelectOp) { return x[0] != 0.0 ? x[1] : x[2]; })
      .Case([&](tt::ExternElementwiseOp call) -> Result {
        StringRef symbol = call.getSymbol();
        if (symbol == "__nv_rintf" || symbol == "__nv_nearbyintf")
          return std::nearbyint(x[0]);
        if (symbol == "__nv_fabsf")
          return std::fabs(x[0]);
        return std::nullopt;
      })
      .Default([](Operation *) { return std::nullopt; });
}

std::optional<double> getNumber(Value value) {
  Attribute constant;
  if (!matchPattern(value, m_Constant(&constant)))
    return std::nullopt;
  if (auto elements = dyn_cast<DenseElementsAttr>(constant)) {
    if (!elements.isSplat())
      return std::nullopt;
    constant = elements.getSplatValue<Attribute>();
  }
  if (auto number = dyn_cast<FloatAttr>(constant))
    return number.getValueAsDouble();
  if (auto number = dyn_cast<IntegerAttr>(constant))
    return static_cast<double>(number.getValue().getSExtValue());
  return std::nullopt;
}

// Evaluates the slice where a row is left out as a whole, so that a reduction
// has nothing but such lanes, or where only some columns are.
class LaneEvaluator {
public:
  LaneEvaluator(const QuantSlice &slice, bool wholeRows)
      : slice(slice), wholeRows(wholeRows) {
    lanes[slice.load.getTile()] = ofLoad();
    for (Operation *op : slice.ops)
      lanes[op->getResult(0)] = evaluate(op);
  }

  Lane get(Value value) const {
    auto known = lanes.find(value);
    if (known != lanes.end())
      return known->second;
    if (std::optional<double> number = getNumber(value))
      return numberLane(*number);
    return {isGiven(value) ? Lane::Given : Lane::Unknown, 0.0};
  }

private:
  Lane ofLoad() const {
    auto load = dyn_cast<tt::LoadOp>(slice.load.op);
    if (!load) {
      auto described = cast<tt::DescriptorLoadOp>(slice.load.op)
                           .getDesc()
                           .getDefiningOp<tt::MakeTensorDescOp>();
      bool isZero =
          !described || described.getPadding() == tt::PaddingOption::PAD_ZERO;
      return isZero ? numberLane(0.0) : Lane();
    }
    return load.getOther() ? get(load.getOther()) : Lane();
  }

  Lane evaluate(Operation *op) const {
    if (isa<tt::ReduceOp>(op))
      return wholeRows ? get(op->getOperand(0)) : Lane();
    // A select with the mask of the load takes its other side here.
    auto load = dyn_cast<tt::LoadOp>(slice.load.op);
    if (isa<arith::SelectOp>(op) && load && op->getOperand(0) == load.getMask())
      return get(op->getOperand(2));
    SmallVector<Lane> operands;
    for (Value operand : op->getOperands())
      operands.push_back(get(operand));
    // Scalars and scales are finite and not zero.
    bool isProduct = isa<arith::MulFOp>(op) &&
                     (operands[0].isZero() || operands[1].isZero());
    bool isQuotient = isa<arith::DivFOp, tt::PreciseDivFOp>(op) &&
                      operands[0].isZero() && !operands[1].isZero();
    if (isProduct || isQuotient)
      return numberLane(0.0);
    if (llvm::any_of(operands,
                     [](const Lane &l) { return l.kind == Lane::Unknown; }))
      return Lane();
    SmallVector<double> numbers;
    for (const Lane &operand : operands)
      numbers.push_back(operand.number);
    bool isNumber = llvm::all_of(
        operands, [](const Lane &l) { return l.kind == Lane::Number; });
    if (!isNumber)
      return {Lane::Given, 0.0};
    std::optional<double> number = apply(op, numbers);
    if (!number)
      return Lane();
    return numberLane(roundTo(*number, op->getResult(0).getType()));
  }

  const QuantSlice &slice;
  bool wholeRows;
  llvm::DenseMap<Value, Lane> lanes;
};

LogicalResult refuse(StoreRefusal &refusal, Operation *op,
                     const Twine &reason) {
  refusal.op = op;
  refusal.reason = ("Q7: " + reason).str();
  return failure();
}

// Emits the ops that a lane is made of on scalars.
class LaneEmitter {
public:
  LaneEmitter(ImplicitLocOpBuilder &builder, const QuantSlice &slice)
      : builder(builder), slice(slice), evaluator(slice, /*wholeRows=*/true) {}

  Value emit(Value value) {
    Type element = getElementTypeOrSelf(value.getType());
    Lane lane = evaluator.get(value);
    if (lane.kind == Lane::Number)
      return arith::ConstantOp::create(
          builder, isa<FloatType>(element)
                       ? TypedAttr(builder.getFloatAttr(element, lane.number))
                       : TypedAttr(builder.getIntegerAttr(
                             element, static_cast<int64_t>(lane.number))));
    // What is given may be computed after the load, and is computed again.
    Operation *op = value.getDefiningOp();
    if (!op)
      return value;
    if (isa<tt::LoadOp>(op))
      return builder.clone(*op)->getResult(0);
    if (isa<tt::SplatOp, tt::BroadcastOp, tt::ExpandDimsOp, tt::ReshapeOp,
            tt::TransOp, tt::ReduceOp>(op))
      return emit(op->getOperand(0));
    SmallVector<Value> operands;
    for (Value operand : op->getOperands())
      operands.push_back(emit(operand));
    OperationState state(builder.getLoc(), op->getName(), operands, element,
                         op->getAttrs());
    return builder.create(state)->getResult(0);
  }

private:
  ImplicitLocOpBuilder &builder;
  const QuantSlice &slice;
  LaneEvaluator evaluator;
};

} // namespace

FailureOr<MaskedLanes> evaluateMaskedLanes(const QuantSlice &slice,
                                           StoreRefusal &refusal) {
  const TileLoad &tile = slice.load;
  auto load = dyn_cast<tt::LoadOp>(tile.op);
  MaskedLanes masked;
  masked.isSaid = load ? load.getMask() && load.getOther()
                       : !tile.bounds.empty() || tile.masksColumns();
  if (tile.masksColumns() && !masked.isSaid) {
    refuse(refusal, tile.op,
           "columns beyond the mask hold no given number, but scales are made "
           "of them");
    return failure();
  }
  if (!masked.isSaid)
    return masked;
  std::optional<double> quantized;
  for (bool wholeRows : {true, false}) {
    if (!wholeRows && !tile.masksColumns())
      continue;
    LaneEvaluator lanes(slice, wholeRows);
    Lane value = lanes.get(slice.quantized);
    bool agrees = !quantized || *quantized == value.number ||
                  (std::isnan(*quantized) && std::isnan(value.number));
    if (value.kind != Lane::Number || !agrees) {
      refuse(refusal, tile.op,
             "what lanes beyond the mask become cannot be told");
      return failure();
    }
    quantized = value.number;
    if (wholeRows) {
      for (Value scale : slice.scales)
        if (lanes.get(scale).kind == Lane::Unknown) {
          refuse(refusal, scale.getDefiningOp(),
                 "the scale of rows beyond the mask cannot be told");
          return failure();
        }
      continue;
    }
    for (Operation *op : slice.ops) {
      if (!isa<tt::ReduceOp>(op))
        continue;
      Lane reduced = lanes.get(op->getOperand(0));
      if (reduced.kind != Lane::Number) {
        refuse(refusal, op,
               "a reduction counts columns beyond the mask, and "
               "what they hold cannot be told");
        return failure();
      }
      masked.reductions[op] = reduced.number;
    }
  }
  masked.quantized = *quantized;
  if (!load && masked.quantized != 0.0) {
    refuse(refusal, tile.op,
           "a descriptor fills with zeros what becomes another number");
    return failure();
  }
  return masked;
}

Value materializeMaskedLane(ImplicitLocOpBuilder &builder,
                            const QuantSlice &slice, Value scale) {
  return LaneEmitter(builder, slice).emit(scale);
}

} // namespace epiq::detail
