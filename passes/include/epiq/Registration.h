//===- Registration.h - The dialects and passes that tools load -*- C++ -*-===//

#ifndef EPIQ_REGISTRATION_H
#define EPIQ_REGISTRATION_H

namespace mlir {
class DialectRegistry;
} // namespace mlir

namespace epiq {

// Registers our dialects and the upstream ones that Triton IR and the graph IR
// use. RegisterAll* of upstream is avoided: it links everything.
void registerDialects(mlir::DialectRegistry &registry);

// Registers our passes and upstream's canonicalize, cse, inline, symbol-dce ...
void registerPasses();

} // namespace epiq

#endif // EPIQ_REGISTRATION_H
