//===- GraphAttrs.td - Formats, layouts, reduction kinds ------*- tablegen -*-===//

#ifndef EPIQ_GRAPH_ATTRS
#define EPIQ_GRAPH_ATTRS

include "epiq/Graph/GraphDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

class Epiq_Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::epiq::graph";
  let genSpecializedAttr = 0;
}

def Epiq_ReduceKind : Epiq_Enum<"ReduceKind", "how a reduction combines two values", [
  I32EnumAttrCase<"sum", 0>, I32EnumAttrCase<"prod", 1>,
  I32EnumAttrCase<"max", 2>, I32EnumAttrCase<"min", 3>]>;

def Epiq_ReduceKindAttr : EnumAttr<Epiq_Dialect, Epiq_ReduceKind, "reduce_kind">;

def Epiq_Layout : Epiq_Enum<"Layout", "the order of a tensor's last two dimensions in memory", [
  I32EnumAttrCase<"row_major", 0>, I32EnumAttrCase<"column_major", 1>,
  I32EnumAttrCase<"tma_aligned", 2>, I32EnumAttrCase<"packed_ue8m0", 3>,
  I32EnumAttrCase<"swizzled_128x4", 4>, I32EnumAttrCase<"packed_e2m1", 5>]>;

def Epiq_LayoutAttr : EnumAttr<Epiq_Dialect, Epiq_Layout, "layout"> {
  let summary = "How a value lies in memory; the value itself is the same";
  let description = [{
    | layout | of | in memory |
    |---|---|---|
    | `row_major` | any | dense, the last dimension fastest |
    | `column_major` | [M, G] | dense with the last two dimensions swapped: strides (1, M) |
    | `tma_aligned` | [M, G] | strides (1, round_up(M, 4)) |
    | `packed_ue8m0` | [M, G], 8 bits | i32 [M, ceil(G / 4)] with strides (1, round_up(M, 4)); group g is byte g % 4, lowest first, and bytes without a group are 0 |
    | `swizzled_128x4` | [M, G], 8 bits | dense [ceil(M / 128), ceil(G / 4), 32, 4, 4]: group g of token m is at [m / 128, g / 4, m % 32, m % 128 / 32, g % 4], all else is 0 |
    | `packed_e2m1` | [.., K], f4E2M1FN | i8 [.., K / 2], dense, element 2i in the low four bits |

    The last three give a value another shape or element type: that of the
    tensor that a consumer takes.
  }];
  let assemblyFormat = "`<` $value `>`";
}

def Epiq_Granularity : Epiq_Enum<"Granularity", "which values share a scale", [
  I32EnumAttrCase<"tensor", 0>, I32EnumAttrCase<"token", 1>,
  I32EnumAttrCase<"group", 2>]>;

def Epiq_FloorOn : Epiq_Enum<"FloorOn", "what the floor of a format bounds", [
  I32EnumAttrCase<"amax", 0>, I32EnumAttrCase<"scale", 1>]>;

def Epiq_ScaleRounding
    : Epiq_Enum<"ScaleRounding", "how a scale becomes a power of two", [
  I32EnumAttrCase<"none", 0>, I32EnumAttrCase<"rceil", 1>,
  I32EnumAttrCase<"floor", 2>]>;

def Epiq_ScaleRoundingAttr : EnumAttr<Epiq_Dialect, Epiq_ScaleRounding, "scale_rounding">;

def Epiq_FormatAttr : AttrDef<Epiq_Dialect, "Format"> {
  let mnemonic = "format";
  let summary = "A quantization format, as data";
  let description = [{
    Mirrors the Python dataclass `epiq.formats.QuantFormat`. Fields that hold
    their default are not printed:
    ```mlir
    #epiq.format<element = f8E4M3FN, granularity = group, group_size = 128, floor = 1.0e-10, floor_on = amax>
    ```
    | field | default | meaning |
    |---|---|---|
    | `element` | none | type of the quantized values |
    | `scale_dtype` | f32 | type of the scale |
    | `granularity` | none | what shares a scale: `tensor`, `token`, `group` |
    | `group_size` | 0 | values along the last dimension that share a scale, for `group` |
    | `static` | false | the scale is given, not computed from the values |
    | `floor` | 0.0 | lower bound, 0 for none |
    | `floor_on` | scale | what `floor` bounds: `amax` before the division by the element's maximum, or `scale` after it |
    | `upper_bound` | 0.0 | what amax is cut to, 0 for none |
    | `division` | true | values are x / scale; false: x * (1 / scale) |
    | `scale_rounding` | none | power of two: `rceil`, `floor` |
    | `global_scale` | false | one more scale, given, multiplies the values first (NVFP4) |

    The arithmetic in the body of a composite is what counts for bits; the
    attribute names it.
  }];
  let parameters = (ins
    "::mlir::Type":$element,
    "::mlir::Type":$scale_dtype,
    "::epiq::graph::Granularity":$granularity,
    "int64_t":$group_size,
    "bool":$is_static,
    APFloatParameter<"f32 lower bound, 0 for none">:$floor,
    "::epiq::graph::FloorOn":$floor_on,
    APFloatParameter<"f32 upper bound of amax, 0 for none">:$upper_bound,
    "bool":$division,
    "::epiq::graph::ScaleRounding":$scale_rounding,
    "bool":$global_scale);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

#endif // EPIQ_GRAPH_ATTRS
