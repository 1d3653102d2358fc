//===- RaiseUnflatten.cpp - Keeps tokens apart in a quantization ----------===//
// `x.view(-1, 128)` makes one dimension of tokens and groups. In the body of a
// composite the same arithmetic is written over [.., groups, 128] instead, so
// that the rows of a token stay together; values and their order are the same.
//===----------------------------------------------------------------------===//

#include "Raise.h"

#include "epiq/Analysis/RowDomain.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/DenseMap.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

namespace {

RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

// Whether `reshape` takes [.., K] to [N, size] with several groups a row.
bool flattens(ReshapeOp reshape) {
  RankedTensorType source = typeOf(reshape.getInput()),
                   result = typeOf(reshape.getResult());
  if (source.getRank() < 2 || result.getRank() != 2)
    return false;
  int64_t row = source.getShape().back(), size = result.getShape().back();
  return !ShapedType::isDynamic(row) && !ShapedType::isDynamic(size) &&
         size > 0 && size < row && row % size == 0;
}

class Unflattener {
public:
  explicit Unflattener(ReshapeOp first) : first(first) {
    RankedTensorType source = typeOf(first.getInput());
    lead.assign(source.getShape().begin(), source.getShape().end());
    lead.back() /= typeOf(first.getResult()).getShape().back();
  }

  std::optional<Refusal> run();

private:
  RankedTensorType widened(Type type) const;
  Value operandOf(Value value, OpBuilder &builder);
  bool holds(Operation *op) const;
  Operation *rewrite(Operation *op, OpBuilder &builder);

  ReshapeOp first;
  SmallVector<int64_t> lead;
  // Old values [N, ..] and the same ones as [.., groups, ..].
  llvm::DenseMap<Value, Value> values;
  SmallVector<Operation *> created;
};

RankedTensorType Unflattener::widened(Type type) const {
  auto old = cast<RankedTensorType>(type);
  SmallVector<int64_t> shape(lead);
  llvm::append_range(shape, old.getShape().drop_front());
  return old.clone(shape);
}

bool Unflattener::holds(Operation *op) const {
  return llvm::any_of(op->getOperands(),
                      [&](Value value) { return values.contains(value); });
}

// The new form of an operand; a splat is spread over the new shape.
Value Unflattener::operandOf(Value value, OpBuilder &builder) {
  if (Value found = values.lookup(value))
    return found;
  Operation *op = value.getDefiningOp();
  while (isa_and_present<BroadcastOp, ReshapeOp>(op))
    op = op->getOperand(0).getDefiningOp();
  auto constant = dyn_cast_or_null<arith::ConstantOp>(op);
  auto dense = constant ? dyn_cast<DenseElementsAttr>(constant.getValue())
                        : DenseElementsAttr();
  if (!dense || !dense.isSplat())
    return {};
  auto scalarType = RankedTensorType::get({}, dense.getElementType());
  auto scalar = arith::ConstantOp::create(
      builder, op->getLoc(),
      DenseElementsAttr::get(scalarType, dense.getSplatValue<Attribute>()));
  auto spread = BroadcastOp::create(builder, op->getLoc(),
                                    widened(value.getType()), scalar);
  created.append({scalar, spread});
  return spread;
}

// The op over the new shapes, or null for one that has no such form.
Operation *Unflattener::rewrite(Operation *op, OpBuilder &builder) {
  if (auto reshape = dyn_cast<ReshapeOp>(op))
    return ReshapeOp::create(builder, op->getLoc(), reshape.getType(),
                             values.lookup(reshape.getInput()));
  auto flat = dyn_cast<RankedTensorType>(op->getResult(0).getType());
  if (!flat || flat.getRank() == 0 ||
      flat.getDimSize(0) != typeOf(first.getResult()).getDimSize(0))
    return nullptr;
  RankedTensorType type = widened(flat);
  if (auto reduce = dyn_cast<ReduceOp>(op)) {
    SmallVector<int64_t> dims;
    for (int64_t dim : reduce.getDims())
      dims.push_back(dim + static_cast<int64_t>(lead.size()) - 1);
    if (llvm::is_contained(reduce.getDims(), 0))
      return nullptr;
    return ReduceOp::create(builder, op->getLoc(), type, reduce.getKind(),
                            values.lookup(reduce.getInput()), dims,
                            reduce.getKeep());
  }
  if (!isElementwise(op) && !isa<BroadcastOp, ContiguousOp>(op))
    return nullptr;
  if (isa<BroadcastOp>(op) &&
      typeOf(op->getOperand(0)).getRank() != flat.getRank())
    return nullptr;
  IRMapping mapping;
  for (Value operand : op->getOperands()) {
    Value value = operandOf(operand, builder);
    if (!value)
      return nullptr;
    mapping.map(operand, value);
  }
  Operation *clone = builder.clone(*op, mapping);
  clone->getResult(0).setType(type);
  return clone;
}

std::optional<Refusal> Unflattener::run() {
  OpBuilder builder(first);
  SmallVector<std::pair<Value, Value>> ends;
  auto split = ReshapeOp::create(builder, first.getLoc(),
                                 widened(first.getType()), first.getInput());
  created.push_back(split);
  values[first.getResult()] = split;
  std::optional<Refusal> refusal;
  for (Operation *op = first->getNextNode(); op && !refusal;
       op = op->getNextNode()) {
    if (!holds(op))
      continue;
    builder.setInsertionPoint(op);
    Operation *changed = isa<YieldOp>(op) ? nullptr : rewrite(op, builder);
    if (!changed) {
      refusal =
          refuse(op->getName(), " keeps tokens and groups in one dimension");
      break;
    }
    created.push_back(changed);
    if (isa<ReshapeOp>(op))
      ends.emplace_back(op->getResult(0), changed->getResult(0));
    else
      values[op->getResult(0)] = changed->getResult(0);
  }
  if (refusal) {
    for (Operation *op : llvm::reverse(created))
      op->erase();
    return refusal;
  }
  for (auto [old, value] : ends)
    old.replaceAllUsesWith(value);
  return std::nullopt;
}

} // namespace

void unflattenTokens(CompositeOp composite) {
  Block &block = composite.getBlock();
  for (ReshapeOp reshape : llvm::to_vector(block.getOps<ReshapeOp>()))
    if (flattens(reshape))
      (void)Unflattener(reshape).run();
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (op.use_empty() && !isa<YieldOp>(op))
      op.erase();
}

} // namespace epiq
