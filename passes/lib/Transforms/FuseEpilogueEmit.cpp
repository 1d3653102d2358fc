//===- FuseEpilogueEmit.cpp - An epilogue at a store ----------------------===//
// Passes.td states the new arguments of the kernel with epiq-fuse-epilogue.
//===----------------------------------------------------------------------===//

#include "FuseEpilogueDetail.h"

#include "epiq/Conversion/TileBody.h"
#include "epiq/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

using namespace mlir;

namespace epiq::detail {

namespace {

constexpr int kRows = 0, kCols = 1;

// Emits the epilogue on one tile.
class TileEmitter {
public:
  TileEmitter(const Epilogue &epilogue, const TileStore &tile,
              const EpilogueArguments &arguments)
      : epilogue(epilogue), tile(tile), arguments(arguments),
        builder(tile.op->getLoc(), tile.op), shape(epilogue.rows),
        row(tile.row), colStart(tile.colStart) {
    // The tile is a row of as many groups as it holds.
    if (!shape.fullRow && !shape.factors.empty()) {
      shape.factors.front() = tile.numCols / epilogue.groupColumns;
      shape.width = shape.factors.front() * shape.columnUnit;
    }
  }

  LogicalResult emit(std::string &reason);

private:
  void markDivisions(Operation *before);
  // Columns of `operand` that belong to the tile.
  int64_t columnsOf(const EpilogueOperand &operand) const {
    int64_t groups =
        operand.perGroupOfTile ? tile.numCols / epilogue.groupColumns : 1;
    return groups * operand.perGroup;
  }
  int64_t rowsOf(const EpilogueOperand &operand) const {
    return operand.perToken ? tile.numRows : 1;
  }

  void splitRest();
  Value constantLike(Type type, double value);
  Value alongRows(Value vector, int dim);
  Value rowIndices();
  Value firstColumn(const EpilogueOperand &operand);
  Value inColumnsOf(Value count, int64_t columnsPerColumn);
  Value spread(Value vector, int axis, ArrayRef<int64_t> sizes);
  Value pointers(const EpilogueOperand &operand,
                 EpilogueArguments::Place place);
  Value boundAsMask(const TileBound &bound, int axis, int64_t size,
                    int64_t columnsPerColumn);
  Value maskOf(const EpilogueOperand &operand);
  bool keepsGroups(const TileBound &bound) const;
  bool cutsGroups() const;
  Value storedTile();
  std::pair<Value, Value> splitTile(Value whole, int64_t run);
  void readTile(DenseMap<Value, Value> &loads);
  Value reshapeTo(Value value, Type type);
  Value load(Value value, const EpilogueOperand &operand, unsigned input);
  void store(Value value, const EpilogueOperand &operand, unsigned result);

