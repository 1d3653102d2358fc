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
// Every op is written out for each chunk.
constexpr int64_t kMaxChunks = 16;
// Where the schedule leaves the choice: more chunks than this are worse than
// padding, and so are narrower ones.
constexpr int64_t kMaxChosenChunks = 9;
constexpr int64_t kMinChosenChunkCols = 128;

// The size of a tile along the outermost factor.
int64_t outerTileSize(const RowShape &shape, RowSchedule schedule) {
  if (shape.factors.empty())
    return 1;
  if (int64_t columns = schedule.blockCols + schedule.chunkCols)
    return columns / shape.columnUnit;
  int64_t factor = shape.factors.front();
  int64_t divisor = factor & -factor;
  if (factor / divisor > kMaxChosenChunks ||
      divisor * shape.columnUnit < kMinChosenChunkCols)
    return llvm::PowerOf2Ceil(factor);
  return divisor;
}

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
  if (schedule.blockCols && schedule.chunkCols)
    return refuse("L7: chunk-cols " + Twine(schedule.chunkCols) +
                  " splits a row that block-cols " + Twine(schedule.blockCols) +
                  " cuts");
  if (schedule.blockCols && shape.fullRow)
    return refuse("L7: block-cols " + Twine(schedule.blockCols) +
                  " cuts a row of " + Twine(shape.width) +
                  " that a reduction spans");
  for (auto [option, columns] :
       {std::pair<StringRef, int64_t>("block-cols", schedule.blockCols),
        std::pair<StringRef, int64_t>("chunk-cols", schedule.chunkCols)}) {
    std::string given = ("L7: " + option + " " + Twine(columns)).str();
    std::string unit = ("the column unit " + Twine(shape.columnUnit)).str();
    if (columns < 0)
      return refuse(given + " is negative");
    if (columns % shape.columnUnit != 0)
      return refuse(given + " is not a multiple of " + unit);
    if (columns && !llvm::isPowerOf2_64(columns / shape.columnUnit))
      return refuse(given + " is not " + unit + " times a power of two");
  }
  if (schedule.chunkCols &&
      llvm::divideCeil(shape.width, schedule.chunkCols) > kMaxChunks)
    return refuse("L7: chunk-cols " + Twine(schedule.chunkCols) +
                  " splits a row of " + Twine(shape.width) +
                  " into more than " + Twine(kMaxChunks) + " chunks");
  int64_t elements = schedule.blockRows * outerTileSize(shape, schedule);
  for (int64_t factor : llvm::drop_begin(shape.factors, !shape.factors.empty()))
    elements *= llvm::PowerOf2Ceil(factor);
  if (elements > kMaxTileElements)
    return refuse("L7: a tile of " + Twine(elements) + " elements exceeds " +
                  Twine(kMaxTileElements));
  return success();
}

RowTile::RowTile(ImplicitLocOpBuilder &builder, const RowShape &shape,
                 RowSchedule schedule, Value numRows, bool padsRows)
    : builder(builder), factorSizes(shape.factors), schedule(schedule),
      numRows(numRows), padsRows(padsRows),
      hasRows(llvm::any_of(shape.inputs,
                           [](auto input) { return input.first > 0; })) {
  for (int64_t factor : factorSizes)
    tileSizes.push_back(llvm::PowerOf2Ceil(factor));
  if (tileSizes.empty())
    return;
  tileSizes.front() = outerTileSize(shape, schedule);
  if (!isCut())
    numChunks = llvm::divideCeil(factorSizes.front(), tileSizes.front());
}

void RowTile::halve(unsigned factor) {
  assert(factorSizes[factor] % 2 == 0 && tileSizes[factor] % 2 == 0);
  factorSizes[factor] /= 2;
  tileSizes[factor] /= 2;
}

SmallVector<int64_t> RowTile::dims(const RowValue &value) const {
  SmallVector<int64_t> dims;
  if (hasRowAxis())
    dims.push_back(schedule.blockRows);
  for (unsigned factor = 0; factor < factorSizes.size(); ++factor)
    dims.push_back(value.covers(factor) ? tileSize(factor) : 1);
  return dims;
}

Type RowTile::type(ArrayRef<int64_t> dims, Type element) {
  if (llvm::all_of(dims, [](int64_t dim) { return dim == 1; }))
    return element;
  return RankedTensorType::get(dims, element);
}

bool RowTile::isPadded(unsigned factor, unsigned chunk) const {
  if (factor == 0 && isCut())
    return factorSizes[0] % tileSize(0) != 0;
  if (factor == 0)
    return (chunk + 1) * tileSize(0) > factorSizes[0];
  return factorSizes[factor] != tileSize(factor);
}

