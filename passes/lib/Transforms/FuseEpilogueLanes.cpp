//===- FuseEpilogueLanes.cpp - The addresses of a tile's elements ---------===//
// Passes.td states the new arguments of the kernel with epiq-fuse-epilogue.
//===----------------------------------------------------------------------===//

#include "FuseEpilogueLanes.h"

#include "epiq/Conversion/LayoutAddress.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace epiq::detail {

Value reshapeTo(ImplicitLocOpBuilder &builder, Value value, Type type) {
  if (value.getType() == type)
    return value;
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!isa<RankedTensorType>(value.getType()))
    return tt::SplatOp::create(builder, type, value);
  if (tensor)
    return tt::ReshapeOp::create(builder, type, value, /*allow_reorder=*/false,
                                 /*efficient_layout=*/false);
  // One element as a scalar: the sum of one.
  auto one = RankedTensorType::get({1}, type);
  Value flat = reshapeTo(builder, value, one);
  auto reduce =
      tt::ReduceOp::create(builder, TypeRange{type}, ValueRange{flat}, 0);
  OpBuilder::InsertionGuard guard(builder);
  Location loc = builder.getLoc();
  Block *block =
      builder.createBlock(&reduce.getCombineOp(), {}, {type, type}, {loc, loc});
  tt::ReduceReturnOp::create(builder, ValueRange{block->getArgument(0)});
  return reduce.getResult().front();
}

Value spread(ImplicitLocOpBuilder &builder, Value vector, int axis,
             ArrayRef<int64_t> sizes) {
  auto type = cast<RankedTensorType>(vector.getType());
  SmallVector<int64_t> expanded{1, 1};
  expanded[axis] = sizes[axis];
  vector = tt::ExpandDimsOp::create(
      builder, RankedTensorType::get(expanded, type.getElementType()), vector,
      1 - axis);
  if (ArrayRef<int64_t>(expanded) == sizes)
    return vector;
  return tt::BroadcastOp::create(
      builder, RankedTensorType::get(sizes, type.getElementType()), vector);
}

// Where the kernel leaves open what is row and what is column, the tile's start
// is taken apart by a division: one a tile, not one an element.
TileLanes::TileLanes(ImplicitLocOpBuilder &builder, const Epilogue &epilogue,
                     const TileStore &tile)
    : builder(builder), epilogue(epilogue), tile(tile), row(tile.row),
      colStart(tile.colStart) {
  if (tile.rest.getTerms().empty())
    return;
  IntegerType i64 = builder.getI64Type();
  Value rest = materializeScalar(builder, builder.getLoc(), tile.rest, i64);
  Value stride =
      materializeScalar(builder, builder.getLoc(), tile.rowStride, i64);
  row =
      row + IndexForm::ofScalar(arith::DivSIOp::create(builder, rest, stride));
  colStart = colStart +
             IndexForm::ofScalar(arith::RemSIOp::create(builder, rest, stride));
}

int64_t TileLanes::columnsOf(const EpilogueOperand &operand) const {
  int64_t groups =
      operand.perGroupOfTile ? tile.numCols / epilogue.groupColumns : 1;
  return groups * operand.perGroup;
}

// A 1-d tensor along a dimension of rows, repeated for the others:
// tensor<rows x ..>.
Value TileLanes::alongRows(Value vector, int dim) {
  auto type = cast<RankedTensorType>(vector.getType());
  if (type.getDimSize(0) == tile.numRows)
    return vector;
  SmallVector<int64_t> sizes(tile.rowSizes.size(), 1);
  const auto *at = llvm::find(tile.rowDims, dim);
  sizes[at - tile.rowDims.begin()] = type.getDimSize(0);
  Type element = type.getElementType();
  Value expanded =
      reshapeTo(builder, vector, RankedTensorType::get(sizes, element));
  Value repeated = tt::BroadcastOp::create(
      builder, RankedTensorType::get(tile.rowSizes, element), expanded);
  return reshapeTo(builder, repeated,
                   RankedTensorType::get({tile.numRows}, element));
}

// The rows of the tile as tensor<rows x i64>.
Value TileLanes::rowIndices() {
  IntegerType i64 = builder.getI64Type();
  auto vector = [&](const IndexForm &form, int dim, int64_t size) {
    return materializeVector(builder, builder.getLoc(), form, dim, size, i64);
  };
  SmallVector<std::pair<int, int64_t>> varying;
  for (auto [dim, size] : llvm::zip(tile.rowDims, tile.rowSizes))
    if (row.variesAlong(dim))
      varying.push_back({dim, size});
  if (varying.empty())
    return vector(row, -1, tile.numRows);
  Value total;
  for (auto [dim, size] : varying) {
    // What is uniform joins the first dimension's part.
    IndexForm part = row.filter([&](const IndexTerm &term) {
      return term.dim == dim || (term.isUniform() && !total);
    });
    Value rows = alongRows(vector(part, dim, size), dim);
    total =
        total ? arith::AddIOp::create(builder, total, rows).getResult() : rows;
  }
  return total;
}

