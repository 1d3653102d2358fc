//===- TritonLoadStore.cpp - Textual form of loads and stores -------------===//
// 3.6 writes `cacheModifier = ca evictionPolicy = evict_first` after the
// operands, in any order; 3.9 writes `{cachePolicy = #tt.cache_policy<...>}`.
// Both are read, into the same attributes.
//===----------------------------------------------------------------------===//

#include "epiq/TritonIR/Triton.h"

using namespace mlir;

namespace epiq::tt {
namespace {

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

ParseResult parseCache(OpAsmParser &parser, CacheModifierAttr &attr) {
  StringRef keyword;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseEqual() || parser.parseKeyword(&keyword))
    return failure();
  auto value = symbolizeCacheModifier(keyword);
  if (!value)
    return parser.emitError(loc) << "unknown cacheModifier '" << keyword << "'";
  attr = CacheModifierAttr::get(parser.getContext(), *value);
  return success();
}

ParseResult parseEviction(OpAsmParser &parser, EvictionPolicyAttr &attr) {
  StringRef keyword;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseEqual() || parser.parseKeyword(&keyword))
    return failure();
  auto value = symbolizeEvictionPolicy(keyword);
  if (!value)
    return parser.emitError(loc)
           << "unknown evictionPolicy '" << keyword << "'";
  attr = EvictionPolicyAttr::get(parser.getContext(), *value);
  return success();
}

// Parses policies and the attribute dictionary of an op whose properties hold
// `cache`, `evict` and `cachePolicy`.
template <typename Properties>
ParseResult parseAttributes(OpAsmParser &parser, OperationState &result,
                            Properties &properties) {
  auto &dialect = TritonDialect::in(parser.getContext());
  while (true) {
    if (succeeded(parser.parseOptionalKeyword("cacheModifier"))) {
      if (parseCache(parser, properties.cache))
        return failure();
    } else if (succeeded(parser.parseOptionalKeyword("evictionPolicy"))) {
      if (parseEviction(parser, properties.evict))
        return failure();
    } else {
      break;
    }
    dialect.setSourceVersion(TritonVersion::V3_6);
  }
  if (parser.parseOptionalAttrDict(result.attributes))
    return failure();
  auto policy = dyn_cast_if_present<CachePolicyAttr>(
      result.attributes.get("cachePolicy"));
  if (result.attributes.get("cachePolicy"))
    dialect.setSourceVersion(TritonVersion::V3_9);
  if (!policy)
    return success();
  MLIRContext *context = parser.getContext();
  result.attributes.erase("cachePolicy");
  properties.cache = CacheModifierAttr::get(context, policy.getCacheModifier());
  properties.evict =
      EvictionPolicyAttr::get(context, policy.getEvictionPolicy());
  return success();
}

// Parses `operands policies attributes : pointer type` of a load or store and
// resolves the operands, whose types `typesOf` derives from the pointee.
template <typename Properties>
ParseResult parseAccess(OpAsmParser &parser, OperationState &result,
                        Properties &properties, size_t least,
                        function_ref<SmallVector<Type>(Type, Type)> typesOf,
                        size_t &numOperands, Type &pointee) {
  SmallVector<OpAsmParser::UnresolvedOperand, 3> operands;
  Type ptr;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseOperandList(operands) ||
      parseAttributes(parser, result, properties) || parser.parseColon())
    return failure();
  SMLoc typeLoc = parser.getCurrentLocation();
  if (parser.parseType(ptr))
    return failure();
  numOperands = operands.size();
  if (numOperands < least || numOperands > 3)
    return parser.emitError(loc)
           << "takes " << least << " to 3 operands, not " << numOperands;
  pointee = getPointeeType(ptr);
  if (!pointee)
    return parser.emitError(typeLoc) << "needs a pointer, not " << ptr;
  SmallVector<Type> types = typesOf(ptr, pointee);
  types.resize(numOperands);
  return parser.resolveOperands(operands, types, loc, result.operands);
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

