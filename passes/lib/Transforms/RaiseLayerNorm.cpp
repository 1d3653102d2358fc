//===- RaiseLayerNorm.cpp - Finds LayerNorm by its root -------------------===//
// (x - mean(x)) * rsqrt(mean((x - mean(x))^2) + eps), then maybe times a weight
// and plus a bias. Passes.td says what is recognized.
//===----------------------------------------------------------------------===//

#include "Outline.h"
#include "RaiseNormParts.h"

#include "epiq/Analysis/RowDomain.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

namespace {

// The x of x - mean(x), with the mean over `width` values.
OrRefusal<Value> readCentered(Value value, int64_t width, OpSet &ops) {
  auto sub = value.getDefiningOp<arith::SubFOp>();
  if (!sub)
    return refuse("no mean is subtracted");
  ops.insert(sub);
  OrRefusal<Mean> found = readMean(sub.getRhs(), ops);
  if (const Refusal *refusal = getRefusal(found))
    return *refusal;
  const auto &mean = std::get<Mean>(found);
  Value origin = commonOrigin(lineageOf(sub.getLhs()), lineageOf(mean.values));
  if (!origin || mean.width != width)
    return refuse("the mean of another value is subtracted");
  addLineage(ops, sub.getLhs(), origin);
  addLineage(ops, mean.values, origin);
  return origin;
}

} // namespace

OrRefusal<Named> findLayerNorm(Operation *root) {
  OpSet ops;
  OrRefusal<RootScaled> found = readRoot(root, ops);
  if (const Refusal *refusal = getRefusal(found))
    return *refusal;
  const auto &[distance, width, scaled, eps] = std::get<RootScaled>(found);

  OrRefusal<Value> x = readCentered(distance, width, ops);
  if (const Refusal *refusal = getRefusal(x))
    return *refusal;
  OrRefusal<Value> again = readCentered(scaled.input, width, ops);
  if (const Refusal *refusal = getRefusal(again))
    return *refusal;
  Value origin = std::get<Value>(x);
  if (!commonOrigin(lineageOf(std::get<Value>(again)), lineageOf(origin)))
    return refuse("the root scales another value than was squared");
  if (auto widened = origin.getDefiningOp<arith::ExtFOp>())
    ops.insert(widened);
  Value result = readAffineTail(scaled.result, width, /*bias=*/true, ops);
  if (!isConvex(ops))
    return refuse("a node outside reads an inner value and feeds one back");
  Named named{"layer_norm", ops, {result}, result.getLoc()};
  named.eps = eps;
  return named;
}

} // namespace epiq
