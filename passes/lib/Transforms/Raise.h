//===- Raise.h - Sub-graphs that raise finds --------------------*- C++ -*-===//

#ifndef EPIQ_TRANSFORMS_RAISE_H
#define EPIQ_TRANSFORMS_RAISE_H

#include "GraphMatch.h"

#include "epiq/Analysis/Refusal.h"
#include "epiq/Graph/Graph.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

namespace epiq {

// A sub-graph with a name. Nothing is changed by finding one.
struct Named {
  std::string kind;
  OpSet ops;
  // Results that outline in any case, in this order.
  llvm::SmallVector<mlir::Value> wanted;
  mlir::Location loc;
  graph::FormatAttr format = {};
  mlir::FloatAttr eps = {};
};

// Whether `type` is a tensor of an 8-bit float that has a sign.
bool isFp8(mlir::Type type);

// Whether `op` casts f32 to the elements of a quantization: to fp8 or e2m1, or
// to i8 what was rounded to nearest even.
bool isQuantizingCast(mlir::Operation *op);

// The quantization that ends in `cast`, a quantizing cast, or the rule R1-R6
// why not. The cast is the first of its ops.
OrRefusal<Named> findQuantize(mlir::Operation *cast);

// Takes what becomes of amax and the scale outside into a quantization: views
// and arithmetic on them alone. Leaves `taken` ops to others and adds to them.
void absorbScaleOps(Named &named, OpSet &taken);

// Writes the body over [.., groups, size] where it is over [tokens and groups,
// size]; leaves a body alone that has no such form. Erases dead ops.
void unflattenTokens(graph::CompositeOp composite);

// The RMSNorm around the root `root`, a math.rsqrt or math.sqrt.
OrRefusal<Named> findRmsNorm(mlir::Operation *root);

// The LayerNorm around the root `root`, a math.rsqrt or math.sqrt.
OrRefusal<Named> findLayerNorm(mlir::Operation *root);

// gelu(g) * u or gelu(g) around `root`, a math.erf or math.tanh.
OrRefusal<Named> findGelu(mlir::Operation *root);

// The clamped swiglu around the exponential in exp(-alpha * g).
OrRefusal<Named> findSwiglu(mlir::math::ExpOp exp);

// The square of a maximum with 0.
OrRefusal<Named> findRelu2(mlir::arith::MaximumFOp relu);

// silu(g) * u or silu(g) around the exponential in exp(-g).
OrRefusal<Named> findSiluMul(mlir::math::ExpOp exp);

// transpose(contiguous(transpose(x))) that ends in `last`: gives x.
OrRefusal<mlir::Value> findColumnMajor(graph::TransposeOp last);

// `e4m3 group 128`, `e5m2 token`, `e4m3 tensor static`.
std::string describe(graph::FormatAttr format);

// `e4m3` for f8E4M3FN.
std::string elementName(mlir::Type element);

} // namespace epiq

#endif // EPIQ_TRANSFORMS_RAISE_H
