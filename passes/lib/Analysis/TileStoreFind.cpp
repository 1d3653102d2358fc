//===- TileStoreFind.cpp - Every access to an argument --------------------===//
// Passes.td states the rule E2 with epiq-fuse-epilogue.
//===----------------------------------------------------------------------===//

#include "TileStoreDetail.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;

namespace epiq::detail {

namespace {

// Follows the pointers and descriptors made from one argument.
class AccessFinder {
public:
  explicit AccessFinder(StoreRefusal &refusal) : refusal(refusal) {}

  LogicalResult follow(Value pointer) {
    SmallVector<Value> worklist{pointer};
    llvm::DenseSet<Value> seen;
    while (!worklist.empty()) {
      Value value = worklist.pop_back_val();
      if (!seen.insert(value).second)
        continue;
      for (OpOperand &use : value.getUses())
        if (failed(visit(use, worklist)))
          return failure();
    }
    return success();
  }

  llvm::SetVector<Operation *> stores;

private:
  LogicalResult visit(OpOperand &use, SmallVectorImpl<Value> &worklist) {
    Operation *op = use.getOwner();
    if (isa<tt::AddPtrOp, tt::SplatOp, tt::BroadcastOp, tt::ExpandDimsOp,
            tt::ReshapeOp, tt::TransOp, tt::BitcastOp, tt::MakeTensorDescOp>(
            op)) {
      worklist.push_back(op->getResult(0));
      return success();
    }
    if (auto store = dyn_cast<tt::StoreOp>(op)) {
      if (use.getOperandNumber() != 0)
        return refuse(refusal, op, "E2: the output's address is stored");
      stores.insert(op);
      return success();
    }
    if (auto loop = dyn_cast<scf::ForOp>(op)) {
      worklist.push_back(loop.getTiedLoopRegionIterArg(&use));
      worklist.push_back(loop.getTiedLoopResult(&use));
      return success();
    }
    if (isa<scf::YieldOp>(op) && isa<scf::ForOp>(op->getParentOp())) {
      // The loop was entered with a pointer, and is followed from there.
      auto loop = cast<scf::ForOp>(op->getParentOp());
      worklist.push_back(loop.getRegionIterArg(use.getOperandNumber()));
      worklist.push_back(loop.getResult(use.getOperandNumber()));
      return success();
    }
    if (isa<tt::DescriptorStoreOp>(op)) {
      stores.insert(op);
      return success();
    }
    if (isa<tt::LoadOp, tt::DescriptorLoadOp, tt::DescriptorGatherOp>(op))
      return refuse(refusal, op, "E2: the kernel reads the output back");
    if (isa<tt::AtomicRMWOp, tt::AtomicCASOp, tt::DescriptorReduceOp>(op))
      return refuse(refusal, op,
                    "E2: the output is combined in memory by " +
                        op->getName().getStringRef() +
                        ", so no program holds its final values");
    // Calls, branches, selects: where they lead is not followed.
    return refuse(refusal, op,
                  "E2: the output's pointer goes into " +
                      op->getName().getStringRef() +
                      ", beyond which it is not followed");
  }

  StoreRefusal &refusal;
};

} // namespace

FailureOr<SmallVector<Operation *>> findStores(BlockArgument output,
                                               StoreRefusal &refusal) {
  AccessFinder finder(refusal);
  if (failed(finder.follow(output)))
    return failure();
  Operation *func = output.getOwner()->getParentOp();
  if (finder.stores.empty()) {
    refuse(refusal, func,
           "E2: the kernel never stores to argument " +
               Twine(output.getArgNumber()));
    return failure();
  }
  // Program order, whatever the order of uses is.
  SmallVector<Operation *> ordered;
  func->walk([&](Operation *op) {
    if (finder.stores.contains(op))
      ordered.push_back(op);
  });
  return ordered;
}

} // namespace epiq::detail
