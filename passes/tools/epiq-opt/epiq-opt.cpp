//===- epiq-opt.cpp - Runs passes on graph IR and Triton IR ---------------===//

#include "epiq/Passes.h"
#include "epiq/Registration.h"
#include "epiq/TritonIR/Triton.h"

#include "mlir/IR/DialectRegistry.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Support/FileUtilities.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;
using epiq::tt::TritonVersion;

static llvm::cl::opt<TritonVersion> tritonVersion(
    "triton-version",
    llvm::cl::desc("Triton release to print for (default: that of the input)"),
    llvm::cl::values(clEnumValN(TritonVersion::V3_6, "3.6", "Triton 3.6"),
                     clEnumValN(TritonVersion::V3_9, "3.9", "Triton 3.9")));

int main(int argc, char **argv) {
  DialectRegistry registry;
  epiq::registerDialects(registry);
  epiq::registerPasses();
  auto [input, output] = registerAndParseCLIOptions(
      argc, argv, "epiq's passes on graph IR and Triton IR\n", registry);

  MlirOptMainConfig config = MlirOptMainConfig::createFromCLOptions();
  // Ops of dialects that are not mirrored pass through.
  config.allowUnregisteredDialects(true);
  if (tritonVersion.getNumOccurrences() > 0) {
    registry.addExtension(+[](MLIRContext *, epiq::tt::TritonDialect *dialect) {
      dialect->setPrintVersion(tritonVersion);
    });
    MlirOptMainConfig passes = config;
    config.setPassPipelineSetupFn([passes](PassManager &manager) {
      if (failed(passes.setupPassPipeline(manager)))
        return failure();
      epiq::ConvertTritonVersionOptions options;
      options.to = epiq::tt::stringifyVersion(tritonVersion).str();
      manager.addPass(epiq::createConvertTritonVersion(options));
      return success();
    });
  }

  std::string error;
  auto buffer = openInputFile(input, &error);
  if (!buffer) {
    llvm::errs() << error << "\n";
    return EXIT_FAILURE;
  }
  auto file = openOutputFile(output, &error);
  if (!file) {
    llvm::errs() << error << "\n";
    return EXIT_FAILURE;
  }
  if (failed(MlirOptMain(file->os(), std::move(buffer), registry, config)))
    return EXIT_FAILURE;
  file->keep();
  return EXIT_SUCCESS;
}
