//===- TritonOps.cpp - Forms, folders and verifiers of tt's ops -----------===//

#include "epiq/TritonIR/Triton.h"

#include "mlir/IR/Builders.h"
#include "mlir/Interfaces/FunctionImplementation.h"

using namespace mlir;

#define GET_OP_CLASSES
#include "epiq/TritonIR/TritonOps.cpp.inc"

namespace epiq::tt {

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

void FuncOp::build(OpBuilder &builder, OperationState &state, StringRef name,
                   FunctionType type, ArrayRef<NamedAttribute> attrs,
                   ArrayRef<DictionaryAttr> argAttrs) {
  state.addAttribute(SymbolTable::getSymbolAttrName(),
                     builder.getStringAttr(name));
  state.addAttribute(getFunctionTypeAttrName(state.name), TypeAttr::get(type));
  state.attributes.append(attrs.begin(), attrs.end());
  state.addRegion();
  if (argAttrs.empty())
    return;
  call_interface_impl::addArgAndResultAttrs(
      builder, state, argAttrs, /*resultAttrs=*/{},
      getArgAttrsAttrName(state.name), getResAttrsAttrName(state.name));
}

ParseResult FuncOp::parse(OpAsmParser &parser, OperationState &result) {
  auto buildFuncType = [](Builder &builder, ArrayRef<Type> argTypes,
                          ArrayRef<Type> results,
                          function_interface_impl::VariadicFlag,
                          std::string &) {
    return builder.getFunctionType(argTypes, results);
  };
  return function_interface_impl::parseFunctionOp(
      parser, result, /*allowVariadic=*/false,
      getFunctionTypeAttrName(result.name), buildFuncType,
      getArgAttrsAttrName(result.name), getResAttrsAttrName(result.name));
}

void FuncOp::print(OpAsmPrinter &printer) {
  function_interface_impl::printFunctionOp(
      printer, *this, /*isVariadic=*/false, getFunctionTypeAttrName(),
      getArgAttrsAttrName(), getResAttrsAttrName());
}

LogicalResult ReturnOp::verify() {
  auto func = cast<FuncOp>((*this)->getParentOp());
  TypeRange expected = func.getFunctionType().getResults();
  if (getNumOperands() != expected.size())
    return emitOpError() << "returns " << getNumOperands() << " values, but @"
                         << func.getName() << " has " << expected.size()
                         << " results";
  for (auto [i, types] :
       llvm::enumerate(llvm::zip(getOperandTypes(), expected))) {
    auto [actual, wanted] = types;
    if (actual != wanted)
      return emitOpError() << "returns " << actual << " as result " << i
                           << ", but @" << func.getName() << " declares "
                           << wanted;
  }
  return success();
}

LogicalResult CallOp::verifySymbolUses(SymbolTableCollection &symbolTable) {
  auto func =
      symbolTable.lookupNearestSymbolFrom<FuncOp>(*this, getCalleeAttr());
  if (!func)
    return emitOpError() << "calls @" << getCallee()
                         << ", which is no tt.func of this module";
  auto type = FunctionType::get(getContext(), getOperandTypes(),
                                getResultTypes());
  if (type != func.getFunctionType())
    return emitOpError() << "has type " << type << ", but @" << getCallee()
                         << " has type " << func.getFunctionType();
  return success();
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

LogicalResult MakeRangeOp::verify() {
  auto type = getResult().getType();
  int64_t start = getStartAttr().getInt(), end = getEndAttr().getInt();
  if (type.getRank() != 1 || !type.getElementType().isInteger(32))
    return emitOpError() << "gives a 1-D tensor of i32, not " << type;
  if (end - start != type.getDimSize(0))
    return emitOpError() << "from " << start << " to " << end << " has "
                         << end - start << " values, but the result is "
                         << type;
  return success();
}

OpFoldResult SplatOp::fold(FoldAdaptor adaptor) {
  auto value = adaptor.getSrc();
  if (!value || !isa<FloatAttr, IntegerAttr>(value))
    return {};
  return SplatElementsAttr::get(cast<ShapedType>(getType()), value);
}

LogicalResult ExpandDimsOp::verify() {
  auto src = getSrc().getType(), dst = getType();
  int64_t axis = getAxis();
  if (axis < 0 || axis > src.getRank())
    return emitOpError() << "axis " << axis << " is not in [0, "
                         << src.getRank() << "]";
  SmallVector<int64_t> shape(src.getShape());
  shape.insert(shape.begin() + axis, 1);
  if (shape != dst.getShape())
    return emitOpError() << "of " << src << " at axis " << axis
                         << " does not give " << dst;
  return success();
}

LogicalResult BroadcastOp::verify() {
  auto src = getSrc().getType(), dst = getType();
  if (src.getRank() != dst.getRank())
    return emitOpError() << "keeps the rank: " << src << " does not give "
                         << dst;
  for (auto [i, sizes] :
       llvm::enumerate(llvm::zip(src.getShape(), dst.getShape()))) {
    auto [from, to] = sizes;
    if (from != to && from != 1)
      return emitOpError() << "changes dimension " << i << " of size " << from
                           << ", which is not 1, to " << to;
  }
  return success();
}

LogicalResult ReshapeOp::verify() {
  auto src = getSrc().getType(), dst = getType();
  if (src.getNumElements() != dst.getNumElements())
    return emitOpError() << "of " << src.getNumElements()
                         << " elements gives " << dst.getNumElements();
  return success();
}

LogicalResult TransOp::verify() {
  auto src = getSrc().getType(), dst = getType();
  ArrayRef<int32_t> order = getOrder();
  if (static_cast<int64_t>(order.size()) != src.getRank())
    return emitOpError() << "order has " << order.size()
                         << " entries, but the source has rank "
                         << src.getRank();
  SmallVector<bool> seen(order.size(), false);
  for (int32_t dim : order) {
    if (dim < 0 || dim >= src.getRank() || seen[dim])
      return emitOpError() << "order is no permutation: entry " << dim;
    seen[dim] = true;
  }
  SmallVector<int64_t> shape;
  for (int32_t dim : order)
    shape.push_back(src.getDimSize(dim));
  if (shape != dst.getShape())
    return emitOpError() << "of " << src << " does not give " << dst;
  return success();
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

using Effects =
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>;

void ExternElementwiseOp::getEffects(Effects &effects) {
  if (getPure())
    return;
  effects.emplace_back(MemoryEffects::Read::get());
  effects.emplace_back(MemoryEffects::Write::get());
}

void LoadOp::getEffects(Effects &effects) {
  effects.emplace_back(MemoryEffects::Read::get(), &getPtrMutable());
  if (getIsVolatile())
    effects.emplace_back(MemoryEffects::Write::get());
}

void StoreOp::getEffects(Effects &effects) {
  effects.emplace_back(MemoryEffects::Write::get(), &getPtrMutable());
}

void LoadOp::build(OpBuilder &, OperationState &state, Value ptr, Value mask,
                   Value other) {
  state.addOperands(ptr);
  if (mask)
    state.addOperands(mask);
  if (other)
    state.addOperands(other);
  state.getOrAddProperties<Properties>().operandSegmentSizes = {
      1, mask ? 1 : 0, other ? 1 : 0};
  state.addTypes(getPointeeType(ptr.getType()));
}

LogicalResult LoadOp::verify() {
  Type pointee = getPointeeType(getPtr().getType());
  if (getType() != pointee)
    return emitOpError() << "from " << getPtr().getType() << " gives "
                         << pointee << ", not " << getType();
  if (Value mask = getMask(); mask && mask.getType() != getI1SameShape(pointee))
    return emitOpError() << "mask is " << mask.getType() << ", but needs "
                         << getI1SameShape(pointee);
  if (Value other = getOther(); other && other.getType() != pointee)
    return emitOpError() << "other is " << other.getType() << ", but needs "
                         << pointee;
  if (getOther() && !getMask())
    return emitOpError() << "has other without a mask";
  return success();
}

LogicalResult StoreOp::verify() {
  Type pointee = getPointeeType(getPtr().getType());
  if (getValue().getType() != pointee)
    return emitOpError() << "to " << getPtr().getType() << " takes " << pointee
                         << ", not " << getValue().getType();
  if (Value mask = getMask(); mask && mask.getType() != getI1SameShape(pointee))
    return emitOpError() << "mask is " << mask.getType() << ", but needs "
                         << getI1SameShape(pointee);
  return success();
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

LogicalResult ReduceOp::verify() {
  if (getSrcs().empty())
    return emitOpError() << "has no operand";
  if (getNumResults() != getNumOperands())
    return emitOpError() << "has " << getNumOperands() << " operands, but "
                         << getNumResults() << " results";
  auto src = cast<RankedTensorType>(getSrcs().front().getType());
  int64_t axis = static_cast<int32_t>(getAxis());
  if (axis < 0 || axis >= src.getRank())
    return emitOpError() << "axis " << axis << " is not in [0, "
                         << src.getRank() << ")";
  return success();
}

} // namespace epiq::tt
