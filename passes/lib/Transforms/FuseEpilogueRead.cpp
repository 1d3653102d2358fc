//===- FuseEpilogueRead.cpp - What an epilogue needs of a tile ------------===//
// Passes.td states the rules with epiq-fuse-epilogue.
//===----------------------------------------------------------------------===//

#include "FuseEpilogueDetail.h"

#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace epiq::detail {

namespace {

template <typename T> std::string textOf(T thing) {
  std::string text;
  llvm::raw_string_ostream(text) << thing;
  return text;
}

LogicalResult because(std::string &reason, const llvm::Twine &why) {
  reason = why.str();
  return failure();
}

// The distances between elements of a dense row of `value`, by factor of the
// epilogue's row; 0 for those along which it does not vary.
SmallVector<int64_t> denseStrides(const RowValue &value,
                                  ArrayRef<int64_t> factors) {
  SmallVector<int64_t> strides(factors.size(), 0);
  int64_t stride = 1;
  for (const auto &dim : llvm::reverse(value.dims)) {
    for (unsigned factor : llvm::reverse(dim)) {
      strides[factor] = stride;
      stride *= factors[factor];
    }
  }
  return strides;
}

// Sees an operand as a matrix. Its columns must follow one another: those of a
// group, a run of factors, then those of the next group.
LogicalResult asMatrix(ArrayRef<int64_t> strides, const Epilogue &epilogue,
                       EpilogueOperand &operand) {
  const RowShape &rows = epilogue.rows;
  ArrayRef<int64_t> factors = rows.factors;
  // The factors inside of a group; the outermost one counts groups.
  size_t first = rows.fullRow ? 0 : 1;
  for (size_t i = first; i < factors.size(); ++i)
    operand.perGroup *= strides[i] ? factors[i] : 1;
  operand.columnsPerColumn = epilogue.groupColumns / operand.perGroup;
  operand.perGroupOfTile =
      first == 1 && !factors.empty() && strides.front() != 0;
  int64_t expected = 0;
  for (size_t i = factors.size(); i-- > 0;) {
    if (strides[i] == 0) {
      // What lies inside of a column must not vary; what lies around may.
      if (expected != 0 && i >= first)
        return failure();
      continue;
    }
    if (expected == 0)
      operand.columnStride = expected = strides[i];
    if (strides[i] != expected)
      return failure();
    expected *= factors[i];
  }
  return success();
}

// E8: a view of the first input as the whole tile, or as one of two parts that
// alternate: then one stride is twice what the columns below it fill.
std::optional<TilePart> asPart(const RowView &view, const RowShape &rows) {
  TilePart part;
  int64_t expected = 1;
  for (auto [factor, stride] :
       llvm::zip(llvm::reverse(rows.factors), llvm::reverse(view.strides))) {
    if (stride == 2 * expected && part.run == 0 && !rows.fullRow)
      part.run = expected;
    else if (stride != expected)
      return std::nullopt;
    expected = stride * factor;
  }
  if (part.run == 0)
    return view.offset == 0 ? std::optional(part) : std::nullopt;
  if (view.offset != 0 && view.offset != part.run)
    return std::nullopt;
  part.half = view.offset == 0 ? 0 : 1;
  return part;
}

LogicalResult readParts(Epilogue &epilogue, std::string &reason) {
  epilogue.groupColumns = epilogue.rows.columnUnit;
  int64_t run = -1;
  llvm::SmallDenseSet<unsigned> seen;
  for (const auto &[value, view] : epilogue.rows.loads) {
    if (view.input >= epilogue.numOutputs)
      continue;
    std::optional<TilePart> part = asPart(view, epilogue.rows);
    if (!part || (run >= 0 && part->run != run))
      return because(reason, "E8: the epilogue reads parts of input " +
                                 Twine(view.input) +
                                 " that a tile does not hold");
    run = part->run;
    part->output = view.input;
    epilogue.parts[value] = *part;
    seen.insert(view.input);
  }
  for (unsigned output = 0; output < epilogue.numOutputs; ++output)
    if (!seen.contains(output))
      return because(reason, "E8: the epilogue does not read its input " +
                                 Twine(output));
  if (run > 0)
    epilogue.groupColumns *= 2;
  return success();
}

LogicalResult readLoads(Epilogue &epilogue, std::string &reason) {
  for (const auto &[value, view] : epilogue.rows.loads) {
    if (view.input < epilogue.numOutputs)
      continue;
    EpilogueOperand operand;
    operand.perToken = epilogue.rows.inputs[view.input].first > 0;
    operand.offset = view.offset;
    if (failed(asMatrix(view.strides, epilogue, operand)) ||
        (operand.offset != 0 && !epilogue.rows.fullRow))
      return because(reason, "E9: input " + Twine(view.input) +
                                 " of the epilogue does not follow the columns "
                                 "of the tile");
    epilogue.loads[value] = operand;
  }
  return success();
}

// E9: where a value of the epilogue lies over the tile, if dense in memory.
LogicalResult asDenseMatrix(const RowValue &row, const Epilogue &epilogue,
                            EpilogueOperand &operand) {
  operand.perToken = row.isPerToken();
  return asMatrix(denseStrides(row, epilogue.rows.factors), epilogue, operand);
}

LogicalResult readResult(Value value, unsigned number, Epilogue &epilogue,
                         std::string &reason) {
  auto no = [&](const Twine &why) {
    return because(reason,
                   "E9: result " + Twine(number) + " of the epilogue" + why);
  };
  EpilogueOperand operand;
  operand.layout = epilogue.program.getLayout(number);
  const RowValue &row = epilogue.rows.values.find(value)->second;
  if (!row.isPerToken())
    return no(" is the same for all rows");
  if (failed(asDenseMatrix(row, epilogue, operand)))
    return no(", " + textOf(value.getType()) +
              ", does not follow the columns of the tile");
  if (operand.layout == graph::Layout::packed_e2m1) {
    if (operand.perGroup % 2 != 0)
      return no(" has bytes that reach over two groups");
    operand.perGroup /= 2;
    operand.columnsPerColumn *= 2;
  }
  epilogue.results.push_back(operand);
  return success();
}

// A maximum over all tokens is one of the tile first, over what exists of it.
LogicalResult readMaximum(Value value, unsigned number, Epilogue &epilogue,
                          std::string &reason) {
  Value source = value.getDefiningOp<graph::ReduceOp>().getInput();
  EpilogueOperand operand;
  if (failed(asDenseMatrix(epilogue.rows.values.find(source)->second, epilogue,
                           operand)))
    return because(reason, "E9: result " + Twine(number) +
                               " of the epilogue is the maximum of what does "
                               "not follow the columns of the tile");
  epilogue.maximized[source] = operand;
  epilogue.results.push_back(operand);
  return success();
}

LogicalResult readResults(Epilogue &epilogue, std::string &reason) {
  for (auto [i, value] :
       llvm::enumerate(epilogue.program.getYield().getValues()))
    if (failed(epilogue.rows.tensorMaxes.contains(value)
                   ? readMaximum(value, i, epilogue, reason)
                   : readResult(value, i, epilogue, reason)))
      return failure();
  return success();
}

} // namespace

