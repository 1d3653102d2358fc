//===- TileStoreDescriptor.cpp - Stores through tensor descriptors --------===//
// Passes.td states the rule E3 with epiq-fuse-epilogue.
//===----------------------------------------------------------------------===//

#include "TileStoreDetail.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace epiq::detail {

namespace {

TileBound isBelow(int dim, IndexForm position, Value size) {
  TileBound bound;
  bound.dim = dim;
  bound.lhs = std::move(position);
  bound.rhs = IndexForm::ofScalar(size);
  return bound;
}

} // namespace

// A descriptor that is an argument is followed by its shape (i32) and its
// strides (i64), which is how Triton passes one.
std::optional<DescribedTensor> describedBy(Value descriptor, unsigned rank) {
  if (auto make = descriptor.getDefiningOp<tt::MakeTensorDescOp>())
    return DescribedTensor{llvm::to_vector(make.getShape()),
                           llvm::to_vector(make.getStrides())};
  auto argument = dyn_cast<BlockArgument>(descriptor);
  if (!argument || !isa<tt::FuncOp>(argument.getOwner()->getParentOp()))
    return std::nullopt;
  Block *entry = argument.getOwner();
  unsigned first = argument.getArgNumber() + 1;
  if (first + 2 * rank > entry->getNumArguments())
    return std::nullopt;
  DescribedTensor tensor;
  for (unsigned i = 0; i < rank; ++i) {
    tensor.shape.push_back(entry->getArgument(first + i));
    tensor.strides.push_back(entry->getArgument(first + rank + i));
    if (!tensor.shape.back().getType().isInteger(32) ||
        !tensor.strides.back().getType().isInteger(64))
      return std::nullopt;
  }
  return tensor;
}

FailureOr<TileStore> locateDescriptorStore(Operation *op,
                                           StoreRefusal &refusal) {
  auto store = cast<tt::DescriptorStoreOp>(op);
  auto type = cast<RankedTensorType>(store.getSrc().getType());
  unsigned rank = store.getIndices().size();
  std::optional<DescribedTensor> tensor = describedBy(store.getDesc(), rank);
  if (!tensor) {
    refuse(refusal, op,
           "E3: the shape behind the descriptor is not known: it is neither "
           "made in the kernel nor an argument followed by its shape");
    return failure();
  }
  if (type.getRank() != rank) {
    refuse(refusal, op,
           "E3: the descriptor has " + Twine(rank) +
               " dimensions, the tile that is stored " + Twine(type.getRank()));
    return failure();
  }
  TileStore tile;
  tile.op = op;
  tile.value = store.getSrc();
  tile.setShape(type, rank - 1);
  tile.flat = rank == 1;
  for (auto [i, index] : llvm::enumerate(store.getIndices())) {
    IndexForm start = *getIndexForm(index, {});
    IndexForm size = *getIndexForm(tensor->shape[i], {});
    int dim = static_cast<int>(i);
    bool varies = type.getDimSize(dim) != 1;
    IndexForm position = varies ? start + IndexForm::along(dim) : start;
    tile.bounds.push_back(
        isBelow(varies ? dim : -1, position, tensor->shape[i]));
    if (dim == tile.colDim) {
      tile.colStart = start;
      continue;
    }
    // Leading dimensions are rows too: (i0 * size1 + i1) * size2 + i2.
    tile.row = *tile.row.times(size) + position;
  }
  return tile;
}

} // namespace epiq::detail
