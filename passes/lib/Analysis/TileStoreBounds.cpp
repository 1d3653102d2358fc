//===- TileStoreBounds.cpp - The mask of a store, taken apart -------------===//
// Passes.td states the rule E7 with epiq-fuse-epilogue.
//===----------------------------------------------------------------------===//

#include "TileStoreDetail.h"

#include "mlir/IR/Matchers.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace epiq::detail {

namespace {

// The dimension along which a form varies; -1 for none, nothing for several.
std::optional<int> varyingDim(const IndexForm &lhs, const IndexForm &rhs) {
  int dim = -1;
  for (const IndexForm *form : {&lhs, &rhs}) {
    for (const IndexTerm &term : form->getTerms()) {
      if (term.isUniform() || term.dim == dim)
        continue;
      if (dim >= 0)
        return std::nullopt;
      dim = term.dim;
    }
  }
  return dim;
}

std::optional<TileBound> readComparison(arith::CmpIOp cmp, ArrayRef<int> dims) {
  std::optional<IndexForm> lhs = getIndexForm(cmp.getLhs(), dims);
  std::optional<IndexForm> rhs = getIndexForm(cmp.getRhs(), dims);
  if (!lhs || !rhs)
    return std::nullopt;
  std::optional<int> dim = varyingDim(*lhs, *rhs);
  if (!dim)
    return std::nullopt;
  TileBound bound;
  bound.dim = *dim;
  bound.predicate = cmp.getPredicate();
  bound.lhs = *lhs;
  bound.rhs = *rhs;
  return bound;
}

// A truth value that varies along one dimension of the tile at most.
std::optional<TileBound> readOpaque(Value mask, ArrayRef<int> dims) {
  TileBound bound;
  bound.opaque = mask;
  auto type = dyn_cast<RankedTensorType>(mask.getType());
  if (!type)
    return bound;
  for (auto [size, dim] : llvm::zip(type.getShape(), dims)) {
    if (size == 1)
      continue;
    if (bound.dim >= 0)
      return std::nullopt;
    bound.dim = dim;
  }
  if (bound.dim < 0)
    return std::nullopt;
  return bound;
}

LogicalResult read(Value mask, SmallVector<int> dims, TileStore &tile,
                   StoreRefusal &refusal) {
  if (matchPattern(mask, m_One()))
    return success();
  Operation *op = mask.getDefiningOp();
  if (op && isa<tt::SplatOp>(op))
    return read(op->getOperand(0), {}, tile, refusal);
  if (op && isa<tt::BroadcastOp>(op))
    return read(op->getOperand(0), dims, tile, refusal);
  if (auto expand = dyn_cast_or_null<tt::ExpandDimsOp>(op)) {
    dims.erase(dims.begin() + expand.getAxis());
    return read(expand.getSrc(), dims, tile, refusal);
  }
  if (auto both = dyn_cast_or_null<arith::AndIOp>(op)) {
    if (failed(read(both.getLhs(), dims, tile, refusal)))
      return failure();
    return read(both.getRhs(), dims, tile, refusal);
  }
  std::optional<TileBound> bound;
  if (auto cmp = dyn_cast_or_null<arith::CmpIOp>(op))
    bound = readComparison(cmp, dims);
  if (!bound)
    bound = readOpaque(mask, dims);
  if (!bound)
    return refuse(refusal, tile.op,
                  "E7: the mask is no conjunction of conditions on rows and "
                  "conditions on columns");
  if (bound->dim >= 0 && bound->dim == tile.colDim && bound->opaque)
    return refuse(refusal, tile.op,
                  "E7: the condition on columns is no comparison, so it cannot "
                  "be asked about groups");
  tile.bounds.push_back(std::move(*bound));
  return success();
}

} // namespace

LogicalResult readBounds(Value mask, TileStore &tile, StoreRefusal &refusal) {
  int rank = 0;
  if (auto type = dyn_cast<RankedTensorType>(mask.getType()))
    rank = type.getRank();
  return read(mask, llvm::to_vector(llvm::seq(rank)), tile, refusal);
}

} // namespace epiq::detail
