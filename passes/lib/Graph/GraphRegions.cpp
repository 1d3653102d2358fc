//===- GraphRegions.cpp - Verifiers of composites and row programs --------===//

#include "epiq/Graph/Graph.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace epiq::graph;

namespace {

LogicalResult verifyTypes(Operation *op, StringRef outer, TypeRange expected,
                          StringRef inner, TypeRange actual) {
  if (expected.size() != actual.size())
    return op->emitOpError() << "has " << expected.size() << " " << outer
                             << " and " << actual.size() << " " << inner;
  for (auto [i, types] : llvm::enumerate(llvm::zip_equal(expected, actual))) {
    auto [want, got] = types;
    if (want != got)
      return op->emitOpError()
             << inner << " " << i << " should be " << want << ", got " << got;
  }
  return success();
}

template <typename RegionOp> LogicalResult verifyRegion(RegionOp op) {
  auto yield = dyn_cast<YieldOp>(op.getBlock().back());
  if (!yield)
    return op.emitOpError() << "body should end in epiq.yield, got "
                            << op.getBlock().back().getName();
  if (failed(verifyTypes(op, "operands", op->getOperandTypes(),
                         "block arguments", op.getBlock().getArgumentTypes())))
    return failure();
  return verifyTypes(op, "results", op->getResultTypes(), "yielded values",
                     yield.getOperandTypes());
}

} // namespace

YieldOp CompositeOp::getYield() { return cast<YieldOp>(getBlock().back()); }

YieldOp RowProgramOp::getYield() { return cast<YieldOp>(getBlock().back()); }

LogicalResult CompositeOp::verify() {
  for (Operation &inner : getBlock())
    if (isa<CompositeOp, RowProgramOp, ExternOp>(inner))
      return emitOpError() << "body holds primitive ops only, got "
                           << inner.getName();
  return verifyRegion(*this);
}

LogicalResult RowProgramOp::verify() {
  for (Operation &inner : getBlock())
    if (isa<RowProgramOp, ExternOp>(inner))
      return emitOpError() << "body holds row ops and composites, got "
                           << inner.getName();
  if (getLayouts().size() != getNumResults())
    return emitOpError() << "has " << getLayouts().size() << " layouts for "
                         << getNumResults() << " results";
  return verifyRegion(*this);
}
