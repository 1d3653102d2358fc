//===- IndexFormRead.cpp - SSA values to index forms ----------------------===//

#include "epiq/Analysis/IndexForm.h"
#include "epiq/TritonIR/Triton.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace epiq {

namespace {

constexpr int64_t kMaxDivisor = int64_t(1) << 30;
// Deeper chains than this are opaque: a bound on time, never reached by
// kernels.
constexpr unsigned kMaxDepth = 64;

std::optional<int64_t> getUniformConstant(Value value) {
  APInt scalar;
  if (matchPattern(value, m_ConstantInt(&scalar)) &&
      scalar.getSignificantBits() <= 64)
    return scalar.getSExtValue();
  return std::nullopt;
}

std::optional<IndexForm> read(Value value, ArrayRef<int> dims, unsigned depth);

// A tensor that cannot be taken apart; fine if it varies along one dimension.
std::optional<IndexForm> readOpaque(Value value, ArrayRef<int> dims) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!type)
    return IndexForm::ofScalar(value);
  int varying = -1;
  for (auto [size, dim] : llvm::zip(type.getShape(), dims)) {
    if (size == 1)
      continue;
    if (varying >= 0)
      return std::nullopt;
    varying = dim;
  }
  if (varying < 0)
    return std::nullopt;
  return IndexForm::along(varying, value);
}

// The tile dimensions of a reshape's source, if it only adds or drops
// dimensions of size 1.
std::optional<SmallVector<int>> dimsThroughReshape(RankedTensorType source,
                                                   RankedTensorType result,
                                                   ArrayRef<int> dims) {
  SmallVector<int> kept;
  SmallVector<int64_t> keptSizes;
  for (auto [size, dim] : llvm::zip(result.getShape(), dims)) {
    if (size == 1)
      continue;
    kept.push_back(dim);
    keptSizes.push_back(size);
  }
  SmallVector<int> sourceDims;
  unsigned next = 0;
  for (int64_t size : source.getShape()) {
    if (size == 1) {
      // Nothing varies along it: any dimension will do.
      sourceDims.push_back(dims.empty() ? 0 : dims.front());
      continue;
    }
    if (next == kept.size() || keptSizes[next] != size)
      return std::nullopt;
    sourceDims.push_back(kept[next++]);
  }
  return sourceDims;
}

// Ops that move a tensor's elements without changing them.
std::optional<IndexForm> readShapeOp(Operation *op, ArrayRef<int> dims,
                                     unsigned depth) {
  Value source = op->getOperand(0);
  if (isa<tt::SplatOp>(op))
    return read(source, {}, depth);
  if (isa<tt::BroadcastOp>(op))
    return read(source, dims, depth);
  if (auto expand = dyn_cast<tt::ExpandDimsOp>(op)) {
    SmallVector<int> sourceDims(dims);
    sourceDims.erase(sourceDims.begin() + expand.getAxis());
    return read(source, sourceDims, depth);
  }
  if (auto trans = dyn_cast<tt::TransOp>(op)) {
    SmallVector<int> sourceDims(dims.size());
    for (auto [i, from] : llvm::enumerate(trans.getOrder()))
      sourceDims[from] = dims[i];
    return read(source, sourceDims, depth);
  }
  auto reshape = cast<tt::ReshapeOp>(op);
  if (reshape.getAllowReorder())
    return std::nullopt;
  std::optional<SmallVector<int>> sourceDims =
      dimsThroughReshape(cast<RankedTensorType>(source.getType()),
                         cast<RankedTensorType>(reshape.getType()), dims);
  if (!sourceDims)
    return std::nullopt;
  return read(source, *sourceDims, depth);
}

unsigned widthOf(Value value) {
  return getElementTypeOrSelf(value.getType()).getIntOrFloatBitWidth();
}

// x % d as x - d * (x / d), where the kernel computes x / d too and it varies:
// what adds both up again, as a row and a column of it, is x.
std::optional<IndexForm> readRemainder(Operation *op, const IndexForm &x,
                                       const IndexForm &divisor,
                                       ArrayRef<int> dims) {
  if (x.isUniform())
    return std::nullopt;
  Value dividend = op->getOperand(0);
  bool isSigned = isa<arith::RemSIOp>(op);
  for (Operation *user : dividend.getUsers()) {
    if (user->getBlock() != op->getBlock() ||
        !(isSigned ? isa<arith::DivSIOp>(user) : isa<arith::DivUIOp>(user)) ||
        user->getOperand(0) != dividend ||
        user->getOperand(1) != op->getOperand(1))
      continue;
    std::optional<IndexForm> quotient = readOpaque(user->getResult(0), dims);
    std::optional<IndexForm> whole =
        quotient ? divisor.times(*quotient) : std::nullopt;
    if (whole)
      return x - *whole;
  }
  return std::nullopt;
}

