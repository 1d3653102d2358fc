//===- PullQuantProgram.cpp - A slice of a kernel as a row program --------===//
// Passes.td states the rule Q9 with epiq-pull-quant. Broadcasts are left out
// until an op needs the other shape, so that a value of the program is never
// larger than it must be.
//===----------------------------------------------------------------------===//

#include "PullQuantAxes.h"
#include "PullQuantDetail.h"
#include "PullQuantOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace epiq::detail {

namespace {

// A value of the slice: the dimensions of its tile, and the value of the
// program, whose dimensions are one for the tokens, if it differs between them,
// and then the factors of the columns, outermost first.
struct Written {
  Axes axes;
  Value value;
  bool perToken = false;
};

class ProgramWriter {
public:
  ProgramWriter(const QuantSlice &slice, const MaskedLanes &masked,
                StoreRefusal &refusal)
      : slice(slice), load(slice.load), masked(masked), refusal(refusal),
        builder(slice.load.op->getLoc(), slice.load.op->getContext()),
        block(std::make_unique<Block>()) {}

  FailureOr<PulledProgram> write();

private:
  LogicalResult fail(Operation *op, const Twine &reason) {
    refusal.op = op;
    refusal.reason = "Q9: " + reason.str();
    return failure();
  }
  RankedTensorType typeLike(Type type, ArrayRef<Axis> axes, bool perToken);

  void addInputs();
  void addGiven(Value given);
  FailureOr<Written> read(Value value);
  LogicalResult write(Operation *op);
  LogicalResult writeElementwise(Operation *op);
  LogicalResult writeReduce(tt::ReduceOp reduce);
  Value fit(const Written &source, ArrayRef<Axis> axes, bool perToken);
  LogicalResult describeQuantized();
  LogicalResult describeScale(Value scale);
  Value asMatrix(const Written &source);
  void close();

