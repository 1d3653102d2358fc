//===- TritonShapeOps.td - Ops that move elements around -----*- tablegen -*-===//

#ifndef EPIQ_TRITON_SHAPE_OPS
#define EPIQ_TRITON_SHAPE_OPS

include "epiq/TritonIR/TritonOpBase.td"

class TT_ShapeOp<string mnemonic, list<Trait> traits = []>
    : TT_Op<mnemonic, !listconcat([Pure, SameOperandsAndResultElementType], traits)> {
  let arguments = (ins TT_Tensor:$src);
  let results = (outs TT_Tensor:$result);
  let assemblyFormat = "$src attr-dict `:` type($src) `->` type($result)";
}

def TT_MakeRangeOp : TT_Op<"make_range", [Pure]> {
  let summary = "the integers from start to end, end excluded";
  let arguments = (ins I32Attr:$start, I32Attr:$end);
  let results = (outs TT_IntTensor:$result);
  let assemblyFormat = "attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def TT_SplatOp : TT_ShapeOp<"splat"> {
  let summary = "a tensor of one repeated scalar";
  let arguments = (ins TT_Scalar:$src);
  let hasFolder = 1;
}

def TT_UnsplatOp : TT_Op<"unsplat", [
    Pure, TypesMatchWith<"result is an element of the source", "src", "result",
                         "::mlir::getElementTypeOrSelf($_self)">]> {
  let summary = "the only element of a tensor";
  let arguments = (ins TT_Tensor:$src);
  let results = (outs TT_Scalar:$result);
  let assemblyFormat = "$src attr-dict `:` type($src)";
  let hasVerifier = 1;
}

def TT_ExpandDimsOp : TT_ShapeOp<"expand_dims"> {
  let summary = "inserts a dimension of size 1";
  let arguments = (ins TT_Tensor:$src, I32Attr:$axis);
  let hasVerifier = 1;
}

def TT_BroadcastOp : TT_ShapeOp<"broadcast"> {
  let summary = "repeats a tensor along its dimensions of size 1";
  let hasVerifier = 1;
}

def TT_ReshapeOp : TT_ShapeOp<"reshape"> {
  let summary = "the same elements in another shape";
  let description = [{
    Row-major order is kept, unless `allow_reorder` lets the compiler choose.
    `efficient_layout` asks to keep the result's encoding.
  }];
  let arguments = (ins TT_Tensor:$src, UnitAttr:$allow_reorder, UnitAttr:$efficient_layout);
  let assemblyFormat = [{
    $src (`allow_reorder` $allow_reorder^)? (`efficient_layout` $efficient_layout^)?
    attr-dict `:` type($src) `->` type($result)
  }];
  let hasVerifier = 1;
}

def TT_TransOp : TT_ShapeOp<"trans"> {
  let summary = "permutes dimensions: result dimension i is source dimension order[i]";
  let arguments = (ins TT_Tensor:$src, DenseI32ArrayAttr:$order);
  let hasVerifier = 1;
}

def TT_CatOp : TT_ShapeOp<"cat", [SameTypeOperands]> {
  let summary = "concatenates two tensors, in an order that the compiler chooses";
  let arguments = (ins TT_Tensor:$lhs, TT_Tensor:$rhs);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs) `->` type($result)";
  let hasVerifier = 1;
}

def TT_JoinOp : TT_ShapeOp<"join", [SameTypeOperands]> {
  let summary = "stacks two tensors along a new last dimension of size 2";
  let arguments = (ins TT_Tensor:$lhs, TT_Tensor:$rhs);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs) `->` type($result)";
  let hasVerifier = 1;
}

def TT_SplitOp : TT_Op<"split", [Pure, AllTypesMatch<["outLHS", "outRHS"]>]> {
  let summary = "takes a last dimension of size 2 apart; undoes tt.join";
  let arguments = (ins TT_Tensor:$src);
  let results = (outs TT_Tensor:$outLHS, TT_Tensor:$outRHS);
  let assemblyFormat = "$src attr-dict `:` type($src) `->` type($outLHS)";
  let hasVerifier = 1;
}

def TT_GatherOp : TT_Op<"gather", [Pure]> {
  let summary = "result[.., i, ..] = src[.., indices[.., i, ..], ..] along an axis";
  let arguments = (ins TT_Tensor:$src, TT_IntTensor:$indices, I32Attr:$axis,
                       UnitAttr:$efficient_layout);
  let results = (outs TT_Tensor:$result);
  let assemblyFormat =
    "$src `[` $indices `]` attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

#endif // EPIQ_TRITON_SHAPE_OPS
