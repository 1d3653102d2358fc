//===- TileStore.cpp - Which rows and columns a store covers --------------===//
// Passes.td states the rules with epiq-fuse-epilogue; each guard names its
// rule.
//===----------------------------------------------------------------------===//

#include "TileStoreDetail.h"

using namespace mlir;

namespace epiq {

namespace detail {

std::string describe(Value scalar) {
  if (auto argument = dyn_cast<BlockArgument>(scalar))
    if (isa<tt::FuncOp>(argument.getOwner()->getParentOp()))
      return "argument " + std::to_string(argument.getArgNumber());
  return "a value of the kernel";
}

} // namespace detail

void TileStore::setShape(RankedTensorType type, int columns) {
  colDim = columns;
  numCols = columns < type.getRank() ? type.getDimSize(columns) : 1;
  for (int dim = 0; dim < type.getRank(); ++dim) {
    if (dim == columns)
      continue;
    rowDims.push_back(dim);
    rowSizes.push_back(type.getDimSize(dim));
    numRows *= type.getDimSize(dim);
  }
}

FailureOr<SmallVector<TileStore, 0>>
analyzeStores(BlockArgument output, int64_t columns, StoreRefusal &refusal) {
  FailureOr<SmallVector<Operation *>> stores =
      detail::findStores(output, refusal);
  if (failed(stores))
    return failure();
  SmallVector<TileStore, 0> tiles;
  for (Operation *op : *stores) {
    auto store = dyn_cast<tt::StoreOp>(op);
    FailureOr<TileStore> tile =
        store ? detail::locatePointerStore(store, columns, refusal)
              : detail::locateDescriptorStore(cast<tt::DescriptorStoreOp>(op),
                                              columns, refusal);
    if (failed(tile))
      return failure();
    tiles.push_back(std::move(*tile));
  }
  if (failed(detail::checkStoredOnce(tiles, refusal)))
    return failure();
  return tiles;
}

} // namespace epiq
