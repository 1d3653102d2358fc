//===- ConvertTritonVersion.cpp - Use the ops of one Triton release -------===//
// Passes.td states the rules V1-V4; each refusal below names the rule.
//===----------------------------------------------------------------------===//

#include "epiq/Passes.h"
#include "epiq/TritonIR/Triton.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/Builders.h"

using namespace mlir;

namespace epiq {
#define GEN_PASS_DEF_CONVERTTRITONVERSION
#include "epiq/Passes.h.inc"

namespace {

// 3.6 writes grid dependencies as assembly with a result that nothing uses.
void replaceByAssembly(Operation *op, StringRef assembly) {
  OpBuilder builder(op);
  tt::ElementwiseInlineAsmOp::create(
      builder, op->getLoc(), TypeRange{builder.getI32Type()},
      builder.getStringAttr(assembly + "; // dummy $0"),
      builder.getStringAttr("=r"), builder.getBoolAttr(false),
      builder.getI32IntegerAttr(1), ValueRange{});
  op->erase();
}

template <typename OpTy> LogicalResult checkPolicy(OpTy op) {
  Attribute target = tt::getCachePolicyOf(op).target;
  if (!target)
    return success();
  return op.emitOpError() << "V3: Triton 3.6 cannot express the cache policy "
                          << target;
}

LogicalResult convertTo36(Operation *op) {
  if (isa<tt::AtomicLoadOp, tt::AtomicStoreOp, tt::AtomicPollOp>(op))
    return op->emitOpError() << "V1: Triton 3.6 has no such op";
  if (auto load = dyn_cast<tt::LoadOp>(op))
    return checkPolicy(load);
  if (auto load = dyn_cast<tt::DescriptorLoadOp>(op))
    return checkPolicy(load);
  if (auto store = dyn_cast<tt::StoreOp>(op)) {
    if (store.getIgnoreCta())
      return op->emitOpError() << "V2: Triton 3.6 has no ignore_cta";
    return checkPolicy(store);
  }
  OpBuilder builder(op);
  if (isa<ttg::BarrierOp>(op)) {
    gpu::BarrierOp::create(builder, op->getLoc());
    op->erase();
  } else if (auto div = dyn_cast<tt::ApproxDivFOp>(op)) {
    // What 3.9 calls approximate is how 3.6 divides f32.
    auto quotient =
        arith::DivFOp::create(builder, op->getLoc(), div.getX(), div.getY());
    div.replaceAllUsesWith(quotient.getResult());
    div.erase();
  } else if (isa<tt::GridDependencyWaitOp>(op)) {
    replaceByAssembly(op, "griddepcontrol.wait");
  } else if (isa<tt::GridDependencyLaunchDependentsOp>(op)) {
    replaceByAssembly(op, "griddepcontrol.launch_dependents");
  }
  return success();
}

LogicalResult convertTo39(Operation *op) {
  bool isBlockPointer =
      isa<tt::MakeTensorPtrOp, tt::AdvanceOp>(op) ||
      llvm::any_of(op->getOperandTypes(), [](Type type) {
        auto pointer = dyn_cast<tt::PointerType>(type);
        return pointer && isa<RankedTensorType>(pointer.getPointeeType());
      });
  if (isBlockPointer)
    return op->emitOpError() << "V4: Triton 3.9 has no block pointers";
  if (!isa<gpu::BarrierOp>(op))
    return success();
  OpBuilder builder(op);
  ttg::BarrierOp::create(builder, op->getLoc(), ttg::AddrSpace::All);
  op->erase();
  return success();
}

struct ConvertTritonVersion
    : impl::ConvertTritonVersionBase<ConvertTritonVersion> {
  using ConvertTritonVersionBase::ConvertTritonVersionBase;

  void runOnOperation() override {
    std::optional<tt::TritonVersion> version = tt::symbolizeVersion(to);
    if (!version) {
      getOperation().emitError()
          << "version '" << to << "' is neither 3.6 nor 3.9";
      return signalPassFailure();
    }
    SmallVector<Operation *> ops;
    getOperation().walk([&](Operation *op) { ops.push_back(op); });
    for (Operation *op : ops) {
      LogicalResult done = *version == tt::TritonVersion::V3_6
                               ? convertTo36(op)
                               : convertTo39(op);
      if (failed(done))
        return signalPassFailure();
    }
  }
};

} // namespace
} // namespace epiq
