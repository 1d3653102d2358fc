//===- TritonMemoryOps.td - Pointers, loads, stores, atomics -*- tablegen -*-===//

#ifndef EPIQ_TRITON_MEMORY_OPS
#define EPIQ_TRITON_MEMORY_OPS

include "epiq/TritonIR/TritonOpBase.td"

def TT_AddPtrOp : TT_Op<"addptr", [
    Pure, Elementwise, SameOperandsAndResultShape, AllTypesMatch<["ptr", "result"]>]> {
  let summary = "moves a pointer by a number of elements";
  let arguments = (ins TT_PtrLike:$ptr, TT_IntLike:$offset);
  let results = (outs TT_PtrLike:$result);
  let assemblyFormat = "$ptr `,` $offset attr-dict `:` type($result) `,` type($offset)";
}

//===----------------------------------------------------------------------===//
// Block pointers (3.6)
//===----------------------------------------------------------------------===//

def TT_MakeTensorPtrOp : TT_Op<"make_tensor_ptr", [
    Pure, SameVariadicOperandSize,
    TypesMatchWith<"base points to the elements of the block", "result", "base",
                   "::epiq::tt::getBlockBaseType($_self)">]> {
  let summary = "a block pointer: base, shape, strides, offsets and block shape";
  let arguments = (ins TT_ScalarPtr:$base, Variadic<I64>:$shape, Variadic<I64>:$strides,
                       Variadic<I32>:$offsets, DenseI32ArrayAttr:$order);
  let results = (outs TT_TensorPtr:$result);
  let assemblyFormat = [{
    $base `,` `[` $shape `]` `,` `[` $strides `]` `,` `[` $offsets `]` attr-dict `:` type($result)
  }];
  let hasVerifier = 1;
}

