//===- RowPairs.cpp - Loads of rows of interleaved pairs ------------------===//

#include "RowPairs.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace epiq {

RowPairs::RowPairs(ImplicitLocOpBuilder &builder, const RowShape &shape,
                   RowSchedule schedule, RowTile &tile, Value numRows,
                   bool padsRows, RowGrid grid)
    : builder(builder), shape(shape), tile(tile) {
  if (shape.factors.empty())
    return;
  last = shape.factors.size() - 1;
  while (last > 0 && shape.isUnrolled(last))
    --last;
  pairShape.width = 2 * shape.width;
  pairShape.factors = shape.factors;
  pairShape.unrolled = shape.unrolled;
  pairShape.factors[last] *= 2;
  pairShape.columnUnit = pairShape.width / pairShape.factors.front();
  pairShape.fullRow = shape.fullRow;
  // The same tiles as those of a half, said outright: what a schedule leaves
  // open could be chosen otherwise for a row of another width.
  RowValue whole;
  for (unsigned factor = 0; factor < shape.factors.size(); ++factor)
    whole.dims.push_back({factor});
  int64_t columns = tile.dims(whole)[tile.axis(0)] * shape.columnUnit * 2;
  schedule.chunkCols = schedule.blockCols ? 0 : columns;
  schedule.blockCols *= 2;
  pairTile.emplace(builder, pairShape, schedule, numRows, padsRows, grid);
}

bool RowPairs::isHalf(const RowValue &value, const RowView &view) const {
  if (!pairTile || view.index || view.strides[last] != 2 ||
      tile.dims(value)[tile.axis(last)] < 2)
    return false;
  int64_t end = view.offset | 1;
  for (auto [factor, stride] : llvm::enumerate(view.strides)) {
    if (shape.isUnrolled(factor))
      continue;
    bool isRow = value.covers(factor) || shape.factors[factor] == 1;
    if (!isRow || stride % 2 != 0)
      return false;
    end += stride * (shape.factors[factor] - 1);
  }
  return end < shape.inputs[view.input].second;
}

Value RowPairs::load(const RowAddress &address, const RowValue &value,
                     const RowView &view, const RowPart &part, Type type) {
  RowView pairs = view;
  pairs.offset -= view.offset % 2;
  pairs.strides[last] = 1;
  auto half = [&](const Loaded &loaded) {
    return view.offset % 2 ? loaded.odd : loaded.even;
  };
  for (const Loaded &loaded : known)
    if (loaded.pairs == pairs && loaded.chunk == part.chunk &&
        loaded.perToken == value.isPerToken())
      return half(loaded);

  RowAddress from = address;
  from.offset = pairs.offset;
  from.strides = pairs.strides;
  Value pointers = pairTile->pointers(from, value, part);
  Value mask = pairTile->loadMask(value, part);
  Value padding;
  if (mask)
    padding =
        pairTile->constant(builder.getZeroAttr(type), pairTile->dims(value));
  Value row = tt::LoadOp::create(builder, pointers, mask, padding);
  SmallVector<int64_t> apart = tile.dims(value);
  apart.push_back(2);
  row = tt::ReshapeOp::create(builder, RankedTensorType::get(apart, type), row,
                              /*allow_reorder=*/false,
                              /*efficient_layout=*/false);
  Type halfType = RowTile::type(tile.dims(value), type);
  auto split = tt::SplitOp::create(builder, halfType, halfType, row);
  known.push_back({pairs, value.isPerToken(), part.chunk, split.getOutLHS(),
                   split.getOutRHS()});
  return half(known.back());
}

} // namespace epiq
