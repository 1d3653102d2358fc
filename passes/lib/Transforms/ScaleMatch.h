//===- ScaleMatch.h - How a quantization's scale is computed ----*- C++ -*-===//

#ifndef EPIQ_TRANSFORMS_SCALEMATCH_H
#define EPIQ_TRANSFORMS_SCALEMATCH_H

#include "GraphMatch.h"

#include "epiq/Analysis/Refusal.h"
#include "epiq/Graph/Graph.h"

namespace epiq {

// What the arithmetic of a scale says about the format.
struct ScaleMatch {
  // The reduction that makes amax, and the value whose magnitude it takes; null
  // for a scale that is given.
  graph::ReduceOp reduce;
  mlir::Value absOperand;
  bool divided = false;  // by the element's maximum
  bool inverted = false; // the factor is one over the scale
  double floor = 0.0;
  graph::FloorOn floorOn = graph::FloorOn::scale;
  double upperBound = 0.0;
  graph::ScaleRounding rounding = graph::ScaleRounding::none;
  // What scales are stored as; null for f32.
  mlir::Type dtype;
  // One number from outside that multiplies amax too; null for none.
  mlir::Value globalScale;
};

// The one element that `value` repeats, when it comes from outside; else null.
mlir::Value oneGiven(mlir::Value value);

// Whether a maximum of something lies at most `depth` ops behind `value`.
bool comesFromAmax(mlir::Value value, unsigned depth = 32);

// Reads the arithmetic between amax and `factor` and adds its ops to `ops`;
// refuses by R3 or R5.
OrRefusal<ScaleMatch> matchComputedScale(mlir::Value factor, double elementMax,
                                         OpSet &ops);

// Reads `factor` as a scale from outside, or its reciprocal; refuses by R4.
OrRefusal<ScaleMatch> matchGivenScale(mlir::Value factor, OpSet &ops);

} // namespace epiq

#endif // EPIQ_TRANSFORMS_SCALEMATCH_H
