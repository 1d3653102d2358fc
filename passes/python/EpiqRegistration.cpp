//===- EpiqRegistration.cpp - Registration, and printing for Triton -------===//
// Python imports this while it makes a context; it must not define MLIR types.
//===----------------------------------------------------------------------===//

#include "epiq-c/Epiq.h"

#include "mlir/Bindings/Python/Nanobind.h"
#include "mlir/Bindings/Python/NanobindAdaptors.h"

#include <optional>
#include <string>

namespace nb = nanobind;

// Text of `module` for Triton of `version`, or nothing if it has ops that this
// version lacks; diagnostics say which.
static std::optional<std::string>
printTriton(MlirOperation module, const std::string &version, bool locations) {
  std::string text;
  auto append = [](MlirStringRef part, void *data) {
    static_cast<std::string *>(data)->append(part.data, part.length);
  };
  MlirLogicalResult result = epiqPrintTriton(
      module, mlirStringRefCreate(version.data(), version.size()), locations,
      append, &text);
  if (mlirLogicalResultIsFailure(result))
    return std::nullopt;
  return text;
}

static std::string sourceVersion(MlirContext context) {
  MlirStringRef version = epiqSourceVersion(context);
  return std::string(version.data, version.length);
}

NB_MODULE(_epiqRegistration, m) {
  m.def("register_dialects",
        [](MlirDialectRegistry registry) { epiqRegisterDialects(registry); });
  m.def("register_passes", []() { epiqRegisterPasses(); });
  m.def("print_triton", &printTriton);
  m.def("source_version", &sourceVersion);
  m.def("reset_source_version", &epiqResetSourceVersion);
}
