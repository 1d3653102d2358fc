//===- Registration.cpp - The dialects and passes that tools load ---------===//

#include "epiq/Registration.h"

#include "epiq/Graph/Graph.h"
#include "epiq/Passes.h"
#include "epiq/TritonIR/Triton.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/Extensions/InlinerExtension.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Transforms/Passes.h"

namespace epiq {

void registerDialects(mlir::DialectRegistry &registry) {
  registry
      .insert<graph::EpiqDialect, tt::TritonDialect, ttg::TritonGPUDialect>();
  registry.insert<mlir::LLVM::LLVMDialect, mlir::arith::ArithDialect,
                  mlir::cf::ControlFlowDialect, mlir::func::FuncDialect,
                  mlir::gpu::GPUDialect, mlir::math::MathDialect,
                  mlir::scf::SCFDialect, mlir::tensor::TensorDialect,
                  mlir::ub::UBDialect>();
  mlir::func::registerInlinerExtension(registry);
}

void registerPasses() {
  registerEpiqPasses();
  mlir::registerTransformsPasses();
}

} // namespace epiq
