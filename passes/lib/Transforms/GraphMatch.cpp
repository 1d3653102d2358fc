//===- GraphMatch.cpp - Looking through a graph's values ------------------===//

#include "GraphMatch.h"

#include "epiq/Graph/Graph.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

std::optional<double> splatNumber(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return std::nullopt;
  if (isa<BroadcastOp, ReshapeOp, arith::ExtFOp>(op))
    return splatNumber(op->getOperand(0));
  auto constant = dyn_cast<arith::ConstantOp>(op);
  if (!constant)
    return std::nullopt;
  auto dense = dyn_cast<DenseFPElementsAttr>(constant.getValue());
  if (!dense || !dense.isSplat())
    return std::nullopt;
  return dense.getSplatValue<APFloat>().convertToDouble();
}

bool isSplatOf(Value value, double number) {
  std::optional<double> actual = splatNumber(value);
  return actual && static_cast<float>(*actual) == static_cast<float>(number);
}

Lineage lineageOf(Value value) {
  Lineage lineage;
  lineage.values.push_back(value);
  Operation *op = value.getDefiningOp();
  while (isa_and_present<arith::ExtFOp, ReshapeOp, ContiguousOp>(op)) {
    lineage.values.push_back(op->getOperand(0));
    op = op->getOperand(0).getDefiningOp();
  }
  return lineage;
}

Value commonOrigin(const Lineage &a, const Lineage &b) {
  for (Value value : a.values)
    if (llvm::is_contained(b.values, value))
      return value;
  return {};
}

void addLineage(OpSet &ops, Value value, Value origin) {
  while (value != origin) {
    ops.insert(value.getDefiningOp());
    value = value.getDefiningOp()->getOperand(0);
  }
}

Operation *onlyUser(Value value) {
  Operation *only = nullptr;
  for (Operation *user : value.getUsers()) {
    if (only && only != user)
      return nullptr;
    only = user;
  }
  return only;
}

std::optional<int64_t> numElements(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  if (!type.hasStaticShape())
    return std::nullopt;
  return type.getNumElements();
}

} // namespace epiq
