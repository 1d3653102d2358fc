//===- TileStoreDescriptor.cpp - Stores through tensor descriptors --------===//
// Passes.td states the rule E3 with epiq-fuse-epilogue.
//===----------------------------------------------------------------------===//

#include "TileStoreDetail.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace epiq::detail {

namespace {

std::optional<DescribedTensor> readMade(tt::MakeTensorDescOp make) {
  DescribedTensor tensor;
  std::optional<IndexForm> start = getOffset(make.getBase(), {});
  if (!start)
    return std::nullopt;
  tensor.start = *start;
  tensor.shape = llvm::to_vector(make.getShape());
  for (Value stride : make.getStrides())
    tensor.strides.push_back(*getIndexForm(stride, {}));
  return tensor;
}

// An integer argument, or its value if that is known.
IndexForm readInteger(BlockArgument argument) {
  auto kernel = cast<tt::FuncOp>(argument.getOwner()->getParentOp());
  if (auto value = kernel.getArgAttrOfType<IntegerAttr>(argument.getArgNumber(),
                                                        kValueAttr))
    return IndexForm(value.getInt());
  return IndexForm::ofScalar(argument);
}

// A descriptor that is an argument is followed by its shape (i32) and its
// strides (i64), which is how Triton passes one.
std::optional<DescribedTensor> readArgument(BlockArgument argument,
                                            unsigned rank) {
  DescribedTensor tensor;
  Block *entry = argument.getOwner();
  unsigned first = argument.getArgNumber() + 1;
  if (!isa<tt::FuncOp>(entry->getParentOp()) ||
      first + 2 * rank > entry->getNumArguments())
    return std::nullopt;
  for (unsigned i = 0; i < rank; ++i) {
    BlockArgument size = entry->getArgument(first + i);
    BlockArgument stride = entry->getArgument(first + rank + i);
    if (!size.getType().isInteger(32) || !stride.getType().isInteger(64))
      return std::nullopt;
    tensor.shape.push_back(size);
    tensor.strides.push_back(readInteger(stride));
  }
  return tensor;
}

// Whether a form may be negative, if no scalar of the kernel is.
bool mayBeNegative(const IndexForm &form) {
  return llvm::any_of(form.getTerms(),
                      [](const IndexTerm &term) { return term.coeff < 0; });
}

// Elements before the start or beyond the end of a dimension are dropped.
void addBounds(int dim, const IndexForm &position, Value size,
               TileStore &tile) {
  TileBound bound;
  bound.dim = dim;
  bound.lhs = position;
  bound.rhs = IndexForm::ofScalar(size);
  tile.bounds.push_back(bound);
  if (!mayBeNegative(position))
    return;
  bound.predicate = arith::CmpIPredicate::sge;
  bound.rhs = IndexForm();
  tile.bounds.push_back(bound);
}

} // namespace

std::optional<DescribedTensor> describedBy(Value descriptor, unsigned rank) {
  std::optional<DescribedTensor> tensor;
  if (auto make = descriptor.getDefiningOp<tt::MakeTensorDescOp>())
    tensor = readMade(make);
  else if (auto argument = dyn_cast<BlockArgument>(descriptor))
    tensor = readArgument(argument, rank);
  // The last dimension of a descriptor is contiguous, whatever else is known.
  if (tensor)
    tensor->strides.back() = IndexForm(1);
  return tensor;
}

FailureOr<TileStore> locateDescriptorStore(tt::DescriptorStoreOp store,
                                           int64_t columns,
                                           StoreRefusal &refusal) {
  auto type = cast<RankedTensorType>(store.getSrc().getType());
  unsigned rank = store.getIndices().size();
  if (type.getRank() != rank)
    return refuse(refusal, store,
                  "E3: the descriptor has " + Twine(rank) +
                      " dimensions, the tile that is stored " +
                      Twine(type.getRank()));
  std::optional<DescribedTensor> tensor = describedBy(store.getDesc(), rank);
  if (!tensor)
    return refuse(refusal, store,
                  "E3: the tensor behind the descriptor is not known: it is "
                  "neither made in the kernel from its argument nor an "
                  "argument followed by its shape and strides");
  TileStore tile;
  tile.op = store;
  tile.value = store.getSrc();
  tile.setShape(type, rank - 1);
  IndexForm offset = tensor->start;
  for (auto [i, index] : llvm::enumerate(store.getIndices())) {
    IndexForm position = *getIndexForm(index, {});
    int dim = -1;
    if (type.getDimSize(i) != 1) {
      dim = static_cast<int>(i);
      position = position + IndexForm::along(dim);
    }
    offset = offset + *position.times(tensor->strides[i]);
    addBounds(dim, position, tensor->shape[i], tile);
  }
  std::optional<IndexTerm> rowStride;
  if (rank > 1 && tensor->strides[rank - 2].getTerms().size() == 1)
    rowStride = tensor->strides[rank - 2].getTerms().front();
  if (failed(placeTile(offset, rowStride, columns, tile, refusal)))
    return failure();
  return tile;
}

} // namespace epiq::detail
