//===- TileBody.cpp - A row program's arithmetic on given tiles -----------===//

#include "epiq/Conversion/TileBody.h"

#include "RowBody.h"
#include "RowTile.h"

using namespace mlir;

namespace epiq {

Type getTileType(const RowShape &shape, int64_t numRows, Value value) {
  OpBuilder unused(value.getContext());
  ImplicitLocOpBuilder builder(value.getLoc(), unused);
  RowTile tile(builder, shape, RowSchedule{numRows, 0}, /*numRows=*/{});
  return RowTile::type(tile.dims(shape.values.find(value)->second),
                       getElementTypeOrSelf(value));
}

SmallVector<Value> emitTileBody(ImplicitLocOpBuilder &builder,
                                graph::RowProgramOp program,
                                const RowShape &shape, int64_t numRows,
                                const DenseMap<Value, Value> &loads) {
  RowTile tile(builder, shape, RowSchedule{numRows, 0}, /*numRows=*/{});
  RowBody body(builder, shape, tile);
  for (const auto &[value, view] : shape.loads)
    body.define(value, loads.lookup(value), /*zeroPadded=*/false);
  Location loc = builder.getLoc();
  for (Operation &op : program.getBlock().without_terminator()) {
    // Views that only lead to a load, and the loads themselves.
    if (llvm::any_of(op.getResults(), [&](Value result) {
          return body.isDefined(result) || !shape.values.contains(result);
        }))
      continue;
    body.lower(op);
  }
  builder.setLoc(loc);
  SmallVector<Value> results;
  for (Value value : program.getYield().getValues())
    results.push_back(body.lookup(value).front());
  return results;
}

} // namespace epiq
