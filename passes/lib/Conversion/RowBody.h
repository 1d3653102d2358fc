//===- RowBody.h - The arithmetic of a row program in Triton IR -*- C++ -*-===//

#ifndef EPIQ_CONVERSION_ROWBODY_H
#define EPIQ_CONVERSION_ROWBODY_H

#include "ElementCasts.h"
#include "RowTile.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/DenseSet.h"

namespace epiq {

// Translates the ops of a normalized row program, one by one, into ops on the
// tiles of their operands.
class RowBody {
public:
  RowBody(mlir::ImplicitLocOpBuilder &builder, const RowShape &shape,
          RowTile &tile, int64_t target = 90)
      : builder(builder), shape(shape), tile(tile), casts(builder, target) {}

  // Says that `value` is `valueTiles`, one for each part that it has.
  // `zeroPadded`: its lanes outside the row are 0.
  void define(mlir::Value value, llvm::ArrayRef<mlir::Value> valueTiles,
              bool zeroPadded);
  // Says which elements of `value`, an operand of a maximum over all tokens,
  // are there: those of `mask`.
  void restrict(mlir::Value value, mlir::Value mask) { lanes[value] = mask; }
  // The tiles of `value`, which must be defined. A maximum over all tokens is a
  // scalar instead, this program's part of it.
  llvm::ArrayRef<mlir::Value> lookup(mlir::Value value) const {
    return tiles.find(value)->second;
  }
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
  // What tiles of `value` hold: of ue8m0 scales the bytes, of e2m1 values the
  // f32 values that become them when they are packed.
  mlir::Type tileType(mlir::Value value) const;
  // Zero padding survives an op that gives 0 for operands of 0.
  bool keepsZero(mlir::Operation &op) const;

  // What a part of another value needs of `value`.
  mlir::Value tileIn(const RowPart &part, mlir::Value value) const {
    return lookup(value)[tile.find(describe(value), part)];
  }

  mlir::Value lowerSlice(graph::SliceOp op, const RowPart &part);
  mlir::Value lowerConcat(graph::ConcatOp op, const RowPart &part);
  mlir::Value lowerConstant(mlir::arith::ConstantOp op);
  mlir::Value lowerBroadcast(graph::BroadcastOp op, const RowPart &part);
  mlir::Value lowerElementwise(mlir::Operation &op, const RowPart &part);
  mlir::Value lowerFloatCast(mlir::Operation &op, const RowPart &part);
  mlir::Value callLibdevice(llvm::StringRef name, mlir::ValueRange operands,
                            mlir::Type wanted);
  mlir::Value inversePower(mlir::Value divisor, const RowPart &part);
  llvm::SmallVector<mlir::Value> lowerReduce(graph::ReduceOp op);
  mlir::Value maximizeTile(graph::ReduceOp op);
  mlir::Value existing(mlir::Value value, const RowPart &part);
  mlir::Value neutralizePadding(graph::ReduceOp op,
                                llvm::ArrayRef<unsigned> factors,
                                const RowPart &part);
  mlir::Value reduceFactors(mlir::Value value, llvm::SmallVector<int64_t> sizes,
                            llvm::SmallVector<unsigned> factors,
                            graph::ReduceKind kind);
  mlir::Value reduceAxis(mlir::Value source, unsigned axis,
                         graph::ReduceKind kind);

  mlir::ImplicitLocOpBuilder &builder;
  const RowShape &shape;
  RowTile &tile;
  ElementCasts casts;
  llvm::DenseMap<mlir::Value, llvm::SmallVector<mlir::Value>> tiles;
  llvm::DenseSet<mlir::Value> zeroPadded;
  llvm::DenseMap<mlir::Value, mlir::Value> lanes;
};

} // namespace epiq

#endif // EPIQ_CONVERSION_ROWBODY_H
