//===- TritonDialect.td - Our mirror of Triton's tt dialect --*- tablegen -*-===//
// The ops, types and attributes that Triton prints before TTGIR, in Triton's
// textual form, declared anew: nothing of Triton is linked.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_TRITON_DIALECT
#define EPIQ_TRITON_DIALECT

include "mlir/IR/OpBase.td"

def Triton_Dialect : Dialect {
  let name = "tt";
  let cppNamespace = "::epiq::tt";
  let summary = "Triton IR, as Triton 3.6 to 3.9 write it";
  let dependentDialects = ["::mlir::arith::ArithDialect"];
  let useDefaultTypePrinterParser = 1;
  let hasConstantMaterializer = 1;
}

#endif // EPIQ_TRITON_DIALECT
