//===- epiq-opt.cpp - Runs passes on graph IR and Triton IR ---------------===//

#include "epiq/Registration.h"

#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  epiq::registerDialects(registry);
  epiq::registerPasses();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "epiq pass driver\n", registry));
}
