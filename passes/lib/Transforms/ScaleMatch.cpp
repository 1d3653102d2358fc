//===- ScaleMatch.cpp - How a quantization's scale is computed ------------===//
// Reads from the factor that scales the values back to amax, innermost op
// first. Passes.td states the rules R3-R5.
//===----------------------------------------------------------------------===//

#include "ScaleMatch.h"
#include "RaiseBits.h"

#include "epiq/Analysis/RowDomain.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/TypeUtilities.h"
#include <cmath>

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

namespace {

// The same numbers in another shape, place or precision.
bool isCarrier(Operation *op) {
  return isa_and_present<BroadcastOp, ReshapeOp, ContiguousOp, RelayoutOp,
                         arith::ExtFOp, arith::TruncFOp>(op);
}

bool isAmax(Operation *op) {
  auto reduce = dyn_cast_or_null<ReduceOp>(op);
  return reduce && reduce.getKind() == ReduceKind::max;
}

} // namespace

Value oneGiven(Value value) {
  while (isa_and_present<BroadcastOp, ReshapeOp>(value.getDefiningOp()))
    value = value.getDefiningOp()->getOperand(0);
  bool isOne = numElements(value) == 1 && !isSplat(value);
  return isOne && !comesFromAmax(value) ? value : Value();
}

bool comesFromAmax(Value value, unsigned depth) {
  Operation *op = value.getDefiningOp();
  if (!op || depth == 0 || isa<ExternOp, CompositeOp>(op))
    return false;
  if (isAmax(op))
    return true;
  if (!isCarrier(op) && !isElementwise(op))
    return false;
  for (Value operand : op->getOperands())
    if (comesFromAmax(operand, depth - 1))
      return true;
  return false;
}

namespace {

class ScaleReader {
public:
  ScaleReader(double elementMax, OpSet &ops)
      : elementMax(elementMax), ops(ops) {}

  std::optional<Refusal> readComputed(Value value);
  std::optional<Refusal> readGiven(Value value);

  ScaleMatch scale;

private:
  std::optional<Refusal> readAmax(ReduceOp reduce);
  std::optional<Refusal> readQuotient(arith::DivFOp div);
  std::optional<Refusal> readProduct(arith::MulFOp mul);
  std::optional<Refusal> readPower(math::Exp2Op exp2);
  std::optional<Refusal> readPowerBits(const PowerBits &power);
  std::optional<Refusal> readUpperBound(Value value, double bound);

