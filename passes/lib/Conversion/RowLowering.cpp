//===- RowLowering.cpp - One segment of a row program in Triton -----------===//
// Loads come first, so that all are under way before the first is used; a
// result is stored as soon as it is there, which frees its registers.
//===----------------------------------------------------------------------===//

#include "RowLowering.h"

#include "epiq/Analysis/RowOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace epiq {

namespace {

// The place of one part: what it is along unrolled factors is an offset.
RowView placeOf(const RowView &view, const RowPart &part,
                const RowShape &shape) {
  RowView place = view;
  for (unsigned factor = 0; factor < shape.factors.size(); ++factor)
    if (shape.isUnrolled(factor)) {
      place.offset += part.at[factor] * view.strides[factor];
      place.strides[factor] = 0;
    }
  return place;
}

} // namespace

RowLowering::RowLowering(ImplicitLocOpBuilder &builder, RowKernel &kernel,
                         const RowSegment &segment, RowSchedule schedule,
                         RowGrid grid, int64_t target)
    : builder(builder), kernel(kernel), segment(segment),
      program(segment.program.get()), shape(segment.shape), target(target),
      tile(builder, shape, schedule, kernel.numRows(), padsRows(), grid),
      pairs(builder, shape, schedule, tile, kernel.numRows(), padsRows(), grid),
      arithmetic(builder, shape, tile, target), wholeShape(shape),
      pairShape(shape) {
  wholeShape.unrolled.clear();
  wholeTile.emplace(builder, wholeShape, schedule, kernel.numRows(), padsRows(),
                    grid);
  whole.emplace(builder, wholeShape, *wholeTile, target);
  if (shape.factors.empty() || !shape.isUnrolled(shape.factors.size() - 1) ||
      shape.factors.back() != 2)
    return;
  pairShape.unrolled.back() = false;
  pairTile.emplace(builder, pairShape, schedule, kernel.numRows(), padsRows(),
                   grid);
}

// Whether a result is stored for rows that pad the last ones.
bool RowLowering::padsRows() {
  for (unsigned output = 0; output < outputs().size(); ++output)
    if (LayoutAddress::get(program.getLayout(output), 1).rowMultiple > 1)
      return true;
  return false;
}

//===----------------------------------------------------------------------===//
// Loads
//===----------------------------------------------------------------------===//

Value RowLowering::load(Value value, const RowView &view, const RowPart &part,
                        RowTile &from) {
  const RowValue &described = describe(value);
  RowAddress address;
  unsigned input = segment.inputs[view.input];
  address.pointer = kernel.input(input);
  address.offset = view.offset;
  address.rowStride = kernel.rowStride(input);
  address.strides = view.strides;
  if (view.index) {
    address.index = arithmetic.lookup(view.index).front();
    Type wide = builder.getI64Type();
    if (auto tensor = dyn_cast<RankedTensorType>(address.index.getType()))
      wide = tensor.clone(wide);
    if (address.index.getType() != wide)
      address.index = arith::ExtSIOp::create(builder, wide, address.index);
    address.constantRowStride = view.rowStride;
  }

  SmallVector<int64_t> dims = from.dims(described);
  Type element = memoryType(getElementTypeOrSelf(value));
  bool isNumber =
      !described.isPerToken() &&
      llvm::all_of(described.dims, [](const auto &dim) { return dim.empty(); });
  if (isNumber)
    return from.fit(tt::LoadOp::create(
                        builder, from.firstPointer(address, described, part)),
                    dims);
  if (&from == &tile && pairs.isHalf(described, view))
    return pairs.load(address, described, view, part, element);
  Value pointers = from.pointers(address, described, part);
  Value mask = from.loadMask(described, part);
  Value padding;
  if (mask)
    padding = from.constant(builder.getZeroAttr(element), dims);
  return tt::LoadOp::create(builder, pointers, mask, padding);
}

