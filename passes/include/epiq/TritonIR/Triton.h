//===- Triton.h - Our mirror of Triton's tt dialect -------------*- C++ -*-===//
// The namespace is epiq::tt, never mlir::triton: Triton's own MLIR shares the
// process.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_TRITONIR_TRITON_H
#define EPIQ_TRITONIR_TRITON_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/CallInterfaces.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "epiq/TritonIR/TritonDialect.h.inc"

#include "epiq/TritonIR/TritonEnums.h.inc"

#define GET_TYPEDEF_CLASSES
#include "epiq/TritonIR/TritonTypes.h.inc"

#define GET_OP_CLASSES
#include "epiq/TritonIR/TritonOps.h.inc"

namespace epiq::tt {

// The type that a load through `ptr` gives: the pointee of a pointer, a tensor
// of pointees for a tensor of pointers, the tensor of a block pointer.
mlir::Type getPointeeType(mlir::Type ptr);

// i1, or a tensor of i1 of the shape and encoding of `type`.
mlir::Type getI1SameShape(mlir::Type type);

} // namespace epiq::tt

#endif // EPIQ_TRITONIR_TRITON_H
