//===- ScaleMatch.cpp - How a quantization's scale is computed ------------===//
// Reads from the factor that scales the values back to amax, innermost op
// first. Passes.td states the rules R3-R5.
//===----------------------------------------------------------------------===//

#include "ScaleMatch.h"

#include "epiq/Analysis/RowDomain.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

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
  auto product = matchEither<arith::MulFOp>(mul, isSplat);
  if (!product)
    return refuse("R5: multiplies amax by a value that is not constant");
  if (std::optional<Refusal> refusal = readComputed(product->other))
    return refusal;
  if (!isSplatOf(product->match, 1.0 / elementMax) || scale.divided)
    return refuse("R5: multiplies amax by ",
                  splatNumber(product->match).value_or(0.0),
                  ", not once by 1 / ", elementMax);
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

std::optional<Refusal> ScaleReader::readComputed(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return refuse("R5: mixes amax with a graph input");
  if (isAmax(op))
    return readAmax(cast<ReduceOp>(op));
  ops.insert(op);
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
  if (auto bound = matchEither<arith::MinimumFOp>(op, isSplat)) {
    if (std::optional<Refusal> refusal = readComputed(bound->other))
      return refusal;
    if (scale.divided)
      return refuse("R5: an upper bound on the scale, not on amax");
    scale.upperBound = splatNumber(bound->match).value_or(0.0);
    return std::nullopt;
  }
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
