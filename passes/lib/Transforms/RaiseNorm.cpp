//===- RaiseNorm.cpp - Finds RMSNorm by its root --------------------------===//
// x * rsqrt(mean(x * x) + eps), then maybe times a weight, each with or without
// a rounding to a small float. Passes.td says what is recognized.
//===----------------------------------------------------------------------===//

#include "Outline.h"
#include "RaiseNormParts.h"

#include "epiq/Analysis/RowDomain.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

OrRefusal<Named> findRmsNorm(Operation *root) {
  OpSet ops;
  ops.insert(root);
  Operation *shift = root->getOperand(0).getDefiningOp();
  auto sum = matchEither<arith::AddFOp>(shift, isSplat);
  if (!sum || !splatNumber(sum->match))
    return refuse("no eps is added under the root");
  ops.insert(shift);
  OrRefusal<Mean> mean = readMean(sum->other, ops);
  if (const Refusal *refusal = getRefusal(mean))
    return *refusal;
  Value squared = readSquare(std::get<Mean>(mean).values, ops);
  if (!squared)
    return refuse("the root is not one of squares");
  OrRefusal<Scaled> product = readScaled(root, ops);
  if (const Refusal *refusal = getRefusal(product))
    return *refusal;
  const auto &scaled = std::get<Scaled>(product);
  Value origin = commonOrigin(lineageOf(scaled.input), lineageOf(squared));
  if (!origin)
    return refuse("the root scales another value than was squared");
  addLineage(ops, scaled.input, origin);
  addLineage(ops, squared, origin);
  if (auto widened = origin.getDefiningOp<arith::ExtFOp>())
    ops.insert(widened);
  Value result = readAffineTail(scaled.result, std::get<Mean>(mean).width,
                                /*bias=*/false, ops);
  if (!isConvex(ops))
    return refuse("a node outside reads an inner value and feeds one back");
  Named named{"rms_norm", ops, {result}, result.getLoc()};
  named.eps =
      Builder(root->getContext())
          .getF32FloatAttr(static_cast<float>(*splatNumber(sum->match)));
  return named;
}

} // namespace epiq
