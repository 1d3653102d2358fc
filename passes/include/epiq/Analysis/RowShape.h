//===- RowShape.h - How values lie over rows --------------------*- C++ -*-===//
// A row program computes one row for each token. This analysis splits the
// dimensions of every value into token dimensions and row dimensions, and
// factors the row so that every row dimension is a run of whole factors. The
// rules it checks (L1-L10) are stated with epiq-lower-row-program in Passes.td.
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

#include <optional>
#include <string>
#include <tuple>

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
// `offset`, with one memory stride for each factor (0 where it is absent). The
// row of a token is that of its number, or the one that `index` names, those of
// a table being `rowStride` apart.
struct RowView {
  unsigned input = 0;
  int64_t offset = 0;
  llvm::SmallVector<int64_t> strides;
  mlir::Value index;
  int64_t rowStride = 0;

  bool operator==(const RowView &other) const {
    return input == other.input && offset == other.offset &&
           strides == other.strides && index == other.index &&
           rowStride == other.rowStride;
  }
};

// How many tokens there are, as far as shapes tell: how many of the dimensions
// are dynamic, and the product of the others.
struct TokenCount {
  unsigned dynamicDims = 0;
  int64_t known = 1;

  bool operator==(TokenCount other) const {
    return dynamicDims == other.dynamicDims && known == other.known;
  }
  bool operator<(TokenCount other) const {
    return std::tie(dynamicDims, known) <
           std::tie(other.dynamicDims, other.known);
  }
};

struct RowShape {
  // Elements of a row, and its factors, outermost first (none for width 1).
  int64_t width = 1;
  llvm::SmallVector<int64_t> factors;
  // The factors that slices and concatenations of computed values take apart:
  // a value that varies along one is written out for each of its elements.
  llvm::SmallVector<bool> unrolled;
  // The columns of a tile must be a multiple of this many.
  int64_t columnUnit = 1;
  // A reduction spans the row, so that a tile holds whole rows.
  bool fullRow = false;
  // Product of the static token dimensions.
  int64_t staticRows = 1;
  TokenCount tokens;
  // For each input, its token dimensions (0 when all tokens share it) and the
  // elements of the rest.
  llvm::SmallVector<std::pair<unsigned, int64_t>> inputs;

  llvm::DenseMap<mlir::Value, RowValue> values;
  // The results that are maxima over all tokens: each program of the kernel
  // combines its part in memory, which starts at 0.
  llvm::DenseSet<mlir::Value> tensorMaxes;
  // The values that are loaded: inputs, slices and reshapes of inputs, rows of
  // tables.
  llvm::MapVector<mlir::Value, RowView> loads;
  // The results of epiq.scatter_rows: where in an input their rows are stored.
  llvm::MapVector<mlir::Value, RowView> scatters;

  bool isUnrolled(unsigned factor) const {
    return factor < unrolled.size() && unrolled[factor];
  }
  // Whether `value` is written out along some factor.
  bool isUnrolled(const RowValue &value) const;
};

// Of a reduction that combines in an order that shows in its bits, and takes
// its operand as it lies in memory, whatever is written out elsewhere.
bool reducesWhole(graph::ReduceOp reduce, const RowShape &shape);

// Returns a copy of `program` that stands nowhere, in a form in which only
// arithmetic, broadcast, reduce, reshape, slice, concat, rows by index and
// yield are left: composites inlined, layout ops dropped, pairs of transposes
// cancelled, dead ops erased.
mlir::OwningOpRef<graph::RowProgramOp>
normalizeRowProgram(graph::RowProgramOp program);

// Analyses a normalized program. On failure `reason` says why, rule first.
// `limit`: the static token dimensions hold at most so many, others are part of
// the row.
mlir::FailureOr<RowShape>
analyzeRows(graph::RowProgramOp program, std::string &reason,
            std::optional<int64_t> limit = std::nullopt);

} // namespace epiq

#endif // EPIQ_ANALYSIS_ROWSHAPE_H
