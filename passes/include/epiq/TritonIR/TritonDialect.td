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
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let hasConstantMaterializer = 1;
  let extraClassDeclaration = [{
    // The version whose spelling is printed: what setPrintVersion asked for, or
    // the version of the text that was last parsed, or 3.6.
    TritonVersion getPrintVersion() const {
      if (printVersion)
        return *printVersion;
      return sourceVersion.value_or(TritonVersion::V3_6);
    }
    void setPrintVersion(std::optional<TritonVersion> version) { printVersion = version; }

    // The version whose spelling the last parsed text used, if it told.
    std::optional<TritonVersion> getSourceVersion() const { return sourceVersion; }
    void setSourceVersion(std::optional<TritonVersion> version) { sourceVersion = version; }

    // The dialect in `context`, which must have loaded it.
    static TritonDialect &in(::mlir::MLIRContext *context);

  private:
    std::optional<TritonVersion> printVersion;
    std::optional<TritonVersion> sourceVersion;

  public:
  }];
}

// The few ops of Triton's GPU dialect that appear beside tt ops; everything else
// of it passes through unread.
def TritonGPU_Dialect : Dialect {
  let name = "ttg";
  let cppNamespace = "::epiq::ttg";
  let summary = "Triton's GPU dialect, mostly opaque";
  let hasOperationAttrVerify = 0;
  let extraClassDeclaration = [{
    ::mlir::Attribute parseAttribute(::mlir::DialectAsmParser &parser,
                                     ::mlir::Type type) const override;
  }];
}

#endif // EPIQ_TRITON_DIALECT
