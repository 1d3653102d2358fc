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

#include <optional>

namespace epiq::tt {

// The releases whose text differs; those between read and write as one of them.
enum class TritonVersion { V3_6, V3_9 };

// "3.6" or "3.9".
llvm::StringRef stringifyVersion(TritonVersion version);
std::optional<TritonVersion> symbolizeVersion(llvm::StringRef text);

} // namespace epiq::tt

#include "epiq/TritonIR/TritonDialect.h.inc"
#include "epiq/TritonIR/TritonGPUDialect.h.inc"

#include "epiq/TritonIR/TritonEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "epiq/TritonIR/TritonAttrs.h.inc"

#define GET_TYPEDEF_CLASSES
#include "epiq/TritonIR/TritonTypes.h.inc"

namespace epiq::tt {

// The type that a load through `ptr` gives: the pointee of a pointer, a tensor
// of pointees for a tensor of pointers, the tensor of a block pointer. Null if
// `ptr` is no pointer.
mlir::Type getPointeeType(mlir::Type ptr);

// i1, or a tensor of i1 of the shape and encoding of `type`.
mlir::Type getI1SameShape(mlir::Type type);

// The pointer to a block pointer's elements, in its address space.
mlir::Type getBlockBaseType(mlir::Type blockPointer);

// What a load or store asks of the caches. `target` is a target's own policy,
// which the two others cannot say.
struct CachePolicyInfo {
  CacheModifier cache = CacheModifier::NONE;
  EvictionPolicy evict = EvictionPolicy::NORMAL;
  mlir::Attribute target;
};

} // namespace epiq::tt

#define GET_OP_CLASSES
#include "epiq/TritonIR/TritonOps.h.inc"
#define GET_OP_CLASSES
#include "epiq/TritonIR/TritonGPUOps.h.inc"

namespace epiq::tt {

// The cache policy of a tt.load, tt.store or tt.descriptor_load, whichever
// version's attributes hold it.
template <typename OpTy> CachePolicyInfo getCachePolicyOf(OpTy op) {
  CachePolicyInfo info{op.getCache(), op.getEvict(), {}};
  mlir::Attribute attr = op.getCachePolicyAttr();
  if (auto policy = llvm::dyn_cast_if_present<CachePolicyAttr>(attr))
    return {policy.getCacheModifier(), policy.getEvictionPolicy(), {}};
  info.target = attr;
  return info;
}

} // namespace epiq::tt

#endif // EPIQ_TRITONIR_TRITON_H
