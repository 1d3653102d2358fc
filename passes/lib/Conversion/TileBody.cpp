//===- TileBody.cpp - A row program's arithmetic on given tiles -----------===//

#include "epiq/Conversion/TileBody.h"

#include "RowBody.h"
#include "RowTile.h"

#include "epiq/Analysis/RowOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace epiq {

Type getTileType(const RowShape &shape, int64_t numRows, Value value) {
  OpBuilder unused(value.getContext());
  ImplicitLocOpBuilder builder(value.getLoc(), unused);
  RowTile tile(builder, shape, RowSchedule{numRows, 0}, /*numRows=*/{});
  return RowTile::type(tile.dims(shape.values.find(value)->second),
                       getElementTypeOrSelf(value));
}

Type memoryType(Type element) {
  if (element.isInteger(1) || isUe8m0(element) || isE2m1(element))
    return IntegerType::get(element.getContext(), 8);
  return element;
}

Value asInMemory(ImplicitLocOpBuilder &builder, int64_t target, Type element,
                 Value tile) {
  if (isE2m1(element))
    return ElementCasts(builder, target).packE2m1(tile);
  if (!element.isInteger(1))
    return tile;
  Type type = memoryType(element);
  if (auto tensor = dyn_cast<RankedTensorType>(tile.getType()))
    type = tensor.clone(type);
  return arith::ExtUIOp::create(builder, type, tile);
}

// Bits of floats that are not negative order as integers do; a NaN may have a
// sign.
void maximizeInMemory(ImplicitLocOpBuilder &builder, Value pointer,
                      Value part) {
  Type i32 = builder.getI32Type();
  Value bits = tt::BitcastOp::create(builder, i32, part);
  Value magnitude = arith::AndIOp::create(
      builder, bits,
      arith::ConstantIntOp::create(builder, i32, 0x7fffffff).getResult());
  pointer = tt::BitcastOp::create(builder, tt::PointerType::get(i32), pointer);
  tt::AtomicRMWOp::create(builder, i32, tt::RMWOp::UMAX, pointer, magnitude,
                          /*mask=*/Value(), tt::MemSemantic::RELAXED,
                          tt::MemSyncScope::GPU);
}

SmallVector<Value> emitTileBody(ImplicitLocOpBuilder &builder,
                                graph::RowProgramOp program,
                                const RowShape &shape, int64_t numRows,
                                int64_t target, const TileBodyInputs &inputs) {
  RowTile tile(builder, shape, RowSchedule{numRows, 0}, /*numRows=*/{});
  RowBody body(builder, shape, tile, target);
  for (const auto &[value, view] : shape.loads)
    body.define(value, inputs.loads.lookup(value), /*zeroPadded=*/false);
  for (auto [value, mask] : inputs.lanes)
    body.restrict(value, mask);
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
    results.push_back(asInMemory(builder, target, getElementTypeOrSelf(value),
                                 body.lookup(value).front()));
  return results;
}

} // namespace epiq
