//===- RaiseActivation.cpp - Finds silu(g) * u by its exponential ---------===//
// g / (1 + exp(-g)) or g * (1 / (1 + exp(-g))), with or without a rounding to a
// small float before each product. Passes.td says what is recognized.
//===----------------------------------------------------------------------===//

#include "Outline.h"
#include "RaiseProduct.h"

#include "epiq/Analysis/RowDomain.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

namespace {

// silu(gate), from the sigmoid on.
OrRefusal<Value> readSilu(const Sigmoid &sigmoid, OpSet &ops) {
  Value operand = sigmoid.dividend, result = sigmoid.result;
  if (isSplatOf(operand, 1.0)) {
    Value factor = takeRoundings(result, ops);
    auto mul = dyn_cast_or_null<arith::MulFOp>(onlyUser(factor));
    if (!mul)
      return refuse("the sigmoid is not multiplied");
    ops.insert(mul);
    operand = mul.getLhs() == factor ? mul.getRhs() : mul.getLhs();
    result = mul.getResult();
  }
  Value origin = commonOrigin(lineageOf(operand), lineageOf(sigmoid.argument));
  if (!origin)
    return refuse("the sigmoid scales another value than its own");
  addLineage(ops, operand, origin);
  addLineage(ops, sigmoid.argument, origin);
  if (auto widened = origin.getDefiningOp<arith::ExtFOp>())
    ops.insert(widened);
  return result;
}

} // namespace

OrRefusal<Named> findSiluMul(math::ExpOp exp) {
  OpSet ops;
  OrRefusal<Sigmoid> sigmoid = readSigmoid(exp, ops);
  if (const Refusal *refusal = getRefusal(sigmoid))
    return *refusal;
  OrRefusal<Value> silu = readSilu(std::get<Sigmoid>(sigmoid), ops);
  if (const Refusal *refusal = getRefusal(silu))
    return *refusal;
  Product product = readProductTail(std::get<Value>(silu), ops);
  if (!isConvex(ops))
    return refuse("a node outside reads an inner value and feeds one back");
  return Named{product.multiplied ? "silu_mul" : "silu",
               ops,
               {product.result},
               product.result.getLoc()};
}

} // namespace epiq
