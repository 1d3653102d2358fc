//===- SplitAmax.cpp - Takes amax of a tensor out of its quantization -----===//
// Passes.td states the rules A1 and A2; each guard below names the rule that it
// checks.
//===----------------------------------------------------------------------===//

#include "Amax.h"
#include "Outline.h"

#include "epiq/Analysis/RowDomain.h"
#include "epiq/Analysis/RowOps.h"
#include "epiq/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {
#define GEN_PASS_DEF_SPLITAMAX
#include "epiq/Passes.h.inc"

bool isAmax(Operation *op) {
  auto composite = dyn_cast_or_null<CompositeOp>(op);
  return composite && composite.getKind() == "amax";
}

namespace {

bool isQuantize(CompositeOp composite) {
  return composite.getKind() == "quantize";
}

bool isNumber(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.hasStaticShape() && type.getNumElements() == 1;
}

// Casts and views: what reads a value of theirs can read what they are made of.
bool isCarrier(Operation *op) {
  return isa_and_present<arith::ExtFOp, arith::TruncFOp, ReshapeOp,
                         ContiguousOp>(op);
}

// What an amax is taken of, and the ops in between, first to last: the absolute
// value, the widening casts and views before it, the casts and views after it.
struct Amax {
  Value origin;
  SmallVector<Operation *> ops;
};

std::optional<Amax> readAmax(ReduceOp reduce) {
  if (!isTensorMax(reduce))
    return std::nullopt;
  Amax amax{reduce.getInput(), {}};
  auto step = [&] {
    Operation *op = amax.origin.getDefiningOp();
    amax.ops.insert(amax.ops.begin(), op);
    amax.origin = op->getOperand(0);
  };
  while (isCarrier(amax.origin.getDefiningOp()))
    step();
  if (!amax.origin.getDefiningOp<math::AbsFOp>())
    return std::nullopt;
  step();
  while (isa_and_present<arith::ExtFOp, ReshapeOp>(amax.origin.getDefiningOp()))
    step();
  return amax;
}

} // namespace

Operation *findNumberSource(CompositeOp quantize,
                            llvm::function_ref<bool(Operation *)> test) {
  SmallVector<Value> worklist(quantize.getInputs());
  llvm::SmallPtrSet<Operation *, 8> seen;
  while (!worklist.empty()) {
    Value value = worklist.pop_back_val();
    Operation *op = value.getDefiningOp();
    if (!op || !isNumber(value) || !seen.insert(op).second)
      continue;
    if (test(op))
      return op;
    if (isElementwise(op) || isa<BroadcastOp, ReshapeOp>(op))
      llvm::append_range(worklist, op->getOperands());
  }
  return nullptr;
}

namespace {

// An op beside `op` that computes the same from the operands `operands`.
Operation *findEqual(Operation *op, ValueRange operands) {
  for (Operation *user : operands.front().getUsers()) {
    bool same = user->getName() == op->getName() &&
                ValueRange(user->getOperands()) == operands &&
                user->getAttrs() == op->getAttrs() &&
                user->getResultTypes() == op->getResultTypes();
    if (same && !isa<CompositeOp>(user->getParentOp()))
      return user;
  }
  return nullptr;
}

// Copies the ops that give `value`, of the body of `composite`, before it,
// where no equal ones are yet.
Value hoist(Value value, CompositeOp composite, IRMapping &outer) {
  if (Value known = outer.lookupOrNull(value))
    return known;
  Operation *op = value.getDefiningOp();
  SmallVector<Value> operands;
  for (Value operand : op->getOperands())
    operands.push_back(hoist(operand, composite, outer));
  Operation *copy = findEqual(op, operands);
  if (!copy) {
    OpBuilder builder(composite);
    copy = builder.clone(*op, outer);
  } else if (!copy->isBeforeInBlock(composite)) {
    copy->moveBefore(composite);
  }
  outer.map(value, copy->getResult(0));
  return copy->getResult(0);
}

// A1: the amax of a dynamic quantization with one scale for the tensor.
ReduceOp ownAmax(CompositeOp composite) {
  FormatAttr format = composite.getFormatAttr();
  if (!isQuantize(composite) || !format || format.getIsStatic() ||
      format.getGranularity() != Granularity::tensor)
    return nullptr;
  for (auto reduce : composite.getBlock().getOps<ReduceOp>())
    if (readAmax(reduce))
      return reduce;
  return nullptr;
}

// Moves the amax of `composite` out of its body, which reads it.
void hoistAmax(CompositeOp composite, ReduceOp reduce) {
  Block &body = composite.getBlock();
  IRMapping outer;
  outer.map(body.getArguments(), composite.getInputs());
  Value amax = hoist(reduce.getResult(), composite, outer);
  for (auto [result, value] : llvm::zip_equal(composite.getOutputs(),
                                              composite.getYield().getValues()))
    if (value == reduce.getResult())
      result.replaceAllUsesWith(amax);
  composite.getInputsMutable().append(amax);
  BlockArgument argument = body.addArgument(amax.getType(), reduce.getLoc());
  reduce.getResult().replaceAllUsesWith(argument);
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(body)))
    if (isOpTriviallyDead(&op))
      op.erase();
}

