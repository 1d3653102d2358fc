//===- EpiqRegistration.cpp - Registers dialects and passes ---------------===//
// Python imports this while it makes a context; it must not define MLIR types.
//===----------------------------------------------------------------------===//

#include "epiq-c/Epiq.h"

#include "mlir/Bindings/Python/Nanobind.h"
#include "mlir/Bindings/Python/NanobindAdaptors.h"

NB_MODULE(_epiqRegistration, m) {
  m.def("register_dialects", [](MlirDialectRegistry registry) {
    epiqRegisterDialects(registry);
  });
  m.def("register_passes", []() { epiqRegisterPasses(); });
}
