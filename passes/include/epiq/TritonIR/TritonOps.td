//===- TritonOps.td - The ops of Triton IR -------------------*- tablegen -*-===//

#ifndef EPIQ_TRITON_OPS
#define EPIQ_TRITON_OPS

include "epiq/TritonIR/TritonProgramOps.td"
include "epiq/TritonIR/TritonShapeOps.td"
include "epiq/TritonIR/TritonComputeOps.td"
include "epiq/TritonIR/TritonMemoryOps.td"
include "epiq/TritonIR/TritonDescriptorOps.td"

#endif // EPIQ_TRITON_OPS
