//===- RowBody.h - The arithmetic of a row program in Triton IR -*- C++ -*-===//

#ifndef EPIQ_CONVERSION_ROWBODY_H
#define EPIQ_CONVERSION_ROWBODY_H

#include "RowTile.h"

#include "llvm/ADT/DenseSet.h"

namespace epiq {

// Translates the ops of a normalized row program, one by one, into ops on
// tiles.
class RowBody {
public:
  RowBody(mlir::ImplicitLocOpBuilder &builder, const RowShape &shape,
          RowTile &tile)
      : builder(builder), shape(shape), tile(tile) {}

  // Says that `value` is `tile`. `zeroPadded`: its lanes outside the row are 0.
  void define(mlir::Value value, mlir::Value valueTile, bool zeroPadded);
  // The tile of `value`, which must be defined.
  mlir::Value lookup(mlir::Value value) const { return tiles.lookup(value); }
  bool isDefined(mlir::Value value) const { return tiles.contains(value); }

  // Defines the result of `op`.
  void lower(mlir::Operation &op);

private:
  const RowValue &describe(mlir::Value value) const {
    return shape.values.find(value)->second;
  }
  llvm::SmallVector<int64_t> dims(mlir::Value value) const {
    return tile.dims(describe(value));
  }
  mlir::Type tileType(mlir::Value value) const {
    return RowTile::type(dims(value), mlir::getElementTypeOrSelf(value));
  }
  // Zero padding survives an op that gives 0 for operands of 0.
  bool keepsZero(mlir::Operation &op) const;

  mlir::Value lowerBroadcast(graph::BroadcastOp op);
  mlir::Value lowerReduce(graph::ReduceOp op);
  mlir::Value lowerElementwise(mlir::Operation &op);
  mlir::Value lowerFloatCast(mlir::Operation &op);
  mlir::Value neutralizePadding(graph::ReduceOp op,
                                llvm::ArrayRef<unsigned> factors);
  mlir::Value reduceAxis(mlir::Value source, unsigned axis,
                         graph::ReduceKind kind);

  mlir::ImplicitLocOpBuilder &builder;
  const RowShape &shape;
  RowTile &tile;
  llvm::DenseMap<mlir::Value, mlir::Value> tiles;
  llvm::DenseSet<mlir::Value> zeroPadded;
};

} // namespace epiq

#endif // EPIQ_CONVERSION_ROWBODY_H
