//===- FuseEpilogueLanes.h - Where the elements of a tile lie ---*- C++ -*-===//
// An epilogue's operands are matrices over a tile: for each, the addresses of
// its elements and which of them exist. Code for them is emitted where the
// builder stands.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_TRANSFORMS_FUSEEPILOGUELANES_H
#define EPIQ_TRANSFORMS_FUSEEPILOGUELANES_H

#include "FuseEpilogueDetail.h"

#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace epiq::detail {

inline constexpr int kRows = 0, kCols = 1;

// `value` as a value of `type`: a tensor with as many elements, a tensor of a
// scalar's copies, or the scalar in a tensor of one.
mlir::Value reshapeTo(mlir::ImplicitLocOpBuilder &builder, mlir::Value value,
                      mlir::Type type);
// A 1-d tensor along one axis of a tensor of `sizes`.
mlir::Value spread(mlir::ImplicitLocOpBuilder &builder, mlir::Value vector,
                   int axis, llvm::ArrayRef<int64_t> sizes);

class TileLanes {
public:
  // Emits the division that says where the tile starts, if one is needed.
  TileLanes(mlir::ImplicitLocOpBuilder &builder, const Epilogue &epilogue,
            const TileStore &tile);

  // Rows and columns of `operand` that belong to the tile.
  int64_t rowsOf(const EpilogueOperand &operand) const {
    return operand.perToken ? tile.numRows : 1;
  }
  int64_t columnsOf(const EpilogueOperand &operand) const;

  // The addresses of an operand's elements, a tensor of rows x columns.
  mlir::Value pointers(const EpilogueOperand &operand,
                       EpilogueArguments::Place place);
  // Those of its elements that lie in the output, a tensor of which each size
  // is that of `pointers` or 1; null when all do.
  mlir::Value mask(const EpilogueOperand &operand);
  // The mask of columns may be true for a part of a group.
  bool cutsGroups() const;

private:
  // FuseEpilogueLanes.cpp
  mlir::Value alongRows(mlir::Value vector, int dim);
  mlir::Value rowIndices();
  mlir::Value columnIndices(const EpilogueOperand &operand);
  mlir::Value firstColumn(const EpilogueOperand &operand);
  mlir::Value inColumnsOf(mlir::Value count, int64_t columnsPerColumn);
  mlir::Value scale(mlir::Value vector, mlir::Value factor);
  // FuseEpilogueMask.cpp
  mlir::Value boundAsMask(const TileBound &bound, int axis, int64_t size,
                          int64_t columnsPerColumn);
  mlir::Value limitAsMask(const TileBound &bound, int64_t size,
                          int64_t columnsPerColumn, mlir::IntegerType type);

  mlir::ImplicitLocOpBuilder &builder;
  const Epilogue &epilogue;
  const TileStore &tile;
  IndexForm row, colStart;
};

} // namespace epiq::detail

#endif // EPIQ_TRANSFORMS_FUSEEPILOGUELANES_H