  double elementMax;
  OpSet &ops;
};

std::optional<Refusal> ScaleReader::readAmax(ReduceOp reduce) {
  ops.insert(reduce);
  scale.reduce = reduce;
  Value value = reduce.getInput();
  while (isCarrier(value.getDefiningOp())) {
    ops.insert(value.getDefiningOp());
    value = value.getDefiningOp()->getOperand(0);
  }
  auto abs = value.getDefiningOp<math::AbsFOp>();
  if (!abs)
    return refuse("R3: the maximum is not one of magnitudes");
  ops.insert(abs);
  scale.absOperand = abs.getOperand();
  return std::nullopt;
}

std::optional<Refusal> ScaleReader::readQuotient(arith::DivFOp div) {
  if (splatNumber(div.getRhs())) {
    if (std::optional<Refusal> refusal = readComputed(div.getLhs()))
      return refusal;
    if (!isSplatOf(div.getRhs(), elementMax) || scale.divided)
      return refuse("R5: divides amax by ", *splatNumber(div.getRhs()),
                    ", not once by ", elementMax);
    scale.divided = true;
    return std::nullopt;
  }
  if (!splatNumber(div.getLhs()))
    return refuse("R5: divides amax by a value that is not constant");
  if (std::optional<Refusal> refusal = readComputed(div.getRhs()))
    return refusal;
  // 1 / amax, which is multiplied by the maximum next: torch's max / amax.
  if (isSplatOf(div.getLhs(), 1.0) && !scale.divided && !scale.inverted) {
    scale.inverted = true;
    return std::nullopt;
  }
  // 1 / scale, or max / amax in one step.
  if (!isSplatOf(div.getLhs(), scale.divided ? 1.0 : elementMax) ||
      scale.inverted)
    return refuse("R5: divides ", *splatNumber(div.getLhs()), " by ",
                  scale.divided ? "the scale, not 1"
                                : "amax, not the element's maximum");
  scale.divided = scale.inverted = true;
  return std::nullopt;
}

std::optional<Refusal> ScaleReader::readProduct(arith::MulFOp mul) {
  if (auto given = matchEither<arith::MulFOp>(mul, oneGiven)) {
    if (std::optional<Refusal> refusal = readComputed(given->other))
      return refusal;
    if (scale.globalScale)
      return refuse("R5: multiplies amax by a second given number");
    scale.globalScale = oneGiven(given->match);
    addLineage(ops, given->match, scale.globalScale);
    return std::nullopt;
  }
  auto product = matchEither<arith::MulFOp>(mul, isSplat);
  if (!product)
    return refuse("R5: multiplies amax by a value that is not constant");
  if (std::optional<Refusal> refusal = readComputed(product->other))
    return refusal;
  double wanted = scale.inverted ? elementMax : 1.0 / elementMax;
  if (!isSplatOf(product->match, wanted) || scale.divided)
    return refuse("R5: multiplies ", scale.inverted ? "1 / amax" : "amax",
                  " by ", splatNumber(product->match).value_or(0.0),
                  ", not once by ", scale.inverted ? "" : "1 / ", elementMax);
  scale.divided = true;
  return std::nullopt;
}

// exp2(ceil(log2(scale))): a power of two.
std::optional<Refusal> ScaleReader::readPower(math::Exp2Op exp2) {
  Operation *round = exp2.getOperand().getDefiningOp();
  bool up = isa_and_present<math::CeilOp>(round);
  if (!up && !isa_and_present<math::FloorOp>(round))
    return refuse("R5: math.exp2 of no whole number in the scale");
  auto log2 = round->getOperand(0).getDefiningOp<math::Log2Op>();
  if (!log2)
    return refuse("R5: rounds no exponent of the scale");
  ops.insert(round);
  ops.insert(log2);
  if (std::optional<Refusal> refusal = readComputed(log2.getOperand()))
    return refusal;
  scale.rounding = up ? ScaleRounding::rceil : ScaleRounding::floor;
  return std::nullopt;
}

// A power of two from exponent bits. Less the exponent of the largest element
// is what a division by it would be.
std::optional<Refusal> ScaleReader::readPowerBits(const PowerBits &power) {
  ops.insert(power.ops.begin(), power.ops.end());
  if (std::optional<Refusal> refusal = readComputed(power.input))
    return refusal;
  scale.rounding = power.rounding;
  if (power.less == 0)
    return std::nullopt;
  int64_t largest = std::ilogb(elementMax);
  if (power.less != largest || scale.divided)
    return refuse("R5: takes ", power.less, " from the exponent of amax, not ",
                  "once ", largest);
  scale.divided = true;
  return std::nullopt;
}

// What cuts amax; a scale is cut to the largest number of its own type.
std::optional<Refusal> ScaleReader::readUpperBound(Value value, double bound) {
  if (std::optional<Refusal> refusal = readComputed(value))
    return refusal;
  auto stored = dyn_cast_or_null<FloatType>(scale.dtype);
  if (stored &&
      bound ==
          APFloat::getLargest(stored.getFloatSemantics()).convertToDouble())
    return std::nullopt;
  if (scale.divided)
    return refuse("R5: an upper bound on the scale, not on amax");
  scale.upperBound = bound;
  return std::nullopt;
}

// The type of stored scales where `op` makes them, else null.
Type storedType(Operation *op) {
  if (!isa<arith::TruncFOp, ToUe8m0Op, arith::BitcastOp>(op))
    return {};
  Type element = getElementTypeOrSelf(op->getResult(0).getType());
  if (isa<arith::TruncFOp>(op))
    return isa<Float8E4M3FNType>(element) ? element : Type();
  if (!isa<Float8E8M0FNUType>(element))
    return {};
  // A power of two whose byte nothing reads is an f32 number.
  bool isRead = llvm::any_of(op->getResult(0).getUsers(), [](Operation *user) {
    return !isa<arith::ExtFOp>(user);
  });
  return isRead ? element : Type();
}

std::optional<Refusal> ScaleReader::readComputed(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return refuse("R5: mixes amax with a graph input");
  if (isAmax(op))
    return readAmax(cast<ReduceOp>(op));
  ops.insert(op);
  if (Type stored = storedType(op))
    scale.dtype = stored;
  if (auto power = dyn_cast<ToUe8m0Op>(op))
    return readPowerBits({power.getInput(),
                          power.getRounding(),
                          static_cast<int64_t>(power.getLess()),
                          true,
                          {}});
  if (isa<arith::BitcastOp>(op)) {
    std::optional<PowerBits> power = matchPowerBits(value);
    if (!power)
      return refuse("R5: ", op->getName(), " in the scale");
    return readPowerBits(*power);
  }
  if (isCarrier(op))
    return readComputed(op->getOperand(0));
  if (auto div = dyn_cast<arith::DivFOp>(op))
    return readQuotient(div);
  if (auto mul = dyn_cast<arith::MulFOp>(op))
    return readProduct(mul);
  if (auto exp2 = dyn_cast<math::Exp2Op>(op))
    return readPower(exp2);
  if (auto bound = matchEither<arith::MaximumFOp>(op, isSplat)) {
    if (std::optional<Refusal> refusal = readComputed(bound->other))
      return refusal;
    if (scale.floor != 0.0 || scale.inverted)
      return refuse("R5: a second floor, ",
                    splatNumber(bound->match).value_or(0.0));
    scale.floor = splatNumber(bound->match).value_or(0.0);
    scale.floorOn = scale.divided ? FloorOn::scale : FloorOn::amax;
    return std::nullopt;
  }
  if (auto bound = matchEither<arith::MinimumFOp>(op, isSplat))
    return readUpperBound(bound->other,
                          splatNumber(bound->match).value_or(0.0));
  return refuse("R5: ", op->getName(), " in the scale");
}

// A scale that comes from outside, or its reciprocal taken here.
std::optional<Refusal> ScaleReader::readGiven(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    auto div = dyn_cast<arith::DivFOp>(op);
    bool inverts = div && isSplatOf(div.getLhs(), 1.0) && !scale.inverted;
    if (isSplat(value) || (!inverts && !isCarrier(op)))
      break;
    ops.insert(op);
    scale.inverted |= inverts;
    value = inverts ? div.getRhs() : op->getOperand(0);
  }
  if (!isSplat(value) && numElements(value) != 1)
    return refuse("R4: the scale is given as ", value.getType(),
                  ", not as one element");
  return std::nullopt;
}

} // namespace

OrRefusal<ScaleMatch> matchComputedScale(Value factor, double elementMax,
                                         OpSet &ops) {
  ScaleReader reader(elementMax, ops);
  if (std::optional<Refusal> refusal = reader.readComputed(factor))
    return *refusal;
  if (!reader.scale.divided)
    return refuse("R5: amax is not divided by ", elementMax);
  return reader.scale;
}

OrRefusal<ScaleMatch> matchGivenScale(Value factor, OpSet &ops) {
  ScaleReader reader(0.0, ops);
  if (std::optional<Refusal> refusal = reader.readGiven(factor))
    return *refusal;
  return reader.scale;
}

} // namespace epiq
