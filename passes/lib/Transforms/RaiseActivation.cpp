//===- RaiseActivation.cpp - Finds silu(g) * u by its exponential ---------===//
// g / (1 + exp(-g)) or g * (1 / (1 + exp(-g))), with or without a rounding to a
// small float before each product. Passes.td says what is recognized.
//===----------------------------------------------------------------------===//

#include "Outline.h"
#include "Raise.h"

#include "epiq/Analysis/RowDomain.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

namespace {

bool isRounding(Operation *op) {
  return isa_and_present<arith::TruncFOp>(op) &&
         !isFp8(op->getResult(0).getType());
}

class SiluFinder {
public:
  explicit SiluFinder(math::ExpOp exp) : exp(exp) {}
  OrRefusal<Named> run();

private:
  Value takeRoundings(Value value);
  OrRefusal<Value> readSilu(Value gate);
  Value readTail(Value value);

  math::ExpOp exp;
  OpSet ops;
  bool multiplied = false;
};

// Through a rounding and the widening after it.
Value SiluFinder::takeRoundings(Value value) {
  Operation *user = onlyUser(value);
  while (isRounding(user) || isa_and_present<arith::ExtFOp>(user)) {
    ops.insert(user);
    value = user->getResult(0);
    user = onlyUser(value);
  }
  return value;
}

OrRefusal<Value> SiluFinder::readSilu(Value gate) {
  Operation *sum = onlyUser(exp.getResult());
  auto plusOne = matchEither<arith::AddFOp>(
      sum, [](Value v) { return isSplatOf(v, 1.0); });
  if (!plusOne)
    return refuse("exp(-x) is not added to 1");
  ops.insert(sum);
  auto div = dyn_cast_or_null<arith::DivFOp>(onlyUser(sum->getResult(0)));
  if (!div || div.getRhs() != sum->getResult(0))
    return refuse("nothing is divided by 1 + exp(-x)");
  ops.insert(div);

  Value operand = div.getLhs(), result = div.getResult();
  if (isSplatOf(operand, 1.0)) {
    Value sigmoid = takeRoundings(result);
    auto mul = dyn_cast_or_null<arith::MulFOp>(onlyUser(sigmoid));
    if (!mul)
      return refuse("the sigmoid is not multiplied");
    ops.insert(mul);
    operand = mul.getLhs() == sigmoid ? mul.getRhs() : mul.getLhs();
    result = mul.getResult();
  }
  Value origin = commonOrigin(lineageOf(operand), lineageOf(gate));
  if (!origin)
    return refuse("the sigmoid scales another value than its own");
  addLineage(ops, operand, origin);
  addLineage(ops, gate, origin);
  if (auto widened = origin.getDefiningOp<arith::ExtFOp>())
    ops.insert(widened);
  return result;
}

// [rounding, widening,] times u [rounding].
Value SiluFinder::readTail(Value value) {
  if (Operation *user = onlyUser(value); isRounding(user)) {
    ops.insert(user);
    value = user->getResult(0);
  }
  Operation *widen = onlyUser(value);
  Value factor =
      isa_and_present<arith::ExtFOp>(widen) ? widen->getResult(0) : value;
  auto mul = dyn_cast_or_null<arith::MulFOp>(onlyUser(factor));
  if (!mul)
    return value;
  Value up = mul.getLhs() == factor ? mul.getRhs() : mul.getLhs();
  if (isSplat(up) || up == factor || up.getDefiningOp<BroadcastOp>())
    return value;
  multiplied = true;
  ops.insert(mul);
  if (factor != value)
    ops.insert(widen);
  if (auto widened = up.getDefiningOp<arith::ExtFOp>())
    ops.insert(widened);
  value = mul.getResult();
  if (Operation *user = onlyUser(value); isRounding(user)) {
    ops.insert(user);
    value = user->getResult(0);
  }
  return value;
}

OrRefusal<Named> SiluFinder::run() {
  ops.insert(exp);
  auto neg = exp.getOperand().getDefiningOp<arith::NegFOp>();
  if (!neg)
    return refuse("the exponent is not negated");
  ops.insert(neg);
  OrRefusal<Value> silu = readSilu(neg.getOperand());
  if (const Refusal *refusal = getRefusal(silu))
    return *refusal;
  Value result = readTail(std::get<Value>(silu));
  if (!isConvex(ops))
    return refuse("a node outside reads an inner value and feeds one back");
  return Named{
      multiplied ? "silu_mul" : "silu", ops, {result}, result.getLoc()};
}

} // namespace

OrRefusal<Named> findSiluMul(math::ExpOp exp) { return SiluFinder(exp).run(); }

} // namespace epiq
