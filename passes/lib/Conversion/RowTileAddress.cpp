//===- RowTileAddress.cpp - Where the elements of a row's tile lie --------===//
// Row offsets are i64 and scalar where they can be, column offsets i32: a row
// is short, a tensor may not be.
//===----------------------------------------------------------------------===//

#include "RowTile.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace epiq {

Value RowTile::columnIndex(ArrayRef<int64_t> strides, const RowValue &value,
                           const RowPart &part) {
  SmallVector<int64_t> sizes = dims(value);
  Value columns = offsets(strides, value);
  Value start;
  if (value.covers(0) && isCut())
    start = arith::MulIOp::create(builder, columnProgram(),
                                  i32(tileSize(0) * strides[0]));
  int64_t first = 0;
  for (unsigned factor = 0; factor < factorSizes.size(); ++factor)
    first += part.at[factor] * strides[factor];
  if (value.covers(0) && !isCut())
    first += part.chunk * tileSize(0) * strides[0];
  if (first && start)
    start = arith::AddIOp::create(builder, start, i32(first));
  else if (first)
    start = i32(first);
  if (!columns)
    return fit(start ? start : i32(0), sizes);
  columns = fit(columns, sizes);
  if (!start)
    return columns;
  return arith::AddIOp::create(builder, fit(start, sizes), columns);
}

// The offset of the tile's first element, i64; null for 0.
Value RowTile::startOffset(const RowAddress &address, const RowValue &value,
                           const RowPart &part) {
  Value total;
  auto add = [&](Value term) {
    total =
        total ? arith::AddIOp::create(builder, total, term).getResult() : term;
  };
  if (address.index) {
    if (!hasRowAxis())
      add(arith::MulIOp::create(builder, address.index,
                                i64(address.constantRowStride)));
  } else if (value.isPerToken() &&
             (address.rowStride || address.constantRowStride)) {
    rowStart();
    Value stride = address.rowStride;
    if (!stride && address.constantRowStride == 1)
      add(rowStart64);
    else
      add(arith::MulIOp::create(builder, rowStart64,
                                stride ? stride
                                       : i64(address.constantRowStride)));
  }
  if (isCut() && value.covers(0)) {
    Value first =
        arith::ExtSIOp::create(builder, builder.getI64Type(), columnProgram());
    Value start = arith::MulIOp::create(builder, first,
                                        i64(tileSize(0) * address.strides[0]));
    if (address.strideScale)
      start = arith::MulIOp::create(builder, start, address.strideScale);
    add(start);
  }
  int64_t offset = address.offset;
  if (part.chunk > 0) {
    int64_t before = part.chunk * tileSize(0) * address.strides[0];
    if (address.strideScale)
      add(arith::MulIOp::create(builder, i64(before), address.strideScale));
    else
      offset += before;
  }
  if (offset)
    add(i64(offset));
  return total;
}

// Offsets of the tile's elements from its first, but for the rows; i32.
Value RowTile::offsets(ArrayRef<int64_t> strides, const RowValue &value) {
  SmallVector<int64_t> sizes(rank(), 1);
  Value total;
  // Innermost first, so that partial sums are as small as they can be.
  for (unsigned factor = factorSizes.size(); factor-- > 0;) {
    if (!value.covers(factor) || tileSize(factor) == 1)
      continue;
    Value term = range(axis(factor), tileSize(factor));
    if (strides[factor] != 1) {
      SmallVector<int64_t> own(rank(), 1);
      own[axis(factor)] = tileSize(factor);
      term = arith::MulIOp::create(
          builder, term,
          constant(builder.getI32IntegerAttr(strides[factor]), own));
    }
    sizes[axis(factor)] = tileSize(factor);
    total = total ? arith::AddIOp::create(builder, fit(term, sizes),
                                          fit(total, sizes))
                        .getResult()
                  : term;
  }
  return total;
}

Value RowTile::firstPointer(const RowAddress &address, const RowValue &value,
                            const RowPart &part) {
  Value pointer = address.pointer;
  if (Value start = startOffset(address, value, part))
    return tt::AddPtrOp::create(builder, pointer.getType(), pointer, start);
  return pointer;
}

Value RowTile::pointers(const RowAddress &address, const RowValue &value,
                        const RowPart &part) {
  Value pointer = firstPointer(address, value, part);
  auto move = [&](Value offset, ArrayRef<int64_t> sizes) {
    Value base = fit(pointer, sizes);
    pointer =
        tt::AddPtrOp::create(builder, base.getType(), base, fit(offset, sizes));
  };
  auto widen = [&](Value offset) -> Value {
    Type type = builder.getI64Type();
    if (auto tensor = dyn_cast<RankedTensorType>(offset.getType()))
      type = tensor.clone(type);
    return arith::ExtSIOp::create(builder, type, offset);
  };
  auto scaled = [&](Value offset, Value scale) -> Value {
    auto tensor = cast<RankedTensorType>(offset.getType());
    return arith::MulIOp::create(builder, offset,
                                 fit(scale, tensor.getShape()));
  };

  SmallVector<int64_t> sizes = dims(value);
  if (hasRowAxis() && value.isPerToken()) {
    SmallVector<int64_t> own(rank(), 1);
    own[0] = schedule.blockRows;
    Value rows =
        address.index ? address.index : widen(range(0, schedule.blockRows));
    if (address.rowStride)
      rows = scaled(rows, address.rowStride);
    else if (address.constantRowStride != 1)
      rows = scaled(rows, i64(address.constantRowStride));
    move(rows, own);
  }
  if (Value columns = offsets(address.strides, value)) {
    if (address.strideScale)
      columns = scaled(widen(columns), address.strideScale);
    move(columns, sizes);
  }
  return fit(pointer, sizes);
}

} // namespace epiq
