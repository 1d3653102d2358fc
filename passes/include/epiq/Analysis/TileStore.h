//===- TileStore.h - Which rows and columns a store covers ------*- C++ -*-===//
// A kernel stores its result tile by tile. For each store to one argument this
// analysis recovers, from the address arithmetic, the rows and columns of the
// result that the tile covers. The rules it checks (E2-E4, E7) are stated with
// epiq-fuse-epilogue in Passes.td.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_ANALYSIS_TILESTORE_H
#define EPIQ_ANALYSIS_TILESTORE_H

#include "epiq/Analysis/IndexForm.h"
#include "epiq/TritonIR/Triton.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <string>

namespace epiq {

// On an integer argument of a kernel that belongs to a descriptor: its value.
inline constexpr llvm::StringLiteral kValueAttr = "epiq.value";

// One condition of a store's mask: a comparison, or a truth value that cannot
// be taken apart.
struct TileBound {
  // The dimension of the tile along which it varies, -1 for none.
  int dim = -1;
  // Null for a comparison; else i1, or a tensor of i1 that varies along `dim`.
  mlir::Value opaque;
  mlir::arith::CmpIPredicate predicate = mlir::arith::CmpIPredicate::slt;
  IndexForm lhs, rhs;

  // The condition is true up to some position along `dim`, and false beyond.
  bool isUpperLimit() const;
  // It is true for all of the `group` neighbours that share a position divided
  // by `group`, or for none.
  bool keepsGroups(int64_t group) const;
  bool operator==(const TileBound &other) const;
};

// A store of a tile of a matrix whose rows are contiguous. The tile may have
// several dimensions of rows: a batch and its rows, say.
struct TileStore {
  mlir::Operation *op = nullptr;
  // The tensor that is stored.
  mlir::Value value;
  // Its dimensions that are rows (none: one row), outermost first, their sizes,
  // and the dimension that is columns (the rank: all are rows of one column).
  llvm::SmallVector<int, 2> rowDims;
  llvm::SmallVector<int64_t, 2> rowSizes;
  int colDim = -1;
  int64_t numRows = 1, numCols = 1;
  // The row of an element, varying along `rowDims` at most, and the first
  // column.
  IndexForm row, colStart;
  // The elements between rows; zero if the kernel does not say it.
  IndexForm rowStride;
  // Not zero if the kernel does not say what is row and what is column: the
  // tile then starts at row `row + rest / rowStride`, column
  // `colStart + rest % rowStride`.
  IndexForm rest;
  // A 1-d store to a 1-d index space: `row` is zero and `colStart` the position
  // in the whole tensor.
  bool flat = false;
  llvm::SmallVector<TileBound, 0> bounds;

  // Says that the dimensions of `type` but `columns` are rows.
  void setShape(mlir::RankedTensorType type, int columns);
};

// Why an analysis gave up, and at which op.
struct StoreRefusal {
  mlir::Operation *op = nullptr;
  std::string reason;
};

// The stores to `output`, an argument of a kernel, in program order, each of
// them analysed. `columns`: the length of its rows, 0 where that is not known.
// On failure `refusal` says why, rule first.
mlir::FailureOr<llvm::SmallVector<TileStore, 0>>
analyzeStores(mlir::BlockArgument output, int64_t columns,
              StoreRefusal &refusal);

} // namespace epiq

#endif // EPIQ_ANALYSIS_TILESTORE_H
