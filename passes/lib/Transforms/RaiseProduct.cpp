//===- RaiseProduct.cpp - What activations have in common -----------------===//

#include "RaiseProduct.h"

#include "epiq/Analysis/RowDomain.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

bool isRounding(Operation *op) {
  return isa_and_present<arith::TruncFOp>(op) &&
         !isFp8(op->getResult(0).getType());
}

Value takeRoundings(Value value, OpSet &ops) {
  Operation *user = onlyUser(value);
  while (isRounding(user) || isa_and_present<arith::ExtFOp>(user)) {
    ops.insert(user);
    value = user->getResult(0);
    user = onlyUser(value);
  }
  return value;
}

Product readProductTail(Value value, OpSet &ops) {
  if (Operation *user = onlyUser(value); isRounding(user)) {
    ops.insert(user);
    value = user->getResult(0);
  }
  Operation *widen = onlyUser(value);
  Value factor =
      isa_and_present<arith::ExtFOp>(widen) ? widen->getResult(0) : value;
  auto mul = dyn_cast_or_null<arith::MulFOp>(onlyUser(factor));
  if (!mul)
    return {value};
  Value up = mul.getLhs() == factor ? mul.getRhs() : mul.getLhs();
  if (isSplat(up) || up == factor || up.getDefiningOp<BroadcastOp>())
    return {value};
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
  return {value, /*multiplied=*/true};
}

bool readPolynomial(Value value, Value origin, OpSet &ops,
                    SmallVectorImpl<double> &numbers) {
  if (value == origin)
    return true;
  if (std::optional<double> number = splatNumber(value)) {
    numbers.push_back(*number);
    return true;
  }
  Operation *op = value.getDefiningOp();
  if (!isa_and_present<arith::MulFOp, arith::AddFOp, arith::ExtFOp>(op) &&
      !isRounding(op))
    return false;
  ops.insert(op);
  return llvm::all_of(op->getOperands(), [&](Value operand) {
    return readPolynomial(operand, origin, ops, numbers);
  });
}

OrRefusal<Sigmoid> readSigmoid(math::ExpOp exp, OpSet &ops) {
  ops.insert(exp);
  auto neg = exp.getOperand().getDefiningOp<arith::NegFOp>();
  if (!neg)
    return refuse("the exponent is not negated");
  ops.insert(neg);
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
  return Sigmoid{neg.getOperand(), div.getLhs(), div.getResult()};
}

} // namespace epiq
