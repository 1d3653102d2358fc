//===- RowStore.cpp - Stores the results of a row program -----------------===//
// A layout with padding is stored whole: lanes beyond the row, and programs
// beyond the last row, write its zeros.
//===----------------------------------------------------------------------===//

#include "RowStore.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace epiq {

namespace {

// The factors of a value, outermost first.
SmallVector<unsigned> factorsOf(const RowValue &value) {
  SmallVector<unsigned> factors;
  for (const auto &dim : value.dims)
    llvm::append_range(factors, dim);
  return factors;
}

// What all tokens have one of.
RowValue oneEach() {
  RowValue value;
  value.leading = 1;
  return value;
}

} // namespace

void RowStore::store(Value pointer, graph::Layout layout, const RowValue &value,
                     ArrayRef<Value> tiles) {
  SmallVector<unsigned> factors = factorsOf(value);
  RowTile packed = tile;
  if (layout == graph::Layout::packed_e2m1)
    packed.halve(factors.back());
  SmallVector<int64_t> strides(shape.factors.size(), 0);
  int64_t width = 1;
  for (unsigned factor : llvm::reverse(factors)) {
    strides[factor] = width;
    width *= packed.factor(factor);
  }
  LayoutAddress address = LayoutAddress::get(layout, width);
  if (address.isLinear())
    storeLinear(pointer, address, value, tiles, packed, strides);
  else
    storePadded(pointer, address, value, tiles, strides, width);
}

void RowStore::storeLinear(Value pointer, const LayoutAddress &layout,
                           const RowValue &value, ArrayRef<Value> tiles,
                           RowTile &valueTile, ArrayRef<int64_t> strides) {
  RowAddress address;
  address.pointer = pointer;
  address.constantRowStride = layout.row[0].stride;
  address.strides.assign(strides.begin(), strides.end());
  if (layout.column[0].scaled)
    address.strideScale = paddedRows(layout);
  for (auto [chunk, stored] : llvm::enumerate(tiles)) {
    Value pointers = valueTile.pointers(address, value, chunk);
    tt::StoreOp::create(builder, TypeRange{}, pointers, stored,
                        valueTile.storeMask(value, chunk));
  }
}

Value RowStore::paddedRows(const LayoutAddress &layout) {
  Value rows = arith::ExtSIOp::create(builder, builder.getI64Type(), numRows);
  return roundUp(builder, rows, layout.columnAlign);
}

// The pointers to column 0 of the tile's rows: a scalar for one row.
Value RowStore::rowPointer(Value pointer, const LayoutAddress &layout) {
  Value rows = tile.rowIndex();
  Value offset = evaluate(builder, layout.row, rows, /*distance=*/{});
  SmallVector<int64_t> dims = tile.dims(oneEach());
  Value base = tile.fit(pointer, dims);
  return tt::AddPtrOp::create(builder, base.getType(), base, offset);
}

Value RowStore::rowsInMemory(const LayoutAddress &layout,
                             ArrayRef<int64_t> dims) {
  if (layout.rowMultiple == 1)
    return tile.rowMask(numRows, dims);
  // The grid ends with the padding, and so does the last tile.
  if (layout.rowMultiple % tile.rows() == 0)
    return nullptr;
  Value wide = arith::ExtSIOp::create(builder, builder.getI64Type(), numRows);
  Value limit =
      arith::TruncIOp::create(builder, builder.getI32Type(),
                              roundUp(builder, wide, layout.rowMultiple));
  return tile.rowMask(limit, dims);
}

void RowStore::storePadded(Value pointer, const LayoutAddress &layout,
                           const RowValue &value, ArrayRef<Value> tiles,
                           ArrayRef<int64_t> strides, int64_t width) {
  SmallVector<int64_t> dims = tile.dims(value);
  SmallVector<unsigned> factors = factorsOf(value);
  int64_t paddedWidth = llvm::alignTo(width, layout.columnMultiple);
  Type element = getElementTypeOrSelf(tiles.front());
  Value rows = rowPointer(pointer, layout);
  Value scale;
  if (llvm::any_of(layout.column,
                   [](const LayoutTerm &term) { return term.scaled; }))
    scale = paddedRows(layout);

  for (unsigned chunk = 0; chunk < tiles.size(); ++chunk) {
    Value stored = tiles[chunk];
    Value column = tile.columnIndex(strides, value, chunk);
    auto below = [&](int64_t limit) -> Value {
      return arith::CmpIOp::create(
          builder, arith::CmpIPredicate::slt, column,
          tile.constant(builder.getI32IntegerAttr(limit), dims));
    };
    // Lanes of an inner factor beyond its end stand for other columns; those of
    // the outermost one for columns beyond the last.
    Value mask = tile.firstProgramMask(value);
    Value inRow;
    if (!factors.empty()) {
      mask = tile.both(
          mask, tile.factorMask(ArrayRef(factors).drop_front(), dims, chunk));
      if (tile.isPadded(factors.front(), chunk)) {
        mask = tile.both(mask, below(paddedWidth));
        if (paddedWidth != width)
          inRow = below(width);
      }
    }
    mask = tile.both(mask, rowsInMemory(layout, dims));
    if (layout.rowMultiple > 1)
      inRow = tile.both(inRow, tile.rowMask(numRows, dims));
    if (inRow)
      stored = arith::SelectOp::create(
          builder, inRow, stored,
          tile.constant(builder.getZeroAttr(element), dims));
    Value offset = evaluate(builder, layout.column, column, scale);
    Value base = tile.fit(rows, dims);
    Value pointers = tt::AddPtrOp::create(builder, base.getType(), base,
                                          tile.fit(offset, dims));
    tt::StoreOp::create(builder, TypeRange{}, pointers, stored, mask);
  }

  int64_t covered = 1;
  if (!factors.empty())
    covered = tile.coveredSize(factors.front()) * strides[factors.front()];
  for (int64_t column = covered; column < paddedWidth; ++column)
    padColumn(rows, layout, column, element);
}

void RowStore::padColumn(Value pointer, const LayoutAddress &layout,
                         int64_t column, Type element) {
  SmallVector<int64_t> dims = tile.dims(oneEach());
  LayoutOffset place = evaluate(layout.column, column);
  auto i64 = [&](int64_t number) -> Value {
    return arith::ConstantIntOp::create(builder, builder.getI64Type(), number);
  };
  Value offset = i64(place.constant);
  if (place.scaled)
    offset = arith::AddIOp::create(
        builder, offset,
        arith::MulIOp::create(builder, i64(place.scaled), paddedRows(layout)));
  pointer = tt::AddPtrOp::create(builder, pointer.getType(), pointer,
                                 tile.fit(offset, dims));
  Value mask =
      tile.both(tile.firstProgramMask(oneEach()), rowsInMemory(layout, dims));
  tt::StoreOp::create(builder, TypeRange{}, pointer,
                      tile.constant(builder.getZeroAttr(element), dims), mask);
}

} // namespace epiq
