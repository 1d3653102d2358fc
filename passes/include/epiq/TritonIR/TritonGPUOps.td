//===- TritonGPUOps.td - Ops of ttg that appear beside tt's --*- tablegen -*-===//

#ifndef EPIQ_TRITON_GPU_OPS
#define EPIQ_TRITON_GPU_OPS

include "epiq/TritonIR/TritonOpBase.td"

def TTG_BarrierOp : Op<TritonGPU_Dialect, "barrier", [
    DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "a barrier of the program's threads (3.9)";
  let arguments = (ins TTG_AddrSpace:$addrSpace);
  let assemblyFormat = "custom<AddrSpaces>($addrSpace) attr-dict";
}

#endif // EPIQ_TRITON_GPU_OPS
