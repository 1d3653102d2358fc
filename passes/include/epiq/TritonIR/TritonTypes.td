//===- TritonTypes.td - Pointers and tensor descriptors ------*- tablegen -*-===//

#ifndef EPIQ_TRITON_TYPES
#define EPIQ_TRITON_TYPES

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinTypeInterfaces.td"
include "epiq/TritonIR/TritonDialect.td"

class TT_TypeDef<string name, string typeMnemonic, list<Trait> traits = []>
    : TypeDef<Triton_Dialect, name, traits> {
  let mnemonic = typeMnemonic;
}

def TT_PointerType : TT_TypeDef<"Pointer", "ptr"> {
  let summary = "pointer to a scalar or to a tensor (block pointer)";
  let description = [{
    `!tt.ptr<f16>` points to global memory, address space 1, which is left out
    of the text; `!tt.ptr<f16, 3>` names another one. `!tt.ptr<tensor<8x8xf16>>`
    is a block pointer, from `tt.make_tensor_ptr`.
  }];
  let parameters = (ins "::mlir::Type":$pointeeType, "int":$addressSpace);
  let builders = [
    TypeBuilderWithInferredContext<(ins "::mlir::Type":$pointeeType,
                                        CArg<"int", "1">:$addressSpace), [{
      return $_get(pointeeType.getContext(), pointeeType, addressSpace);
    }]>
  ];
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let skipDefaultBuilders = 1;
}

def TT_TensorDescType : TT_TypeDef<"TensorDesc", "tensordesc"> {
  let summary = "descriptor of a tensor in global memory, read and written in blocks";
  let description = [{
    Triton 3.6 writes `!tt.tensordesc<tensor<128x64xbf16>>`, 3.9 writes
    `!tt.tensordesc<128x64xbf16>`. Both are read; the dialect's print version
    says which is written.
  }];
  let parameters = (ins "::mlir::RankedTensorType":$blockType);
  let builders = [
    TypeBuilderWithInferredContext<(ins "::mlir::RankedTensorType":$blockType), [{
      return $_get(blockType.getContext(), blockType);
    }]>
  ];
  let hasCustomAssemblyFormat = 1;
  let skipDefaultBuilders = 1;
}

//===----------------------------------------------------------------------===//
// Constraints
//===----------------------------------------------------------------------===//

class TT_ScalarOrTensor<Type scalar, string summary>
    : AnyTypeOf<[scalar, RankedTensorOf<[scalar]>], summary>;

def TT_IsScalarPtr : CPred<
    "::llvm::isa<::epiq::tt::PointerType>($_self) && "
    "!::llvm::isa<::mlir::RankedTensorType>("
    "::llvm::cast<::epiq::tt::PointerType>($_self).getPointeeType())">;
def TT_IsTensorPtr : CPred<
    "::llvm::isa<::epiq::tt::PointerType>($_self) && "
    "::llvm::isa<::mlir::RankedTensorType>("
    "::llvm::cast<::epiq::tt::PointerType>($_self).getPointeeType())">;

def TT_ScalarPtr : Type<TT_IsScalarPtr, "pointer to a scalar", "::epiq::tt::PointerType">;
def TT_TensorPtr : Type<TT_IsTensorPtr, "pointer to a tensor", "::epiq::tt::PointerType">;
def TT_PtrLike : TT_ScalarOrTensor<TT_ScalarPtr, "pointer or tensor of pointers">;
def TT_IntLike : TT_ScalarOrTensor<AnySignlessInteger, "integer or tensor of integers">;
def TT_I1Like : TT_ScalarOrTensor<I1, "i1 or tensor of i1">;
def TT_I64Like : TT_ScalarOrTensor<I64, "i64 or tensor of i64">;
def TT_FloatLike : TT_ScalarOrTensor<AnyFloat, "float or tensor of floats">;
def TT_Scalar : AnyTypeOf<[AnyFloat, AnySignlessInteger, TT_ScalarPtr], "integer, float or pointer">;
def TT_Tensor : RankedTensorOf<[TT_Scalar]>;
def TT_I1Tensor : RankedTensorOf<[I1]>;
def TT_I32Tensor : RankedTensorOf<[I32]>;
def TT_IntTensor : RankedTensorOf<[AnySignlessInteger]>;
def TT_FloatTensor : RankedTensorOf<[AnyFloat]>;
def TT_NumberTensor : RankedTensorOf<[AnyFloat, AnySignlessInteger]>;
def TT_Value : AnyTypeOf<[TT_Scalar, TT_Tensor, TT_TensorPtr, TT_TensorDescType],
                         "integer, float, pointer, descriptor or tensor">;

#endif // EPIQ_TRITON_TYPES
