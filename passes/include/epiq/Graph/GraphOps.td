//===- GraphOps.td - Ops of the epiq dialect ------------------*- tablegen -*-===//

#ifndef EPIQ_GRAPH_OPS
#define EPIQ_GRAPH_OPS

include "epiq/Graph/GraphAttrs.td"
include "mlir/IR/CommonAttrConstraints.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Epiq_Op<string mnemonic, list<Trait> traits = []>
    : Op<Epiq_Dialect, mnemonic, traits>;

//===----------------------------------------------------------------------===//
// Shape: the same values, elsewhere
//===----------------------------------------------------------------------===//

def Epiq_BroadcastOp : Epiq_Op<"broadcast", [Pure, SameOperandsAndResultElementType]> {
  let summary = "Repeats a value along dimensions of size 1 or missing on the left";
  let description = [{
    Broadcasts as numpy does: shapes are aligned at the right, a dimension of
    size 1 or a missing one is repeated. A 0-d source is allowed.
    ```mlir
    %b = epiq.broadcast %x : tensor<?x1xf32> to tensor<?x4096xf32>
    ```
    A dynamic dimension of the result takes its extent from the values that the
    result meets.
  }];
  let arguments = (ins AnyRankedTensor:$input);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `to` type($result)";
  let hasVerifier = 1;
}

def Epiq_ReshapeOp : Epiq_Op<"reshape", [Pure, SameOperandsAndResultElementType]> {
  let summary = "Gives the same values, in row-major order, another shape";
  let description = [{
    View, reshape, flatten, squeeze and unsqueeze.
    ```mlir
    %g = epiq.reshape %x : tensor<?x4096xf32> to tensor<?x32x128xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `to` type($result)";
  let hasVerifier = 1;
}

def Epiq_SliceOp : Epiq_Op<"slice", [Pure, SameOperandsAndResultElementType]> {
  let summary = "A range of one dimension, with step 1 and static bounds";
  let description = [{
    ```mlir
    %gate = epiq.slice %x dim 1 from 0 to 4096 : tensor<?x8192xbf16> to tensor<?x4096xbf16>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, I64Attr:$dim, I64Attr:$begin, I64Attr:$end);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $input `dim` $dim `from` $begin `to` $end attr-dict `:` type($input) `to` type($result)
  }];
  let hasVerifier = 1;
}

def Epiq_TransposeOp : Epiq_Op<"transpose", [Pure, SameOperandsAndResultElementType]> {
  let summary = "Permutes dimensions: dimension i of the result is dimension perm[i]";
  let description = [{
    ```mlir
    %t = epiq.transpose %x perm [1, 0] : tensor<?x32xf32> to tensor<32x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, DenseI64ArrayAttr:$perm);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $input `perm` $perm attr-dict `:` type($input) `to` type($result)
  }];
  let hasVerifier = 1;
}

def Epiq_ConcatOp : Epiq_Op<"concat", [Pure]> {
  let summary = "Tensors next to one another along one dimension";
  let description = [{
    ```mlir
    %y = epiq.concat %a, %b dim 1 : tensor<?x64xf32>, tensor<?x64xf32> to tensor<?x128xf32>
    ```
  }];
  let arguments = (ins Variadic<AnyRankedTensor>:$inputs, I64Attr:$dim);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $inputs `dim` $dim attr-dict `:` type($inputs) `to` type($result)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Rows by index
//===----------------------------------------------------------------------===//

def Epiq_GatherRowsOp : Epiq_Op<"gather_rows", [Pure]> {
  let summary = "The rows of a table that an index names";
  let description = [{
    Row `index[i]` of the table, its first dimension counting rows, for each
    element i of the index. An index must name a row.
    ```mlir
    %c = epiq.gather_rows %table[%positions]
        : tensor<4096x64xbf16>[tensor<?xi64>] to tensor<?x64xbf16>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$table, TensorOf<[I32, I64]>:$index);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $table `[` $index `]` attr-dict `:` type($table) `[` type($index) `]` `to` type($result)
  }];
  let hasVerifier = 1;
}