// Prints policies and attributes; `elided` names what is left out beside them.
template <typename OpTy>
void printAttributes(OpAsmPrinter &printer, OpTy op,
                     SmallVector<StringRef> elided) {
  TritonVersion version = TritonDialect::in(op.getContext()).getPrintVersion();
  CachePolicyInfo policy = getCachePolicyOf(op);
  NamedAttrList attrs(op->getAttrs());
  elided.append({"cache", "evict"});
  bool isDefault = policy.cache == CacheModifier::NONE &&
                   policy.evict == EvictionPolicy::NORMAL;
  if (version == TritonVersion::V3_6) {
    if (policy.cache != CacheModifier::NONE)
      printer << " cacheModifier = " << stringifyCacheModifier(policy.cache);
    if (policy.evict != EvictionPolicy::NORMAL)
      printer << " evictionPolicy = " << stringifyEvictionPolicy(policy.evict);
    if (!policy.target)
      elided.push_back("cachePolicy");
  } else if (!policy.target) {
    if (isDefault)
      elided.push_back("cachePolicy");
    else
      attrs.set(
          "cachePolicy",
          CachePolicyAttr::get(op.getContext(), policy.cache, policy.evict));
  }
  printer.printOptionalAttrDict(attrs.getDictionary(op.getContext()).getValue(),
                                elided);
}

} // namespace

ParseResult LoadOp::parse(OpAsmParser &parser, OperationState &result) {
  auto &properties = result.getOrAddProperties<Properties>();
  size_t count = 0;
  Type pointee;
  auto typesOf = [](Type ptr, Type pointee) {
    return SmallVector<Type>{ptr, getI1SameShape(pointee), pointee};
  };
  if (parseAccess(parser, result, properties, /*least=*/1, typesOf, count,
                  pointee))
    return failure();
  properties.operandSegmentSizes = {1, count > 1 ? 1 : 0, count > 2 ? 1 : 0};
  result.addTypes(pointee);
  return success();
}

void LoadOp::print(OpAsmPrinter &printer) {
  printer << " " << getOperands();
  SmallVector<StringRef> elided{"operandSegmentSizes"};
  if (getBoundaryCheck().empty())
    elided.push_back("boundaryCheck");
  if (!getIsVolatile())
    elided.push_back("isVolatile");
  printAttributes(printer, *this, elided);
  printer << " : " << getPtr().getType();
}

ParseResult StoreOp::parse(OpAsmParser &parser, OperationState &result) {
  size_t count = 0;
  Type pointee;
  auto typesOf = [](Type ptr, Type pointee) {
    return SmallVector<Type>{ptr, pointee, getI1SameShape(pointee)};
  };
  return parseAccess(parser, result, result.getOrAddProperties<Properties>(),
                     /*least=*/2, typesOf, count, pointee);
}

void StoreOp::print(OpAsmPrinter &printer) {
  printer << " " << getOperands();
  SmallVector<StringRef> elided;
  if (getBoundaryCheck().empty())
    elided.push_back("boundaryCheck");
  printAttributes(printer, *this, elided);
  printer << " : " << getPtr().getType();
}

ParseResult DescriptorLoadOp::parse(OpAsmParser &parser,
                                    OperationState &result) {
  OpAsmParser::UnresolvedOperand desc;
  SmallVector<OpAsmParser::UnresolvedOperand, 4> indices;
  TensorDescType descType;
  Type resultType;
  if (parser.parseOperand(desc) ||
      parser.parseOperandList(indices, OpAsmParser::Delimiter::Square) ||
      parseAttributes(parser, result,
                      result.getOrAddProperties<Properties>()) ||
      parser.parseColonType(descType) || parser.parseArrow() ||
      parser.parseType(resultType) ||
      parser.resolveOperand(desc, descType, result.operands) ||
      parser.resolveOperands(indices, parser.getBuilder().getI32Type(),
                             result.operands))
    return failure();
  result.addTypes(resultType);
  return success();
}

void DescriptorLoadOp::print(OpAsmPrinter &printer) {
  printer << " " << getDesc() << "[" << getIndices() << "]";
  printAttributes(printer, *this, {});
  printer << " : " << getDesc().getType() << " -> " << getType();
}

} // namespace epiq::tt