// The location of the torch node that `op` is part of.
Location nodeLocation(Operation *op) {
  auto name = op->getLoc()->findInstanceOf<NameLoc>();
  if (!name)
    return op->getLoc();
  return NameLoc::get(StringAttr::get(op->getContext(), nodeName(op)),
                      name.getChildLoc());
}

// A copy of `op` that reads `operand`; all but views take its shape.
Value cloneOn(Operation *op, Value operand, OpBuilder &builder) {
  IRMapping mapping;
  mapping.map(op->getOperand(0), operand);
  Value result = builder.clone(*op, mapping)->getResult(0);
  if (!isa<ReshapeOp>(op))
    result.setType(cast<RankedTensorType>(operand.getType())
                       .clone(getElementTypeOrSelf(result)));
  return result;
}

// Gives an amax that a quantization reads its name. The largest of all elements
// is the same in any shape, so that it is taken of what views were made of.
void nameAmax(ReduceOp reduce) {
  Amax amax = *readAmax(reduce);
  OpBuilder builder(reduce);
  auto composite = CompositeOp::create(
      builder, nodeLocation(reduce), reduce->getResultTypes(),
      builder.getStringAttr("amax"), amax.origin, /*format=*/FormatAttr(),
      /*eps=*/FloatAttr());
  Block &block = composite.getBody().emplaceBlock();
  builder.setInsertionPointToEnd(&block);
  Value value = block.addArgument(amax.origin.getType(), amax.origin.getLoc());
  for (Operation *op : amax.ops)
    if (reduce.getKeep() || !isa<ReshapeOp, ContiguousOp>(op))
      value = cloneOn(op, value, builder);
  IRMapping mapping;
  mapping.map(reduce.getInput(), value);
  auto copy = cast<ReduceOp>(builder.clone(*reduce, mapping));
  int64_t rank = cast<RankedTensorType>(value.getType()).getRank();
  copy.setDims(llvm::to_vector(llvm::seq<int64_t>(0, rank)));
  YieldOp::create(builder, composite.getLoc(), copy.getResult());

  reduce.getResult().replaceAllUsesWith(composite.getOutputs().front());
  reduce.erase();
  for (Operation *op : llvm::reverse(amax.ops))
    if (op->use_empty())
      op->erase();
}

struct SplitAmax : impl::SplitAmaxBase<SplitAmax> {
  void runOnOperation() override {
    for (func::FuncOp func : getOperation().getOps<func::FuncOp>()) {
      if (!func.getBody().hasOneBlock())
        continue;
      SmallVector<CompositeOp> composites(func.getBody().getOps<CompositeOp>());
      for (CompositeOp composite : composites)
        if (ReduceOp amax = ownAmax(composite))
          hoistAmax(composite, amax);
      // A2: what a quantization reads.
      auto isUnnamed = [](Operation *op) {
        auto reduce = dyn_cast<ReduceOp>(op);
        return reduce && readAmax(reduce);
      };
      for (CompositeOp composite : composites)
        while (Operation *amax = isQuantize(composite)
                                     ? findNumberSource(composite, isUnnamed)
                                     : nullptr)
          nameAmax(cast<ReduceOp>(amax));
    }
  }
};

} // namespace
} // namespace epiq
