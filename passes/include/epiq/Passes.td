//===- Passes.td - Every pass of epiq, with its rules ---------*- tablegen -*-===//
// A pass is declared here once: flag, rules, options. Each IR example below is
// a case in that pass's lit file under test/passes/.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_PASSES
#define EPIQ_PASSES

include "mlir/Pass/PassBase.td"

//===----------------------------------------------------------------------===//
// Graph passes (lib/Transforms)
//===----------------------------------------------------------------------===//

//===----------------------------------------------------------------------===//
// Row programs (lib/Analysis, lib/Conversion)
//===----------------------------------------------------------------------===//

#endif // EPIQ_PASSES
