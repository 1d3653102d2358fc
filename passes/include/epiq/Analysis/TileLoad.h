//===- TileLoad.h - Which part of an operand a load reads -------*- C++ -*-===//
// A kernel reads an operand tile by tile. For each load of one argument this
// analysis recovers, from the address arithmetic, how far each element of the
// tile is from the argument, which dimension is contiguous, and what the mask
// lets through. The rules it checks (Q2, Q6, Q7) are stated with
// epiq-pull-quant in Passes.td.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_ANALYSIS_TILELOAD_H
#define EPIQ_ANALYSIS_TILELOAD_H

#include "epiq/Analysis/TileStore.h"

namespace epiq {

// A load of a tile of rows whose columns are contiguous in memory.
struct TileLoad {
  mlir::Operation *op = nullptr;
  mlir::RankedTensorType type;
  // The elements between the argument and an element of the tile.
  IndexForm offset;
  // The dimension of columns; those of them that the mask lets through.
  int colDim = 0;
  int64_t width = 0;
  // What the mask says of rows, or of the tile as a whole.
  llvm::SmallVector<TileBound, 0> bounds;

  mlir::Value getTile() const { return op->getResult(0); }
  int64_t getColumns() const { return type.getDimSize(colDim); }
  bool masksColumns() const { return width < getColumns(); }
};

// The loads of `operand`, an argument of `func`, in program order. On failure
// `refusal` says why, rule first.
mlir::FailureOr<llvm::SmallVector<TileLoad, 0>>
analyzeLoads(tt::FuncOp func, mlir::BlockArgument operand,
             StoreRefusal &refusal);

// Pointers and descriptors that lead to `operand`, itself included, in no
// order: what has to change where its elements do.
llvm::SmallVector<mlir::Value> getPointersInto(mlir::BlockArgument operand);

} // namespace epiq

#endif // EPIQ_ANALYSIS_TILELOAD_H
