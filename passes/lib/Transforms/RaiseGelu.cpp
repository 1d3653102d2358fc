//===- RaiseGelu.cpp - Finds gelu(g) * u by its erf or tanh ---------------===//
// (g / 2) * (1 + erf(g / sqrt(2))), or with tanh(sqrt(2 / pi) * (g + 0.044715
// g^3)) for erf, in any order of the products. Passes.td says what is found.
//===----------------------------------------------------------------------===//

#include "Outline.h"
#include "RaiseProduct.h"

#include "epiq/Analysis/RowDomain.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

namespace {

bool holds(ArrayRef<double> numbers, double wanted) {
  return llvm::any_of(numbers, [&](double number) {
    return static_cast<float>(number) == static_cast<float>(wanted);
  });
}

// The value that a half of is taken: behind `value`, through casts.
Value halvedValue(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (auto half = matchEither<arith::MulFOp>(
            op, [](Value v) { return isSplatOf(v, 0.5); }))
      return half->other;
    if (!isRounding(op) && !isa<arith::ExtFOp>(op))
      break;
    value = op->getOperand(0);
  }
  return {};
}

// Products of `value`, 1 + erf or 1 + tanh, with g and 1/2.
OrRefusal<Named> readGelu(Operation *root, Value value, OpSet &ops) {
  auto times = [&](Value factor) -> Value {
    auto mul = dyn_cast_or_null<arith::MulFOp>(onlyUser(factor));
    if (!mul)
      return {};
    ops.insert(mul);
    return mul.getLhs() == factor ? mul.getRhs() : mul.getLhs();
  };
  value = takeRoundings(value, ops);
  Value other = times(value);
  if (!other)
    return refuse("1 + ", root->getName(), " is not multiplied");
  value = onlyUser(value)->getResult(0);
  Value gate = halvedValue(other);
  if (isSplatOf(other, 0.5)) {
    value = takeRoundings(value, ops);
    other = gate = times(value);
    if (!gate)
      return refuse("the half of 1 + ", root->getName(), " is not multiplied");
    value = onlyUser(value)->getResult(0);
  }
  if (!gate)
    return refuse("no half is taken");

  // The argument may be made of the gate as it was before a widening.
  SmallVector<double> numbers;
  Value origin = lineageOf(gate).values.back();
  if (!readPolynomial(root->getOperand(0), origin, ops, numbers) ||
      !readPolynomial(other, origin, ops, numbers))
    return refuse(root->getName(), " is not one of the value that it scales");
  bool known = isa<math::ErfOp>(root) ? holds(numbers, 0.7071067811865476)
                                      : holds(numbers, 0.044715);
  if (!known)
    return refuse("the argument of ", root->getName(), " is another one");
  Product product = readProductTail(value, ops);
  if (!isConvex(ops))
    return refuse("a node outside reads an inner value and feeds one back");
  return Named{product.multiplied ? "gelu_mul" : "gelu",
               ops,
               {product.result},
               product.result.getLoc()};
}

} // namespace

OrRefusal<Named> findGelu(Operation *root) {
  OpSet ops;
  ops.insert(root);
  Value value = takeRoundings(root->getResult(0), ops);
  Operation *sum = onlyUser(value);
  if (!matchEither<arith::AddFOp>(sum,
                                  [](Value v) { return isSplatOf(v, 1.0); }))
    return refuse(root->getName(), " is not added to 1");
  ops.insert(sum);
  return readGelu(root, sum->getResult(0), ops);
}

} // namespace epiq
