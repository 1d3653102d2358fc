//===- Epiq.cpp - What the Python bindings call ---------------------------===//

#include "epiq-c/Epiq.h"

#include "epiq/Registration.h"

#include "mlir/CAPI/IR.h"

void epiqRegisterDialects(MlirDialectRegistry registry) {
  epiq::registerDialects(*unwrap(registry));
}

void epiqRegisterPasses(void) { epiq::registerPasses(); }
