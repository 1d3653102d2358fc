//===- RaiseNormParts.h - What norms have in common -------------*- C++ -*-===//

#ifndef EPIQ_TRANSFORMS_RAISENORMPARTS_H
#define EPIQ_TRANSFORMS_RAISENORMPARTS_H

#include "Raise.h"

namespace epiq {

// sum(values) / width over the last dimensions, which have `width` elements.
struct Mean {
  mlir::Value values;
  int64_t width = 0;
};

// The mean that `value` is, perhaps repeated; adds its ops to `ops`.
OrRefusal<Mean> readMean(mlir::Value value, OpSet &ops);

// The value whose square `value` is; null for another one.
mlir::Value readSquare(mlir::Value value, OpSet &ops);

// Where a root is applied: the value that it scales, and the result.
struct Scaled {
  mlir::Value input;
  mlir::Value result;
};

// scaled.input * rsqrt(mean(squared * squared) + eps), or divided by the root.
struct RootScaled {
  mlir::Value squared;
  int64_t width = 0;
  Scaled scaled;
  mlir::FloatAttr eps;
};

// The norm around `root`, which is the first of `ops` then.
OrRefusal<RootScaled> readRoot(mlir::Operation *root, OpSet &ops);

// Roundings, a weight and, with `bias`, what is added to each column, as far as
// each value has one user.
mlir::Value readAffineTail(mlir::Value value, int64_t width, bool bias,
                           OpSet &ops);

} // namespace epiq

#endif // EPIQ_TRANSFORMS_RAISENORMPARTS_H
