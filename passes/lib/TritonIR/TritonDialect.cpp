//===- TritonDialect.cpp - The tt dialect and its types -------------------===//

#include "epiq/TritonIR/Triton.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

#include "epiq/TritonIR/TritonDialect.cpp.inc"

#include "epiq/TritonIR/TritonEnums.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "epiq/TritonIR/TritonTypes.cpp.inc"

namespace epiq::tt {

void TritonDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "epiq/TritonIR/TritonTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "epiq/TritonIR/TritonOps.cpp.inc"
      >();
}

Operation *TritonDialect::materializeConstant(OpBuilder &builder,
                                              Attribute value, Type type,
                                              Location loc) {
  return arith::ConstantOp::materialize(builder, value, type, loc);
}

Type getPointeeType(Type ptr) {
  if (auto tensor = dyn_cast<RankedTensorType>(ptr)) {
    auto element = dyn_cast<PointerType>(tensor.getElementType());
    return element ? tensor.clone(element.getPointeeType()) : Type();
  }
  if (auto pointer = dyn_cast<PointerType>(ptr))
    return pointer.getPointeeType();
  return Type();
}

Type getI1SameShape(Type type) {
  auto i1 = IntegerType::get(type.getContext(), 1);
  if (auto tensor = dyn_cast<RankedTensorType>(type))
    return tensor.clone(i1);
  return i1;
}

//===----------------------------------------------------------------------===//
// !tt.ptr
//===----------------------------------------------------------------------===//

static constexpr int globalAddressSpace = 1;

Type PointerType::parse(AsmParser &parser) {
  Type pointee;
  int addressSpace = globalAddressSpace;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseLess() || parser.parseType(pointee))
    return Type();
  if (succeeded(parser.parseOptionalComma()) &&
      parser.parseInteger(addressSpace))
    return Type();
  if (parser.parseGreater())
    return Type();
  return PointerType::getChecked([&] { return parser.emitError(loc); },
                                 parser.getContext(), pointee, addressSpace);
}

void PointerType::print(AsmPrinter &printer) const {
  printer << "<" << getPointeeType();
  if (getAddressSpace() != globalAddressSpace)
    printer << ", " << getAddressSpace();
  printer << ">";
}

LogicalResult PointerType::verify(function_ref<InFlightDiagnostic()> emitError,
                                  Type pointee, int addressSpace) {
  if (isa<TensorType>(pointee) && !isa<RankedTensorType>(pointee))
    return emitError() << "a pointer to " << pointee << " needs a rank";
  if (addressSpace < 0)
    return emitError() << "address space " << addressSpace << " is negative";
  return success();
}

//===----------------------------------------------------------------------===//
// !tt.tensordesc
//===----------------------------------------------------------------------===//

Type TensorDescType::parse(AsmParser &parser) {
  RankedTensorType block;
  if (parser.parseLess() || parser.parseType(block) || parser.parseGreater())
    return Type();
  return TensorDescType::get(block);
}

void TensorDescType::print(AsmPrinter &printer) const {
  printer << "<" << getBlockType() << ">";
}

} // namespace epiq::tt