int64_t RowTile::coveredSize(unsigned factor) const {
  if (factor == 0 && isCut())
    return llvm::alignTo(factorSizes[0], tileSize(0));
  return tileSize(factor) * (factor == 0 ? numChunks : 1);
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

// Programs are counted along a row first: those that run at the same time then
// read memory that lies together.
Value RowTile::program() {
  if (!programId)
    programId = tt::GetProgramIdOp::create(builder, builder.getI32Type(),
                                           tt::ProgramAxis::X);
  return programId;
}

// Which part of its row the program has.
Value RowTile::columnProgram() {
  if (!columnProgramId)
    columnProgramId =
        arith::RemSIOp::create(builder, program(), i32(programsOfRow()));
  return columnProgramId;
}

// The first row of the tile, i32; also sets `rowStart64`.
Value RowTile::rowStart() {
  if (firstRow)
    return firstRow;
  firstRow = program();
  if (isCut())
    firstRow = arith::DivSIOp::create(builder, firstRow, i32(programsOfRow()));
  if (hasRowAxis())
    firstRow =
        arith::MulIOp::create(builder, firstRow, i32(schedule.blockRows));
  rowStart64 = arith::ExtSIOp::create(builder, builder.getI64Type(), firstRow);
  return firstRow;
}

// The rows of the tile, i32: a scalar where it has one.
Value RowTile::rowIndex() {
  if (!hasRowAxis())
    return rowStart();
  SmallVector<int64_t> own(rank(), 1);
  own[0] = schedule.blockRows;
  return arith::AddIOp::create(builder, fit(rowStart(), own),
                               range(0, schedule.blockRows));
}

Value RowTile::both(Value a, Value b) {
  if (!a || !b)
    return a ? a : b;
  return arith::AndIOp::create(builder, a, b);
}

Value RowTile::factorMask(ArrayRef<unsigned> factors, ArrayRef<int64_t> dims,
                          unsigned chunk) {
  Value mask;
  for (unsigned factor : factors) {
    if (!isPadded(factor, chunk))
      continue;
    Value index = range(axis(factor), tileSize(factor));
    SmallVector<int64_t> own(rank(), 1);
    own[axis(factor)] = tileSize(factor);
    if (factor == 0 && isCut()) {
      Value first =
          arith::MulIOp::create(builder, columnProgram(), i32(tileSize(0)));
      index = arith::AddIOp::create(builder, fit(first, own), index);
    }
    int64_t before = factor == 0 ? chunk * tileSize(0) : 0;
    Value limit =
        constant(builder.getI32IntegerAttr(factorSizes[factor] - before), own);
    Value inside =
        arith::CmpIOp::create(builder, arith::CmpIPredicate::slt, index, limit);
    mask = both(mask, fit(inside, dims));
  }
  return mask;
}

Value RowTile::loadMask(const RowValue &value, unsigned chunk) {
  SmallVector<int64_t> sizes = dims(value);
  SmallVector<unsigned> covered;
  for (unsigned factor = 0; factor < factorSizes.size(); ++factor)
    if (value.covers(factor))
      covered.push_back(factor);
  Value mask = factorMask(covered, sizes, chunk);
  if (!value.isPerToken())
    return mask;
  return both(rowMask(numRows, sizes), mask);
}

Value RowTile::rowMask(Value limit, ArrayRef<int64_t> dims) {
  if (!hasRowAxis() && !padsRows)
    return nullptr;
  Value row = rowIndex();
  SmallVector<int64_t> own(rank(), 1);
  if (hasRowAxis())
    own[0] = schedule.blockRows;
  Value inside = arith::CmpIOp::create(builder, arith::CmpIPredicate::slt, row,
                                       fit(limit, own));
  return fit(inside, dims);
}

Value RowTile::firstProgramMask(const RowValue &value) {
  if (!isCut() || value.covers(0))
    return nullptr;
  Value first = arith::CmpIOp::create(builder, arith::CmpIPredicate::eq,
                                      columnProgram(), i32(0));
  return fit(first, dims(value));
}

Value RowTile::storeMask(const RowValue &value, unsigned chunk) {
  Value mask = both(loadMask(value, chunk), firstProgramMask(value));
  if (value.isPerToken() || !hasRows)
    return mask;
  // All tokens share it: the first row's program stores it.
  Value index = rowIndex();
  auto type = dyn_cast<RankedTensorType>(index.getType());
  Value zero = constant(builder.getI32IntegerAttr(0),
                        type ? type.getShape() : ArrayRef<int64_t>());
  Value first =
      arith::CmpIOp::create(builder, arith::CmpIPredicate::eq, index, zero);
  return both(mask, fit(first, dims(value)));
}

Value RowTile::columnIndex(ArrayRef<int64_t> strides, const RowValue &value,
                           unsigned chunk) {
  SmallVector<int64_t> sizes = dims(value);
  Value columns = offsets(strides, value);
  Value start;
  if (value.covers(0) && isCut())
    start = arith::MulIOp::create(builder, columnProgram(),
                                  i32(tileSize(0) * strides[0]));
  else if (value.covers(0) && chunk > 0)
    start = i32(chunk * tileSize(0) * strides[0]);
  if (!columns)
    return fit(start ? start : i32(0), sizes);
  columns = fit(columns, sizes);
  if (!start)
    return columns;
  return arith::AddIOp::create(builder, fit(start, sizes), columns);
}

// The offset of the tile's first element, i64; null for 0.
Value RowTile::startOffset(const RowAddress &address, const RowValue &value,
                           unsigned chunk) {
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
                                        i64(tileSize(0) * address.strides[0]));
    if (address.strideScale)
      start = arith::MulIOp::create(builder, start, address.strideScale);
    add(start);
  }
  int64_t offset = address.offset;
  if (chunk > 0) {
    int64_t before = chunk * tileSize(0) * address.strides[0];
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
                            unsigned chunk) {
  Value pointer = address.pointer;
  if (Value start = startOffset(address, value, chunk))
    return tt::AddPtrOp::create(builder, pointer.getType(), pointer, start);
  return pointer;
}

Value RowTile::pointers(const RowAddress &address, const RowValue &value,
                        unsigned chunk) {
  Value pointer = firstPointer(address, value, chunk);
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
