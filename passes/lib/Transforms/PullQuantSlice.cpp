//===- PullQuantSlice.cpp - What a kernel makes of an operand alone -------===//
// Passes.td states the rules Q3, Q4 and Q5 with epiq-pull-quant.
//===----------------------------------------------------------------------===//

#include "PullQuantDetail.h"

#include "epiq/TritonIR/Triton.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace epiq::detail {

namespace {

LogicalResult refuse(StoreRefusal &refusal, Operation *op,
                     const Twine &reason) {
  refusal.op = op;
  refusal.reason = reason.str();
  return failure();
}

bool isEightBits(Value value) {
  Type element = getElementTypeOrSelf(value.getType());
  return element.isIntOrFloat() && element.getIntOrFloatBitWidth() == 8;
}

int64_t countElements(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type ? type.getNumElements() : 1;
}

// Ops that place elements elsewhere without computing.
bool isShapeOp(Operation *op) {
  return isa<tt::SplatOp, tt::BroadcastOp, tt::ExpandDimsOp, tt::ReshapeOp,
             tt::TransOp>(op);
}

// Splits a kernel's values into those made of one load, and the others.
class SliceFinder {
public:
  SliceFinder(tt::FuncOp kernel, const TileLoad &load, StoreRefusal &refusal)
      : kernel(kernel), load(load), refusal(refusal) {}

  FailureOr<QuantSlice> find();

private:
  void collect();
  bool joins(Operation *op);
  LogicalResult findQuantized(QuantSlice &slice);
  LogicalResult refuseWithoutQuantized();
  LogicalResult cut(QuantSlice &slice);
  LogicalResult cutAt(Value value, Operation *user, QuantSlice &slice,
                      llvm::DenseSet<Value> &seen);
  void pull(Value value, llvm::DenseSet<Operation *> &pulled);

