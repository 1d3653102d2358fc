//===- RaiseSwiglu.cpp - Finds the clamped swiglu by its exponential ------===//
// g * sigmoid(alpha * g) * (u + 1), g = min(gate, limit) and u clamped to
// +-limit, as GPT-OSS has it. Passes.td says what is recognized.
//===----------------------------------------------------------------------===//

#include "Outline.h"
#include "RaiseProduct.h"

#include "epiq/Analysis/RowDomain.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

namespace {

// Adds to `ops` the clamps that `value` is made by and the casts around them;
// gives whether there is one.
bool takeClamps(Value value, OpSet &ops) {
  bool clamped = false;
  while (Operation *op = value.getDefiningOp()) {
    bool clamps = (isa<arith::MaximumFOp, arith::MinimumFOp>(op)) &&
                  (isSplat(op->getOperand(0)) || isSplat(op->getOperand(1)));
    if (!clamps && !isRounding(op) && !isa<arith::ExtFOp>(op))
      break;
    clamped |= clamps;
    ops.insert(op);
    value = op->getOperand(clamps && isSplat(op->getOperand(0)) ? 1 : 0);
  }
  return clamped;
}

// Whether `value` is u + 1; takes its clamps in.
bool takeShifted(Value value, OpSet &ops) {
  OpSet found;
  while (Operation *op = value.getDefiningOp()) {
    if (!isRounding(op) && !isa<arith::ExtFOp>(op))
      break;
    found.insert(op);
    value = op->getOperand(0);
  }
  auto shifted = matchEither<arith::AddFOp>(
      value.getDefiningOp(), [](Value v) { return isSplatOf(v, 1.0); });
  if (!shifted)
    return false;
  found.insert(value.getDefiningOp());
  if (!takeClamps(shifted->other, found))
    return false;
  ops.insert(found.begin(), found.end());
  return true;
}

} // namespace

OrRefusal<Named> findSwiglu(math::ExpOp exp) {
  OpSet ops;
  OrRefusal<Sigmoid> found = readSigmoid(exp, ops);
  if (const Refusal *refusal = getRefusal(found))
    return *refusal;
  const auto &sigmoid = std::get<Sigmoid>(found);
  if (!isSplatOf(sigmoid.dividend, 1.0))
    return refuse("the sigmoid is not 1 / (1 + exp(-x))");
  Value value = takeRoundings(sigmoid.result, ops);
  auto scaled = dyn_cast_or_null<arith::MulFOp>(onlyUser(value));
  if (!scaled)
    return refuse("the sigmoid is not multiplied");
  ops.insert(scaled);
  Value gate = scaled.getLhs() == value ? scaled.getRhs() : scaled.getLhs();

  SmallVector<double> alpha;
  Value origin = lineageOf(gate).values.back();
  if (!readPolynomial(sigmoid.argument, origin, ops, alpha) ||
      alpha.size() != 1)
    return refuse("the sigmoid is not one of alpha times the gate");
  addLineage(ops, gate, origin);
  if (!takeClamps(origin, ops))
    return refuse("the gate is not clamped");

  value = takeRoundings(scaled.getResult(), ops);
  auto product = dyn_cast_or_null<arith::MulFOp>(onlyUser(value));
  if (!product)
    return refuse("the activation is not multiplied");
  Value up = product.getLhs() == value ? product.getRhs() : product.getLhs();
  if (!takeShifted(up, ops))
    return refuse("the activation is not multiplied by a clamped value and 1");
  ops.insert(product);
  value = product.getResult();
  if (Operation *user = onlyUser(value); isRounding(user)) {
    ops.insert(user);
    value = user->getResult(0);
  }
  if (!isConvex(ops))
    return refuse("a node outside reads an inner value and feeds one back");
  return Named{"swiglu", ops, {value}, value.getLoc()};
}

} // namespace epiq
