//===- TileStoreBounds.cpp - The mask of a store, taken apart -------------===//
// Passes.td states the rule E7 with epiq-fuse-epilogue.
//===----------------------------------------------------------------------===//

#include "TileStoreDetail.h"

#include "mlir/IR/Matchers.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace epiq {

bool TileBound::isUpperLimit() const {
  using arith::CmpIPredicate;
  IndexForm distance = lhs - rhs;
  return !opaque && distance - distance.getUniform() == IndexForm::along(dim) &&
         llvm::is_contained({CmpIPredicate::slt, CmpIPredicate::sle,
                             CmpIPredicate::ult, CmpIPredicate::ule},
                            predicate);
}

bool TileBound::keepsGroups(int64_t group) const {
  using arith::CmpIPredicate;
  IndexForm distance = lhs - rhs;
  return !opaque && distance - distance.getUniform() == IndexForm::along(dim) &&
         (predicate == CmpIPredicate::slt || predicate == CmpIPredicate::sge) &&
         distance.getUniform().getDivisor() % group == 0;
}

bool TileBound::operator==(const TileBound &other) const {
  return dim == other.dim && opaque == other.opaque &&
         predicate == other.predicate && lhs == other.lhs && rhs == other.rhs;
}

} // namespace epiq

namespace epiq::detail {

namespace {

// The same comparison with its sides exchanged.
arith::CmpIPredicate exchanged(arith::CmpIPredicate predicate) {
  using arith::CmpIPredicate;
  switch (predicate) {
  case CmpIPredicate::eq:
  case CmpIPredicate::ne:
    return predicate;
  case CmpIPredicate::slt:
    return CmpIPredicate::sgt;
  case CmpIPredicate::sle:
    return CmpIPredicate::sge;
  case CmpIPredicate::sgt:
    return CmpIPredicate::slt;
  case CmpIPredicate::sge:
    return CmpIPredicate::sle;
  case CmpIPredicate::ult:
    return CmpIPredicate::ugt;
  case CmpIPredicate::ule:
    return CmpIPredicate::uge;
  case CmpIPredicate::ugt:
    return CmpIPredicate::ult;
  case CmpIPredicate::uge:
    return CmpIPredicate::ule;
  }
  llvm_unreachable("unknown predicate");
}

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

// E7: a condition on the place of an element in the whole output,
// row * stride + column < limit, is one on its row where the limit is a number
// of whole rows.
std::optional<TileBound> asLimitOnRows(const TileBound &bound,
                                       const TileStore &tile) {
  if (bound.predicate != arith::CmpIPredicate::slt ||
      tile.rowStride.getTerms().size() != 1 || !tile.rest.getTerms().empty())
    return std::nullopt;
  std::optional<IndexForm> rows = tile.row.times(tile.rowStride);
  if (!rows)
    return std::nullopt;
  IndexForm place =
      *rows + tile.colStart + IndexForm::along(tile.colDim) - bound.lhs;
  IndexForm limit = bound.rhs + place;
  std::optional<int> dim = varyingDim(tile.row, limit);
  std::optional<int64_t> stride = tile.rowStride.getConstant();
  if (!limit.isUniform() || !dim || !stride)
    return std::nullopt;
  if (!limit.dividedBy(*stride) && limit.getDivisor() % *stride != 0)
    return std::nullopt;
  TileBound onRows = bound;
  onRows.dim = *dim;
  onRows.lhs = *rows;
  onRows.rhs = limit;
  return onRows;
}

std::optional<TileBound> readComparison(arith::CmpIOp cmp, ArrayRef<int> dims,
                                        const TileStore &tile) {
  std::optional<IndexForm> lhs = getIndexForm(cmp.getLhs(), dims);
  std::optional<IndexForm> rhs = getIndexForm(cmp.getRhs(), dims);
  if (!lhs || !rhs)
    return std::nullopt;
  TileBound bound;
  bound.predicate = cmp.getPredicate();
  bound.lhs = *lhs;
  bound.rhs = *rhs;
  if (lhs->isUniform()) {
    std::swap(bound.lhs, bound.rhs);
    bound.predicate = exchanged(bound.predicate);
  }
  std::optional<int> dim = varyingDim(*lhs, *rhs);
  if (!dim)
    return asLimitOnRows(bound, tile);
  bound.dim = *dim;
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
    bound = readComparison(cmp, dims, tile);
  if (!bound)
    bound = readOpaque(mask, dims);
  if (!bound)
    return refuse(refusal, tile.op,
                  "E7: the mask is no conjunction of conditions on rows and "
                  "conditions on columns");
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