// An integer that a loop moves on by the same step each time.
std::optional<IndexForm> readCarried(BlockArgument argument, ArrayRef<int> dims,
                                     unsigned depth) {
  std::optional<LoopCarried> carried = getLoopCarried(argument);
  auto next =
      carried ? carried->next.getDefiningOp<arith::AddIOp>() : arith::AddIOp();
  if (!next || (next.getLhs() != argument && next.getRhs() != argument))
    return std::nullopt;
  std::optional<IndexForm> first = read(carried->init, dims, depth);
  std::optional<IndexForm> step = read(
      next.getLhs() == argument ? next.getRhs() : next.getLhs(), dims, depth);
  if (!first || !step)
    return std::nullopt;
  std::optional<IndexForm> moved = timesIterations(*step, carried->loop);
  if (!moved)
    return std::nullopt;
  return *first + *moved;
}

std::optional<IndexForm> readArith(Operation *op, ArrayRef<int> dims,
                                   unsigned depth) {
  if (isa<arith::ExtSIOp, arith::ExtUIOp, arith::TruncIOp>(op)) {
    // A widened truth value is a number of its own, not the one it came from,
    // and bytes may well be cut off.
    if (widthOf(op->getOperand(0)) < 8 || widthOf(op->getResult(0)) < 32)
      return std::nullopt;
    return read(op->getOperand(0), dims, depth);
  }
  std::optional<IndexForm> lhs = read(op->getOperand(0), dims, depth);
  std::optional<IndexForm> rhs = read(op->getOperand(1), dims, depth);
  if (!lhs || !rhs)
    return std::nullopt;
  if (isa<arith::AddIOp>(op))
    return *lhs + *rhs;
  if (isa<arith::SubIOp>(op))
    return *lhs - *rhs;
  if (isa<arith::MulIOp>(op))
    return lhs->times(*rhs);
  if (isa<arith::RemSIOp, arith::RemUIOp>(op))
    return readRemainder(op, *lhs, *rhs, dims);
  if (isa<arith::DivSIOp, arith::DivUIOp>(op)) {
    std::optional<int64_t> divisor = rhs->getConstant();
    return divisor ? lhs->dividedBy(*divisor) : std::nullopt;
  }
  std::optional<int64_t> shift = rhs->getConstant();
  if (!shift || *shift < 0 || *shift > 30)
    return std::nullopt;
  return lhs->times(IndexForm(int64_t(1) << *shift));
}

std::optional<IndexForm> read(Value value, ArrayRef<int> dims, unsigned depth) {
  if (std::optional<int64_t> constant = getUniformConstant(value))
    return IndexForm(*constant);
  Operation *op = value.getDefiningOp();
  if (depth == 0)
    return readOpaque(value, dims);
  std::optional<IndexForm> form;
  if (!op)
    form = readCarried(cast<BlockArgument>(value), dims, depth - 1);
  else if (auto range = dyn_cast<tt::MakeRangeOp>(op))
    form = IndexForm::along(dims[0]) + IndexForm(range.getStart());
  else if (isa<tt::SplatOp, tt::BroadcastOp, tt::ExpandDimsOp, tt::ReshapeOp,
               tt::TransOp>(op))
    form = readShapeOp(op, dims, depth - 1);
  else if (isa<arith::AddIOp, arith::SubIOp, arith::MulIOp, arith::ShLIOp,
               arith::ExtSIOp, arith::ExtUIOp, arith::TruncIOp, arith::RemSIOp,
               arith::RemUIOp, arith::DivSIOp, arith::DivUIOp>(op))
    form = readArith(op, dims, depth - 1);
  return form ? form : readOpaque(value, dims);
}

int64_t divisorOf(Value scalar, unsigned depth);

