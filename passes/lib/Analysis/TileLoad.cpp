//===- TileLoad.cpp - The loads of an operand and their addresses ---------===//
// Passes.td states the rules Q2, Q6 and Q7 with epiq-pull-quant.
//===----------------------------------------------------------------------===//

#include "epiq/Analysis/TileLoad.h"

#include "TileStoreDetail.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;

namespace epiq {

namespace {

using detail::refuse;

// What uses of an operand's pointers are.
struct PointerUses {
  llvm::SetVector<Value> pointers;
  llvm::SetVector<Operation *> loads;
  // The first op that does something else with one.
  Operation *other = nullptr;
};

bool movesPointer(Operation *op) {
  return isa<tt::AddPtrOp, tt::SplatOp, tt::BroadcastOp, tt::ExpandDimsOp,
             tt::TransOp, tt::MakeTensorDescOp>(op);
}

void visitUse(OpOperand &use, PointerUses &found) {
  Operation *op = use.getOwner();
  unsigned number = use.getOperandNumber();
  if (movesPointer(op)) {
    found.pointers.insert(op->getResult(0));
  } else if (isa<tt::LoadOp, tt::DescriptorLoadOp>(op) && number == 0) {
    found.loads.insert(op);
  } else if (auto loop = dyn_cast<scf::ForOp>(op);
             loop && number >= loop.getNumControlOperands()) {
    found.pointers.insert(loop.getTiedLoopRegionIterArg(&use));
    found.pointers.insert(loop.getTiedLoopResult(&use));
  } else if (auto loop = dyn_cast<scf::ForOp>(op->getParentOp());
             loop && isa<scf::YieldOp>(op)) {
    // The loop was entered with a pointer, and is followed from there.
    found.pointers.insert(loop.getRegionIterArg(number));
    found.pointers.insert(loop.getResult(number));
  } else if (!found.other) {
    found.other = op;
  }
}

PointerUses followPointers(BlockArgument operand) {
  PointerUses found;
  found.pointers.insert(operand);
  for (unsigned i = 0; i < found.pointers.size(); ++i)
    for (OpOperand &use : found.pointers[i].getUses())
      visitUse(use, found);
  return found;
}

// Q2: the loads of `operand`, if the kernel does nothing else with it.
FailureOr<SmallVector<Operation *>>
findLoads(tt::FuncOp func, BlockArgument operand, StoreRefusal &refusal) {
  PointerUses found = followPointers(operand);
  if (found.other) {
    refuse(refusal, found.other,
           "Q2: the operand's pointer goes into " +
               found.other->getName().getStringRef() +
               ", which does not only load");
    return failure();
  }
  if (found.loads.empty()) {
    refuse(refusal, func,
           "Q2: the kernel never loads argument " +
               Twine(operand.getArgNumber()));
    return failure();
  }
  SmallVector<Operation *> ordered;
  func.walk([&](Operation *op) {
    if (found.loads.contains(op))
      ordered.push_back(op);
  });
  return ordered;
}

// `bound` as a largest position along `dim`, where it says one and the number
// is a constant: position < N.
std::optional<int64_t> getLimit(const TileBound &bound, int dim) {
  if (bound.opaque)
    return std::nullopt;
  IndexForm position = IndexForm::along(dim);
  auto limitOf = [&](const IndexForm &below, const IndexForm &above) {
    return (above - (below - position)).getConstant();
  };
  using Predicate = arith::CmpIPredicate;
  std::optional<int64_t> limit;
  switch (bound.predicate) {
  case Predicate::slt:
  case Predicate::ult:
    return limitOf(bound.lhs, bound.rhs);
  case Predicate::sgt:
  case Predicate::ugt:
    return limitOf(bound.rhs, bound.lhs);
  case Predicate::sle:
  case Predicate::ule:
    limit = limitOf(bound.lhs, bound.rhs);
    break;
  case Predicate::sge:
  case Predicate::uge:
    limit = limitOf(bound.rhs, bound.lhs);
    break;
  default:
    return std::nullopt;
  }
  return limit ? std::optional(*limit + 1) : std::nullopt;
}

// Q7: moves the condition on columns into `width`.
LogicalResult readColumnBounds(TileLoad &tile, StoreRefusal &refusal) {
  SmallVector<TileBound, 0> others;
  for (TileBound &bound : tile.bounds) {
    if (bound.dim != tile.colDim) {
      others.push_back(std::move(bound));
      continue;
    }
    std::optional<int64_t> limit = getLimit(bound, tile.colDim);
    if (!limit || *limit <= 0)
      return refuse(refusal, tile.op,
                    "Q7: the mask cuts columns off at no constant, so that "
                    "the width of a row is not known");
    tile.width = std::min(tile.width, *limit);
  }
  tile.bounds = std::move(others);
  return success();
}

LogicalResult readMask(tt::LoadOp load, TileLoad &tile, StoreRefusal &refusal) {
  if (!load.getMask())
    return success();
  // Bounds are read as those of a store, which no column dimension bothers.
  TileStore asStore;
  asStore.op = load;
  if (failed(detail::readBounds(load.getMask(), asStore, refusal)))
    return refuse(refusal, load,
                  "Q7: the mask is no conjunction of conditions on rows and "
                  "conditions on columns");
  tile.bounds = std::move(asStore.bounds);
  return readColumnBounds(tile, refusal);
}

FailureOr<TileLoad> locatePointerLoad(tt::LoadOp load, StoreRefusal &refusal) {
  TileLoad tile;
  tile.op = load;
  tile.type = dyn_cast<RankedTensorType>(load.getPtr().getType());
  if (!tile.type) {
    refuse(refusal, load,
           "Q6: the kernel loads single elements or block pointers, not tiles "
           "of addresses");
    return failure();
  }
  int rank = tile.type.getRank();
  std::optional<IndexForm> offset = detail::getPointerOffset(load.getPtr());
  if (!offset) {
    refuse(refusal, load, "Q6: the address is no sum of rows and columns");
    return failure();
  }
  tile.offset = *offset;
  tile.colDim = detail::findColumns(*offset, rank);
  if (tile.colDim < 0) {
    refuse(refusal, load,
           "Q6: no dimension of the tile is contiguous in memory: a stride of "
           "1 must be a constant of the kernel");
    return failure();
  }
  tile.width = tile.getColumns();
  if (failed(readMask(load, tile, refusal)))
    return failure();
  return tile;
}

FailureOr<TileLoad> locateDescriptorLoad(tt::DescriptorLoadOp load,
                                         StoreRefusal &refusal) {
  TileLoad tile;
  tile.op = load;
  tile.type = cast<RankedTensorType>(load.getType());
  int rank = static_cast<int>(load.getIndices().size());
  if (tile.type.getRank() != rank) {
    refuse(refusal, load,
           "Q6: the descriptor has " + Twine(rank) +
               " dimensions, the tile that is loaded " +
               Twine(tile.type.getRank()));
    return failure();
  }
  std::optional<detail::DescribedTensor> tensor =
      detail::describedBy(load.getDesc(), rank);
  if (!tensor) {
    refuse(refusal, load,
           "Q6: the tensor behind the descriptor is not known: it is neither "
           "made in the kernel nor an argument followed by its shape");
    return failure();
  }
  tile.offset = tensor->start;
  tile.colDim = rank - 1;
  tile.width = tile.getColumns();
  for (auto [i, index] : llvm::enumerate(load.getIndices())) {
    int dim = static_cast<int>(i);
    IndexForm start = *getIndexForm(index, {});
    bool varies = tile.type.getDimSize(dim) != 1;
    IndexForm position = varies ? start + IndexForm::along(dim) : start;
    IndexForm size = *getIndexForm(tensor->shape[i], {});
    if (dim == tile.colDim) {
      tile.offset = tile.offset + start + IndexForm::along(dim);
      if (std::optional<int64_t> rest = (size - start).getConstant())
        tile.width = std::min(tile.width, *rest);
      continue;
    }
    std::optional<IndexForm> moved = position.times(tensor->strides[i]);
    tile.offset = tile.offset + *moved;
    TileBound bound;
    bound.dim = varies ? dim : -1;
    bound.lhs = position;
    bound.rhs = size;
    tile.bounds.push_back(std::move(bound));
  }
  return tile;
}

} // namespace

SmallVector<Value> getPointersInto(BlockArgument operand) {
  return followPointers(operand).pointers.takeVector();
}

FailureOr<SmallVector<TileLoad, 0>>
analyzeLoads(tt::FuncOp func, BlockArgument operand, StoreRefusal &refusal) {
  FailureOr<SmallVector<Operation *>> loads = findLoads(func, operand, refusal);
  if (failed(loads))
    return failure();
  SmallVector<TileLoad, 0> tiles;
  for (Operation *op : *loads) {
    auto load = dyn_cast<tt::LoadOp>(op);
    FailureOr<TileLoad> tile =
        load ? locatePointerLoad(load, refusal)
             : locateDescriptorLoad(cast<tt::DescriptorLoadOp>(op), refusal);
    if (failed(tile))
      return failure();
    tiles.push_back(std::move(*tile));
  }
  return tiles;
}

} // namespace epiq
