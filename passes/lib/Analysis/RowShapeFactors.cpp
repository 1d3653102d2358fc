//===- RowShapeFactors.cpp - The finest common factorization of a row -----===//
// A row of 4096 that is also seen as 32 x 128 has the factors 32 and 128; one
// that is seen as 4 x 1024 besides has 4, 8 and 128. Each dimension of a value
// is first described by atoms, runs of the row with a stride; the strides at
// which atoms begin and end are the cuts between factors.
//===----------------------------------------------------------------------===//

#include "RowShapeDetail.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <set>

using namespace mlir;

namespace epiq::detail {

namespace {

// The elements 0, stride, 2 * stride ... (size of them) of the row.
struct Atom {
  int64_t stride;
  int64_t size;
};
using DimAtoms = SmallVector<Atom, 2>;
// The atoms of each row dimension, outermost first, of one value.
using ValueAtoms = SmallVector<DimAtoms>;

// Splits a row of atoms anew into dimensions of sizes `dims`; none when a
// dimension would end inside of an atom that does not divide there.
std::optional<ValueAtoms> regroup(ArrayRef<DimAtoms> from,
                                  ArrayRef<int64_t> dims) {
  SmallVector<Atom> rest;
  for (const DimAtoms &dim : llvm::reverse(from))
    llvm::append_range(rest, llvm::reverse(dim));
  ValueAtoms result;
  for (int64_t dim : dims) {
    DimAtoms atoms;
    while (dim > 1) {
      if (rest.empty())
        return std::nullopt;
      Atom &atom = rest.back();
      if (dim % atom.size == 0) {
        atoms.push_back(atom);
        dim /= atom.size;
        rest.pop_back();
        continue;
      }
      if (atom.size % dim != 0)
        return std::nullopt;
      int64_t inner = atom.size / dim;
      atoms.push_back({atom.stride * inner, dim});
      atom.size = inner;
      dim = 1;
    }
    result.push_back(std::move(atoms));
  }
  return result;
}

// The last `size` elements of a dimension, or of each run of so many; none when
// an atom would be torn.
std::optional<DimAtoms> innerAtoms(const DimAtoms &dim, int64_t size) {
  DimAtoms found;
  for (Atom atom : llvm::reverse(dim)) {
    if (size == 1)
      break;
    if (size % atom.size != 0) {
      if (atom.size % size != 0)
        return std::nullopt;
      atom.size = size;
    }
    size /= atom.size;
    found.insert(found.begin(), atom);
  }
  if (size != 1)
    return std::nullopt;
  return found;
}

// The most tiles that a value is written out as.
constexpr int64_t kMaxUnrolled = 16;

class Factorizer {
public:
  Factorizer(Block &body, ArrayRef<Value> values, const LeadingDims &leading,
             const MemoryViews &views, RowShape &shape, std::string &reason)
      : body(body), values(values), leading(leading), views(views),
        shape(shape), reason(reason) {}

  LogicalResult run();

private:
  void seed();
  LogicalResult visit(Operation &op);
  LogicalResult visitReshape(graph::ReshapeOp op);
  LogicalResult visitPart(Value whole, Value part, unsigned dim);
  void visitReduce(graph::ReduceOp op);
  void visitBroadcast(graph::BroadcastOp op);
  LogicalResult findFactors();
  void describeValues();
  void unroll(Value whole, unsigned dim, ArrayRef<int64_t> bounds);
  LogicalResult findUnrolled();

  bool isKnown(Value value) const { return atoms.contains(value); }
  void learn(Value value, ValueAtoms found) {
    if (atoms.try_emplace(value, std::move(found)).second)
      changed = true;
  }

