//===- RaiseProduct.h - What activations have in common ---------*- C++ -*-===//

#ifndef EPIQ_TRANSFORMS_RAISEPRODUCT_H
#define EPIQ_TRANSFORMS_RAISEPRODUCT_H

#include "Raise.h"

namespace epiq {

// A value and, in `multiplied`, whether it is a product with another one.
struct Product {
  mlir::Value result;
  bool multiplied = false;
};

// Whether `op` rounds to a float that is not a quantized one.
bool isRounding(mlir::Operation *op);

// Through a rounding of `value` and the widening after it, as far as each value
// has one user; adds the casts to `ops`.
mlir::Value takeRoundings(mlir::Value value, OpSet &ops);

// [rounding, widening,] times another value [rounding], after an activation.
Product readProductTail(mlir::Value value, OpSet &ops);

// Whether `value` is made of `origin` and constants by sums, products and casts
// alone. Adds its ops to `ops`, and the constants to `numbers`.
bool readPolynomial(mlir::Value value, mlir::Value origin, OpSet &ops,
                    llvm::SmallVectorImpl<double> &numbers);

// 1 / (1 + exp(-x)) around the exponential.
struct Sigmoid {
  mlir::Value argument;
  // The dividend: 1, or what is multiplied by the sigmoid.
  mlir::Value dividend;
  mlir::Value result;
};
OrRefusal<Sigmoid> readSigmoid(mlir::math::ExpOp exp, OpSet &ops);

} // namespace epiq

#endif // EPIQ_TRANSFORMS_RAISEPRODUCT_H