// The first column of `operand` in the tile, i32; null for 0.
Value TileLanes::firstColumn(const EpilogueOperand &operand) {
  if (!operand.perGroupOfTile || colStart.getConstant() == 0)
    return {};
  IntegerType i32 = builder.getI32Type();
  IntegerType type = tile.flat ? builder.getI64Type() : i32;
  Value first = materializeScalar(builder, builder.getLoc(), colStart, type);
  if (operand.columnsPerColumn == 1)
    return first;
  return inColumnsOf(first, operand.columnsPerColumn);
}

// A number of the output's columns, whole groups of them, as one of columns
// that each stand for `columnsPerColumn`. The product at the end tells Triton
// what divides it, which a quotient does not: stores stay wide.
Value TileLanes::inColumnsOf(Value count, int64_t columnsPerColumn) {
  auto constant = [&](int64_t value) -> Value {
    return arith::ConstantOp::create(builder,
                                     IntegerAttr::get(count.getType(), value));
  };
  Value groups =
      arith::DivSIOp::create(builder, count, constant(epilogue.groupColumns));
  int64_t perGroup = epilogue.groupColumns / columnsPerColumn;
  if (perGroup == 1)
    return groups;
  return arith::MulIOp::create(builder, groups, constant(perGroup));
}

// The columns of `operand` in the tile: tensor<columns x i32>, or i64 where the
// kernel counts elements.
Value TileLanes::columnIndices(const EpilogueOperand &operand) {
  int64_t numCols = columnsOf(operand);
  IntegerType i32 = builder.getI32Type();
  Value first = firstColumn(operand);
  auto type =
      RankedTensorType::get({numCols}, first ? first.getType() : Type(i32));
  Value columns = tt::MakeRangeOp::create(
      builder, RankedTensorType::get({numCols}, i32), 0, numCols);
  if (type.getElementType() != i32)
    columns = arith::ExtSIOp::create(builder, type, columns);
  if (!first)
    return columns;
  return arith::AddIOp::create(
      builder, tt::SplatOp::create(builder, type, first), columns);
}

Value TileLanes::scale(Value vector, Value factor) {
  auto type = cast<RankedTensorType>(vector.getType());
  Value splat = tt::SplatOp::create(builder, type, factor);
  return arith::MulIOp::create(builder, vector, splat);
}

namespace {

// The place of an index. One that is its own place stays as narrow as it is.
Value placeOf(ImplicitLocOpBuilder &builder, ArrayRef<LayoutTerm> terms,
              Value index, Value distance) {
  bool isItself = terms.size() == 1 && terms[0].stride == 1 &&
                  terms[0].divisor == 1 && terms[0].modulus == 0 &&
                  !terms[0].scaled;
  return isItself ? index : evaluate(builder, terms, index, distance);
}

} // namespace

Value TileLanes::pointers(const EpilogueOperand &operand,
                          EpilogueArguments::Place place) {
  int64_t numRows = rowsOf(operand), numCols = columnsOf(operand);
  Type pointer = place.pointer.getType();
  LayoutAddress layout = LayoutAddress::get(operand.layout);
  auto move = [&](Value base, Value offset) -> Value {
    return tt::AddPtrOp::create(builder, base.getType(), base, offset);
  };

  Value base = place.pointer;
  if (operand.offset != 0)
    base = move(base, arith::ConstantIntOp::create(
                          builder, builder.getI64Type(), operand.offset));
  Value all = tt::SplatOp::create(
      builder, RankedTensorType::get({numRows, 1}, pointer), base);
  if (operand.perToken) {
    Value rows = spread(builder, rowIndices(), kRows, {numRows, 1});
    all = move(all, placeOf(builder, layout.row, rows, place.distance));
  }
  if (numCols > 1)
    all = tt::BroadcastOp::create(
        builder, RankedTensorType::get({numRows, numCols}, pointer), all);

  Value columns = columnIndices(operand);
  if (operand.columnStride != 1)
    columns = scale(columns, arith::ConstantIntOp::create(
                                 builder, getElementTypeOrSelf(columns),
                                 operand.columnStride));
  columns = placeOf(builder, layout.column, columns, place.distance);
  return move(all, spread(builder, columns, kCols, {numRows, numCols}));
}

} // namespace epiq::detail
