//===- RowTile.cpp - The tile of a row program in Triton IR ---------------===//
// Row offsets are i64 and scalar where they can be, column offsets i32: a row
// is short, a tensor may not be.
//===----------------------------------------------------------------------===//

#include "RowTile.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace epiq {

namespace {

// Triton's limit on the elements of a tensor.
constexpr int64_t kMaxTileElements = 1 << 20;

} // namespace

LogicalResult RowTile::check(const RowShape &shape, RowSchedule schedule,
                             std::string &reason) {
  auto refuse = [&](const Twine &why) {
    reason = why.str();
    return failure();
  };
  if (schedule.blockRows < 1 || !llvm::isPowerOf2_64(schedule.blockRows))
    return refuse("L7: block-rows " + Twine(schedule.blockRows) +
                  " is not a power of two");
  if (schedule.blockCols < 0)
    return refuse("L7: block-cols " + Twine(schedule.blockCols) +
                  " is negative");
  if (schedule.blockCols && shape.fullRow)
    return refuse("L7: block-cols " + Twine(schedule.blockCols) +
                  " cuts a row of " + Twine(shape.width) +
                  " that a reduction spans");
  if (schedule.blockCols % shape.columnUnit != 0)
    return refuse("L7: block-cols " + Twine(schedule.blockCols) +
                  " is not a multiple of the column unit " +
                  Twine(shape.columnUnit));
  if (schedule.blockCols &&
      !llvm::isPowerOf2_64(schedule.blockCols / shape.columnUnit))
    return refuse("L7: block-cols " + Twine(schedule.blockCols) +
                  " is not the column unit " + Twine(shape.columnUnit) +
                  " times a power of two");
  int64_t elements = schedule.blockRows;
  for (auto [index, factor] : llvm::enumerate(shape.factors))
    elements *= llvm::PowerOf2Ceil(
        index == 0 && schedule.blockCols
            ? static_cast<uint64_t>(schedule.blockCols / shape.columnUnit)
            : static_cast<uint64_t>(factor));
  if (elements > kMaxTileElements)
    return refuse("L7: a tile of " + Twine(elements) + " elements exceeds " +
                  Twine(kMaxTileElements));
  return success();
}

RowTile::RowTile(ImplicitLocOpBuilder &builder, const RowShape &shape,
                 RowSchedule schedule, Value numRows)
    : builder(builder), shape(shape), schedule(schedule), numRows(numRows) {
  for (int64_t factor : shape.factors)
    tileSizes.push_back(llvm::PowerOf2Ceil(factor));
  if (isCut() && !tileSizes.empty())
    tileSizes.front() = cutSize();
}

SmallVector<int64_t> RowTile::dims(const RowValue &value) const {
  SmallVector<int64_t> dims;
  if (hasRowAxis())
    dims.push_back(schedule.blockRows);
  for (unsigned factor = 0; factor < shape.factors.size(); ++factor)
    dims.push_back(value.covers(factor) ? tileSize(factor) : 1);
  return dims;
}

Type RowTile::type(ArrayRef<int64_t> dims, Type element) {
  if (llvm::all_of(dims, [](int64_t dim) { return dim == 1; }))
    return element;
  return RankedTensorType::get(dims, element);
}

bool RowTile::isPadded(unsigned factor) const {
  if (factor == 0 && isCut())
    return shape.factors[0] % tileSize(0) != 0;
  return shape.factors[factor] != tileSize(factor);
}

Value RowTile::i64(int64_t number) {
  return arith::ConstantIntOp::create(builder, builder.getI64Type(), number);
}

Value RowTile::i32(int64_t number) {
  return arith::ConstantIntOp::create(builder, builder.getI32Type(), number);
}

Value RowTile::constant(Attribute scalar, ArrayRef<int64_t> dims) {
  auto typed = cast<TypedAttr>(scalar);
  auto tensor = dyn_cast<RankedTensorType>(type(dims, typed.getType()));
  if (!tensor)
    return arith::ConstantOp::create(builder, typed);
  return arith::ConstantOp::create(builder,
                                   DenseElementsAttr::get(tensor, scalar));
}

Value RowTile::fit(Value tile, ArrayRef<int64_t> dims) {
  Type wanted = type(dims, getElementTypeOrSelf(tile));
  if (tile.getType() == wanted)
    return tile;
  if (!isa<RankedTensorType>(tile.getType()))
    return tt::SplatOp::create(builder, wanted, tile);
  return tt::BroadcastOp::create(builder, wanted, tile);
}

