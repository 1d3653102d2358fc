//===- PullQuantOps.h - Ops of a kernel as ops of a row program -*- C++ -*-===//

#ifndef EPIQ_TRANSFORMS_PULLQUANTOPS_H
#define EPIQ_TRANSFORMS_PULLQUANTOPS_H

#include "epiq/Graph/Graph.h"
#include "epiq/TritonIR/Triton.h"

#include "mlir/IR/ImplicitLocOpBuilder.h"

#include <optional>
#include <string>

namespace epiq::detail {

// A reduction whose order does not show.
struct Extremum {
  bool isMax = true;
  // Whether one NaN makes the result NaN; else NaNs do not count.
  bool propagatesNaN = false;
};
std::optional<Extremum> getExtremum(tt::ReduceOp reduce);

// Computes what `op`, an elementwise op of a kernel, computes, on `operands`.
// `reason` says why it cannot.
mlir::FailureOr<mlir::Value> writeElements(mlir::ImplicitLocOpBuilder &builder,
                                           mlir::Operation *op,
                                           llvm::ArrayRef<mlir::Value> operands,
                                           mlir::RankedTensorType type,
                                           std::string &reason);

// The extremum of `value` along dimension `dim`, and of `rest`, if it is given.
mlir::Value writeExtremum(mlir::ImplicitLocOpBuilder &builder,
                          Extremum extremum, mlir::Value value, int64_t dim,
                          mlir::RankedTensorType type,
                          std::optional<double> rest);

} // namespace epiq::detail

#endif // EPIQ_TRANSFORMS_PULLQUANTOPS_H
