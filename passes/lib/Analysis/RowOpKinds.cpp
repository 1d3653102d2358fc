//===- RowOpKinds.cpp - The ops that row programs are made of -------------===//

#include "epiq/Analysis/RowDomain.h"
#include "epiq/Graph/Graph.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

bool isElementwise(Operation *op) {
  return op->hasTrait<OpTrait::Elementwise>() && op->getNumResults() == 1 &&
         isa<RankedTensorType>(op->getResult(0).getType()) &&
         llvm::all_of(op->getOperandTypes(), llvm::IsaPred<RankedTensorType>);
}

bool isSplat(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op)
    return false;
  if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
    auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
    return dense && dense.isSplat();
  }
  if (isa<BroadcastOp, ReshapeOp, arith::ExtFOp, arith::TruncFOp>(op))
    return isSplat(op->getOperand(0));
  return false;
}

bool isRowOp(Operation *op) {
  if (op->getNumResults() == 1 && isSplat(op->getResult(0)))
    return true;
  return isElementwise(op) ||
         isa<BroadcastOp, ReduceOp, ReshapeOp, SliceOp, ConcatOp, TransposeOp,
             ContiguousOp, RelayoutOp, GatherRowsOp, ScatterRowsOp,
             CompositeOp>(op);
}

std::optional<int64_t> tailWidth(Type type, unsigned lead) {
  int64_t width = 1;
  for (int64_t size :
       cast<RankedTensorType>(type).getShape().drop_front(lead)) {
    if (ShapedType::isDynamic(size))
      return std::nullopt;
    width *= size;
  }
  return width;
}

} // namespace epiq