  const QuantSlice &slice;
  const TileLoad &load;
  const MaskedLanes &masked;
  StoreRefusal &refusal;
  ImplicitLocOpBuilder builder;
  std::unique_ptr<Block> block;
  llvm::DenseMap<Value, Written> written;
  PulledProgram program;
};

// The type of a value of the program. The outermost factor of the columns is
// as long as the mask leaves it.
RankedTensorType ProgramWriter::typeLike(Type type, ArrayRef<Axis> axes,
                                         bool perToken) {
  SmallVector<int64_t> sizes;
  if (perToken)
    sizes.push_back(ShapedType::kDynamic);
  for (const Axis &axis : getColumns(axes)) {
    bool isOutermost = axis.stride * axis.size == slice.getColumns();
    sizes.push_back(isOutermost ? slice.getWidth() / axis.stride : axis.size);
  }
  return RankedTensorType::get(sizes, getElementTypeOrSelf(type));
}

// Leaves of what is given: arguments, and loads of an argument's first element.
void ProgramWriter::addGiven(Value given) {
  Operation *op = given.getDefiningOp();
  if (op && !isa<tt::LoadOp>(op)) {
    for (Value operand : op->getOperands())
      addGiven(operand);
    return;
  }
  if (written.contains(given))
    return;
  program.givens.push_back(given);
  Value input = block->addArgument(typeLike(given.getType(), {}, false),
                                   builder.getLoc());
  written[given] = {{}, input, false};
}

void ProgramWriter::addInputs() {
  builder.setInsertionPointToStart(block.get());
  Axes axes;
  for (auto [dim, size] : llvm::enumerate(load.type.getShape())) {
    Axis axis;
    axis.size = size;
    int number = static_cast<int>(dim);
    bool isColumn = number == load.colDim || slice.isOneRow;
    if (size != 1)
      axis.kind = isColumn ? Axis::Column : Axis::Row;
    if (axis.kind == Axis::Row)
      axis.dim = number;
    if (axis.kind == Axis::Column)
      axis.stride =
          load.offset
              .filter([&](const IndexTerm &term) { return term.dim == number; })
              .getTerms()
              .front()
              .coeff;
    axes.push_back(axis);
  }
  Type element = getElementTypeOrSelf(load.getTile().getType());
  Value tile = block->addArgument(
      RankedTensorType::get({ShapedType::kDynamic, slice.getWidth()}, element),
      builder.getLoc());
  RankedTensorType type = typeLike(element, axes, true);
  if (type != tile.getType())
    tile = graph::ReshapeOp::create(builder, type, tile);
  written[load.getTile()] = {axes, tile, true};
  for (Operation *op : slice.ops)
    for (Value operand : op->getOperands())
      if (isGiven(operand))
        addGiven(operand);
}

// `value` as a value of the program, constants and givens as they are needed.
FailureOr<Written> ProgramWriter::read(Value value) {
  auto known = written.find(value);
  if (known != written.end())
    return known->second;
  Attribute constant;
  if (!matchPattern(value, m_Constant(&constant))) {
    if (!value.getDefiningOp() || failed(write(value.getDefiningOp())))
      return failure();
    return written.lookup(value);
  }
  if (auto elements = dyn_cast<DenseElementsAttr>(constant)) {
    if (!elements.isSplat())
      return fail(value.getDefiningOp(), "a constant differs along the tile");
    constant = elements.getSplatValue<Attribute>();
  }
  Axes axes;
  if (auto type = dyn_cast<RankedTensorType>(value.getType()))
    for (int64_t size : type.getShape()) {
      axes.emplace_back();
      axes.back().kind = size == 1 ? Axis::One : Axis::Any;
      axes.back().size = size;
    }
  RankedTensorType type = typeLike(value.getType(), {}, false);
  Value scalar = arith::ConstantOp::create(
      builder, DenseElementsAttr::get(type, constant));
  return written[value] = Written{axes, scalar, false};
}

// The value with the dimensions of a larger one.
Value ProgramWriter::fit(const Written &source, ArrayRef<Axis> axes,
                         bool perToken) {
  RankedTensorType type = typeLike(source.value.getType(), axes, perToken);
  if (type == source.value.getType())
    return source.value;
  auto own = cast<RankedTensorType>(source.value.getType());
  Value value = source.value;
  if (own.getRank() != 0) {
    // Dimensions that it lacks become 1.
    SmallVector<int64_t> sizes;
    if (perToken)
      sizes.push_back(source.perToken ? ShapedType::kDynamic : 1);
    for (auto [i, axis] : llvm::enumerate(getColumns(axes))) {
      bool has = llvm::is_contained(source.axes, axis);
      sizes.push_back(has ? type.getDimSize(i + perToken) : 1);
    }
    auto padded = RankedTensorType::get(sizes, own.getElementType());
    if (padded != own)
      value = graph::ReshapeOp::create(builder, padded, value);
  }
  return graph::BroadcastOp::create(builder, type, value);
}

LogicalResult ProgramWriter::write(Operation *op) {
  builder.setLoc(op->getLoc());
  if (auto reduce = dyn_cast<tt::ReduceOp>(op))
    return writeReduce(reduce);
  if (op->getNumOperands() == 1) {
    FailureOr<Written> source = read(op->getOperand(0));
    if (failed(source))
      return failure();
    std::optional<Axes> axes = getMoved(op, source->axes);
    if (!axes && isa<tt::ReshapeOp>(op))
      return fail(op, "the tile is taken apart otherwise than by columns");
    if (axes) {
      RankedTensorType type =
          typeLike(source->value.getType(), *axes, source->perToken);
      Value value = source->value;
      if (type != value.getType())
        value = graph::ReshapeOp::create(builder, type, value);
      written[op->getResult(0)] = {*axes, value, source->perToken};
      return success();
    }
  }
  auto load = dyn_cast<tt::LoadOp>(this->load.op);
  if (isa<arith::SelectOp>(op) && load && op->getOperand(0) == load.getMask()) {
    FailureOr<Written> kept = read(op->getOperand(1));
    if (failed(kept))
      return failure();
    written[op->getResult(0)] = *kept;
    return success();
  }
  return writeElementwise(op);
}

LogicalResult ProgramWriter::writeElementwise(Operation *op) {
  SmallVector<Written> operands;
  SmallVector<Axes> axes;
  bool perToken = false;
  for (Value operand : op->getOperands()) {
    FailureOr<Written> source = read(operand);
    if (failed(source))
      return failure();
    perToken |= source->perToken;
    axes.push_back(source->axes);
    operands.push_back(*source);
  }
  if (op->getNumResults() != 1 || op->getNumRegions() != 0)
    return fail(op, op->getName().getStringRef() +
                        " cannot be part of a row program");
  std::optional<Axes> unified = unify(axes);
  if (!unified)
    return fail(op, "the tiles that meet here lie across each other");
  SmallVector<Value> values;
  for (const Written &operand : operands)
    values.push_back(fit(operand, *unified, perToken));
  RankedTensorType type =
      typeLike(op->getResult(0).getType(), *unified, perToken);
  std::string reason;
  FailureOr<Value> value = writeElements(builder, op, values, type, reason);
  if (failed(value))
    return fail(op, reason);
  written[op->getResult(0)] = {*unified, *value, perToken};
  return success();
}

LogicalResult ProgramWriter::writeReduce(tt::ReduceOp reduce) {
  FailureOr<Written> source = read(reduce.getSrcs().front());
  if (failed(source))
    return failure();
  std::optional<Extremum> extremum = getExtremum(reduce);
  if (!extremum)
    return fail(reduce, "the reduction is no maximum or minimum, so that its "
                        "order shows");
  Axis reduced = source->axes[reduce.getAxis()];
  if (reduced.kind == Axis::Row)
    return fail(reduce, "a reduction combines rows of the tile, but no scale "
                        "is one of the whole tile");
  Axes axes = source->axes;
  axes.erase(axes.begin() + reduce.getAxis());
  Value value = source->value;
  if (reduced.kind == Axis::Column) {
    const auto columns = getColumns(source->axes);
    int64_t dim = llvm::find(columns, reduced) - columns.begin();
    RankedTensorType type = typeLike(value.getType(), axes, source->perToken);
    auto rest = masked.reductions.find(reduce);
    value = writeExtremum(
        builder, *extremum, value, dim + source->perToken, type,
        rest == masked.reductions.end() ? std::nullopt
                                        : std::optional(rest->second));
  }
  written[reduce->getResult(0)] = {axes, value, source->perToken};
  return success();
}

// Where the dimensions of the quantized tile come from.
LogicalResult ProgramWriter::describeQuantized() {
  Axes wanted;
  llvm::copy_if(written[slice.quantized].axes, std::back_inserter(wanted),
                [](const Axis &axis) { return axis.size != 1; });
  Axes factored;
  for (const Axis &axis : written[load.getTile()].axes) {
    if (axis.kind == Axis::Column)
      llvm::copy_if(getColumns(wanted), std::back_inserter(factored),
                    [&](const Axis &factor) {
                      return factor.stride >= axis.stride &&
                             factor.stride < axis.stride * axis.size;
                    });
    else if (axis.kind == Axis::Row)
      factored.push_back(axis);
  }
  for (const Axis &axis : factored)
    program.factored.push_back(axis.size);
  for (const Axis &axis : wanted) {
    auto *at = llvm::find(factored, axis);
    if (at == factored.end())
      return fail(slice.quantized.getDefiningOp(),
                  "the 8-bit values are repeated along the tile");
    program.order.push_back(static_cast<int32_t>(at - factored.begin()));
  }
  if (program.order.size() != factored.size())
    return fail(slice.quantized.getDefiningOp(),
                "the 8-bit values are not a tile of the operand's shape");
  return success();
}

LogicalResult ProgramWriter::describeScale(Value scale) {
  Operation *op = scale.getDefiningOp();
  const Axes &axes = written[scale].axes;
  Axes columns = getColumns(axes);
  ScalePlace place;
  place.group = columns.empty() ? slice.getWidth() : columns.back().stride;
  int64_t expected = columns.empty() ? 1 : columns.back().stride;
  for (const Axis &axis : llvm::reverse(columns)) {
    if (axis.stride != expected)
      return fail(op, "a scale is shared by columns that do not follow one "
                      "another");
    expected *= axis.size;
  }
  if (!columns.empty() && expected != slice.getColumns())
    return fail(op, "a scale is shared by columns that do not follow one "
                    "another");
  if (slice.getWidth() % place.group != 0)
    return fail(op, "groups of " + Twine(place.group) +
                        " columns do not divide rows of " +
                        Twine(slice.getWidth()));
  for (const Axis &axis : axes) {
    ScalePlace::Dim dim;
    if (axis.kind == Axis::Row)
      dim.rowDim = axis.dim;
    else if (axis.kind == Axis::Column)
      dim.groupStride = axis.stride / place.group;
    else if (axis.size != 1)
      return fail(op, "a scale is repeated along the tile");
    place.dims.push_back(dim);
  }
  program.scales.push_back(std::move(place));
  return success();
}

// A result of the program: a row for each token.
Value ProgramWriter::asMatrix(const Written &source) {
  auto type = cast<RankedTensorType>(source.value.getType());
  int64_t width = 1;
  for (int64_t size : type.getShape().drop_front())
    width *= size;
  auto matrix = RankedTensorType::get({ShapedType::kDynamic, width},
                                      type.getElementType());
  if (matrix == type)
    return source.value;
  return graph::ReshapeOp::create(builder, matrix, source.value);
}

// Ends the program, and wraps it in a function of a module.
void ProgramWriter::close() {
  Location loc = builder.getLoc();
  SmallVector<Value> results{asMatrix(written[slice.quantized])};
  for (Value scale : slice.scales)
    results.push_back(asMatrix(written[scale]));
  graph::YieldOp::create(builder, results);
  SmallVector<Type> inputs(block->getArgumentTypes());
  SmallVector<Type> outputs(ValueRange(results).getTypes());
  MLIRContext *context = builder.getContext();
  program.module = ModuleOp::create(loc);
  builder.setInsertionPointToStart(program.module->getBody());
  auto func = func::FuncOp::create(builder, "quantize",
                                   FunctionType::get(context, inputs, outputs));
  builder.setInsertionPointToStart(func.addEntryBlock());
  auto layout = graph::LayoutAttr::get(context, graph::Layout::row_major);
  SmallVector<Attribute> layouts(results.size(), layout);
  auto op = graph::RowProgramOp::create(
      builder, outputs, builder.getStringAttr("quantize"), func.getArguments(),
      builder.getArrayAttr(layouts));
  op.getBody().push_back(block.release());
  func::ReturnOp::create(builder, op.getResults());
}

FailureOr<PulledProgram> ProgramWriter::write() {
  addInputs();
  for (Operation *op : slice.ops)
    if (failed(write(op)))
      return failure();
  if (failed(describeQuantized()))
    return failure();
  for (Value scale : slice.scales)
    if (failed(describeScale(scale)))
      return failure();
  close();
  return std::move(program);
}

} // namespace

FailureOr<PulledProgram> writeProgram(const QuantSlice &slice,
                                      const MaskedLanes &masked,
                                      StoreRefusal &refusal) {
  return ProgramWriter(slice, masked, refusal).write();
}

} // namespace epiq::detail
