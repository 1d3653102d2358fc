//===- TritonLoadStore.cpp - Textual form of tt.load and tt.store ---------===//
// Triton 3.6 writes `cacheModifier = ca evictionPolicy = evict_first` after the
// operands, in any order and without commas.
//===----------------------------------------------------------------------===//

#include "epiq/TritonIR/Triton.h"

using namespace mlir;

namespace epiq::tt {
namespace {

// Parses an enumeration's keyword.
template <typename Attr, typename Symbolize>
ParseResult parseEnum(OpAsmParser &parser, Symbolize symbolize, Attr &attr) {
  StringRef keyword;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseKeyword(&keyword))
    return failure();
  auto value = symbolize(keyword);
  if (!value)
    return parser.emitError(loc) << "unknown policy '" << keyword << "'";
  attr = Attr::get(parser.getContext(), *value);
  return success();
}

template <typename Properties>
ParseResult parsePolicies(OpAsmParser &parser, Properties &properties) {
  while (true) {
    if (succeeded(parser.parseOptionalKeyword("cacheModifier"))) {
      if (parser.parseEqual() ||
          parseEnum(parser, [](StringRef s) { return symbolizeCacheModifier(s); },
                    properties.cache))
        return failure();
      continue;
    }
    if (succeeded(parser.parseOptionalKeyword("evictionPolicy"))) {
      if (parser.parseEqual() ||
          parseEnum(parser, [](StringRef s) { return symbolizeEvictionPolicy(s); },
                    properties.evict))
        return failure();
      continue;
    }
    return success();
  }
}

template <typename OpTy> void printPolicies(OpAsmPrinter &printer, OpTy op) {
  if (op.getCache() != CacheModifier::NONE)
    printer << " cacheModifier = " << stringifyCacheModifier(op.getCache());
  if (op.getEvict() != EvictionPolicy::NORMAL)
    printer << " evictionPolicy = " << stringifyEvictionPolicy(op.getEvict());
}

} // namespace

ParseResult LoadOp::parse(OpAsmParser &parser, OperationState &result) {
  SmallVector<OpAsmParser::UnresolvedOperand, 3> operands;
  Type ptr;
  SMLoc loc = parser.getCurrentLocation();
  auto &properties = result.getOrAddProperties<Properties>();
  if (parser.parseOperandList(operands) || parsePolicies(parser, properties) ||
      parser.parseOptionalAttrDict(result.attributes) ||
      parser.parseColonType(ptr))
    return failure();
  if (operands.empty() || operands.size() > 3)
    return parser.emitError(loc) << "tt.load takes 1 to 3 operands, not "
                                 << operands.size();
  Type pointee = getPointeeType(ptr);
  if (!pointee)
    return parser.emitError(loc) << "tt.load needs a pointer, not " << ptr;
  SmallVector<Type, 3> types{ptr, getI1SameShape(pointee), pointee};
  if (parser.resolveOperands(operands, ArrayRef(types).take_front(operands.size()),
                             loc, result.operands))
    return failure();
  properties.operandSegmentSizes = {1, operands.size() > 1 ? 1 : 0,
                                    operands.size() > 2 ? 1 : 0};
  result.addTypes(pointee);
  return success();
}

void LoadOp::print(OpAsmPrinter &printer) {
  printer << " " << getOperands();
  printPolicies(printer, *this);
  SmallVector<StringRef> elided{"operandSegmentSizes", "cache", "evict"};
  if (getBoundaryCheck().empty())
    elided.push_back("boundaryCheck");
  if (!getIsVolatile())
    elided.push_back("isVolatile");
  printer.printOptionalAttrDict((*this)->getAttrs(), elided);
  printer << " : " << getPtr().getType();
}

ParseResult StoreOp::parse(OpAsmParser &parser, OperationState &result) {
  SmallVector<OpAsmParser::UnresolvedOperand, 3> operands;
  Type ptr;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseOperandList(operands) ||
      parsePolicies(parser, result.getOrAddProperties<Properties>()) ||
      parser.parseOptionalAttrDict(result.attributes) ||
      parser.parseColonType(ptr))
    return failure();
  if (operands.size() < 2 || operands.size() > 3)
    return parser.emitError(loc) << "tt.store takes 2 or 3 operands, not "
                                 << operands.size();
  Type pointee = getPointeeType(ptr);
  if (!pointee)
    return parser.emitError(loc) << "tt.store needs a pointer, not " << ptr;
  SmallVector<Type, 3> types{ptr, pointee, getI1SameShape(pointee)};
  return parser.resolveOperands(operands,
                                ArrayRef(types).take_front(operands.size()), loc,
                                result.operands);
}

void StoreOp::print(OpAsmPrinter &printer) {
  printer << " " << getOperands();
  printPolicies(printer, *this);
  SmallVector<StringRef> elided{"cache", "evict"};
  if (getBoundaryCheck().empty())
    elided.push_back("boundaryCheck");
  printer.printOptionalAttrDict((*this)->getAttrs(), elided);
  printer << " : " << getPtr().getType();
}

} // namespace epiq::tt
