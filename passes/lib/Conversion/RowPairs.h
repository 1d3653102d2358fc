//===- RowPairs.h - Loads of rows of interleaved pairs ----------*- C++ -*-===//
// Every second element of a row, as in x[..., ::2], read alone would be one
// short load an element. The row is loaded as it lies, whole vectors at a time,
// and taken apart in registers, once for both halves.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_CONVERSION_ROWPAIRS_H
#define EPIQ_CONVERSION_ROWPAIRS_H

#include "RowTile.h"

namespace epiq {

class RowPairs {
public:
  // `tile` is the tile of one half, made with the same `padsRows` and `grid`.
  RowPairs(mlir::ImplicitLocOpBuilder &builder, const RowShape &shape,
           RowSchedule schedule, RowTile &tile, mlir::Value numRows,
           bool padsRows, RowGrid grid);

  // Whether `view` is one element of each pair of a row, and fills a row here.
  // An unrolled factor has no stride in `view`.
  bool isHalf(const RowValue &value, const RowView &view) const;

  // The tile in `part` of a half that lies at `address`. `type` is that of the
  // elements in memory.
  mlir::Value load(const RowAddress &address, const RowValue &value,
                   const RowView &view, const RowPart &part, mlir::Type type);

private:
  struct Loaded {
    RowView pairs;
    bool perToken;
    unsigned chunk;
    mlir::Value even;
    mlir::Value odd;
  };

  mlir::ImplicitLocOpBuilder &builder;
  const RowShape &shape;
  RowTile &tile;
  // The innermost factor that is not unrolled; that of pairs is twice as long.
  unsigned last = 0;
  RowShape pairShape;
  std::optional<RowTile> pairTile;
  llvm::SmallVector<Loaded> known;
};

} // namespace epiq

#endif // EPIQ_CONVERSION_ROWPAIRS_H
