//===- RowShapeDetail.h - The parts of the row shape analysis ---*- C++ -*-===//

#ifndef EPIQ_ANALYSIS_ROWSHAPEDETAIL_H
#define EPIQ_ANALYSIS_ROWSHAPEDETAIL_H

#include "epiq/Analysis/RowShape.h"

#include "llvm/ADT/Twine.h"

namespace epiq::detail {

// Where each value's token dimensions end.
using LeadingDims = llvm::DenseMap<mlir::Value, unsigned>;

// A value that lies in memory: row dimension i has stride `strides[i]`. `index`
// and `rowStride` as in RowView.
struct MemoryView {
  unsigned input = 0;
  int64_t offset = 0;
  llvm::SmallVector<int64_t> strides;
  mlir::Value index;
  int64_t rowStride = 0;
};
using MemoryViews = llvm::DenseMap<mlir::Value, MemoryView>;

// The values that are memory, not rows: what rows are taken from or put into by
// index, and what such memory is a view of.
llvm::DenseSet<mlir::Value> findMemory(mlir::Block &body);

// Finds the values that are parts of inputs as these lie in memory: inputs,
// their slices, their rows by index, and reshapes where these need no copy.
MemoryViews findViews(mlir::Block &body, const LeadingDims &leading);

// True when `value` is read only through views of it, or not at all.
bool isOnlyViewed(mlir::Value value, const MemoryViews &views);

// The same place by factor, `value` being what lies there.
RowView viewByFactor(const MemoryView &view, const RowValue &value,
                     llvm::ArrayRef<int64_t> factors);

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
// and row dimensions; `limit` as in analyzeRows.
mlir::FailureOr<LeadingDims> findLeadingDims(graph::RowProgramOp program,
                                             std::optional<int64_t> limit,
                                             std::string &reason);

// The tokens of a value's first dimensions.
TokenCount countTokens(llvm::ArrayRef<int64_t> dims);

// L2: factors a row of `width` elements so that each row dimension of each
// value in `values` is a list of factors; fills `shape.factors`, `unrolled` and
// `values`. Slices in `views` are loaded, the others taken from registers.
mlir::LogicalResult factorRow(mlir::Block &body,
                              llvm::ArrayRef<mlir::Value> values,
                              const LeadingDims &leading,
                              const MemoryViews &views, RowShape &shape,
                              std::string &reason);

} // namespace epiq::detail

#endif // EPIQ_ANALYSIS_ROWSHAPEDETAIL_H