// What an attribute says: tt.divisibility of an argument or of an op.
std::optional<int64_t> claimedDivisor(Value scalar) {
  Attribute claim;
  if (auto argument = dyn_cast<BlockArgument>(scalar)) {
    if (auto func = dyn_cast<tt::FuncOp>(argument.getOwner()->getParentOp()))
      claim = func.getArgAttr(argument.getArgNumber(), "tt.divisibility");
  } else {
    claim = scalar.getDefiningOp()->getAttr("tt.divisibility");
  }
  int64_t number = 0;
  if (auto integer = dyn_cast_or_null<IntegerAttr>(claim))
    number = integer.getValue().getSExtValue();
  else if (auto elements = dyn_cast_or_null<DenseIntElementsAttr>(claim))
    number =
        elements.getNumElements() == 0 ? 0 : (*elements.begin()).getSExtValue();
  if (number <= 0)
    return std::nullopt;
  return std::min<int64_t>(number & -number, kMaxDivisor);
}

int64_t divisorOfArgument(BlockArgument argument, unsigned depth) {
  auto loop = dyn_cast<scf::ForOp>(argument.getOwner()->getParentOp());
  if (!loop || argument != loop.getInductionVar())
    return 1;
  return std::min(divisorOf(loop.getLowerBound(), depth),
                  divisorOf(loop.getStep(), depth));
}

int64_t divisorOfOp(Operation *op, unsigned depth) {
  auto of = [&](unsigned i) { return divisorOf(op->getOperand(i), depth); };
  if (isa<arith::ExtSIOp, arith::ExtUIOp, arith::TruncIOp>(op))
    return of(0);
  if (isa<arith::MulIOp>(op))
    return std::min(of(0) * of(1), kMaxDivisor);
  // A remainder is a difference of multiples of its operands' divisors.
  if (isa<arith::AddIOp, arith::SubIOp, arith::MinSIOp, arith::MaxSIOp,
          arith::MinUIOp, arith::MaxUIOp, arith::RemSIOp, arith::RemUIOp>(op))
    return std::min(of(0), of(1));
  if (isa<arith::SelectOp>(op))
    return std::min(of(1), of(2));
  if (isa<arith::ShLIOp>(op))
    if (std::optional<int64_t> shift = getUniformConstant(op->getOperand(1));
        shift && *shift >= 0 && *shift <= 30)
      return std::min(of(0) << *shift, kMaxDivisor);
  return 1;
}

int64_t divisorOf(Value scalar, unsigned depth) {
  if (std::optional<int64_t> constant = getUniformConstant(scalar))
    return *constant == 0
               ? kMaxDivisor
               : std::min<int64_t>(*constant & -*constant, kMaxDivisor);
  int64_t claimed = claimedDivisor(scalar).value_or(1);
  if (depth == 0)
    return claimed;
  if (auto argument = dyn_cast<BlockArgument>(scalar))
    return std::max(claimed, divisorOfArgument(argument, depth - 1));
  return std::max(claimed, divisorOfOp(scalar.getDefiningOp(), depth - 1));
}

} // namespace

std::optional<LoopCarried> getLoopCarried(BlockArgument argument) {
  auto loop = dyn_cast<scf::ForOp>(argument.getOwner()->getParentOp());
  if (!loop || argument == loop.getInductionVar())
    return std::nullopt;
  return LoopCarried{loop, loop.getTiedLoopInit(argument)->get(),
                     loop.getTiedLoopYieldedValue(argument)->get()};
}

std::optional<IndexForm> timesIterations(const IndexForm &step,
                                         scf::ForOp loop) {
  std::optional<int64_t> stride = getUniformConstant(loop.getStep());
  if (!stride || *stride <= 0)
    return std::nullopt;
  for (const IndexTerm &term : step.getTerms()) {
    if (term.tensor && !loop.isDefinedOutsideOfLoop(term.tensor))
      return std::nullopt;
    for (Value scalar : term.scalars)
      if (!loop.isDefinedOutsideOfLoop(scalar))
        return std::nullopt;
  }
  std::optional<IndexForm> stepOfOne = step.dividedBy(*stride);
  if (!stepOfOne)
    return std::nullopt;
  IndexForm passed = IndexForm::ofScalar(loop.getInductionVar()) -
                     *getIndexForm(loop.getLowerBound(), {});
  return stepOfOne->times(passed);
}

std::optional<IndexForm> getIndexForm(Value value, ArrayRef<int> dims) {
  return read(value, dims, kMaxDepth);
}

int64_t getKnownDivisor(Value scalar) { return divisorOf(scalar, 16); }

} // namespace epiq
