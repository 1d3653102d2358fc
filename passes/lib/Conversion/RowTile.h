//===- RowTile.h - The tile of a row program in Triton IR -------*- C++ -*-===//
// A tile is `blockRows` rows by all factors of the row, or by a part of the
// outermost one: the part of one program where the row is cut, and else one
// chunk of those that the program holds. A value that varies along the
// outermost factor is a list of tiles, one for each chunk, and one that varies
// along an unrolled factor one for each of its elements; any other is one tile.
// Every value has one tensor dimension for the rows (left out when there is one
// row) and one for each factor, of size 1 where the value does not vary; a
// value with sizes 1 only is a scalar.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_CONVERSION_ROWTILE_H
#define EPIQ_CONVERSION_ROWTILE_H

#include "epiq/Analysis/RowShape.h"
#include "epiq/TritonIR/Triton.h"

#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/Support/MathExtras.h"

namespace epiq {

// How a row program is cut into Triton programs; see Schedule in epiq.pipeline.
struct RowSchedule {
  int64_t blockRows = 1;
  int64_t blockCols = 0;
  int64_t chunkCols = 0;
};

// The part of a launch grid that works on a shape: of each `columns` programs
// in a row of the grid, those from `first` on. 0 columns: all there are.
struct RowGrid {
  int64_t columns = 0;
  int64_t first = 0;
};

// One tile of a value: its chunk, and its index along each unrolled factor, 0
// where the value does not vary.
struct RowPart {
  unsigned chunk = 0;
  llvm::SmallVector<int64_t> at;
};

// Where the elements of a tile lie: row m, factor index i_f are found at
// offset + m * rowStride + sum of i_f * strides[f].
struct RowAddress {
  mlir::Value pointer;
  int64_t offset = 0;
  // The row stride: a value (i64), or a constant when it is null. 0 for a
  // pointer that all tokens share.
  mlir::Value rowStride;
  int64_t constantRowStride = 0;
  llvm::SmallVector<int64_t> strides;
  // What stands for m: a tile of row numbers (i64), or the tile's own rows when
  // it is null.
  mlir::Value index;
  // Multiplies `strides`: the number of rows (i64) in a column-major matrix.
  mlir::Value strideScale;
};

class RowTile {
public:
  // L7: whether `schedule` fits `shape`. Says why not.
  static mlir::LogicalResult check(const RowShape &shape, RowSchedule schedule,
                                   std::string &reason);

  // `numRows` is the kernel's number of rows, i32. `padsRows`: programs may
  // stand beyond the last row.
  RowTile(mlir::ImplicitLocOpBuilder &builder, const RowShape &shape,
          RowSchedule schedule, mlir::Value numRows, bool padsRows = false,
          RowGrid grid = {});
  // How many programs share a row.
  static int64_t programsOfRow(const RowShape &shape, RowSchedule schedule);

  // Makes it the tile of a value that holds two elements of this factor in one.
  void halve(unsigned factor);
  // The elements of a factor.
  int64_t factor(unsigned factor) const { return factorSizes[factor]; }

  // The tiles that `value` is, in order, and the number of the one that holds
  // what a tile of a larger value needs of it.
  llvm::SmallVector<RowPart> parts(const RowValue &value) const;
  unsigned find(const RowValue &value, const RowPart &part) const;
  // Sizes of a tile of `value`.
  llvm::SmallVector<int64_t> dims(const RowValue &value) const;
  // The tensor (or scalar) type of those sizes.
  static mlir::Type type(llvm::ArrayRef<int64_t> dims, mlir::Type element);
  // The tensor dimension of a factor.
  unsigned axis(unsigned factor) const { return factor + hasRowAxis(); }
  bool hasRowAxis() const { return schedule.blockRows > 1; }
  int64_t rows() const { return schedule.blockRows; }
  // The kernel's number of rows is known, and may end within a tile.
  bool countsRows() const { return numRows != nullptr; }

  // The lanes of a factor that are in the row are not all of the tile's.
  bool isPadded(unsigned factor, const RowPart &part) const;
  // How many elements of a factor the lanes of all programs and chunks cover,
  // those beyond its end counted.
  int64_t coveredSize(unsigned factor) const;

  // Repeats `tile` to sizes `dims`.
  mlir::Value fit(mlir::Value tile, llvm::ArrayRef<int64_t> dims);
  // A splat constant.
  mlir::Value constant(mlir::Attribute scalar, llvm::ArrayRef<int64_t> dims);

  // The lanes of a tile of sizes `dims` for which all of `factors` are inside
  // the row; null when all are.
  mlir::Value factorMask(llvm::ArrayRef<unsigned> factors,
                         llvm::ArrayRef<int64_t> dims, const RowPart &part);
  // The lanes whose row is below `limit` (i32); null when all rows exist.
  mlir::Value rowMask(mlir::Value limit, llvm::ArrayRef<int64_t> dims);
  // Of the programs of a row, the one that stores `value` if it does not vary
  // along the cut; null when all do.
  mlir::Value firstProgramMask(const RowValue &value);
  // Conditions that may be null.
  mlir::Value both(mlir::Value a, mlir::Value b);

  // The rows of the tile, i32: a scalar for one.
  mlir::Value rowIndex();
  // The columns of a tile of `value` in its own row, i32, of its sizes.
  mlir::Value columnIndex(llvm::ArrayRef<int64_t> strides,
                          const RowValue &value, const RowPart &part);

  // The lanes of a tile of `value` that exist in memory; null when all do.
  mlir::Value loadMask(const RowValue &value, const RowPart &part);
  // The same, for the one program among those of a row that stores `value`, or
  // the first row's where all tokens share it.
  mlir::Value storeMask(const RowValue &value, const RowPart &part);
  // The pointer to the first element of a tile of `value`, a scalar.
  mlir::Value firstPointer(const RowAddress &address, const RowValue &value,
                           const RowPart &part);
  // The pointers to the elements of a tile of `value`.
  mlir::Value pointers(const RowAddress &address, const RowValue &value,
                       const RowPart &part);

private:
  int64_t tileSize(unsigned factor) const { return tileSizes[factor]; }
  bool isCut() const { return schedule.blockCols != 0; }

  // [0, size) along tensor dimension `axis`, i32.
  mlir::Value range(unsigned axis, int64_t size);
  mlir::Value program();
  mlir::Value columnProgram();
  mlir::Value rowStart();
  mlir::Value offsets(llvm::ArrayRef<int64_t> strides, const RowValue &value);
  mlir::Value startOffset(const RowAddress &address, const RowValue &value,
                          const RowPart &part);
  mlir::Value i64(int64_t number);
  mlir::Value i32(int64_t number);

  unsigned rank() const { return factorSizes.size() + hasRowAxis(); }

  mlir::ImplicitLocOpBuilder &builder;
  llvm::SmallVector<int64_t> factorSizes;
  llvm::SmallVector<bool> unrolled;
  RowSchedule schedule;
  mlir::Value numRows;
  RowGrid grid;
  bool padsRows = false;
  bool hasRows = false;
  llvm::SmallVector<int64_t> tileSizes;
  unsigned numChunks = 1;
  mlir::Value programId, columnProgramId, firstRow, rowStart64;
  llvm::DenseMap<std::pair<unsigned, int64_t>, mlir::Value> ranges;
};

} // namespace epiq

#endif // EPIQ_CONVERSION_ROWTILE_H