  Block &body;
  ArrayRef<Value> values;
  const LeadingDims &leading;
  const MemoryViews &views;
  RowShape &shape;
  std::string &reason;
  DenseMap<Value, ValueAtoms> atoms;
  // The strides at which factors begin, innermost (1) first, then the width.
  SmallVector<int64_t> cuts;
  bool changed = false;
};

// Values that fill the row are placed by their shape alone, and so are those
// with a single element.
void Factorizer::seed() {
  for (Value value : values) {
    int64_t elements = rowElements(value, leading);
    if (elements != 1 && elements != shape.width)
      continue;
    DimAtoms whole;
    if (elements > 1)
      whole.push_back({1, elements});
    learn(value, *regroup(ValueAtoms{whole}, rowDims(value, leading)));
  }
}

LogicalResult Factorizer::visitReshape(graph::ReshapeOp op) {
  for (auto [from, to] :
       {std::pair<Value, Value>(op.getInput(), op.getResult()),
        std::pair<Value, Value>(op.getResult(), op.getInput())}) {
    if (!isKnown(from) || isKnown(to))
      continue;
    std::optional<ValueAtoms> found =
        regroup(atoms[from], rowDims(to, leading));
    if (!found)
      return refuse(reason, "L2: reshape from " + typeText(op.getInput()) +
                                " to " + typeText(op.getResult()) +
                                " has no common factorization");
    learn(to, std::move(*found));
  }
  return success();
}

void Factorizer::visitReduce(graph::ReduceOp op) {
  if (!isKnown(op.getInput()))
    return;
  unsigned tokens = leading.lookup(op.getInput());
  ValueAtoms found;
  for (auto [index, dim] : llvm::enumerate(atoms[op.getInput()])) {
    if (!llvm::is_contained(op.getDims(), static_cast<int64_t>(index + tokens)))
      found.push_back(dim);
    else if (op.getKeep())
      found.emplace_back();
  }
  learn(op.getResult(), std::move(found));
}

void Factorizer::visitBroadcast(graph::BroadcastOp op) {
  if (!isKnown(op.getResult()) || isKnown(op.getInput()))
    return;
  ArrayRef<int64_t> dims = rowDims(op.getInput(), leading);
  ArrayRef<DimAtoms> to = atoms[op.getResult()];
  // Dimensions that the result does not have are tokens there, 1 here.
  ValueAtoms found(dims.size());
  for (size_t back = 1; back <= std::min(dims.size(), to.size()); ++back)
    if (dims[dims.size() - back] != 1)
      found[dims.size() - back] = to[to.size() - back];
  learn(op.getInput(), std::move(found));
}

LogicalResult Factorizer::visit(Operation &op) {
  if (auto reshape = dyn_cast<graph::ReshapeOp>(op))
    return visitReshape(reshape);
  if (auto reduce = dyn_cast<graph::ReduceOp>(op))
    visitReduce(reduce);
  else if (auto broadcast = dyn_cast<graph::BroadcastOp>(op))
    visitBroadcast(broadcast);
  else if (auto slice = dyn_cast<graph::SliceOp>(op);
           slice && !views.contains(slice.getResult()))
    return visitPart(slice.getInput(), slice.getResult(), slice.getDim());
  else if (auto concat = dyn_cast<graph::ConcatOp>(op))
    for (Value input : concat.getInputs())
      if (failed(visitPart(concat.getResult(), input, concat.getDim())))
        return failure();
  if (!isElementwise(op))
    return success();

  SmallVector<Value> tied(op.getOperands());
  tied.push_back(op.getResult(0));
  Value *known =
      llvm::find_if(tied, [&](Value value) { return isKnown(value); });
  if (known == tied.end())
    return success();
  ValueAtoms found = atoms[*known];
  for (Value value : tied)
    learn(value, found);
  return success();
}

// A part of `whole` along `dim` starts anew there: its place in the row does
// not say which part it is.
LogicalResult Factorizer::visitPart(Value whole, Value part, unsigned dim) {
  if (!isKnown(whole) || isKnown(part))
    return success();
  unsigned place = dim - leading.lookup(whole);
  ValueAtoms found = atoms[whole];
  std::optional<DimAtoms> inner =
      innerAtoms(found[place], rowDims(part, leading)[place]);
  if (!inner)
    return refuse(reason, "L2: " + typeText(part) + " is a part of " +
                              typeText(whole) +
                              " that has no common factorization with it");
  found[place] = std::move(*inner);
  learn(part, std::move(found));
  return success();
}

LogicalResult Factorizer::findFactors() {
  std::set<int64_t> found = {1, shape.width};
  for (Value value : values)
    for (const DimAtoms &dim : atoms[value])
      for (Atom atom : dim)
        found.insert({atom.stride, atom.stride * atom.size});
  cuts.assign(found.begin(), found.end());
  for (auto [inner, outer] :
       llvm::zip(ArrayRef(cuts), ArrayRef(cuts).drop_front())) {
    if (outer % inner != 0)
      return refuse(reason, "L2: a row of " + Twine(shape.width) +
                                " is split at " + Twine(inner) + " and at " +
                                Twine(outer) +
                                ", which have no common factorization");
    shape.factors.insert(shape.factors.begin(), outer / inner);
  }
  return success();
}

void Factorizer::describeValues() {
  // Factor 0 is the outermost: it ends at the last cut.
  auto factorBelow = [&](int64_t cut) -> unsigned {
    return cuts.end() - llvm::find(cuts, cut) - 1;
  };
  for (Value value : values) {
    RowValue &described = shape.values[value];
    described.leading = leading.lookup(value);
    for (const DimAtoms &dim : atoms[value]) {
      auto &factors = described.dims.emplace_back();
      for (Atom atom : dim)
        for (unsigned factor = factorBelow(atom.stride * atom.size),
                      end = factorBelow(atom.stride);
             factor != end; ++factor)
          factors.push_back(factor);
    }
  }
}

// Takes apart the factors of a dimension inside of which one of `bounds` lies.
void Factorizer::unroll(Value whole, unsigned dim, ArrayRef<int64_t> bounds) {
  const RowValue &value = shape.values.find(whole)->second;
  int64_t stride = 1;
  for (unsigned factor : llvm::reverse(value.dims[dim - value.leading])) {
    stride *= shape.factors[factor];
    if (llvm::any_of(bounds, [&](int64_t bound) { return bound % stride; }))
      shape.unrolled[factor] = true;
  }
}

// L9: not too many tiles; the outermost factor is never taken apart, since it
// is what programs and chunks share: there is one of size 1 in its place.
LogicalResult Factorizer::findUnrolled() {
  shape.unrolled.assign(shape.factors.size(), false);
  for (Operation &op : body) {
    if (auto slice = dyn_cast<graph::SliceOp>(op);
        slice && !views.contains(slice.getResult()))
      unroll(slice.getInput(), slice.getDim(),
             {static_cast<int64_t>(slice.getBegin()),
              static_cast<int64_t>(slice.getEnd())});
    auto concat = dyn_cast<graph::ConcatOp>(op);
    if (!concat)
      continue;
    SmallVector<int64_t> bounds = {0};
    for (Value input : concat.getInputs())
      bounds.push_back(bounds.back() +
                       tensorType(input).getDimSize(concat.getDim()));
    unroll(concat.getResult(), concat.getDim(), bounds);
  }
  int64_t tiles = 1;
  for (auto [factor, size] : llvm::enumerate(shape.factors))
    tiles *= shape.unrolled[factor] ? size : 1;
  if (tiles > kMaxUnrolled)
    return refuse(reason, "L9: slices and concatenations take a row of " +
                              Twine(shape.width) + " apart into " +
                              Twine(tiles) + " tiles, more than " +
                              Twine(kMaxUnrolled));
  if (shape.unrolled.empty() || !shape.unrolled.front())
    return success();
  shape.factors.insert(shape.factors.begin(), 1);
  shape.unrolled.insert(shape.unrolled.begin(), false);
  for (auto &[value, described] : shape.values)
    for (auto &dim : described.dims)
      for (unsigned &factor : dim)
        ++factor;
  return success();
}

LogicalResult Factorizer::run() {
  seed();
  do {
    changed = false;
    for (Operation &op : body)
      if (failed(visit(op)))
        return failure();
  } while (changed);

  for (Value value : values)
    if (!isKnown(value))
      return refuse(reason, "L2: " + typeText(value) +
                                " has no place in a row of " +
                                Twine(shape.width));
  if (failed(findFactors()))
    return failure();
  describeValues();
  return findUnrolled();
}

} // namespace

LogicalResult factorRow(Block &body, ArrayRef<Value> values,
                        const LeadingDims &leading, const MemoryViews &views,
                        RowShape &shape, std::string &reason) {
  return Factorizer(body, values, leading, views, shape, reason).run();
}

} // namespace epiq::detail
