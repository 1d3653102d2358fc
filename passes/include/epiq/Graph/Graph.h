//===- Graph.h - The epiq dialect in C++ ------------------------*- C++ -*-===//

#ifndef EPIQ_GRAPH_GRAPH_H
#define EPIQ_GRAPH_GRAPH_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace epiq::graph {
class YieldOp;
} // namespace epiq::graph

#include "epiq/Graph/GraphDialect.h.inc"
#include "epiq/Graph/GraphEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "epiq/Graph/GraphAttrs.h.inc"
#define GET_OP_CLASSES
#include "epiq/Graph/GraphOps.h.inc"

namespace epiq::graph {

// The type of the tensor that holds a value of `type` in memory; failure where
// the layout is not one of such values.
mlir::FailureOr<mlir::RankedTensorType> memoryType(Layout layout,
                                                   mlir::RankedTensorType type);
// Whether `layout` places the elements of a matrix of tokens by row, rather
// than each row on its own.
bool isMatrixLayout(Layout layout);
// What `layout` is a layout of, in words.
llvm::StringRef layoutSubject(Layout layout);

} // namespace epiq::graph

#endif // EPIQ_GRAPH_GRAPH_H
