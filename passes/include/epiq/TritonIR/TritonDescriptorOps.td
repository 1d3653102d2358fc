//===- TritonDescriptorOps.td - Tensor descriptors (TMA) -----*- tablegen -*-===//

#ifndef EPIQ_TRITON_DESCRIPTOR_OPS
#define EPIQ_TRITON_DESCRIPTOR_OPS

include "epiq/TritonIR/TritonOpBase.td"

def TT_MakeTensorDescOp : TT_Op<"make_tensor_descriptor", [Pure, SameVariadicOperandSize]> {
  let summary = "describes a tensor in memory; its type names the block";
  let arguments = (ins TT_ScalarPtr:$base, Variadic<I32>:$shape, Variadic<I64>:$strides,
                       DefaultValuedAttr<TT_PaddingOption, "::epiq::tt::PaddingOption::PAD_ZERO">:$padding);
  let results = (outs TT_TensorDescType:$result);
  let assemblyFormat = [{
    $base `,` `[` $shape `]` `,` `[` $strides `]` attr-dict `:` type($base) `,` type($result)
  }];
  let hasVerifier = 1;
}

def TT_DescriptorLoadOp : TT_MemoryOp<"descriptor_load"> {
  let summary = "loads a block; elements outside of the tensor are padding";
  let arguments = (ins TT_TensorDescType:$desc, Variadic<I32>:$indices,
                       DefaultValuedAttr<TT_CacheModifier, "::epiq::tt::CacheModifier::NONE">:$cache,
                       DefaultValuedAttr<TT_EvictionPolicy, "::epiq::tt::EvictionPolicy::NORMAL">:$evict,
                       OptionalAttr<AnyAttr>:$cachePolicy);
  let results = (outs TT_Tensor:$result);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
}

def TT_DescriptorStoreOp : TT_MemoryOp<"descriptor_store"> {
  let summary = "stores a block; elements outside of the tensor are dropped";
  let arguments = (ins TT_TensorDescType:$desc, TT_Tensor:$src, Variadic<I32>:$indices);
  let assemblyFormat = [{
    $desc `[` $indices `]` `,` $src attr-dict `:` qualified(type($desc)) `,` type($src)
  }];
  let hasVerifier = 1;
}

def TT_DescriptorReduceOp : TT_MemoryOp<"descriptor_reduce"> {
  let summary = "combines a block into memory";
  let arguments = (ins TT_DescriptorReduceKind:$kind, TT_TensorDescType:$desc, TT_Tensor:$src,
                       Variadic<I32>:$indices);
  let assemblyFormat = [{
    $kind `,` $desc `[` $indices `]` `,` $src attr-dict `:` qualified(type($desc)) `,` type($src)
  }];
  let hasVerifier = 1;
}

def TT_DescriptorGatherOp : TT_MemoryOp<"descriptor_gather"> {
  let summary = "loads rows that a tensor of indices names";
  let arguments = (ins TT_TensorDescType:$desc, TT_I32Tensor:$x_offsets, I32:$y_offset);
  let results = (outs TT_Tensor:$result);
  let assemblyFormat = [{
    $desc `[` $x_offsets `,` $y_offset `]` attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def TT_DescriptorScatterOp : TT_MemoryOp<"descriptor_scatter"> {
  let summary = "stores rows where a tensor of indices says";
  let arguments = (ins TT_TensorDescType:$desc, TT_I32Tensor:$x_offsets, I32:$y_offset,
                       TT_Tensor:$src);
  let assemblyFormat = [{
    $desc `[` $x_offsets `,` $y_offset `]` `,` $src attr-dict `:` type(operands)
  }];
  let hasVerifier = 1;
}

#endif // EPIQ_TRITON_DESCRIPTOR_OPS
