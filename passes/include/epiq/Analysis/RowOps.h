//===- RowOps.h - The elementwise ops of row programs -----------*- C++ -*-===//

#ifndef EPIQ_ANALYSIS_ROWOPS_H
#define EPIQ_ANALYSIS_ROWOPS_H

#include "epiq/Graph/Graph.h"

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Operation.h"
#include "llvm/ADT/StringRef.h"

#include <string>

namespace epiq {

inline bool isFp8(mlir::Type type) {
  return llvm::isa<mlir::Float8E4M3FNType, mlir::Float8E5M2Type>(type);
}

// A power of two: a byte in memory and in Triton.
inline bool isUe8m0(mlir::Type type) {
  return llvm::isa<mlir::Float8E8M0FNUType>(type);
}

// Values that exist only until they are packed two a byte.
inline bool isE2m1(mlir::Type type) {
  return llvm::isa<mlir::Float4E2M1FNType>(type);
}

// L3, L6: whether `op` is an elementwise op that Triton computes as torch does.
mlir::LogicalResult checkElementwise(mlir::Operation &op, std::string &reason);

// The name in CUDA's libdevice, without prefix and suffix, of the function that
// `op` is, where Triton's dialects have none; empty for other ops.
llvm::StringRef libdeviceFunction(mlir::Operation &op);

// Whether `reduce` is the largest of all elements of an f32 value that is never
// negative. Its bits then order as integers do, NaN above infinity, so that the
// programs of a kernel can combine their parts in memory, in any order.
bool isTensorMax(graph::ReduceOp reduce);

// L6: whether Triton has values of this type, an element type.
bool isTritonElement(mlir::Type type);

} // namespace epiq

#endif // EPIQ_ANALYSIS_ROWOPS_H
