//===- RowTile.cpp - The tile of a row program in Triton IR ---------------===//
// The sizes of its tensors, and which lanes exist. RowTileAddress.cpp says
// where they lie.
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
  for (unsigned factor = 1; factor < shape.factors.size(); ++factor)
    if (!shape.isUnrolled(factor))
      elements *= llvm::PowerOf2Ceil(shape.factors[factor]);
  if (elements > kMaxTileElements)
    return refuse("L7: a tile of " + Twine(elements) + " elements exceeds " +
                  Twine(kMaxTileElements));
  return success();
}

int64_t RowTile::programsOfRow(const RowShape &shape, RowSchedule schedule) {
  if (!schedule.blockCols)
    return 1;
  return llvm::divideCeil(shape.factors.front(),
                          outerTileSize(shape, schedule));
}

RowTile::RowTile(ImplicitLocOpBuilder &builder, const RowShape &shape,
                 RowSchedule schedule, Value numRows, bool padsRows,
                 RowGrid grid)
    : builder(builder), factorSizes(shape.factors), unrolled(shape.unrolled),
      schedule(schedule), numRows(numRows), grid(grid), padsRows(padsRows),
      hasRows(llvm::any_of(shape.inputs,
                           [](auto input) { return input.first > 0; })) {
  if (!this->grid.columns && !factorSizes.empty())
    this->grid.columns = programsOfRow(shape, schedule);
  unrolled.resize(factorSizes.size(), false);
  for (auto [factor, size] : llvm::enumerate(factorSizes))
    tileSizes.push_back(unrolled[factor] ? 1 : llvm::PowerOf2Ceil(size));
  if (tileSizes.empty())
    return;
  tileSizes.front() = outerTileSize(shape, schedule);
  if (!isCut())
    numChunks = llvm::divideCeil(factorSizes.front(), tileSizes.front());
}

SmallVector<RowPart> RowTile::parts(const RowValue &value) const {
  SmallVector<RowPart> parts;
  for (unsigned chunk = 0; chunk < (value.covers(0) ? numChunks : 1); ++chunk)
    parts.push_back({chunk, SmallVector<int64_t>(factorSizes.size(), 0)});
  for (unsigned factor = 0; factor < factorSizes.size(); ++factor) {
    if (!unrolled[factor] || !value.covers(factor))
      continue;
    SmallVector<RowPart> finer;
    for (const RowPart &part : parts)
      for (int64_t at = 0; at < factorSizes[factor]; ++at) {
        finer.push_back(part);
        finer.back().at[factor] = at;
      }
    parts = std::move(finer);
  }
  return parts;
}

unsigned RowTile::find(const RowValue &value, const RowPart &part) const {
  unsigned number = value.covers(0) && numChunks > 1 ? part.chunk : 0;
  for (unsigned factor = 0; factor < factorSizes.size(); ++factor)
    if (unrolled[factor] && value.covers(factor))
      number = number * factorSizes[factor] + part.at[factor];
  return number;
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

bool RowTile::isPadded(unsigned factor, const RowPart &part) const {
  if (unrolled[factor])
    return false;
  if (factor == 0 && isCut())
    return factorSizes[0] % tileSize(0) != 0;
  if (factor == 0)
    return (part.chunk + 1) * tileSize(0) > factorSizes[0];
  return factorSizes[factor] != tileSize(factor);
}

int64_t RowTile::coveredSize(unsigned factor) const {
  if (factor == 0 && isCut())
    return llvm::alignTo(factorSizes[0], tileSize(0));
  if (unrolled[factor])
    return factorSizes[factor];
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
  if (columnProgramId)
    return columnProgramId;
  columnProgramId =
      arith::RemSIOp::create(builder, program(), i32(grid.columns));
  if (grid.first)
    columnProgramId =
        arith::SubIOp::create(builder, columnProgramId, i32(grid.first));
  return columnProgramId;
}

// The first row of the tile, i32; also sets `rowStart64`.
Value RowTile::rowStart() {
  if (firstRow)
    return firstRow;
  firstRow = program();
  if (isCut() || grid.columns > 1)
    firstRow = arith::DivSIOp::create(builder, firstRow, i32(grid.columns));
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
                          const RowPart &part) {
  Value mask;
  for (unsigned factor : factors) {
    if (!isPadded(factor, part))
      continue;
    Value index = range(axis(factor), tileSize(factor));
    SmallVector<int64_t> own(rank(), 1);
    own[axis(factor)] = tileSize(factor);
    if (factor == 0 && isCut()) {
      Value first =
          arith::MulIOp::create(builder, columnProgram(), i32(tileSize(0)));
      index = arith::AddIOp::create(builder, fit(first, own), index);
    }
    int64_t before = factor == 0 ? part.chunk * tileSize(0) : 0;
    Value limit =
        constant(builder.getI32IntegerAttr(factorSizes[factor] - before), own);
    Value inside =
        arith::CmpIOp::create(builder, arith::CmpIPredicate::slt, index, limit);
    mask = both(mask, fit(inside, dims));
  }
  return mask;
}

Value RowTile::loadMask(const RowValue &value, const RowPart &part) {
  SmallVector<int64_t> sizes = dims(value);
  SmallVector<unsigned> covered;
  for (unsigned factor = 0; factor < factorSizes.size(); ++factor)
    if (value.covers(factor))
      covered.push_back(factor);
  Value mask = factorMask(covered, sizes, part);
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

Value RowTile::storeMask(const RowValue &value, const RowPart &part) {
  Value mask = both(loadMask(value, part), firstProgramMask(value));
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

} // namespace epiq
