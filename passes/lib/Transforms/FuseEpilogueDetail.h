//===- FuseEpilogueDetail.h - The parts of epiq-fuse-epilogue ---*- C++ -*-===//

#ifndef EPIQ_TRANSFORMS_FUSEEPILOGUEDETAIL_H
#define EPIQ_TRANSFORMS_FUSEEPILOGUEDETAIL_H

#include "epiq/Analysis/RowShape.h"
#include "epiq/Analysis/TileStore.h"

namespace epiq::detail {

// How an input or a result of the epilogue lies in memory, seen from a tile: a
// matrix with one row a token (or one row for all of them), whose columns come
// from `perGroup` columns for each group of the tile, or, if it does not vary
// over groups, from `perGroup` columns in all.
struct EpilogueOperand {
  bool perToken = false;
  bool perGroupOfTile = false;
  int64_t perGroup = 1;
  // Columns of the output that one column of the operand stands for.
  int64_t columnsPerColumn = 1;
  // Elements between columns, if known, and the first element's place.
  int64_t columnStride = 1;
  int64_t offset = 0;
  bool columnMajor = false;
};

// Which part of the tile a value of the epilogue is: all of it, or one of two
// parts that alternate every `run` columns (gate and up, say).
struct TilePart {
  std::optional<unsigned> half;
  int64_t run = 0;
};

// An epilogue, ready to be emitted at any store.
struct Epilogue {
  // A normalized copy, which stands nowhere, and a handle to it.
  mlir::OwningOpRef<graph::RowProgramOp> owner;
  graph::RowProgramOp program;
  RowShape rows;
  // The values that are the tile or parts of it, those that are loaded, and the
  // results.
  llvm::MapVector<mlir::Value, TilePart> parts;
  llvm::MapVector<mlir::Value, EpilogueOperand> loads;
  llvm::SmallVector<EpilogueOperand> results;
  // Columns of the tile that are computed together: tiles hold whole groups.
  int64_t groupColumns = 1;
};

// The kernel's new arguments.
struct EpilogueArguments {
  struct Place {
    mlir::Value pointer;
    // Null where the operand has one row.
    mlir::Value stride;
  };
  llvm::SmallVector<Place> inputs, results;
};

// E8, E9: reads the epilogue; `reason` says why not.
mlir::FailureOr<Epilogue> readEpilogue(graph::RowProgramOp program,
                                       std::string &reason);

// E5, E6, E8: whether the epilogue can be computed on this tile alone.
mlir::LogicalResult checkTile(const Epilogue &epilogue, const TileStore &tile,
                              StoreRefusal &refusal);

// Adds the arguments of the epilogue to the kernel.
EpilogueArguments addArguments(tt::FuncOp kernel, const Epilogue &epilogue,
                               llvm::ArrayRef<int64_t> divisibility);

// Emits the epilogue before `tile.op`: loads, arithmetic, stores.
mlir::LogicalResult emitEpilogue(const Epilogue &epilogue,
                                 const TileStore &tile,
                                 const EpilogueArguments &arguments,
                                 std::string &reason);

} // namespace epiq::detail

#endif // EPIQ_TRANSFORMS_FUSEEPILOGUEDETAIL_H
