//===- TileStoreDetail.h - The parts of the tile store analysis -*- C++ -*-===//

#ifndef EPIQ_ANALYSIS_TILESTOREDETAIL_H
#define EPIQ_ANALYSIS_TILESTOREDETAIL_H

#include "epiq/Analysis/TileStore.h"

#include "llvm/ADT/Twine.h"

namespace epiq::detail {

// Records why an analysis gave up.
inline mlir::LogicalResult refuse(StoreRefusal &refusal, mlir::Operation *op,
                                  const llvm::Twine &reason) {
  refusal.op = op;
  refusal.reason = reason.str();
  return mlir::failure();
}

// E2: finds every store to `output`, through whatever pointers lead there.
mlir::FailureOr<llvm::SmallVector<mlir::Operation *>>
findStores(mlir::BlockArgument output, StoreRefusal &refusal);

// E3: the rows and columns of one store. `columns`: the length of the output's
// rows, 0 where it is not known.
mlir::FailureOr<TileStore>
locatePointerStore(tt::StoreOp store, int64_t columns, StoreRefusal &refusal);
mlir::FailureOr<TileStore> locateDescriptorStore(tt::DescriptorStoreOp store,
                                                 int64_t columns,
                                                 StoreRefusal &refusal);

// The elements between an argument of the kernel and a pointer, or a tensor of
// pointers whose dimensions are `dims` of the tile.
std::optional<IndexForm> getOffset(mlir::Value pointer,
                                   llvm::SmallVector<int> dims);

// E3: the rows and columns of a tile whose elements lie at `offset`.
// `strideOfOneRow`: the distance between rows if the tile has one row only.
mlir::LogicalResult placeTile(const IndexForm &offset,
                              std::optional<IndexTerm> strideOfOneRow,
                              int64_t columns, TileStore &tile,
                              StoreRefusal &refusal);

// E7: takes the mask of `tile.op` apart.
mlir::LogicalResult readBounds(mlir::Value mask, TileStore &tile,
                               StoreRefusal &refusal);

// E4: no element is stored twice, as far as one program can tell.
mlir::LogicalResult checkStoredOnce(llvm::ArrayRef<TileStore> tiles,
                                    StoreRefusal &refusal);

// The elements between an argument of the kernel and a tensor of pointers,
// whose dimensions are those of the tile; nothing if that is no sum.
std::optional<IndexForm> getPointerOffset(mlir::Value pointers);

// The dimension along which an offset grows by one; -1 for none.
int findColumns(const IndexForm &offset, int rank);

// The tensor behind a descriptor: where it starts in the kernel's argument, and
// one size and one stride for each dimension.
struct DescribedTensor {
  IndexForm start;
  llvm::SmallVector<mlir::Value> shape;
  llvm::SmallVector<IndexForm> strides;
};
std::optional<DescribedTensor> describedBy(mlir::Value descriptor,
                                           unsigned rank);

// An argument of a kernel as messages call it: argument 8.
std::string describe(mlir::Value scalar);

} // namespace epiq::detail

#endif // EPIQ_ANALYSIS_TILESTOREDETAIL_H