  const Epilogue &epilogue;
  const TileStore &tile;
  const EpilogueArguments &arguments;
  ImplicitLocOpBuilder builder;
  RowShape shape;
  IndexForm row, colStart;
};

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

// Where the kernel leaves open what is row and what is column, the tile's start
// is taken apart by a division: one a tile, not one an element.
void TileEmitter::splitRest() {
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

// A 1-d tensor along a dimension of rows, repeated for the others:
// tensor<rows x ..>.
Value TileEmitter::alongRows(Value vector, int dim) {
  auto type = cast<RankedTensorType>(vector.getType());
  if (type.getDimSize(0) == tile.numRows)
    return vector;
  SmallVector<int64_t> sizes(tile.rowSizes.size(), 1);
  const auto *at = llvm::find(tile.rowDims, dim);
  sizes[at - tile.rowDims.begin()] = type.getDimSize(0);
  Type element = type.getElementType();
  Value expanded = reshapeTo(vector, RankedTensorType::get(sizes, element));
  Value repeated = tt::BroadcastOp::create(
      builder, RankedTensorType::get(tile.rowSizes, element), expanded);
  return reshapeTo(repeated, RankedTensorType::get({tile.numRows}, element));
}

// The rows of the tile as tensor<rows x i64>.
Value TileEmitter::rowIndices() {
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
Value TileEmitter::firstColumn(const EpilogueOperand &operand) {
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
Value TileEmitter::inColumnsOf(Value count, int64_t columnsPerColumn) {
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

// A 1-d tensor along one axis of a tensor of `sizes`.
Value TileEmitter::spread(Value vector, int axis, ArrayRef<int64_t> sizes) {
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

// The addresses of an operand's elements, a tensor of rows x columns.
Value TileEmitter::pointers(const EpilogueOperand &operand,
                            EpilogueArguments::Place place) {
  int64_t numRows = rowsOf(operand), numCols = columnsOf(operand);
  IntegerType i64 = builder.getI64Type();
  Type pointer = place.pointer.getType();
  auto move = [&](Value base, Value offset) -> Value {
    return tt::AddPtrOp::create(builder, base.getType(), base, offset);
  };
  auto scale = [&](Value value, Value factor) -> Value {
    auto type = cast<RankedTensorType>(value.getType());
    Value splat = tt::SplatOp::create(builder, type, factor);
    return arith::MulIOp::create(builder, value, splat);
  };

  Value base = place.pointer;
  if (operand.offset != 0)
    base = move(base, arith::ConstantOp::create(
                          builder, IntegerAttr::get(i64, operand.offset)));
  Value rows = tt::SplatOp::create(
      builder, RankedTensorType::get({numRows, 1}, pointer), base);
  if (operand.perToken) {
    Value indices = spread(rowIndices(), kRows, {numRows, 1});
    rows = move(rows,
                operand.columnMajor ? indices : scale(indices, place.stride));
  }
  Value all = rows;
  if (numCols > 1)
    all = tt::BroadcastOp::create(
        builder, RankedTensorType::get({numRows, numCols}, pointer), rows);

  IntegerType i32 = builder.getI32Type();
  Value first = firstColumn(operand);
  auto columnType =
      RankedTensorType::get({numCols}, first ? first.getType() : Type(i32));
  Value columns = tt::MakeRangeOp::create(
      builder, RankedTensorType::get({numCols}, i32), 0, numCols);
  if (columnType.getElementType() != i32)
    columns = arith::ExtSIOp::create(builder, columnType, columns);
  if (first)
    columns = arith::AddIOp::create(
        builder, tt::SplatOp::create(builder, columnType, first), columns);
  if (operand.columnStride != 1)
    columns = scale(columns,
                    arith::ConstantOp::create(
                        builder, IntegerAttr::get(columnType.getElementType(),
                                                  operand.columnStride)));
  if (operand.columnMajor) {
    if (columnType.getElementType() != i64)
      columns = arith::ExtSIOp::create(
          builder, RankedTensorType::get({numCols}, i64), columns);
    columns = scale(columns, place.stride);
  }
  return move(all, spread(columns, kCols, {numRows, numCols}));
}

// A condition asked about `size` rows or columns, as tensor<size x i1>; about
// every `columnsPerColumn`-th column, that is about groups.
Value TileEmitter::boundAsMask(const TileBound &bound, int axis, int64_t size,
                               int64_t columnsPerColumn) {
  auto type = RankedTensorType::get({size}, builder.getI1Type());
  if (bound.opaque) {
    auto tensor = dyn_cast<RankedTensorType>(bound.opaque.getType());
    if (!tensor)
      return tt::SplatOp::create(builder, type, bound.opaque);
    return reshapeTo(bound.opaque, type);
  }
  auto scaled = [&](const IndexForm &form) {
    IndexForm result;
    for (IndexTerm term : form.getTerms()) {
      if (axis == kCols && term.isPosition())
        term.coeff *= columnsPerColumn;
      result.add(std::move(term));
    }
    return result;
  };
  IntegerType integer =
      widestOf(builder.getContext(), {&bound.lhs, &bound.rhs});
  if (axis == kCols && columnsPerColumn > 1 && keepsGroups(bound)) {
    IndexForm distance = (bound.rhs - bound.lhs).getUniform();
    Value limit = inColumnsOf(
        materializeScalar(builder, builder.getLoc(), distance, integer),
        columnsPerColumn);
    Value positions = materializeVector(builder, builder.getLoc(),
                                        IndexForm::along(bound.dim), bound.dim,
                                        size, integer);
    limit = tt::SplatOp::create(builder, positions.getType(), limit);
    return arith::CmpIOp::create(builder, bound.predicate, positions, limit);
  }
  auto vector = [&](const IndexForm &form) {
    return materializeVector(builder, builder.getLoc(), scaled(form), bound.dim,
                             size, integer);
  };
  return arith::CmpIOp::create(builder, bound.predicate, vector(bound.lhs),
                               vector(bound.rhs));
}

// Whether a condition on columns holds for all columns of a group or for none.
bool TileEmitter::keepsGroups(const TileBound &bound) const {
  IndexForm distance = bound.lhs - bound.rhs;
  IndexForm varying = distance - distance.getUniform();
  return varying == IndexForm::along(tile.colDim) &&
         (bound.predicate == arith::CmpIPredicate::slt ||
          bound.predicate == arith::CmpIPredicate::sge) &&
         distance.getUniform().getDivisor() % epilogue.groupColumns == 0;
}

bool TileEmitter::cutsGroups() const {
  return llvm::any_of(tile.bounds, [&](const TileBound &bound) {
    return bound.dim == tile.colDim && !keepsGroups(bound);
  });
}

// The lanes of an operand that lie in the output; null when all do.
Value TileEmitter::maskOf(const EpilogueOperand &operand) {
  SmallVector<int64_t> sizes{rowsOf(operand), columnsOf(operand)};
  Value mask;
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
    Value condition = spread(vector, axis, sizes);
    mask = mask ? arith::AndIOp::create(builder, mask, condition).getResult()
                : condition;
  }
  return mask;
}

Value TileEmitter::constantLike(Type type, double value) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  Type element = getElementTypeOrSelf(type);
  TypedAttr scalar = isa<FloatType>(element)
                         ? TypedAttr(builder.getFloatAttr(element, value))
                         : TypedAttr(builder.getIntegerAttr(element, value));
  if (!tensor)
    return arith::ConstantOp::create(builder, scalar);
  return arith::ConstantOp::create(builder,
                                   DenseElementsAttr::get(tensor, scalar));
}

Value TileEmitter::reshapeTo(Value value, Type type) {
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
  Value flat = reshapeTo(value, one);
  auto reduce =
      tt::ReduceOp::create(builder, TypeRange{type}, ValueRange{flat}, 0);
  OpBuilder::InsertionGuard guard(builder);
  Location loc = builder.getLoc();
  Block *block =
      builder.createBlock(&reduce.getCombineOp(), {}, {type, type}, {loc, loc});
  tt::ReduceReturnOp::create(builder, ValueRange{block->getArgument(0)});
  return reduce.getResult().front();
}

// The stored value as rows x columns, with zeros beyond the row's end if a
// group may reach over it.
Value TileEmitter::storedTile() {
  Value value = tile.value;
  auto type = cast<RankedTensorType>(value.getType());
  auto matrix = RankedTensorType::get({tile.numRows, tile.numCols},
                                      type.getElementType());
  if (tile.colDim < type.getRank() - 1) {
    // Columns last.
    SmallVector<int32_t> order(tile.rowDims.begin(), tile.rowDims.end());
    order.push_back(tile.colDim);
    SmallVector<int64_t> sizes(tile.rowSizes.begin(), tile.rowSizes.end());
    sizes.push_back(tile.numCols);
    value = tt::TransOp::create(
        builder, RankedTensorType::get(sizes, type.getElementType()), value,
        builder.getDenseI32ArrayAttr(order));
  }
  value = reshapeTo(value, matrix);
  if (!cutsGroups())
    return value;
  EpilogueOperand whole;
  whole.perGroupOfTile = true;
  whole.perGroup = epilogue.groupColumns;
  whole.columnsPerColumn = 1;
  Value mask = maskOf(whole);
  if (tile.numRows != 1)
    mask = tt::BroadcastOp::create(
        builder, RankedTensorType::get(matrix.getShape(), builder.getI1Type()),
        mask);
  return arith::SelectOp::create(builder, mask, value,
                                 constantLike(matrix, 0.0));
}

// The two parts of a tile that alternate every `run` columns.
std::pair<Value, Value> TileEmitter::splitTile(Value whole, int64_t run) {
  auto type = cast<RankedTensorType>(whole.getType());
  int64_t pairs = tile.numCols / (2 * run);
  Value apart =
      reshapeTo(whole, RankedTensorType::get({tile.numRows, pairs, 2, run},
                                             type.getElementType()));
  Value last =
      tt::TransOp::create(builder,
                          RankedTensorType::get({tile.numRows, pairs, run, 2},
                                                type.getElementType()),
                          apart, builder.getDenseI32ArrayAttr({0, 1, 3, 2}));
  auto half =
      RankedTensorType::get({tile.numRows, pairs, run}, type.getElementType());
  auto split = tt::SplitOp::create(builder, TypeRange{half, half}, last);
  return {split.getOutLHS(), split.getOutRHS()};
}

void TileEmitter::readTile(DenseMap<Value, Value> &loads) {
  Value whole = storedTile();
  std::pair<Value, Value> halves;
  for (const auto &[value, part] : epilogue.parts) {
    Value read = whole;
    if (part.half) {
      if (!halves.first)
        halves = splitTile(whole, part.run);
      read = *part.half == 0 ? halves.first : halves.second;
    }
    loads[value] = reshapeTo(read, getTileType(shape, tile.numRows, value));
  }
}

Value TileEmitter::load(Value value, const EpilogueOperand &operand,
                        unsigned input) {
  Value addresses = pointers(operand, arguments.inputs[input - 1]);
  auto addressType = cast<RankedTensorType>(addresses.getType());
  Value mask = maskOf(operand);
  Value other;
  if (mask)
    other = constantLike(
        addressType.clone(getElementTypeOrSelf(value.getType())), 0.0);
  return tt::LoadOp::create(builder, addresses, mask, other);
}

void TileEmitter::store(Value value, const EpilogueOperand &operand,
                        unsigned result) {
  Value addresses = pointers(operand, arguments.results[result]);
  auto addressType = cast<RankedTensorType>(addresses.getType());
  Value stored = reshapeTo(
      value, addressType.clone(getElementTypeOrSelf(value.getType())));
  tt::StoreOp::create(builder, addresses, stored, maskOf(operand));
}

// Tells the divisions of the epilogue, those after `before`, from the user's.
void TileEmitter::markDivisions(Operation *before) {
  Operation *op =
      before ? before->getNextNode() : &tile.op->getBlock()->front();
  for (; op != tile.op; op = op->getNextNode())
    if (isa<tt::PreciseDivFOp>(op))
      op->setAttr(kEpilogueAttr, builder.getUnitAttr());
}

LogicalResult TileEmitter::emit(std::string &reason) {
  splitRest();
  DenseMap<Value, Value> loads;
  readTile(loads);
  for (const auto &[value, operand] : epilogue.loads) {
    unsigned input = epilogue.rows.loads.find(value)->second.input;
    Value loaded = load(value, operand, input);
    // The tile of a shared value has all rows too.
    auto type = cast<RankedTensorType>(loaded.getType());
    if (!operand.perToken && tile.numRows > 1)
      loaded = tt::BroadcastOp::create(
          builder,
          RankedTensorType::get({tile.numRows, type.getDimSize(kCols)},
                                type.getElementType()),
          loaded);
    loads[value] = reshapeTo(loaded, getTileType(shape, tile.numRows, value));
  }
  Operation *before = tile.op->getPrevNode();
  SmallVector<Value> results =
      emitTileBody(builder, epilogue.program, shape, tile.numRows, loads);
  markDivisions(before);
  for (auto [i, result] : llvm::enumerate(results))
    store(result, epilogue.results[i], i);
  return success();
}

} // namespace

EpilogueArguments addArguments(tt::FuncOp kernel, const Epilogue &epilogue,
                               ArrayRef<int64_t> divisibility) {
  MLIRContext *context = kernel.getContext();
  Builder builder(context);
  EpilogueArguments arguments;
  size_t next = 0;
  auto add = [&](Type type) -> Value {
    int64_t divisor = next < divisibility.size() ? divisibility[next] : 1;
    ++next;
    SmallVector<NamedAttribute> attributes;
    if (divisor > 1)
      attributes.push_back(builder.getNamedAttr(
          "tt.divisibility", builder.getI32IntegerAttr(divisor)));
    unsigned index = kernel.getNumArguments();
    (void)kernel.insertArgument(
        index, type, builder.getDictionaryAttr(attributes), kernel.getLoc());
    return kernel.getArgument(index);
  };
  auto addPlace = [&](Type element, bool hasStride) {
    EpilogueArguments::Place place;
    place.pointer = add(tt::PointerType::get(element));
    if (hasStride)
      place.stride = add(builder.getI64Type());
    return place;
  };
  graph::RowProgramOp program = epilogue.program;
  for (auto [i, input] : llvm::enumerate(program.getBlock().getArguments()))
    if (i > 0)
      arguments.inputs.push_back(addPlace(getElementTypeOrSelf(input.getType()),
                                          epilogue.rows.inputs[i].first > 0));
  for (Value result : program.getYield().getValues())
    arguments.results.push_back(
        addPlace(getElementTypeOrSelf(result.getType()), true));
  return arguments;
}

LogicalResult emitEpilogue(const Epilogue &epilogue, const TileStore &tile,
                           const EpilogueArguments &arguments,
                           std::string &reason) {
  return TileEmitter(epilogue, tile, arguments).emit(reason);
}

} // namespace epiq::detail
