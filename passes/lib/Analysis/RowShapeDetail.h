//===- RowShapeDetail.h - The parts of the row shape analysis ---*- C++ -*-===//

#ifndef EPIQ_ANALYSIS_ROWSHAPEDETAIL_H
#define EPIQ_ANALYSIS_ROWSHAPEDETAIL_H

#include "epiq/Analysis/RowShape.h"

#include "llvm/ADT/Twine.h"

namespace epiq::detail {

// Where each value's token dimensions end.
using LeadingDims = llvm::DenseMap<mlir::Value, unsigned>;

// A value that lies in memory: row dimension i has stride `strides[i]`.
struct MemoryView {
  unsigned input = 0;
  int64_t offset = 0;
  llvm::SmallVector<int64_t> strides;
};
using MemoryViews = llvm::DenseMap<mlir::Value, MemoryView>;

// Records why an analysis gave up.
inline mlir::LogicalResult refuse(std::string &reason, const llvm::Twine &why) {
  reason = why.str();
  return mlir::failure();
}

// The text of a type, for reasons.
std::string typeText(mlir::Value value);

inline mlir::RankedTensorType tensorType(mlir::Value value) {
  return llvm::cast<mlir::RankedTensorType>(value.getType());
}

// The row dimensions of `value`, and the number of elements in them.
llvm::ArrayRef<int64_t> rowDims(mlir::Value value, const LeadingDims &leading);
int64_t rowElements(mlir::Value value, const LeadingDims &leading);

// An op that computes each element from the same element of its operands.
bool isElementwise(mlir::Operation &op);

// L1, L4: splits the dimensions of every value of `body` into token dimensions
// and row dimensions.
mlir::FailureOr<LeadingDims> findLeadingDims(graph::RowProgramOp program,
                                             std::string &reason);

// L2: factors a row of `width` elements so that each row dimension of each
// value in `values` is a list of factors; fills `shape.factors` and
// `shape.values`.
mlir::LogicalResult factorRow(mlir::Block &body,
                              llvm::ArrayRef<mlir::Value> values,
                              const LeadingDims &leading, RowShape &shape,
                              std::string &reason);

} // namespace epiq::detail

#endif // EPIQ_ANALYSIS_ROWSHAPEDETAIL_H
