//===- GraphDialect.cpp - Attributes and registration of epiq -------------===//

#include "epiq/Graph/Graph.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace epiq::graph;

#include "epiq/Graph/GraphDialect.cpp.inc"
#include "epiq/Graph/GraphEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "epiq/Graph/GraphAttrs.cpp.inc"

void EpiqDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "epiq/Graph/GraphAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "epiq/Graph/GraphOps.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// #epiq.format
//===----------------------------------------------------------------------===//

namespace {

// The fields of a format while it is parsed; unset ones take their default.
struct FormatFields {
  Type element;
  Type scaleDtype;
  std::optional<Granularity> granularity;
  int64_t groupSize = 0;
  bool isStatic = false;
  double floor = 0.0;
  FloorOn floorOn = FloorOn::scale;
  double upperBound = 0.0;
  bool division = true;
  ScaleRounding scaleRounding = ScaleRounding::none;
  bool globalScale = false;
};

template <typename Enum>
ParseResult parseEnum(AsmParser &parser, StringRef field,
                      std::optional<Enum> (*symbolize)(StringRef),
                      Enum &value) {
  StringRef keyword;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseKeyword(&keyword))
    return failure();
  std::optional<Enum> parsed = symbolize(keyword);
  if (!parsed)
    return parser.emitError(loc)
           << "unknown " << field << " `" << keyword << "`";
  value = *parsed;
  return success();
}

ParseResult parseBool(AsmParser &parser, bool &value) {
  StringRef keyword;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseKeyword(&keyword))
    return failure();
  if (keyword != "true" && keyword != "false")
    return parser.emitError(loc)
           << "expected true or false, got `" << keyword << "`";
  value = keyword == "true";
  return success();
}

ParseResult parseField(AsmParser &parser, FormatFields &fields) {
  StringRef name;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseKeyword(&name) || parser.parseEqual())
    return failure();
  if (name == "element")
    return parser.parseType(fields.element);
  if (name == "scale_dtype")
    return parser.parseType(fields.scaleDtype);
  if (name == "group_size")
    return parser.parseInteger(fields.groupSize);
  if (name == "static")
    return parseBool(parser, fields.isStatic);
  if (name == "floor")
    return parser.parseFloat(fields.floor);
  if (name == "upper_bound")
    return parser.parseFloat(fields.upperBound);
  if (name == "division")
    return parseBool(parser, fields.division);
  if (name == "global_scale")
    return parseBool(parser, fields.globalScale);
  if (name == "floor_on")
    return parseEnum(parser, name, symbolizeFloorOn, fields.floorOn);
  if (name == "scale_rounding")
    return parseEnum(parser, name, symbolizeScaleRounding,
                     fields.scaleRounding);
  if (name == "granularity") {
    fields.granularity.emplace();
    return parseEnum(parser, name, symbolizeGranularity, *fields.granularity);
  }
  return parser.emitError(loc) << "unknown field `" << name << "` of a format";
}

APFloat toF32(double value) {
  APFloat result(value);
  bool losesInfo;
  result.convert(APFloat::IEEEsingle(), APFloat::rmNearestTiesToEven,
                 &losesInfo);
  return result;
}

} // namespace

Attribute FormatAttr::parse(AsmParser &parser, Type) {
  FormatFields fields;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::LessGreater, [&] {
        return parseField(parser, fields);
      }))
    return {};
  if (!fields.element || !fields.granularity) {
    parser.emitError(loc) << "a format needs `element` and `granularity`";
    return {};
  }
  MLIRContext *ctx = parser.getContext();
  if (!fields.scaleDtype)
    fields.scaleDtype = Float32Type::get(ctx);
  return parser.getChecked<FormatAttr>(
      loc, ctx, fields.element, fields.scaleDtype, *fields.granularity,
      fields.groupSize, fields.isStatic, toF32(fields.floor), fields.floorOn,
      toF32(fields.upperBound), fields.division, fields.scaleRounding,
      fields.globalScale);
}

void FormatAttr::print(AsmPrinter &printer) const {
  printer << "<element = " << getElement();
  if (!getScaleDtype().isF32())
    printer << ", scale_dtype = " << getScaleDtype();
  printer << ", granularity = " << stringifyGranularity(getGranularity());
  if (getGroupSize() != 0)
    printer << ", group_size = " << getGroupSize();
  if (getIsStatic())
    printer << ", static = true";
  if (!getFloor().isZero()) {
    printer << ", floor = ";
    printer.printFloat(getFloor());
  }
  if (getFloorOn() != FloorOn::scale)
    printer << ", floor_on = " << stringifyFloorOn(getFloorOn());
  if (!getUpperBound().isZero()) {
    printer << ", upper_bound = ";
    printer.printFloat(getUpperBound());
  }
  if (!getDivision())
    printer << ", division = false";
  if (getScaleRounding() != ScaleRounding::none)
    printer << ", scale_rounding = "
            << stringifyScaleRounding(getScaleRounding());
  if (getGlobalScale())
    printer << ", global_scale = true";
  printer << ">";
}

LogicalResult FormatAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 Type element, Type scaleDtype,
                                 Granularity granularity, int64_t groupSize,
                                 bool isStatic, APFloat floor, FloorOn,
                                 APFloat upperBound, bool, ScaleRounding,
                                 bool) {
  if (!element.isIntOrFloat())
    return emitError() << "element of a format is a float or an integer, got "
                       << element;
  if (!scaleDtype.isIntOrFloat())
    return emitError()
           << "scale_dtype of a format is a float or an integer, got "
           << scaleDtype;
  bool grouped = granularity == Granularity::group;
  if (grouped && groupSize <= 0)
    return emitError() << "group_size " << groupSize << " is not positive";
  if (!grouped && groupSize != 0)
    return emitError() << "group_size " << groupSize
                       << " needs granularity = group, got "
                       << stringifyGranularity(granularity);
  if (!floor.isFinite() || floor.isNegative())
    return emitError() << "floor of a format is finite and not negative";
  if (!upperBound.isFinite() || upperBound.isNegative())
    return emitError() << "upper_bound of a format is finite and not negative";
  if (isStatic && !(floor.isZero() && upperBound.isZero()))
    return emitError() << "a static scale has neither floor nor upper_bound";
  return success();
}
