//===- TritonProgramOps.cpp - Functions, assembly, effects of the rest ----===//

#include "epiq/TritonIR/Triton.h"

#include "mlir/IR/Builders.h"
#include "mlir/Interfaces/FunctionImplementation.h"

using namespace mlir;

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
  auto buildFuncType =
      [](Builder &builder, ArrayRef<Type> argTypes, ArrayRef<Type> results,
         function_interface_impl::VariadicFlag,
         std::string &) { return builder.getFunctionType(argTypes, results); };
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
    return emitOpError() << "gives " << getNumOperands() << " values, but @"
                         << func.getName() << " has " << expected.size()
                         << " results";
  for (auto [i, types] :
       llvm::enumerate(llvm::zip(getOperandTypes(), expected))) {
    auto [actual, wanted] = types;
    if (actual != wanted)
      return emitOpError() << "gives " << actual << " as result " << i
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
  auto type =
      FunctionType::get(getContext(), getOperandTypes(), getResultTypes());
  if (type != func.getFunctionType())
    return emitOpError() << "has type " << type << ", but @" << getCallee()
                         << " has type " << func.getFunctionType();
  return success();
}

//===----------------------------------------------------------------------===//
// Assembly, libraries, debugging
//===----------------------------------------------------------------------===//

// Elementwise ops on several values: all tensors among them share one shape.
static LogicalResult verifySameShapes(Operation *op) {
  RankedTensorType first;
  auto agrees = [&](Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    if (!tensor)
      return true;
    if (!first)
      first = tensor;
    return tensor.getShape() == first.getShape();
  };
  for (TypeRange types :
       {TypeRange(op->getOperandTypes()), TypeRange(op->getResultTypes())})
    for (Type type : types)
      if (!agrees(type))
        return op->emitOpError() << "is elementwise, but " << first << " and "
                                 << type << " differ in shape";
  return success();
}

LogicalResult ExternElementwiseOp::verify() { return verifySameShapes(*this); }

LogicalResult ElementwiseInlineAsmOp::verify() {
  int64_t pack = static_cast<int32_t>(getPackedElement());
  if (pack < 1)
    return emitOpError() << "packed_element " << pack << " is not positive";
  if (getNumResults() == 0)
    return emitOpError() << "has no result";
  return verifySameShapes(*this);
}

LogicalResult PrintOp::verify() {
  if (getIsSigned().size() != getArgs().size())
    return emitOpError() << "isSigned has " << getIsSigned().size()
                         << " entries for " << getArgs().size() << " values";
  return success();
}

//===----------------------------------------------------------------------===//
// Effects
//===----------------------------------------------------------------------===//

using Effects =
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>;

static void addReadWrite(Effects &effects) {
  effects.emplace_back(MemoryEffects::Read::get());
  effects.emplace_back(MemoryEffects::Write::get());
}

void ExternElementwiseOp::getEffects(Effects &effects) {
  if (!getPure())
    addReadWrite(effects);
}

void ElementwiseInlineAsmOp::getEffects(Effects &effects) {
  if (!getPure())
    addReadWrite(effects);
}

void PrintOp::getEffects(Effects &effects) { addReadWrite(effects); }
void AssertOp::getEffects(Effects &effects) { addReadWrite(effects); }
void GridDependencyWaitOp::getEffects(Effects &effects) {
  addReadWrite(effects);
}
void GridDependencyLaunchDependentsOp::getEffects(Effects &effects) {
  addReadWrite(effects);
}

} // namespace epiq::tt

void epiq::ttg::BarrierOp::getEffects(
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>
        &effects) {
  effects.emplace_back(MemoryEffects::Read::get());
  effects.emplace_back(MemoryEffects::Write::get());
}
