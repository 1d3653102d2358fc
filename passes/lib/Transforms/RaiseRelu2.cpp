//===- RaiseRelu2.cpp - Finds relu(x) squared -----------------------------===//
// max(x, 0) times itself, with or without a rounding between. Passes.td says
// what is recognized.
//===----------------------------------------------------------------------===//

#include "Outline.h"
#include "RaiseProduct.h"

#include "epiq/Analysis/RowDomain.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

OrRefusal<Named> findRelu2(arith::MaximumFOp relu) {
  auto positive = matchEither<arith::MaximumFOp>(
      relu, [](Value v) { return isSplatOf(v, 0.0); });
  if (!positive)
    return refuse("the maximum is not one with 0");
  OpSet ops;
  ops.insert(relu);
  if (auto widened = positive->other.getDefiningOp<arith::ExtFOp>())
    ops.insert(widened);
  Value value = takeRoundings(relu.getResult(), ops);
  auto square = dyn_cast_or_null<arith::MulFOp>(onlyUser(value));
  if (!square || square.getLhs() != square.getRhs())
    return refuse("the maximum with 0 is not squared");
  ops.insert(square);
  value = square.getResult();
  if (Operation *user = onlyUser(value); isRounding(user)) {
    ops.insert(user);
    value = user->getResult(0);
  }
  if (!isConvex(ops))
    return refuse("a node outside reads an inner value and feeds one back");
  return Named{"relu2", ops, {value}, value.getLoc()};
}

} // namespace epiq
