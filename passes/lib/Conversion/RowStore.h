//===- RowStore.h - Stores the results of a row program ---------*- C++ -*-===//

#ifndef EPIQ_CONVERSION_ROWSTORE_H
#define EPIQ_CONVERSION_ROWSTORE_H

#include "RowTile.h"

#include "epiq/Conversion/LayoutAddress.h"

namespace epiq {

// Stores tiles of one value where its layout puts them, and the zeros that pad
// it.
class RowStore {
public:
  // `numRows`: the kernel's number of rows, i32. `pairTile`: the same tile with
  // the innermost factor not unrolled, if that has two elements.
  RowStore(mlir::ImplicitLocOpBuilder &builder, const RowShape &shape,
           RowTile &tile, mlir::Value numRows, RowTile *pairTile = nullptr)
      : builder(builder), shape(shape), tile(tile), numRows(numRows),
        pairTile(pairTile) {}

  // `tiles`: one for each part of `value`, elements as they lie in memory.
  void store(mlir::Value pointer, graph::Layout layout, const RowValue &value,
             llvm::ArrayRef<mlir::Value> tiles);

  // Stores the rows where `view` says. `index`: their numbers there, a tile of
  // integers; a row with a negative one is not stored.
  void scatter(mlir::Value pointer, const RowView &view, mlir::Value index,
               const RowValue &value, llvm::ArrayRef<mlir::Value> tiles);

private:
  void storeLinear(const RowAddress &address, const RowValue &value,
                   llvm::ArrayRef<mlir::Value> tiles, RowTile &valueTile,
                   mlir::Value isStored = {});
  bool isPair(const RowAddress &address, const RowValue &value) const;
  void storePairs(const RowAddress &address, const RowValue &value,
                  llvm::ArrayRef<mlir::Value> tiles, mlir::Value isStored);
  void storePadded(mlir::Value pointer, const LayoutAddress &layout,
                   const RowValue &value, llvm::ArrayRef<mlir::Value> tiles,
                   llvm::ArrayRef<int64_t> strides, int64_t width);
  // Zeros in column `column`, which no tile covers.
  void padColumn(mlir::Value pointer, const LayoutAddress &layout,
                 int64_t column, mlir::Type element);

  mlir::Value paddedRows(const LayoutAddress &layout);
  mlir::Value rowPointer(mlir::Value pointer, const LayoutAddress &layout);
  // The rows that exist in memory; null when all of the tile's do.
  mlir::Value rowsInMemory(const LayoutAddress &layout,
                           llvm::ArrayRef<int64_t> dims);

  mlir::ImplicitLocOpBuilder &builder;
  const RowShape &shape;
  RowTile &tile;
  mlir::Value numRows;
  RowTile *pairTile;
};

} // namespace epiq

#endif // EPIQ_CONVERSION_ROWSTORE_H
