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
  graph::Layout layout = graph::Layout::row_major;
};

// Which part of a tile a value of the epilogue is: all of the tile stored to
// output number `output`, or one of two parts that alternate every `run`
// columns (gate and up, say).
struct TilePart {
  unsigned output = 0;
  std::optional<unsigned> half;
  int64_t run = 0;
};

// An epilogue, ready to be emitted at any store.
struct Epilogue {
  // A normalized copy, which stands nowhere, and a handle to it.
  mlir::OwningOpRef<graph::RowProgramOp> owner;
  graph::RowProgramOp program;
  // The first so many of its inputs are the kernel's outputs.
  unsigned numOutputs = 1;
  RowShape rows;
  // The values that are tiles or parts of them, those that are loaded, the
  // results, and the operands of maxima over all tokens.
  llvm::MapVector<mlir::Value, TilePart> parts;
  llvm::MapVector<mlir::Value, EpilogueOperand> loads;
  llvm::SmallVector<EpilogueOperand> results;
  llvm::MapVector<mlir::Value, EpilogueOperand> maximized;
  // Columns of the tile that are computed together: tiles hold whole groups.
  int64_t groupColumns = 1;
};

// Stores of which an epilogue reads the values together, one to each output.
struct TileSet {
  llvm::SmallVector<TileStore, 1> tiles;

  // Where the set lies: all of its tiles lie alike.
  const TileStore &tile() const { return tiles.front(); }
  // The one before which all values are there.
  mlir::Operation *last() const;
};

// The kernel's new arguments.
struct EpilogueArguments {
  struct Place {
    mlir::Value pointer;
    // Null where the operand is one row or one value.
    mlir::Value distance;
  };
  llvm::SmallVector<Place> inputs, results;
};

// E8, E9: reads the epilogue of `numOutputs` outputs; `reason` says why not.
mlir::FailureOr<Epilogue> readEpilogue(graph::RowProgramOp program,
                                       unsigned numOutputs,
                                       std::string &reason);

// E10: the stores that belong together. `stores`: those to each output.
mlir::FailureOr<llvm::SmallVector<TileSet, 0>>
pairStores(llvm::ArrayRef<llvm::SmallVector<TileStore, 0>> stores,
           StoreRefusal &refusal);

// E5-E9: whether the epilogue can be computed on these tiles alone.
mlir::LogicalResult checkTiles(const Epilogue &epilogue, const TileSet &set,
                               StoreRefusal &refusal);

// Adds the arguments of the epilogue to the kernel.
EpilogueArguments addArguments(tt::FuncOp kernel, const Epilogue &epilogue,
                               llvm::ArrayRef<int64_t> divisibility);

// Emits the epilogue before the last store of the set: loads, arithmetic,
// stores. `target` is an architecture: 90 or 100.
void emitEpilogue(const Epilogue &epilogue, const TileSet &set,
                  const EpilogueArguments &arguments, int64_t target);

} // namespace epiq::detail

#endif // EPIQ_TRANSFORMS_FUSEEPILOGUEDETAIL_H
