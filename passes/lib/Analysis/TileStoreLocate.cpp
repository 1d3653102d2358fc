//===- TileStoreLocate.cpp - Rows and columns from address arithmetic -----===//
// Passes.td states the rule E3 with epiq-fuse-epilogue.
//===----------------------------------------------------------------------===//

#include "TileStoreDetail.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace epiq::detail {

namespace {

bool isKernelArgument(Value scalar) {
  auto argument = dyn_cast<BlockArgument>(scalar);
  return argument && isa<tt::FuncOp>(argument.getOwner()->getParentOp());
}

std::optional<IndexForm> getOffsetFrom(Value base, Value pointer,
                                       SmallVector<int> dims);

// The elements between `base` and a pointer that a loop moves on.
std::optional<IndexForm> getCarriedOffset(BlockArgument pointer,
                                          const SmallVector<int> &dims,
                                          Value base) {
  std::optional<LoopCarried> carried = getLoopCarried(pointer);
  if (!carried)
    return std::nullopt;
  std::optional<IndexForm> first = getOffsetFrom(base, carried->init, dims);
  std::optional<IndexForm> step = getOffsetFrom(pointer, carried->next, dims);
  if (!first || !step)
    return std::nullopt;
  std::optional<IndexForm> moved = timesIterations(*step, carried->loop);
  if (!moved)
    return std::nullopt;
  return *first + *moved;
}

// The elements between `base`, or the kernel's argument, and `pointer`.
std::optional<IndexForm> getOffsetFrom(Value base, Value pointer,
                                       SmallVector<int> dims) {
  IndexForm offset;
  while (pointer != base) {
    Operation *op = pointer.getDefiningOp();
    if (!op) {
      auto argument = cast<BlockArgument>(pointer);
      if (isKernelArgument(argument))
        return base ? std::nullopt : std::optional(offset);
      std::optional<IndexForm> carried = getCarriedOffset(argument, dims, base);
      if (!carried)
        return std::nullopt;
      return offset + *carried;
    }
    Value source = op->getOperand(0);
    if (isa<tt::AddPtrOp>(op)) {
      std::optional<IndexForm> step = getIndexForm(op->getOperand(1), dims);
      if (!step)
        return std::nullopt;
      offset = offset + *step;
    } else if (isa<tt::SplatOp>(op)) {
      dims.clear();
    } else if (auto expand = dyn_cast<tt::ExpandDimsOp>(op)) {
      dims.erase(dims.begin() + expand.getAxis());
    } else if (auto trans = dyn_cast<tt::TransOp>(op)) {
      SmallVector<int> sourceDims(dims.size());
      for (auto [i, from] : llvm::enumerate(trans.getOrder()))
        sourceDims[from] = dims[i];
      dims = sourceDims;
    } else if (!isa<tt::BroadcastOp>(op)) {
      return std::nullopt;
    }
    pointer = source;
  }
  return offset;
}

// `term / divisor`, if the symbols of the divisor are all in the term.
std::optional<IndexTerm> divide(const IndexTerm &term,
                                const IndexTerm &divisor) {
  if (term.coeff % divisor.coeff != 0)
    return std::nullopt;
  IndexTerm quotient = term;
  quotient.coeff /= divisor.coeff;
  for (Value scalar : divisor.scalars) {
    auto *it = llvm::find(quotient.scalars, scalar);
    if (it == quotient.scalars.end())
      return std::nullopt;
    quotient.scalars.erase(it);
  }
  return quotient;
}

IndexForm toForm(const IndexTerm &term) {
  IndexForm form;
  form.add(term);
  return form;
}

// Columns are what lies next to each other: the dimension along which the
// offset grows by one.
int findColumnDim(const IndexForm &offset, int rank) {
  int found = -1;
  for (int dim = 0; dim < rank; ++dim) {
    IndexForm along =
        offset.filter([&](const IndexTerm &term) { return term.dim == dim; });
    if (along == IndexForm::along(dim) && found < 0)
      found = dim;
  }
  return found;
}

// The distance between rows: a factor of a position, or of row numbers, along
// the dimensions of rows, which divides all others. The last dimension of rows
// that has one is the innermost.
std::optional<IndexTerm> findRowStride(const IndexForm &offset, int colDim) {
  IndexForm rows = offset.filter([&](const IndexTerm &term) {
    return !term.isUniform() && term.dim != colDim;
  });
  auto dividesAll = [&](const IndexTerm &stride) {
    return llvm::all_of(rows.getTerms(), [&](const IndexTerm &term) {
      return divide(term, stride).has_value();
    });
  };
  std::optional<IndexTerm> best;
  bool isBestPosition = false;
  for (const IndexTerm &term : rows.getTerms()) {
    // Rows that are stored from the last to the first lie as far apart.
    IndexTerm stride{std::abs(term.coeff), term.scalars, -1, {}};
    if ((!best || (term.isPosition() && !isBestPosition)) &&
        dividesAll(stride)) {
      best = stride;
      isBestPosition = term.isPosition();
    }
  }
  return best;
}

// The distance between rows when a program stores one row: the kernel's
// argument that multiplies the row number. Null if there is no one such.
std::optional<IndexTerm> findRowStrideOfOneRow(const IndexForm &offset) {
  Value stride;
  for (const IndexTerm &term : offset.getTerms()) {
    for (Value scalar : term.scalars) {
      if (!isKernelArgument(scalar) || term.scalars.size() < 2)
        continue;
      if (stride && stride != scalar)
        return std::nullopt;
      stride = scalar;
    }
  }
  if (!stride)
    return std::nullopt;
  return IndexTerm{1, {stride}, -1, {}};
}

// Whether a multiple of a scalar can be a column: a product with an argument
// may be any stride, a number beyond the row's length is none.
bool canBeColumn(const IndexTerm &term, const IndexTerm &rowStride,
                 int64_t columns) {
  if (llvm::any_of(term.scalars, isKernelArgument))
    return false;
  if (columns > 0 && std::abs(term.coeff) >= columns && !term.isConstant())
    return false;
  return !rowStride.scalars.empty() || std::abs(term.coeff) < rowStride.coeff;
}

// Shares the terms of `offset` out between rows, columns and what may be both.
LogicalResult splitOffset(const IndexForm &offset, const IndexTerm &rowStride,
                          int64_t columns, TileStore &tile,
                          StoreRefusal &refusal) {
  for (const IndexTerm &term : offset.getTerms()) {
    if (term.dim >= 0 && term.dim == tile.colDim)
      continue;
    if (std::optional<IndexTerm> rows = divide(term, rowStride)) {
      tile.row.add(*rows);
      continue;
    }
    if (!term.isUniform())
      return refuse(refusal, tile.op,
                    "E3: the rows of the tile do not lie at multiples of one "
                    "stride");
    if (term.isConstant() && rowStride.isConstant()) {
      // A number is whole rows and columns of the next one.
      int64_t column = llvm::mod(term.coeff, rowStride.coeff);
      tile.colStart.add(IndexTerm{column, {}, -1, {}});
      tile.row.add(
          IndexTerm{(term.coeff - column) / rowStride.coeff, {}, -1, {}});
      continue;
    }
    if (canBeColumn(term, rowStride, columns))
      tile.colStart.add(term);
    else
      tile.rest.add(term);
  }
  tile.rowStride = toForm(rowStride);
  if (tile.rest.getTerms().empty())
    return success();
  // Columns that join the rest wrap with it at the end of a row.
  tile.rest = tile.rest + tile.colStart;
  tile.colStart = IndexForm();
  return success();
}

} // namespace

