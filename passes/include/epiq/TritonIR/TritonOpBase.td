//===- TritonOpBase.td - What every group of tt ops includes -*- tablegen -*-===//

#ifndef EPIQ_TRITON_OP_BASE
#define EPIQ_TRITON_OP_BASE

include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/CallInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/FunctionInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "epiq/TritonIR/TritonDialect.td"
include "epiq/TritonIR/TritonTypes.td"
include "epiq/TritonIR/TritonAttrs.td"

// Verifiers look at shapes and element types only: encodings are opaque here and
// pass through untouched.
class TT_Op<string mnemonic, list<Trait> traits = []> : Op<Triton_Dialect, mnemonic, traits>;

// The effects of volatile loads, atomics and inline assembly depend on the op.
class TT_MemoryOp<string mnemonic, list<Trait> traits = []>
    : TT_Op<mnemonic, !listconcat([DeclareOpInterfaceMethods<MemoryEffectsOpInterface>], traits)>;

#endif // EPIQ_TRITON_OP_BASE
