//===- RaiseBits.h - Casts that are written as integer work -----*- C++ -*-===//

#ifndef EPIQ_TRANSFORMS_RAISEBITS_H
#define EPIQ_TRANSFORMS_RAISEBITS_H

#include "GraphMatch.h"

#include "epiq/Graph/Graph.h"

namespace epiq {

// A power of two made from the exponent bits of `input`.
struct PowerBits {
  // An f32 value that is not negative.
  mlir::Value input;
  graph::ScaleRounding rounding = graph::ScaleRounding::none;
  int64_t less = 0;
  // Whether it is epiq.to_ue8m0 for every value that `input` can have; else it
  // is for normal numbers, and NaN, Inf, zero or subnormals give something
  // else.
  bool isExact = false;
  OpSet ops;
};

// Reads `value`, a byte b for 2^(b - 127) or that f32 number itself.
std::optional<PowerBits> matchPowerBits(mlir::Value value);

// Replaces exponent bytes, and f32 powers of two, by epiq.to_ue8m0 where that
// is exactly equal.
void raiseScaleBits(mlir::Block &block);

// Replaces e2m1 codes that are packed two a byte by a cast to f4E2M1FN and its
// epiq.relayout; views of the bytes become views of the values.
void raiseElementBits(mlir::Block &block);

// `loc` of an op that computes an intermediate value of the same torch node.
mlir::Location helperLocation(mlir::Location loc);

// Erases `op` and what only it uses, as far as nothing else uses them.
void eraseUnused(mlir::Operation *op);

} // namespace epiq

#endif // EPIQ_TRANSFORMS_RAISEBITS_H