FailureOr<Epilogue> readEpilogue(graph::RowProgramOp program,
                                 unsigned numOutputs, std::string &reason) {
  Epilogue epilogue;
  epilogue.numOutputs = numOutputs;
  epilogue.owner = normalizeRowProgram(program);
  epilogue.program = *epilogue.owner;
  FailureOr<RowShape> rows = analyzeRows(epilogue.program, reason);
  if (failed(rows))
    return failure();
  epilogue.rows = std::move(*rows);
  if (llvm::is_contained(epilogue.rows.unrolled, true))
    return because(reason, "E9: the epilogue takes rows apart by slices or "
                           "concatenations of what it computes"),
           failure();
  if (!epilogue.rows.scatters.empty() ||
      llvm::any_of(epilogue.rows.loads,
                   [](const auto &load) { return load.second.index; }))
    return because(reason, "E9: the epilogue reads or stores rows by index"),
           failure();
  for (unsigned output = 0; output < numOutputs; ++output) {
    if (output < epilogue.rows.inputs.size() &&
        epilogue.rows.inputs[output].first != 0)
      continue;
    return because(reason, "E8: input " + Twine(output) +
                               " of the epilogue has no rows"),
           failure();
  }
  if (failed(readParts(epilogue, reason)) ||
      failed(readLoads(epilogue, reason)) ||
      failed(readResults(epilogue, reason)))
    return failure();
  return epilogue;
}