def TT_AdvanceOp : TT_Op<"advance", [Pure, AllTypesMatch<["ptr", "result"]>]> {
  let summary = "moves a block pointer by an offset along each dimension";
  let arguments = (ins TT_TensorPtr:$ptr, Variadic<I32>:$offsets);
  let results = (outs TT_TensorPtr:$result);
  let assemblyFormat = "$ptr `,` `[` $offsets `]` attr-dict `:` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Loads and stores
//===----------------------------------------------------------------------===//
// Triton 3.6 holds a policy in `cache` and `evict`, 3.9 in `cachePolicy`. The
// custom form reads both into `cache` and `evict`; `cachePolicy` holds what these
// cannot say, a target's own policy, and what came in generic form.
// getCachePolicyOf() answers for both.

def TT_LoadOp : TT_MemoryOp<"load", [AttrSizedOperandSegments]> {
  let summary = "loads from a pointer, a tensor of pointers or a block pointer";
  let arguments = (ins AnyTypeOf<[TT_PtrLike, TT_TensorPtr]>:$ptr,
                       Optional<TT_I1Like>:$mask, Optional<TT_Value>:$other,
                       DefaultValuedAttr<DenseI32ArrayAttr, "::llvm::ArrayRef<int32_t>{}">:$boundaryCheck,
                       OptionalAttr<TT_PaddingOption>:$padding,
                       DefaultValuedAttr<TT_CacheModifier, "::epiq::tt::CacheModifier::NONE">:$cache,
                       DefaultValuedAttr<TT_EvictionPolicy, "::epiq::tt::EvictionPolicy::NORMAL">:$evict,
                       DefaultValuedAttr<BoolAttr, "false">:$isVolatile,
                       OptionalAttr<AnyAttr>:$cachePolicy);
  let results = (outs TT_Value:$result);
  let builders = [
    OpBuilder<(ins "::mlir::Value":$ptr, CArg<"::mlir::Value", "{}">:$mask,
                   CArg<"::mlir::Value", "{}">:$other)>
  ];
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
}

def TT_StoreOp : TT_MemoryOp<"store"> {
  let summary = "stores to a pointer, a tensor of pointers or a block pointer";
  let arguments = (ins AnyTypeOf<[TT_PtrLike, TT_TensorPtr]>:$ptr, TT_Value:$value,
                       Optional<TT_I1Like>:$mask,
                       DefaultValuedAttr<DenseI32ArrayAttr, "::llvm::ArrayRef<int32_t>{}">:$boundaryCheck,
                       DefaultValuedAttr<TT_CacheModifier, "::epiq::tt::CacheModifier::NONE">:$cache,
                       DefaultValuedAttr<TT_EvictionPolicy, "::epiq::tt::EvictionPolicy::NORMAL">:$evict,
                       UnitAttr:$ignore_cta,
                       OptionalAttr<AnyAttr>:$cachePolicy);
  let builders = [
    OpBuilder<(ins "::mlir::Value":$ptr, "::mlir::Value":$value,
                   CArg<"::mlir::Value", "{}">:$mask)>,
    OpBuilder<(ins "::mlir::TypeRange":$none, "::mlir::Value":$ptr, "::mlir::Value":$value,
                   "::mlir::Value":$mask), [{ build($_builder, $_state, ptr, value, mask); }]>
  ];
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Atomics
//===----------------------------------------------------------------------===//

def TT_AtomicRMWOp : TT_MemoryOp<"atomic_rmw"> {
  let summary = "combines a value into memory and gives the old one";
  let arguments = (ins TT_RMWOp:$atomic_rmw_op, TT_PtrLike:$ptr, TT_Value:$val,
                       Optional<TT_I1Like>:$mask, TT_MemSemantic:$sem, TT_MemSyncScope:$scope);
  let results = (outs TT_Value:$result);
  let assemblyFormat = [{
    $atomic_rmw_op `,` $sem `,` $scope `,` $ptr `,` $val (`,` $mask^)? attr-dict `:`
    functional-type(operands, $result)
  }];
  let hasVerifier = 1;
}

def TT_AtomicCASOp : TT_MemoryOp<"atomic_cas"> {
  let summary = "stores val where memory holds cmp, and gives the old value";
  let arguments = (ins TT_PtrLike:$ptr, TT_Value:$cmp, TT_Value:$val,
                       TT_MemSemantic:$sem, TT_MemSyncScope:$scope);
  let results = (outs TT_Value:$result);
  let assemblyFormat = [{
    $sem `,` $scope `,` $ptr `,` $cmp `,` $val attr-dict `:` functional-type(operands, $result)
  }];
  let hasVerifier = 1;
}

def TT_AtomicLoadOp : TT_MemoryOp<"atomic_load"> {
  let summary = "loads atomically (3.9)";
  let arguments = (ins TT_PtrLike:$ptr, Optional<TT_I1Like>:$mask,
                       TT_MemSemantic:$sem, TT_MemSyncScope:$scope);
  let results = (outs TT_Value:$result);
  let assemblyFormat = [{
    $sem `,` $scope `,` $ptr (`,` $mask^)? attr-dict `:` functional-type(operands, $result)
  }];
  let hasVerifier = 1;
}

def TT_AtomicStoreOp : TT_MemoryOp<"atomic_store", [
    TypesMatchWith<"value has the pointee's type", "ptr", "value",
                   "::epiq::tt::getPointeeType($_self)">,
    TypesMatchWith<"mask has the pointer's shape", "ptr", "mask",
                   "::epiq::tt::getI1SameShape($_self)",
                   "($_op.getOperands().size() <= 2) || std::equal_to<>()">]> {
  let summary = "stores atomically (3.9)";
  let arguments = (ins TT_PtrLike:$ptr, TT_Value:$value, Optional<TT_I1Like>:$mask,
                       TT_MemSemantic:$sem, TT_MemSyncScope:$scope);
  let assemblyFormat =
    "$sem `,` $scope `,` $ptr `,` $value (`,` $mask^)? attr-dict `:` type($ptr)";
  let hasVerifier = 1;
}

def TT_AtomicPollOp : TT_MemoryOp<"atomic_poll"> {
  let summary = "waits until memory holds a value; false when the time is up (3.9)";
  let arguments = (ins TT_ScalarPtr:$ptr, AnySignlessInteger:$expected, Optional<I64>:$timeout,
                       TT_MemSemantic:$sem, TT_MemSyncScope:$scope);
  let results = (outs I1:$result);
  let assemblyFormat = [{
    $sem `,` $scope `,` $ptr `,` $expected (`timeout` $timeout^)? attr-dict `:`
    qualified(type($ptr)) `,` type($expected) `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // EPIQ_TRITON_MEMORY_OPS
