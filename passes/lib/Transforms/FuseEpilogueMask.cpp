//===- FuseEpilogueMask.cpp - Which elements of a tile exist --------------===//
// The conditions of a store's mask are about single rows and columns of the
// output; a scale asks the same about groups of them.
//===----------------------------------------------------------------------===//

#include "FuseEpilogueLanes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace epiq::detail {

namespace {

IntegerType widestOf(MLIRContext *context, ArrayRef<const IndexForm *> forms) {
  unsigned width = 32;
  for (const IndexForm *form : forms) {
    for (const IndexTerm &term : form->getTerms()) {
      for (Value scalar : term.scalars)
        width = std::max(width, scalar.getType().getIntOrFloatBitWidth());
      if (term.tensor)
        width = std::max(width, getElementTypeOrSelf(term.tensor.getType())
                                    .getIntOrFloatBitWidth());
    }
  }
  return IntegerType::get(context, width > 32 ? 64 : 32);
}

} // namespace

// A limit on columns that keeps groups whole, asked about every
// `columnsPerColumn`-th column.
Value TileLanes::limitAsMask(const TileBound &bound, int64_t size,
                             int64_t columnsPerColumn, IntegerType type) {
  IndexForm distance = (bound.rhs - bound.lhs).getUniform();
  Value limit =
      inColumnsOf(materializeScalar(builder, builder.getLoc(), distance, type),
                  columnsPerColumn);
  Value positions =
      materializeVector(builder, builder.getLoc(), IndexForm::along(bound.dim),
                        bound.dim, size, type);
  limit = tt::SplatOp::create(builder, positions.getType(), limit);
  return arith::CmpIOp::create(builder, bound.predicate, positions, limit);
}

// A condition asked about `size` rows or columns, as tensor<size x i1>; about
// every `columnsPerColumn`-th column, that is about groups.
Value TileLanes::boundAsMask(const TileBound &bound, int axis, int64_t size,
                             int64_t columnsPerColumn) {
  auto type = RankedTensorType::get({size}, builder.getI1Type());
  if (bound.opaque) {
    auto tensor = dyn_cast<RankedTensorType>(bound.opaque.getType());
    if (!tensor)
      return tt::SplatOp::create(builder, type, bound.opaque);
    return reshapeTo(builder, bound.opaque, type);
  }
  IntegerType integer =
      widestOf(builder.getContext(), {&bound.lhs, &bound.rhs});
  if (axis == kCols && columnsPerColumn > 1 &&
      bound.keepsGroups(epilogue.groupColumns))
    return limitAsMask(bound, size, columnsPerColumn, integer);
  auto vector = [&](const IndexForm &form) {
    IndexForm scaled;
    for (IndexTerm term : form.getTerms()) {
      if (axis == kCols && term.isPosition())
        term.coeff *= columnsPerColumn;
      scaled.add(std::move(term));
    }
    return materializeVector(builder, builder.getLoc(), scaled, bound.dim, size,
                             integer);
  };
  return arith::CmpIOp::create(builder, bound.predicate, vector(bound.lhs),
                               vector(bound.rhs));
}

bool TileLanes::cutsGroups() const {
  return llvm::any_of(tile.bounds, [&](const TileBound &bound) {
    return bound.dim == tile.colDim &&
           !bound.keepsGroups(epilogue.groupColumns);
  });
}

Value TileLanes::mask(const EpilogueOperand &operand) {
  SmallVector<int64_t> sizes{rowsOf(operand), columnsOf(operand)};
  Value all;
  for (const TileBound &bound : tile.bounds) {
    bool isColumn = bound.dim == tile.colDim;
    if (isColumn ? !operand.perGroupOfTile : !operand.perToken)
      continue;
    int axis = isColumn ? kCols : kRows;
    int64_t size = sizes[axis];
    if (const auto *at = llvm::find(tile.rowDims, bound.dim);
        at != tile.rowDims.end())
      size = tile.rowSizes[at - tile.rowDims.begin()];
    Value vector = boundAsMask(bound, axis, size, operand.columnsPerColumn);
    if (!isColumn)
      vector = alongRows(vector, bound.dim);
    Value condition = spread(builder, vector, axis, sizes);
    all = all ? arith::AndIOp::create(builder, all, condition).getResult()
              : condition;
  }
  return all;
}

} // namespace epiq::detail
