//===- Passes.h - Pass declarations and registration ------------*- C++ -*-===//
// Passes.td declares the passes; a pass file defines GEN_PASS_DEF_<NAME> and
// includes epiq/Passes.h.inc for its base class.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_PASSES_H
#define EPIQ_PASSES_H

#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"

namespace epiq {

// Marks the divisions that epiq-fuse-epilogue brings into a kernel, for
// epiq-cheapen-division.
inline constexpr llvm::StringLiteral kEpilogueAttr = "epiq.epilogue";

#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "epiq/Passes.h.inc"

} // namespace epiq

#endif // EPIQ_PASSES_H