  tt::FuncOp kernel;
  const TileLoad &load;
  StoreRefusal &refusal;
  // Values of the load, in program order, and those of it and something else,
  // with the op that brought that in.
  llvm::SetVector<Value> own;
  llvm::MapVector<Value, Operation *> mixed;
};

// Whether the op's results are made of the load alone.
bool SliceFinder::joins(Operation *op) {
  bool isReduction = isa<tt::ReduceOp>(op);
  if ((op->getNumRegions() != 0 && !isReduction) || !isMemoryEffectFree(op) ||
      isa<tt::DotOp, tt::DotScaledOp>(op) ||
      op->hasTrait<OpTrait::IsTerminator>())
    return false;
  return llvm::all_of(op->getOperands(), [&](Value operand) {
    return own.contains(operand) || isGiven(operand) ||
           // What the load was masked with changes nothing: see Q7.
           (isa<arith::SelectOp>(op) && operand == op->getOperand(0) &&
            isa<tt::LoadOp>(load.op) &&
            operand == cast<tt::LoadOp>(load.op).getMask());
  });
}

void SliceFinder::collect() {
  own.insert(load.getTile());
  kernel.walk<WalkOrder::PreOrder>([&](Operation *op) {
    bool isOurs = llvm::any_of(op->getOperands(),
                               [&](Value v) { return own.contains(v); });
    bool isMixed = llvm::any_of(op->getOperands(),
                                [&](Value v) { return mixed.contains(v); });
    if (isOurs && !isMixed && joins(op)) {
      own.insert_range(op->getResults());
      // The region of a reduction computes nothing that others see.
      return WalkResult::skip();
    }
    if (isOurs || isMixed)
      for (Value result : op->getResults())
        mixed[result] = op;
    return WalkResult::advance();
  });
}

// Whether a dot takes `value`, as it is or after arithmetic on elements.
bool reachesDot(Value value) {
  SmallVector<Value> worklist{value};
  llvm::DenseSet<Value> seen;
  while (!worklist.empty()) {
    Value next = worklist.pop_back_val();
    if (!seen.insert(next).second)
      continue;
    for (OpOperand &use : next.getUses()) {
      Operation *user = use.getOwner();
      bool isDot = isa<tt::DotOp, tt::DotScaledOp>(user);
      if (isDot && use.getOperandNumber() < 2)
        return true;
      if (auto loop = dyn_cast<scf::ForOp>(user);
          loop && use.getOperandNumber() >= loop.getNumControlOperands())
        worklist.push_back(loop.getTiedLoopRegionIterArg(&use));
      else if (!isDot && user->getNumRegions() == 0)
        llvm::append_range(worklist, user->getResults());
    }
  }
  return false;
}

// Q3, Q4: why there is no 8-bit value of the load alone: it would have been
// one, but for what an op brought in.
LogicalResult SliceFinder::refuseWithoutQuantized() {
  for (auto &[value, op] : mixed) {
    bool narrows = op->getNumOperands() == 1 && isEightBits(value) &&
                   !isEightBits(op->getOperand(0));
    if (!narrows)
      continue;
    // The first op on the way that mixed the load with something else.
    Operation *first = op;
    kernel.walk<WalkOrder::PreOrder>([&](Operation *candidate) {
      bool isFirst = candidate->getNumResults() != 0 &&
                     mixed.contains(candidate->getResult(0)) &&
                     llvm::any_of(candidate->getOperands(),
                                  [&](Value v) { return own.contains(v); });
      if (isFirst)
        first = candidate;
      return isFirst ? WalkResult::interrupt() : WalkResult::advance();
    });
    for (Value operand : first->getOperands())
      if (!own.contains(operand) && !isGiven(operand))
        if (Operation *maker = operand.getDefiningOp();
            maker && first->getNumRegions() == 0 &&
            !isa<tt::DotOp, tt::DotScaledOp>(first))
          return refuse(refusal, first,
                        "Q4: what becomes 8 bits also reads " +
                            maker->getName().getStringRef() +
                            ", not only the operand and scalars");
    return refuse(refusal, first,
                  "Q4: what becomes 8 bits goes through " +
                      first->getName().getStringRef() +
                      ", so it is not made of the operand alone");
  }
  return refuse(refusal, load.op,
                "Q3: the kernel makes no 8-bit values of what it loads here");
}

// Q3: the one tile of 8-bit values that a dot takes.
LogicalResult SliceFinder::findQuantized(QuantSlice &slice) {
  for (Value value : own) {
    Operation *op = value.getDefiningOp();
    if (value == load.getTile() || !isEightBits(value) || isShapeOp(op) ||
        llvm::any_of(op->getOperands(), isEightBits) || !reachesDot(value))
      continue;
    if (slice.quantized)
      return refuse(refusal, op,
                    "Q3: a second tile of 8-bit values is made of the operand");
    if (countElements(value) != countElements(load.getTile()))
      return refuse(refusal, op,
                    "Q3: the tile of 8-bit values has " +
                        Twine(countElements(value)) +
                        " elements, the one that is loaded " +
                        Twine(countElements(load.getTile())));
    slice.quantized = value;
  }
  return slice.quantized ? success() : refuseWithoutQuantized();
}

// Goes back from `value`, which the kernel needs, to what is to be loaded.
LogicalResult SliceFinder::cutAt(Value value, Operation *user,
                                 QuantSlice &slice,
                                 llvm::DenseSet<Value> &seen) {
  if (!own.contains(value) || value == slice.quantized ||
      !seen.insert(value).second)
    return success();
  if (value == load.getTile())
    return refuse(refusal, user,
                  "Q5: the operand is used unquantized too, so that it would "
                  "be read twice");
  Operation *op = value.getDefiningOp();
  bool isNarrow = 2 * countElements(value) <= countElements(load.getTile());
  if (isNarrow && !isShapeOp(op)) {
    slice.scales.push_back(value);
    return success();
  }
  for (Value operand : op->getOperands())
    if (failed(cutAt(operand, user, slice, seen)))
      return failure();
  return success();
}

// Q5: the scales are the smallest values that what is left can do with.
LogicalResult SliceFinder::cut(QuantSlice &slice) {
  llvm::DenseSet<Value> seen;
  for (Value value : own)
    for (Operation *user : value.getUsers())
      if (user->getNumResults() == 0 || !own.contains(user->getResult(0)))
        if (failed(cutAt(value, user, slice, seen)))
          return failure();
  auto orderOf = [&](Value value) {
    return std::distance(own.begin(), llvm::find(own, value));
  };
  llvm::sort(slice.scales,
             [&](Value a, Value b) { return orderOf(a) < orderOf(b); });
  return success();
}

void SliceFinder::pull(Value value, llvm::DenseSet<Operation *> &pulled) {
  Operation *op = value.getDefiningOp();
  if (!own.contains(value) || value == load.getTile() ||
      !pulled.insert(op).second)
    return;
  for (Value operand : op->getOperands())
    pull(operand, pulled);
}

FailureOr<QuantSlice> SliceFinder::find() {
  QuantSlice slice;
  slice.load = load;
  collect();
  if (failed(findQuantized(slice)) || failed(cut(slice)))
    return failure();
  llvm::DenseSet<Operation *> pulled;
  pull(slice.quantized, pulled);
  for (Value scale : slice.scales)
    pull(scale, pulled);
  for (Value value : own)
    if (pulled.contains(value.getDefiningOp()))
      slice.ops.insert(value.getDefiningOp());
  bool hasRows = load.type.getNumElements() != load.getColumns();
  slice.isOneRow = hasRows && llvm::any_of(slice.scales, [](Value scale) {
                     return countElements(scale) == 1;
                   });
  return slice;
}

} // namespace

bool isGiven(Value value) {
  if (matchPattern(value, m_Constant()))
    return true;
  auto isArgument = [](Value v) {
    auto argument = dyn_cast<BlockArgument>(v);
    return argument && isa<tt::FuncOp>(argument.getOwner()->getParentOp());
  };
  Operation *op = value.getDefiningOp();
  if (!op)
    return isArgument(value) && value.getType().isFloat();
  if (auto one = dyn_cast<tt::LoadOp>(op))
    return isArgument(one.getPtr()) && !one.getMask() &&
           value.getType().isFloat();
  bool isArithmetic =
      isShapeOp(op) || (op->getDialect() && isPure(op) &&
                        (op->getDialect()->getNamespace() == "arith" ||
                         op->getDialect()->getNamespace() == "math"));
  return isArithmetic && op->getNumOperands() != 0 &&
         llvm::all_of(op->getOperands(), isGiven);
}

FailureOr<QuantSlice> findSlice(tt::FuncOp kernel, const TileLoad &load,
                                StoreRefusal &refusal) {
  return SliceFinder(kernel, load, refusal).find();
}

} // namespace epiq::detail
