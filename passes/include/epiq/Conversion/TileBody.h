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

// Emits the body of a normalized program and returns the tiles of its results.
// `loads` holds the tile of every value in `shape.loads`.
llvm::SmallVector<mlir::Value>
emitTileBody(mlir::ImplicitLocOpBuilder &builder, graph::RowProgramOp program,
             const RowShape &shape, int64_t numRows,
             const llvm::DenseMap<mlir::Value, mlir::Value> &loads);

} // namespace epiq

#endif // EPIQ_CONVERSION_TILEBODY_H
