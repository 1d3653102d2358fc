//===- RaiseNorm.cpp - Finds RMSNorm by its root --------------------------===//
// x * rsqrt(mean(x * x) + eps), then maybe times a weight, each with or without
// a rounding to a small float. Passes.td says what is recognized.
//===----------------------------------------------------------------------===//

#include "Outline.h"
#include "RaiseNormParts.h"

#include "epiq/Analysis/RowDomain.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

OrRefusal<Named> findRmsNorm(Operation *root) {
  OpSet ops;
  OrRefusal<RootScaled> found = readRoot(root, ops);
  if (const Refusal *refusal = getRefusal(found))
    return *refusal;
  const auto &[squared, width, scaled, eps] = std::get<RootScaled>(found);
  Value origin = commonOrigin(lineageOf(scaled.input), lineageOf(squared));
  if (!origin)
    return refuse("the root scales another value than was squared");
  addLineage(ops, scaled.input, origin);
  addLineage(ops, squared, origin);
  if (auto widened = origin.getDefiningOp<arith::ExtFOp>())
    ops.insert(widened);
  Value result = readAffineTail(scaled.result, width, /*bias=*/false, ops);
  if (!isConvex(ops))
    return refuse("a node outside reads an inner value and feeds one back");
  Named named{"rms_norm", ops, {result}, result.getLoc()};
  named.eps = eps;
  return named;
}

} // namespace epiq