def Epiq_ScatterRowsOp : Epiq_Op<"scatter_rows", [Pure, AllTypesMatch<["buffer", "result"]>]> {
  let summary = "A buffer with some of its rows replaced";
  let description = [{
    The buffer, its first dimension counting rows, with row `index[i]` replaced
    by row i of `rows`. A row whose index is negative is left out; no two rows
    have the same index. In a row program the buffer is an input, and the result
    is the same memory after the run.
    ```mlir
    %c = epiq.scatter_rows %k into %cache[%slots]
        : tensor<?x8x128xbf16> into tensor<4096x8x128xbf16>[tensor<?xi64>]
    ```
  }];
  let arguments = (ins AnyRankedTensor:$rows, AnyRankedTensor:$buffer,
                       TensorOf<[I32, I64]>:$index);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $rows `into` $buffer `[` $index `]` attr-dict `:` type($rows) `into` type($buffer) `[` type($index) `]`
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Layout: the same tensor, placed otherwise in memory
//===----------------------------------------------------------------------===//

def Epiq_ContiguousOp : Epiq_Op<"contiguous", [Pure, SameOperandsAndResultType]> {
  let summary = "The same tensor with row-major strides";
  let description = [{
    ```mlir
    %c = epiq.contiguous %x : tensor<32x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($result)";
}

def Epiq_RelayoutOp : Epiq_Op<"relayout", [Pure]> {
  let summary = "The same tensor in a named layout";
  let description = [{
    A layout that packs or pads has a result of another type, that of the memory:
    ```mlir
    %c = epiq.relayout %x to column_major : tensor<?x32xf32> to tensor<?x32xf32>
    %p = epiq.relayout %s to packed_ue8m0 : tensor<?x30xf8E8M0FNU> to tensor<?x8xi32>
    %w = epiq.relayout %s to swizzled_128x4 : tensor<?x30xf8E4M3FN> to tensor<?xf8E4M3FN>
    %q = epiq.relayout %y to packed_e2m1 : tensor<?x64xf4E2M1FN> to tensor<?x32xi8>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, Epiq_LayoutAttr:$layout);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $input `to` custom<LayoutKeyword>($layout) attr-dict `:` type($input) `to` type($result)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Casts that arith lacks
//===----------------------------------------------------------------------===//

def Epiq_ToUe8m0Op : Epiq_Op<"to_ue8m0", [Pure, Elementwise, SameOperandsAndResultShape]> {
  let summary = "A power of two as a UE8M0 scale";
  let description = [{
    For a value that is not negative: the exponent field of its f32 bits, plus 1
    with `rceil` if the mantissa is not 0, minus `less`, from 0 to 254. `rceil`
    is the least power of two that is not under the value, `floor` the largest
    that is not over it (for normal numbers; 0 gives byte 0, and a subnormal 1
    with `rceil` and 0 with `floor`). NaN gives NaN (255), Inf 254, or 255 - `less`
    if that is smaller.
    ```mlir
    %b = epiq.to_ue8m0 rceil %s : tensor<?x32xf32> to tensor<?x32xf8E8M0FNU>
    ```
    The value of a scale is `arith.extf` of it.
  }];
  let arguments = (ins Epiq_ScaleRoundingAttr:$rounding, TensorOf<[F32]>:$input,
                       DefaultValuedAttr<I64Attr, "0">:$less);
  let results = (outs TensorOf<[F8E8M0FNU]>:$result);
  let assemblyFormat = [{
    custom<ScaleRoundingKeyword>($rounding) $input (`less` $less^)? attr-dict `:` type($input) `to` type($result)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

def Epiq_ReduceOp : Epiq_Op<"reduce", [Pure, SameOperandsAndResultElementType]> {
  let summary = "Combines the values along some dimensions";
  let description = [{
    `keep` leaves reduced dimensions in place with size 1. `max` and `min`
    propagate NaN. The order of a sum is the implementation's, the same one for
    the same shape of row.
    ```mlir
    %m = epiq.reduce max %x dims [1] keep : tensor<?x4096xf32> to tensor<?x1xf32>
    ```
  }];
  let arguments = (ins Epiq_ReduceKindAttr:$kind, AnyRankedTensor:$input,
                       DenseI64ArrayAttr:$dims, UnitAttr:$keep);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    custom<ReduceKindKeyword>($kind) $input `dims` $dims (`keep` $keep^)? attr-dict `:` type($input) `to` type($result)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Nodes and regions
//===----------------------------------------------------------------------===//

def Epiq_ExternOp : Epiq_Op<"extern"> {
  let summary = "A torch node that stays one";
  let description = [{
    Nothing is known about it, side effects included.
    ```mlir
    %c = epiq.extern "aten.mm.default"(%a, %b) : (tensor<?x64xbf16>, tensor<64x32xbf16>) -> tensor<?x32xbf16>
    ```
  }];
  let arguments = (ins StrAttr:$target, Variadic<AnyType>:$inputs);
  let results = (outs Variadic<AnyType>:$outputs);
  let assemblyFormat = [{
    $target `(` $inputs `)` attr-dict `:` functional-type($inputs, $outputs)
  }];
}

class Epiq_RegionOp<string mnemonic>
    : Epiq_Op<mnemonic, [IsolatedFromAbove, RecursiveMemoryEffects, RecursivelySpeculatable,
                         SingleBlock]> {
  let regions = (region SizedRegion<1>:$body);
  let hasVerifier = 1;
  code regionDeclaration = [{
    ::mlir::Block &getBlock() { return getBody().front(); }
    ::epiq::graph::YieldOp getYield();
  }];
}

def Epiq_CompositeOp : Epiq_RegionOp<"composite"> {
  let summary = "A named sub-graph";
  let description = [{
    The body is the exact arithmetic of the graph, so a name never changes bits.
    Names: `rms_norm`, `layer_norm`, `silu`, `silu_mul`, `gelu`, `gelu_mul`,
    `swiglu`, `relu2`, `rope`, `quantize`, and `amax` for the maximum of a tensor that its
    quantization starts from. `format` describes a `quantize`; `eps` a norm.
    ```mlir
    %q = epiq.composite "quantize" (%x, %scale)
        {format = #epiq.format<element = f8E4M3FN, granularity = tensor, static = true>}
        : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf8E4M3FN> {
    ^bb0(%a: tensor<?x64xf32>, %s: tensor<f32>):
      %b = epiq.broadcast %s : tensor<f32> to tensor<?x64xf32>
      %d = arith.divf %a, %b : tensor<?x64xf32>
      %y = arith.truncf %d : tensor<?x64xf32> to tensor<?x64xf8E4M3FN>
      epiq.yield %y : tensor<?x64xf8E4M3FN>
    }
    ```
  }];
  let arguments = (ins StrAttr:$kind, Variadic<AnyRankedTensor>:$inputs,
                       OptionalAttr<Epiq_FormatAttr>:$format,
                       OptionalAttr<F32Attr>:$eps);
  let results = (outs Variadic<AnyRankedTensor>:$outputs);
  let assemblyFormat = [{
    $kind ` ` `(` $inputs `)` attr-dict `:` functional-type($inputs, $outputs) $body
  }];
  let extraClassDeclaration = regionDeclaration;
}

def Epiq_RowProgramOp : Epiq_RegionOp<"row_program"> {
  let summary = "One kernel that works on whole rows of its tensors";
  let description = [{
    Every value of the body is a row of some width for each token, or the same
    for all tokens; no value depends on another token's row. `layouts` says how
    each result lies in memory.
    ```mlir
    %q = epiq.row_program @cast (%x) {layouts = [#epiq.layout<row_major>]}
        : (tensor<?x64xf32>) -> tensor<?x64xf8E4M3FN> {
    ^bb0(%a: tensor<?x64xf32>):
      %y = arith.truncf %a : tensor<?x64xf32> to tensor<?x64xf8E4M3FN>
      epiq.yield %y : tensor<?x64xf8E4M3FN>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, Variadic<AnyRankedTensor>:$inputs,
                       TypedArrayAttrBase<Epiq_LayoutAttr, "layouts">:$layouts);
  let results = (outs Variadic<AnyRankedTensor>:$outputs);
  let assemblyFormat = [{
    $sym_name ` ` `(` $inputs `)` attr-dict `:` functional-type($inputs, $outputs) $body
  }];
  let extraClassDeclaration = regionDeclaration # [{
    ::epiq::graph::Layout getLayout(unsigned result) {
      return ::llvm::cast<::epiq::graph::LayoutAttr>(getLayouts()[result]).getValue();
    }
  }];
}

def Epiq_YieldOp : Epiq_Op<"yield", [Pure, Terminator,
                                     ParentOneOf<["CompositeOp", "RowProgramOp"]>]> {
  let summary = "The results of a composite or row program";
  let arguments = (ins Variadic<AnyRankedTensor>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

#endif // EPIQ_GRAPH_OPS
