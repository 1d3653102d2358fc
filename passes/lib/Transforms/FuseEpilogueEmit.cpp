//===- FuseEpilogueEmit.cpp - An epilogue at a store ----------------------===//
// Passes.td states the new arguments of the kernel with epiq-fuse-epilogue.
//===----------------------------------------------------------------------===//

#include "FuseEpilogueLanes.h"

#include "epiq/Conversion/TileBody.h"
#include "epiq/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace epiq::detail {

namespace {

// Emits the epilogue on the tiles of one set.
class TileEmitter {
public:
  TileEmitter(const Epilogue &epilogue, const TileSet &set,
              const EpilogueArguments &arguments, int64_t target)
      : epilogue(epilogue), set(set), tile(set.tile()), arguments(arguments),
        target(target), builder(set.last()->getLoc(), set.last()),
        shape(epilogue.rows), lanes(builder, epilogue, tile) {
    // The tile is a row of as many groups as it holds.
    if (!shape.fullRow && !shape.factors.empty()) {
      shape.factors.front() = tile.numCols / epilogue.groupColumns;
      shape.width = shape.factors.front() * shape.columnUnit;
    }
  }

  void emit();

private:
  Value zeros(Type type);
  Value storedTile(const TileStore &stored);
  std::pair<Value, Value> splitTile(Value whole, int64_t run);
  void readTiles(DenseMap<Value, Value> &loads);
  Value load(Value value, const EpilogueOperand &operand);
  Value existing(Value value, const EpilogueOperand &operand);
  void store(Value stored, unsigned result);
  void markDivisions(Operation *before);

