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
  LayoutAddress place = LayoutAddress::get(layout, width);
  if (!place.isLinear())
    return storePadded(pointer, place, value, tiles, strides, width);
  RowAddress address;
  address.pointer = pointer;
  address.constantRowStride = place.row[0].stride;
  address.strides = strides;
  if (place.column[0].scaled)
    address.strideScale = paddedRows(place);
  if (isPair(address, value))
    return storePairs(address, value, tiles, /*isStored=*/{});
  storeLinear(address, value, tiles, packed);
}

void RowStore::scatter(Value pointer, const RowView &view, Value index,
                       const RowValue &value, ArrayRef<Value> tiles) {
  Type wide = builder.getI64Type();
  auto tensor = dyn_cast<RankedTensorType>(index.getType());
  if (tensor)
    wide = tensor.clone(wide);
  if (index.getType() != wide)
    index = arith::ExtSIOp::create(builder, wide, index);
  RowAddress address;
  address.pointer = pointer;
  address.offset = view.offset;
  address.constantRowStride = view.rowStride;
  address.strides = view.strides;
  address.index = index;
  Value zero = tile.constant(builder.getI64IntegerAttr(0),
                             tensor ? tensor.getShape() : ArrayRef<int64_t>());
  Value isStored =
      arith::CmpIOp::create(builder, arith::CmpIPredicate::sge, index, zero);
  if (isPair(address, value))
    return storePairs(address, value, tiles, isStored);
  storeLinear(address, value, tiles, tile, isStored);
}

void RowStore::storeLinear(const RowAddress &address, const RowValue &value,
                           ArrayRef<Value> tiles, RowTile &valueTile,
                           Value isStored) {
  for (auto [part, stored] : llvm::zip_equal(valueTile.parts(value), tiles)) {
    RowAddress from = address;
    for (unsigned factor = 0; factor < part.at.size(); ++factor)
      from.offset += part.at[factor] * address.strides[factor];
    Value pointers = valueTile.pointers(from, value, part);
    Value mask = valueTile.storeMask(value, part);
    if (isStored)
      mask =
          valueTile.both(mask, valueTile.fit(isStored, valueTile.dims(value)));
    tt::StoreOp::create(builder, TypeRange{}, pointers, stored, mask);
  }
}

// Whether two tiles of `value` interleave in memory.
bool RowStore::isPair(const RowAddress &address, const RowValue &value) const {
  if (!pairTile || address.strideScale)
    return false;
  unsigned last = shape.factors.size() - 1;
  return value.covers(last) && address.strides[last] == 1 &&
         value.covers(last - 1) && address.strides[last - 1] == 2 &&
         tile.dims(value)[tile.axis(last - 1)] > 1;
}

// Stored alone, each would be one short store an element.
void RowStore::storePairs(const RowAddress &address, const RowValue &value,
                          ArrayRef<Value> tiles, Value isStored) {
  SmallVector<Value> joined;
  for (unsigned even = 0; even < tiles.size(); even += 2) {
    auto half = cast<RankedTensorType>(tiles[even].getType());
    SmallVector<int64_t> sizes(half.getShape());
    sizes.push_back(2);
    Value pairs = tt::JoinOp::create(
        builder, RankedTensorType::get(sizes, half.getElementType()),
        tiles[even], tiles[even + 1]);
    joined.push_back(tt::ReshapeOp::create(
        builder, RowTile::type(pairTile->dims(value), half.getElementType()),
        pairs, /*allow_reorder=*/false, /*efficient_layout=*/false));
  }
  storeLinear(address, value, joined, *pairTile, isStored);
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

  for (auto [part, tileOfPart] : llvm::zip_equal(tile.parts(value), tiles)) {
    Value stored = tileOfPart;
    Value column = tile.columnIndex(strides, value, part);
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
          mask, tile.factorMask(ArrayRef(factors).drop_front(), dims, part));
      if (tile.isPadded(factors.front(), part)) {
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
