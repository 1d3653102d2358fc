#ifndef EPIQ_PYTHON_TRITON_OPS
#define EPIQ_PYTHON_TRITON_OPS

include "epiq/TritonIR/TritonOps.td"

#endif // EPIQ_PYTHON_TRITON_OPS