namespace {

// E5: the tile holds whole groups.
LogicalResult checkGroups(const Epilogue &epilogue, const TileStore &tile,
                          StoreRefusal &refusal) {
  int64_t group = epilogue.groupColumns;
  auto no = [&](const Twine &why) {
    refusal = {tile.op, ("E5: " + why).str()};
    return failure();
  };
  if (tile.colDim == cast<RankedTensorType>(tile.value.getType()).getRank() &&
      group != 1)
    return no("the tile is one column, since no stride of it is the constant "
              "1, and holds no group of " +
              Twine(group));
  if (tile.numCols % group != 0)
    return no("a tile of " + Twine(tile.numCols) +
              " columns does not hold whole groups of " + Twine(group));
  int64_t known = tile.colStart.getDivisor();
  if (!tile.rest.getTerms().empty())
    known =
        std::min({known, tile.rest.getDivisor(), tile.rowStride.getDivisor()});
  if (known % group != 0)
    return no("the tile's first column is only known to be a multiple of " +
              Twine(known) + ", which may be inside a group of " +
              Twine(group));
  return success();
}

// E7: what a mask leaves of a group is all of it, or what the row holds of it:
// the rest belongs to no other program.
LogicalResult checkColumnBounds(const Epilogue &epilogue, const TileStore &tile,
                                StoreRefusal &refusal) {
  int64_t group = epilogue.groupColumns;
  if (group == 1 && !epilogue.rows.fullRow)
    return success();
  for (const TileBound &bound : tile.bounds) {
    if (bound.dim != tile.colDim || bound.isUpperLimit() ||
        (!epilogue.rows.fullRow && bound.keepsGroups(group)))
      continue;
    refusal = {
        tile.op,
        bound.opaque
            ? "E7: the condition on columns is no comparison, so it "
              "cannot be asked about groups"
            : "E7: the condition on columns is not that they end "
              "somewhere, so another store may hold the rest of a group"};
    return failure();
  }
  return success();
}

// E6: the tile holds whole rows.
LogicalResult checkFullRow(const Epilogue &epilogue, const TileStore &tile,
                           StoreRefusal &refusal) {
  auto no = [&](const Twine &why) {
    refusal = {tile.op,
               ("E6: the epilogue combines a whole row, and " + why).str()};
    return failure();
  };
  if (tile.flat)
    return no("the kernel does not say where a row begins");
  if (!tile.rest.getTerms().empty() || tile.colStart.getConstant() != 0)
    return no("the tile does not start at column 0 of one");
  int64_t padded = 1;
  for (int64_t factor : epilogue.rows.factors)
    padded *= llvm::PowerOf2Ceil(factor);
  if (padded != tile.numCols)
    return no("the tile has " + Twine(tile.numCols) + " columns, a row of " +
              Twine(epilogue.rows.width) + " needs " + Twine(padded));
  return success();
}

// E9: without rows, only what has a value for each element, or one for all, has
// a place. The others would need to know where a row begins.
LogicalResult checkFlat(const Epilogue &epilogue, const TileStore &tile,
                        StoreRefusal &refusal) {
  auto no = [&](const Twine &what) {
    refusal = {
        tile.op,
        ("E9: the kernel does not say where a row begins, but " + what).str()};
    return failure();
  };
  for (const auto &[value, operand] : epilogue.loads)
    if (operand.perToken != operand.perGroupOfTile)
      return no("an input of the epilogue has a value for each row or column");
  for (const EpilogueOperand &result : epilogue.results)
    if (result.layout != graph::Layout::row_major &&
        result.layout != graph::Layout::packed_e2m1)
      return no("a result of the epilogue is " +
                graph::stringifyLayout(result.layout));
  return success();
}

} // namespace

LogicalResult checkTiles(const Epilogue &epilogue, const TileSet &set,
                         StoreRefusal &refusal) {
  graph::RowProgramOp program = epilogue.program;
  for (auto [i, tile] : llvm::enumerate(set.tiles)) {
    Type stored = getElementTypeOrSelf(tile.value);
    Type read = getElementTypeOrSelf(program.getBlock().getArgument(i));
    if (stored != read) {
      refusal = {tile.op, "E8: the kernel stores " + textOf(stored) +
                              ", the epilogue reads " + textOf(read)};
      return failure();
    }
  }
  const TileStore &tile = set.tile();
  if (tile.flat && failed(checkFlat(epilogue, tile, refusal)))
    return failure();
  if (failed(epilogue.rows.fullRow ? checkFullRow(epilogue, tile, refusal)
                                   : checkGroups(epilogue, tile, refusal)))
    return failure();
  return checkColumnBounds(epilogue, tile, refusal);
}

} // namespace epiq::detail
