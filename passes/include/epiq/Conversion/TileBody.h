//===- TileBody.h - A row program's arithmetic on given tiles ---*- C++ -*-===//
// For passes that have the inputs of a row program as tiles already, and want
// its results as tiles: the same arithmetic as epiq-lower-row-program's.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_CONVERSION_TILEBODY_H
#define EPIQ_CONVERSION_TILEBODY_H

#include "epiq/Analysis/RowShape.h"

#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace epiq {

// The type of a value of the program in a tile of `numRows` rows by all factors
// of `shape`: one dimension for the rows, if there are several, and one for
// each factor, of size 1 where the value does not vary; a scalar if all are 1.
mlir::Type getTileType(const RowShape &shape, int64_t numRows,
                       mlir::Value value);

// The type of an element in memory: i1 and ue8m0 lie there as a byte, and so do
// two values of e2m1.
mlir::Type memoryType(mlir::Type element);

// A tile of an i1 or e2m1 value as it lies in memory; any other is that
// already. `element`: the type of the value. `target` is an architecture: 90 or
// 100.
mlir::Value asInMemory(mlir::ImplicitLocOpBuilder &builder, int64_t target,
                       mlir::Type element, mlir::Value tile);

// Combines a program's part of the maximum over all tokens, which is not
// negative but may be NaN, with what the others have left at `pointer`.
void maximizeInMemory(mlir::ImplicitLocOpBuilder &builder, mlir::Value pointer,
                      mlir::Value part);

struct TileBodyInputs {
  // The tile of every value in `shape.loads`.
  llvm::DenseMap<mlir::Value, mlir::Value> loads;
  // For operands of a maximum over all tokens: the elements that exist. All do
  // where there is none.
  llvm::DenseMap<mlir::Value, mlir::Value> lanes;
};

// Emits the body of a normalized program and returns the tiles of its results
// as they lie in memory; of a maximum over all tokens, the part of the tile.
llvm::SmallVector<mlir::Value> emitTileBody(mlir::ImplicitLocOpBuilder &builder,
                                            graph::RowProgramOp program,
                                            const RowShape &shape,
                                            int64_t numRows, int64_t target,
                                            const TileBodyInputs &inputs);

} // namespace epiq

#endif // EPIQ_CONVERSION_TILEBODY_H
