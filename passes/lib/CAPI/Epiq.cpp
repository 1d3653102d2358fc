//===- Epiq.cpp - What the Python bindings call ---------------------------===//

#include "epiq-c/Epiq.h"

#include "epiq/Passes.h"
#include "epiq/Registration.h"
#include "epiq/TritonIR/Triton.h"

#include "mlir/CAPI/IR.h"
#include "mlir/CAPI/Support.h"
#include "mlir/CAPI/Utils.h"
#include "mlir/Pass/PassManager.h"

using namespace mlir;
using epiq::tt::TritonDialect;

void epiqRegisterDialects(MlirDialectRegistry registry) {
  epiq::registerDialects(*unwrap(registry));
}

void epiqRegisterPasses(void) { epiq::registerPasses(); }

MlirLogicalResult epiqPrintTriton(MlirOperation module, MlirStringRef version,
                                  bool locations, MlirStringCallback callback,
                                  void *userData) {
  OwningOpRef<Operation *> clone = unwrap(module)->clone();
  MLIRContext *context = clone->getContext();
  epiq::ConvertTritonVersionOptions options;
  options.to = unwrap(version).str();
  PassManager manager(context, clone->getName().getStringRef());
  manager.addPass(epiq::createConvertTritonVersion(options));
  if (failed(manager.run(*clone)))
    return wrap(failure());

  auto *dialect = context->getOrLoadDialect<TritonDialect>();
  dialect->setPrintVersion(epiq::tt::symbolizeVersion(options.to));
  detail::CallbackOstream stream(callback, userData);
  OpPrintingFlags flags;
  if (locations)
    flags.enableDebugInfo();
  clone->print(stream, flags);
  dialect->setPrintVersion(std::nullopt);
  return wrap(success());
}

MlirStringRef epiqSourceVersion(MlirContext context) {
  auto *dialect = unwrap(context)->getOrLoadDialect<TritonDialect>();
  auto version = dialect->getSourceVersion();
  return wrap(version ? epiq::tt::stringifyVersion(*version) : StringRef());
}

void epiqResetSourceVersion(MlirContext context) {
  unwrap(context)->getOrLoadDialect<TritonDialect>()->setSourceVersion(
      std::nullopt);
}
