//===- FuseEpiloguePair.cpp - Stores whose values an epilogue combines ----===//
// Passes.td states the rule E10 with epiq-fuse-epilogue.
//===----------------------------------------------------------------------===//

#include "FuseEpilogueDetail.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace epiq::detail {

namespace {

// Whether two tiles hold the same rows and columns, each of its own output.
bool lieAlike(const TileStore &a, const TileStore &b) {
  if (a.rowDims != b.rowDims || a.rowSizes != b.rowSizes ||
      a.colDim != b.colDim || a.numCols != b.numCols || a.flat != b.flat)
    return false;
  // What is left open is a row and a column by the distance between rows.
  bool isOpen = !a.rest.getTerms().empty();
  return a.row == b.row && a.colStart == b.colStart && a.rest == b.rest &&
         (!isOpen || a.rowStride == b.rowStride) && a.bounds == b.bounds;
}

} // namespace

Operation *TileSet::last() const {
  Operation *last = tiles.front().op;
  for (const TileStore &tile : tiles)
    if (last->isBeforeInBlock(tile.op))
      last = tile.op;
  return last;
}

FailureOr<SmallVector<TileSet, 0>>
pairStores(ArrayRef<SmallVector<TileStore, 0>> stores, StoreRefusal &refusal) {
  SmallVector<TileSet, 0> sets;
  for (const TileStore &tile : stores.front())
    sets.push_back(TileSet{{tile}});
  for (auto [i, others] : llvm::enumerate(stores.drop_front())) {
    for (const TileStore &other : others) {
      auto *set = llvm::find_if(sets, [&, count = i + 1](const TileSet &set) {
        return set.tiles.size() == count &&
               set.tile().op->getBlock() == other.op->getBlock() &&
               lieAlike(set.tile(), other);
      });
      if (set == sets.end()) {
        refusal = {other.op, "E10: no store to the first output beside this "
                             "one covers the same rows and columns"};
        return failure();
      }
      set->tiles.push_back(other);
    }
    for (const TileSet &set : sets) {
      if (set.tiles.size() == i + 2)
        continue;
      refusal = {set.tile().op, "E10: no store to output number " +
                                    std::to_string(i + 1) +
                                    " beside this one covers the same rows "
                                    "and columns"};
      return failure();
    }
  }
  return sets;
}

} // namespace epiq::detail
