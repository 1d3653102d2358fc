//===- Amax.h - The composites that compute a tensor's amax -----*- C++ -*-===//

#ifndef EPIQ_TRANSFORMS_AMAX_H
#define EPIQ_TRANSFORMS_AMAX_H

#include "epiq/Graph/Graph.h"

namespace epiq {

// Whether `op` is an epiq.composite "amax".
bool isAmax(mlir::Operation *op);

// The first op that `test` accepts among those that single numbers which
// `quantize` reads come from, looking through arithmetic on single numbers;
// null when there is none.
mlir::Operation *
findNumberSource(graph::CompositeOp quantize,
                 llvm::function_ref<bool(mlir::Operation *)> test);

} // namespace epiq

#endif // EPIQ_TRANSFORMS_AMAX_H
