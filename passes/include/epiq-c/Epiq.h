//===- Epiq.h - What the Python bindings call --------------------*- C -*-===//

#ifndef EPIQ_C_EPIQ_H
#define EPIQ_C_EPIQ_H

#include "mlir-c/IR.h"

#ifdef __cplusplus
extern "C" {
#endif

MLIR_CAPI_EXPORTED void epiqRegisterDialects(MlirDialectRegistry registry);
MLIR_CAPI_EXPORTED void epiqRegisterPasses(void);

// Prints `module` as Triton of `version` ("3.6" or "3.9") reads it; `module`
// itself stays. Fails, with a diagnostic, when that version has no such op.
MLIR_CAPI_EXPORTED MlirLogicalResult
epiqPrintTriton(MlirOperation module, MlirStringRef version, bool locations,
                MlirStringCallback callback, void *userData);

// The version whose spelling the text last parsed in `context` used; empty if
// it did not tell.
MLIR_CAPI_EXPORTED MlirStringRef epiqSourceVersion(MlirContext context);

// Forgets what earlier texts told.
MLIR_CAPI_EXPORTED void epiqResetSourceVersion(MlirContext context);

#ifdef __cplusplus
}
#endif

#endif // EPIQ_C_EPIQ_H