Value RowTile::range(unsigned axis, int64_t size) {
  Value &known = ranges[{axis, size}];
  if (known)
    return known;
  if (size == 1)
    return known = i32(0);
  Type i32Type = builder.getI32Type();
  Value result = tt::MakeRangeOp::create(
      builder, RankedTensorType::get({size}, i32Type), 0, size);
  for (unsigned dim = 0; dim < rank(); ++dim) {
    if (dim == axis)
      continue;
    SmallVector<int64_t> dims(
        cast<RankedTensorType>(result.getType()).getShape());
    dims.insert(dims.begin() + dim, 1);
    result = tt::ExpandDimsOp::create(
        builder, RankedTensorType::get(dims, i32Type), result, dim);
  }
  return known = result;
}

Value RowTile::columnProgram() {
  if (!columnProgramId)
    columnProgramId = tt::GetProgramIdOp::create(builder, builder.getI32Type(),
                                                 tt::ProgramAxis::Y);
  return columnProgramId;
}

// The first row of the tile, i32; also sets `rowStart64`.
Value RowTile::rowStart() {
  if (rowProgramId)
    return rowProgramId;
  rowProgramId = tt::GetProgramIdOp::create(builder, builder.getI32Type(),
                                            tt::ProgramAxis::X);
  if (hasRowAxis())
    rowProgramId =
        arith::MulIOp::create(builder, rowProgramId, i32(schedule.blockRows));
  rowStart64 =
      arith::ExtSIOp::create(builder, builder.getI64Type(), rowProgramId);
  return rowProgramId;
}

Value RowTile::both(Value a, Value b) {
  if (!a || !b)
    return a ? a : b;
  return arith::AndIOp::create(builder, a, b);
}

Value RowTile::factorMask(ArrayRef<unsigned> factors, ArrayRef<int64_t> dims) {
  Value mask;
  for (unsigned factor : factors) {
    if (!isPadded(factor))
      continue;
    Value index = range(axis(factor), tileSize(factor));
    SmallVector<int64_t> own(rank(), 1);
    own[axis(factor)] = tileSize(factor);
    if (factor == 0 && isCut()) {
      Value first =
          arith::MulIOp::create(builder, columnProgram(), i32(cutSize()));
      index = arith::AddIOp::create(builder, fit(first, own), index);
    }
    Value limit =
        constant(builder.getI32IntegerAttr(shape.factors[factor]), own);
    Value inside =
        arith::CmpIOp::create(builder, arith::CmpIPredicate::slt, index, limit);
    mask = both(mask, fit(inside, dims));
  }
  return mask;
}

Value RowTile::loadMask(const RowValue &value) {
  SmallVector<int64_t> sizes = dims(value);
  SmallVector<unsigned> covered;
  for (unsigned factor = 0; factor < shape.factors.size(); ++factor)
    if (value.covers(factor))
      covered.push_back(factor);
  Value mask = factorMask(covered, sizes);
  if (!hasRowAxis() || !value.isPerToken())
    return mask;
  SmallVector<int64_t> own(rank(), 1);
  own[0] = schedule.blockRows;
  Value row = arith::AddIOp::create(builder, fit(rowStart(), own),
                                    range(0, schedule.blockRows));
  Value inside = arith::CmpIOp::create(builder, arith::CmpIPredicate::slt, row,
                                       fit(numRows, own));
  return both(fit(inside, sizes), mask);
}

Value RowTile::storeMask(const RowValue &value) {
  Value mask = loadMask(value);
  if (!isCut() || value.covers(0))
    return mask;
  Value first = arith::CmpIOp::create(builder, arith::CmpIPredicate::eq,
                                      columnProgram(), i32(0));
  return both(mask, fit(first, dims(value)));
}

// The offset of the tile's first element, i64; null for 0.
Value RowTile::startOffset(const RowAddress &address, const RowValue &value) {
  Value total;
  auto add = [&](Value term) {
    total =
        total ? arith::AddIOp::create(builder, total, term).getResult() : term;
  };
  if (value.isPerToken() && (address.rowStride || address.constantRowStride)) {
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
                                        i64(cutSize() * address.strides[0]));
    if (address.strideScale)
      start = arith::MulIOp::create(builder, start, address.strideScale);
    add(start);
  }
  if (address.offset)
    add(i64(address.offset));
  return total;
}

// Offsets of the tile's elements from its first, but for the rows; i32.
Value RowTile::offsets(ArrayRef<int64_t> strides, const RowValue &value) {
  SmallVector<int64_t> sizes(rank(), 1);
  Value total;
  // Innermost first, so that partial sums are as small as they can be.
  for (unsigned factor = shape.factors.size(); factor-- > 0;) {
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

Value RowTile::firstPointer(const RowAddress &address, const RowValue &value) {
  Value pointer = address.pointer;
  if (Value start = startOffset(address, value))
    return tt::AddPtrOp::create(builder, pointer.getType(), pointer, start);
  return pointer;
}

Value RowTile::pointers(const RowAddress &address, const RowValue &value) {
  Value pointer = firstPointer(address, value);
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
    Value rows = widen(range(0, schedule.blockRows));
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