  const Epilogue &epilogue;
  const TileSet &set;
  const TileStore &tile;
  const EpilogueArguments &arguments;
  int64_t target;
  ImplicitLocOpBuilder builder;
  RowShape shape;
  TileLanes lanes;
};

Value TileEmitter::zeros(Type type) {
  return arith::ConstantOp::create(builder, builder.getZeroAttr(type));
}

// The stored value as rows x columns, with zeros beyond the row's end if a
// group may reach over it.
Value TileEmitter::storedTile(const TileStore &stored) {
  Value value = stored.value;
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
  value = reshapeTo(builder, value, matrix);
  if (!lanes.cutsGroups())
    return value;
  EpilogueOperand whole;
  whole.perGroupOfTile = true;
  whole.perGroup = epilogue.groupColumns;
  whole.columnsPerColumn = 1;
  Value mask = lanes.mask(whole);
  if (tile.numRows != 1)
    mask = tt::BroadcastOp::create(
        builder, RankedTensorType::get(matrix.getShape(), builder.getI1Type()),
        mask);
  return arith::SelectOp::create(builder, mask, value, zeros(matrix));
}

// The two parts of a tile that alternate every `run` columns.
std::pair<Value, Value> TileEmitter::splitTile(Value whole, int64_t run) {
  auto type = cast<RankedTensorType>(whole.getType());
  int64_t pairs = tile.numCols / (2 * run);
  Value apart = reshapeTo(builder, whole,
                          RankedTensorType::get({tile.numRows, pairs, 2, run},
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

void TileEmitter::readTiles(DenseMap<Value, Value> &loads) {
  SmallVector<Value> tiles;
  for (const TileStore &stored : set.tiles)
    tiles.push_back(storedTile(stored));
  SmallVector<std::pair<Value, Value>> halves(tiles.size());
  for (const auto &[value, part] : epilogue.parts) {
    Value read = tiles[part.output];
    if (part.half) {
      auto &[even, odd] = halves[part.output];
      if (!even)
        std::tie(even, odd) = splitTile(read, part.run);
      read = *part.half == 0 ? even : odd;
    }
    loads[value] =
        reshapeTo(builder, read, getTileType(shape, tile.numRows, value));
  }
}

// An input of the epilogue as a tile, zeros where it does not exist.
Value TileEmitter::load(Value value, const EpilogueOperand &operand) {
  unsigned input = epilogue.rows.loads.find(value)->second.input;
  Value addresses =
      lanes.pointers(operand, arguments.inputs[input - epilogue.numOutputs]);
  auto type = cast<RankedTensorType>(addresses.getType())
                  .clone(memoryType(getElementTypeOrSelf(value)));
  Value mask = lanes.mask(operand);
  if (mask && mask.getType() != type.clone(builder.getI1Type()))
    mask =
        tt::BroadcastOp::create(builder, type.clone(builder.getI1Type()), mask);
  Value loaded = tt::LoadOp::create(builder, addresses, mask,
                                    mask ? zeros(type) : Value());
  if (getElementTypeOrSelf(value).isInteger(1))
    loaded = arith::CmpIOp::create(builder, arith::CmpIPredicate::ne, loaded,
                                   zeros(type));
  // The tile of a shared value has all rows too.
  type = cast<RankedTensorType>(loaded.getType());
  if (!operand.perToken && tile.numRows > 1)
    loaded = tt::BroadcastOp::create(
        builder,
        RankedTensorType::get({tile.numRows, type.getDimSize(kCols)},
                              type.getElementType()),
        loaded);
  return reshapeTo(builder, loaded, getTileType(shape, tile.numRows, value));
}

// The elements of a value that exist, as a tile of truth values; null for all.
Value TileEmitter::existing(Value value, const EpilogueOperand &operand) {
  Value mask = lanes.mask(operand);
  if (!mask)
    return {};
  Type i1 = builder.getI1Type();
  auto matrix = RankedTensorType::get(
      {lanes.rowsOf(operand), lanes.columnsOf(operand)}, i1);
  if (mask.getType() != matrix)
    mask = tt::BroadcastOp::create(builder, matrix, mask);
  Type type = getTileType(shape, tile.numRows, value);
  if (auto tensor = dyn_cast<RankedTensorType>(type))
    return reshapeTo(builder, mask, tensor.clone(i1));
  return reshapeTo(builder, mask, i1);
}

void TileEmitter::store(Value stored, unsigned result) {
  EpilogueArguments::Place place = arguments.results[result];
  graph::RowProgramOp program = epilogue.program;
  if (epilogue.rows.tensorMaxes.contains(
          program.getYield().getValues()[result]))
    return maximizeInMemory(builder, place.pointer, stored);
  const EpilogueOperand &operand = epilogue.results[result];
  Value addresses = lanes.pointers(operand, place);
  auto type = cast<RankedTensorType>(addresses.getType())
                  .clone(getElementTypeOrSelf(stored));
  Value mask = lanes.mask(operand);
  if (mask && mask.getType() != type.clone(builder.getI1Type()))
    mask =
        tt::BroadcastOp::create(builder, type.clone(builder.getI1Type()), mask);
  tt::StoreOp::create(builder, addresses, reshapeTo(builder, stored, type),
                      mask);
}

// Tells the divisions of the epilogue, those after `before`, from the user's.
void TileEmitter::markDivisions(Operation *before) {
  Operation *op =
      before ? before->getNextNode() : &set.last()->getBlock()->front();
  for (; op != set.last(); op = op->getNextNode())
    if (isa<tt::PreciseDivFOp>(op))
      op->setAttr(kEpilogueAttr, builder.getUnitAttr());
}

void TileEmitter::emit() {
  TileBodyInputs inputs;
  readTiles(inputs.loads);
  for (const auto &[value, operand] : epilogue.loads)
    inputs.loads[value] = load(value, operand);
  for (const auto &[value, operand] : epilogue.maximized)
    if (Value mask = existing(value, operand))
      inputs.lanes[value] = mask;
  Operation *before = set.last()->getPrevNode();
  SmallVector<Value> results = emitTileBody(builder, epilogue.program, shape,
                                            tile.numRows, target, inputs);
  markDivisions(before);
  for (auto [i, result] : llvm::enumerate(results))
    store(result, i);
}

} // namespace

EpilogueArguments addArguments(tt::FuncOp kernel, const Epilogue &epilogue,
                               ArrayRef<int64_t> divisibility) {
  Builder builder(kernel.getContext());
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
  auto addPlace = [&](Value value, bool hasDistance) {
    EpilogueArguments::Place place;
    place.pointer =
        add(tt::PointerType::get(memoryType(getElementTypeOrSelf(value))));
    if (hasDistance)
      place.distance = add(builder.getI64Type());
    return place;
  };
  graph::RowProgramOp program = epilogue.program;
  for (auto [i, input] : llvm::enumerate(program.getBlock().getArguments()))
    if (i >= epilogue.numOutputs)
      arguments.inputs.push_back(
          addPlace(input, epilogue.rows.inputs[i].first > 0));
  for (Value result : program.getYield().getValues())
    arguments.results.push_back(
        addPlace(result, !epilogue.rows.tensorMaxes.contains(result)));
  return arguments;
}

void emitEpilogue(const Epilogue &epilogue, const TileSet &set,
                  const EpilogueArguments &arguments, int64_t target) {
  TileEmitter(epilogue, set, arguments, target).emit();
}

} // namespace epiq::detail
