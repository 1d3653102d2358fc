//===- TileStoreOnce.cpp - No element is stored twice ---------------------===//
// Passes.td states the rule E4 with epiq-fuse-epilogue.
//===----------------------------------------------------------------------===//

#include "TileStoreDetail.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace epiq::detail {

namespace {

// Whether `value` may differ from one iteration of `loop` to the next.
bool changesIn(Operation *loop, Value value, llvm::DenseSet<Value> &seen) {
  if (!seen.insert(value).second)
    return false;
  if (auto argument = dyn_cast<BlockArgument>(value)) {
    Operation *parent = argument.getOwner()->getParentOp();
    if (parent == loop)
      return true;
    // An inner loop counts on from what its bounds are.
    return loop->isProperAncestor(parent) &&
           llvm::any_of(parent->getOperands(), [&](Value operand) {
             return changesIn(loop, operand, seen);
           });
  }
  Operation *op = value.getDefiningOp();
  if (!loop->isProperAncestor(op))
    return false;
  if (isa<tt::LoadOp>(op))
    return true;
  return llvm::any_of(op->getOperands(), [&](Value operand) {
    return changesIn(loop, operand, seen);
  });
}

bool changesIn(Operation *loop, const IndexForm &form) {
  llvm::DenseSet<Value> seen;
  for (const IndexTerm &term : form.getTerms()) {
    for (Value scalar : term.scalars)
      if (changesIn(loop, scalar, seen))
        return true;
    if (term.tensor && changesIn(loop, term.tensor, seen))
      return true;
  }
  return false;
}

// The distance between the tiles of two iterations, where a loop's counter
// moves the tile along one dimension by a constant; nothing if it does
// otherwise.
std::optional<int64_t> stepOf(scf::ForOp loop, const IndexForm &form) {
  APInt step;
  if (!matchPattern(loop.getStep(), m_ConstantInt(&step)))
    return std::nullopt;
  for (const IndexTerm &term : form.getTerms())
    if (term.isUniform() && term.scalars.size() == 1 &&
        term.scalars.front() == loop.getInductionVar())
      return std::abs(term.coeff * step.getSExtValue());
  return std::nullopt;
}

LogicalResult checkLoops(const TileStore &tile, StoreRefusal &refusal) {
  for (Operation *parent = tile.op->getParentOp(); !isa<tt::FuncOp>(parent);
       parent = parent->getParentOp()) {
    if (!isa<LoopLikeOpInterface>(parent))
      continue;
    if (!changesIn(parent, tile.row) && !changesIn(parent, tile.colStart) &&
        !changesIn(parent, tile.rest))
      return refuse(refusal, tile.op,
                    "E4: each iteration of a loop around the store writes the "
                    "same elements");
    auto loop = dyn_cast<scf::ForOp>(parent);
    if (!loop || changesIn(parent, tile.rest))
      continue;
    std::optional<int64_t> step = stepOf(loop, tile.colStart);
    if (step && *step < tile.numCols && !changesIn(parent, tile.row))
      return refuse(refusal, tile.op,
                    "E4: a loop moves the tile by " + Twine(*step) +
                        " columns, fewer than its " + Twine(tile.numCols));
    step = stepOf(loop, tile.row);
    if (step && *step < tile.numRows && !changesIn(parent, tile.colStart))
      return refuse(refusal, tile.op,
                    "E4: a loop moves the tile by " + Twine(*step) +
                        " rows, fewer than its " + Twine(tile.numRows));
  }
  return success();
}

// Whether control gets from one block to another of the same region.
bool reaches(Block *from, Block *to) {
  llvm::DenseSet<Block *> seen;
  SmallVector<Block *> worklist(from->getSuccessors());
  while (!worklist.empty()) {
    Block *next = worklist.pop_back_val();
    if (next == to)
      return true;
    if (seen.insert(next).second)
      llvm::append_range(worklist, next->getSuccessors());
  }
  return false;
}

// Whether control reaches at most one of two ops: they stand in different
// branches of an scf.if, or in blocks of which none leads to the other, as
// where a kernel returns early.
bool areExclusive(Operation *a, Operation *b) {
  for (Region *region = a->getParentRegion(); region;
       region = region->getParentRegion()) {
    Operation *parent = region->getParentOp();
    if (!parent->isProperAncestor(b))
      continue;
    if (!region->isAncestor(b->getParentRegion()))
      return isa<scf::IfOp>(parent);
    Block *blockOfA = region->findAncestorBlockInRegion(*a->getBlock());
    Block *blockOfB = region->findAncestorBlockInRegion(*b->getBlock());
    return blockOfA != blockOfB && !reaches(blockOfA, blockOfB) &&
           !reaches(blockOfB, blockOfA);
  }
  return false;
}

// A run of rows or columns of the output: forms for where it starts, and for
// where it ends, each of them a bound.
struct Run {
  SmallVector<IndexForm, 2> starts, ends;
};

// The run of `size` positions along `dim` from `start`, as the mask cuts it.
Run getRun(const TileStore &tile, int dim, const IndexForm &start,
           int64_t size) {
  Run run{{start}, {start + IndexForm(size)}};
  for (const TileBound &bound : tile.bounds) {
    if (bound.dim != dim || bound.opaque)
      continue;
    IndexForm distance = bound.rhs - bound.lhs;
    if (!(distance.getUniform() - distance == IndexForm::along(dim)))
      continue;
    IndexForm limit = start + distance.getUniform();
    if (bound.predicate == arith::CmpIPredicate::slt)
      run.ends.push_back(limit);
    if (bound.predicate == arith::CmpIPredicate::sge)
      run.starts.push_back(limit);
  }
  return run;
}

bool endsBefore(const Run &a, const Run &b) {
  return llvm::any_of(a.ends, [&](const IndexForm &end) {
    return llvm::any_of(b.starts, [&](const IndexForm &start) {
      return (start - end).getConstant().value_or(-1) >= 0;
    });
  });
}

bool areApart(const Run &a, const Run &b) {
  return endsBefore(a, b) || endsBefore(b, a);
}

Run getColumns(const TileStore &tile) {
  return getRun(tile, tile.colDim, tile.colStart, tile.numCols);
}

// Nothing where the rows of a tile do not follow one another.
std::optional<Run> getRows(const TileStore &tile) {
  if (tile.numRows == 1)
    return getRun(tile, /*dim=*/-1, tile.row.getUniform(), 1);
  IndexForm varying = tile.row - tile.row.getUniform();
  for (int dim : tile.rowDims)
    if (varying == IndexForm::along(dim))
      return getRun(tile, dim, tile.row.getUniform(), tile.numRows);
  return std::nullopt;
}

bool areDisjoint(const TileStore &a, const TileStore &b) {
  if (a.flat != b.flat || !(a.rest == b.rest))
    return false;
  if (areApart(getColumns(a), getColumns(b)))
    return true;
  std::optional<Run> rowsOfA = getRows(a), rowsOfB = getRows(b);
  return rowsOfA && rowsOfB && areApart(*rowsOfA, *rowsOfB);
}

} // namespace

LogicalResult checkStoredOnce(ArrayRef<TileStore> tiles,
                              StoreRefusal &refusal) {
  for (const TileStore &tile : tiles) {
    for (Block *block = tile.op->getBlock(); block;
         block = block->getParentOp()->getBlock())
      if (reaches(block, block))
        return refuse(refusal, tile.op,
                      "E4: the store is in a loop of branches, whose "
                      "iterations are not followed");
    if (failed(checkLoops(tile, refusal)))
      return failure();
  }
  for (auto [i, tile] : llvm::enumerate(tiles))
    for (const TileStore &later : tiles.drop_front(i + 1))
      if (!areExclusive(tile.op, later.op) && !areDisjoint(tile, later))
        return refuse(refusal, later.op,
                      "E4: two stores of the kernel may write one element");
  return success();
}

} // namespace epiq::detail
