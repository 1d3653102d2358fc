//===- RowShape.h - How the values of a row program lie over rows -*- C++
//-*-===//
// A row program computes one row for each token. This analysis splits the
// dimensions of every value into token dimensions and row dimensions, and
// factors the row so that every row dimension is a run of whole factors. The
// rules it checks (L1-L8) are stated with epiq-lower-row-program in Passes.td.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_ANALYSIS_ROWSHAPE_H
#define EPIQ_ANALYSIS_ROWSHAPE_H

#include "epiq/Graph/Graph.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"

#include <string>

namespace epiq {

// One value: its first `leading` dimensions are token dimensions (0 for a value
// that all tokens share); `dims` lists, for each later dimension, the factors
// of the row that it covers, outermost first (none for a dimension of size 1).
struct RowValue {
  unsigned leading = 0;
  llvm::SmallVector<llvm::SmallVector<unsigned, 2>> dims;

  bool isPerToken() const { return leading != 0; }
  bool covers(unsigned factor) const {
    return llvm::any_of(
        dims, [&](const auto &dim) { return llvm::is_contained(dim, factor); });
  }
};

// A part of an input that is read as it lies in memory: `input` at row offset
// `offset`, with one memory stride for each factor (0 where it is absent).
struct RowView {
  unsigned input = 0;
  int64_t offset = 0;
  llvm::SmallVector<int64_t> strides;

  bool operator==(const RowView &other) const {
    return input == other.input && offset == other.offset &&
           strides == other.strides;
  }
};

struct RowShape {
  // Elements of a row, and its factors, outermost first (none for width 1).
  int64_t width = 1;
  llvm::SmallVector<int64_t> factors;
  // The columns of a tile must be a multiple of this many.
  int64_t columnUnit = 1;
  // A reduction spans the row, so that a tile holds whole rows.
  bool fullRow = false;
  // Product of the static token dimensions.
  int64_t staticRows = 1;
  // For each input, its token dimensions (0 when all tokens share it) and the
  // elements of the rest.
  llvm::SmallVector<std::pair<unsigned, int64_t>> inputs;

  llvm::DenseMap<mlir::Value, RowValue> values;
  // The results that are maxima over all tokens: each program of the kernel
  // combines its part in memory, which starts at 0.
  llvm::DenseSet<mlir::Value> tensorMaxes;
  // The values that are loaded: inputs, slices and reshapes of inputs.
  llvm::MapVector<mlir::Value, RowView> loads;
};

// Returns a copy of `program` that stands nowhere, in a form in which only
// arithmetic, broadcast, reduce, reshape, slice and yield are left: composites
// inlined, layout ops dropped, pairs of transposes cancelled, dead ops erased.
mlir::OwningOpRef<graph::RowProgramOp>
normalizeRowProgram(graph::RowProgramOp program);

// Analyses a normalized program. On failure `reason` says why, rule first.
mlir::FailureOr<RowShape> analyzeRows(graph::RowProgramOp program,
                                      std::string &reason);

} // namespace epiq

#endif // EPIQ_ANALYSIS_ROWSHAPE_H
