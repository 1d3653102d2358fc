//===- Epiq.h - What the Python bindings call --------------------*- C -*-===//

#ifndef EPIQ_C_EPIQ_H
#define EPIQ_C_EPIQ_H

#include "mlir-c/IR.h"

#ifdef __cplusplus
extern "C" {
#endif

MLIR_CAPI_EXPORTED void epiqRegisterDialects(MlirDialectRegistry registry);
MLIR_CAPI_EXPORTED void epiqRegisterPasses(void);

#ifdef __cplusplus
}
#endif

#endif // EPIQ_C_EPIQ_H
