//===- TritonAttrs.td - Enumerations of Triton IR ------------*- tablegen -*-===//
// Numbers are Triton's: the generic form prints them.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_TRITON_ATTRS
#define EPIQ_TRITON_ATTRS

include "mlir/IR/EnumAttr.td"
include "epiq/TritonIR/TritonDialect.td"

class TT_Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::epiq::tt";
}

def TT_ProgramAxis : TT_Enum<"ProgramAxis", "axis of the launch grid", [
  I32EnumAttrCase<"X", 0, "x">, I32EnumAttrCase<"Y", 1, "y">,
  I32EnumAttrCase<"Z", 2, "z">]>;

def TT_RoundingMode : TT_Enum<"RoundingMode", "rounding of a float cast", [
  I32EnumAttrCase<"RTZ", 0, "rtz">, I32EnumAttrCase<"RTNE", 1, "rtne">,
  I32EnumAttrCase<"RS", 2, "rs">]>;

def TT_PropagateNan : TT_Enum<"PropagateNan", "whether NaN operands propagate", [
  I32EnumAttrCase<"NONE", 0, "none">, I32EnumAttrCase<"ALL", 65535, "all">]>;

def TT_CacheModifier : TT_Enum<"CacheModifier", "cache operator of a load or store", [
  I32EnumAttrCase<"NONE", 1, "none">, I32EnumAttrCase<"CA", 2, "ca">,
  I32EnumAttrCase<"CG", 3, "cg">, I32EnumAttrCase<"WB", 4, "wb">,
  I32EnumAttrCase<"CS", 5, "cs">, I32EnumAttrCase<"WT", 6, "wt">,
  I32EnumAttrCase<"CV", 7, "cv">]>;

def TT_EvictionPolicy : TT_Enum<"EvictionPolicy", "L2 eviction priority", [
  I32EnumAttrCase<"NORMAL", 1, "evict_normal">,
  I32EnumAttrCase<"EVICT_FIRST", 2, "evict_first">,
  I32EnumAttrCase<"EVICT_LAST", 3, "evict_last">]>;

def TT_PaddingOption : TT_Enum<"PaddingOption", "value read outside of a tensor", [
  I32EnumAttrCase<"PAD_ZERO", 1, "zero">, I32EnumAttrCase<"PAD_NAN", 2, "nan">]>;

#endif // EPIQ_TRITON_ATTRS