std::optional<IndexForm> getOffset(Value pointer, SmallVector<int> dims) {
  return getOffsetFrom({}, pointer, std::move(dims));
}

LogicalResult placeTile(const IndexForm &offset,
                        std::optional<IndexTerm> strideOfOneRow,
                        int64_t columns, TileStore &tile,
                        StoreRefusal &refusal) {
  for (auto [dim, size] : llvm::zip(tile.rowDims, tile.rowSizes))
    if (size != 1 && !offset.variesAlong(dim))
      return refuse(refusal, tile.op,
                    "E3: all rows of the tile have one address");
  std::optional<IndexTerm> rowStride = findRowStride(offset, tile.colDim);
  if (!rowStride && tile.numRows != 1)
    return refuse(refusal, tile.op,
                  "E3: the rows of the tile do not lie at multiples of one "
                  "stride");
  if (!rowStride)
    rowStride = strideOfOneRow ? strideOfOneRow : findRowStrideOfOneRow(offset);
  if (rowStride)
    return splitOffset(offset, *rowStride, columns, tile, refusal);
  tile.flat = true;
  tile.colStart = offset.getUniform();
  return success();
}

namespace {

LogicalResult locate(tt::StoreOp store, RankedTensorType type, int64_t columns,
                     TileStore &tile, StoreRefusal &refusal) {
  int rank = type.getRank();
  std::optional<IndexForm> offset = getPointerOffset(store.getPtr());
  if (!offset)
    return refuse(refusal, store,
                  "E3: the address is no sum of rows and columns");
  int colDim = findColumnDim(*offset, rank);
  // One value for each row.
  bool isColumn = llvm::count_if(type.getShape(),
                                 [](int64_t size) { return size != 1; }) <= 1;
  if (colDim < 0 && isColumn)
    colDim = rank;
  if (colDim < 0)
    return refuse(refusal, store,
                  "E3: no dimension of the tile is contiguous in memory: a "
                  "stride of 1 must be a constant of the kernel");
  tile.setShape(type, colDim);
  return placeTile(*offset, /*strideOfOneRow=*/{}, columns, tile, refusal);
}

} // namespace

std::optional<IndexForm> getPointerOffset(Value pointers) {
  int rank = cast<RankedTensorType>(pointers.getType()).getRank();
  return getOffset(pointers, llvm::to_vector(llvm::seq(rank)));
}

int findColumns(const IndexForm &offset, int rank) {
  return findColumnDim(offset, rank);
}

FailureOr<TileStore> locatePointerStore(tt::StoreOp store, int64_t columns,
                                        StoreRefusal &refusal) {
  auto type = dyn_cast<RankedTensorType>(store.getPtr().getType());
  if (!type)
    return refuse(refusal, store,
                  "E3: the kernel stores single elements or block pointers, "
                  "not tiles of addresses");
  TileStore tile;
  tile.op = store;
  tile.value = store.getValue();
  if (failed(locate(store, type, columns, tile, refusal)))
    return failure();
  if (store.getMask() && failed(readBounds(store.getMask(), tile, refusal)))
    return failure();
  return tile;
}

} // namespace epiq::detail