SmallVector<Value> RowLowering::loadParts(Value value, const RowView &view,
                                          RowTile &from) {
  bool perToken = describe(value).isPerToken();
  SmallVector<Value> loaded;
  for (const RowPart &part : from.parts(describe(value))) {
    RowView place = &from == &tile ? placeOf(view, part, shape) : view;
    auto *same = llvm::find_if(known, [&](const Loaded &other) {
      return &from == &tile && other.view == place &&
             other.chunk == part.chunk && other.perToken == perToken;
    });
    if (same != known.end()) {
      loaded.push_back(same->tile);
      continue;
    }
    loaded.push_back(load(value, place, part, from));
    if (&from == &tile)
      known.push_back({place, part.chunk, perToken, loaded.back()});
  }
  Type element = getElementTypeOrSelf(value);
  if (!element.isInteger(1))
    return loaded;
  Value zero = from.constant(builder.getZeroAttr(memoryType(element)),
                             from.dims(describe(value)));
  for (Value &part : loaded)
    part = arith::CmpIOp::create(builder, arith::CmpIPredicate::ne, part, zero);
  return loaded;
}

void RowLowering::defineLoad(Value value, const RowView &view) {
  if (arithmetic.isDefined(value) ||
      (view.index && !arithmetic.isDefined(view.index)))
    return;
  builder.setLoc(value.getLoc());
  arithmetic.define(value, loadParts(value, view, tile), /*zeroPadded=*/true);
}

//===----------------------------------------------------------------------===//
// Stores
//===----------------------------------------------------------------------===//

RowStore RowLowering::makeStore() {
  return RowStore(builder, shape, tile, kernel.numRows(),
                  pairTile ? &*pairTile : nullptr);
}

void RowLowering::store(unsigned output) {
  Value result = outputs()[output], value = result;
  if (shape.tensorMaxes.contains(value))
    return maximizeInMemory(builder, kernel.output(segment.results[output]),
                            arithmetic.lookup(value).front());
  auto scatter = result.getDefiningOp<graph::ScatterRowsOp>();
  if (scatter)
    value = scatter.getRows();
  const RowValue &described = describe(value);
  Type element = getElementTypeOrSelf(value);
  SmallVector<Value> tiles(arithmetic.lookup(value));
  for (Value &part : tiles)
    part = asInMemory(builder, target, element, part);
  Value pointer = kernel.output(segment.results[output]);
  if (scatter)
    return makeStore().scatter(pointer, shape.scatters.find(result)->second,
                               arithmetic.lookup(scatter.getIndex()).front(),
                               described, tiles);
  makeStore().store(pointer, program.getLayout(output), described, tiles);
}

void RowLowering::storeAll(Value value) {
  for (auto [index, output] : llvm::enumerate(outputs()))
    if (output == value)
      store(index);
}

//===----------------------------------------------------------------------===//
// The body
//===----------------------------------------------------------------------===//

// Defines `value` in `whole`: what does not vary along an unrolled factor is
// the same there.
void RowLowering::defineWhole(Value value) {
  if (whole->isDefined(value))
    return;
  if (!shape.isUnrolled(describe(value)) && arithmetic.isDefined(value))
    return whole->define(value, arithmetic.lookup(value), /*zeroPadded=*/false);
  if (auto view = shape.loads.find(value); view != shape.loads.end())
    return whole->define(value, loadParts(value, view->second, *wholeTile),
                         /*zeroPadded=*/true);
  for (Value operand : value.getDefiningOp()->getOperands())
    defineWhole(operand);
  whole->lower(*value.getDefiningOp());
}

void RowLowering::lower(Operation &op) {
  auto reduce = dyn_cast<graph::ReduceOp>(op);
  if (!reduce || !reducesWhole(reduce, shape))
    return arithmetic.lower(op);
  defineWhole(reduce.getInput());
  whole->lower(op);
  arithmetic.define(reduce.getResult(), whole->lookup(reduce.getResult()),
                    /*zeroPadded=*/false);
}

void RowLowering::emit() {
  for (bool indexed : {false, true})
    for (const auto &[value, view] : shape.loads)
      if (!view.index == !indexed)
        defineLoad(value, view);
  for (const auto &[value, view] : shape.loads)
    if (arithmetic.isDefined(value)) {
      builder.setLoc(value.getLoc());
      storeAll(value);
    }
  for (Operation &op : body().without_terminator()) {
    builder.setLoc(op.getLoc());
    if (isa<graph::ScatterRowsOp>(op)) {
      storeAll(op.getResult(0));
      continue;
    }
    // A view that only leads to a load, or one that was loaded.
    Value result = op.getResult(0);
    if (arithmetic.isDefined(result) || !shape.values.contains(result))
      continue;
    if (auto view = shape.loads.find(result); view != shape.loads.end())
      defineLoad(result, view->second);
    else
      lower(op);
    storeAll(result);
  }
}

} // namespace epiq
