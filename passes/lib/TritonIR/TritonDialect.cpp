//===- TritonDialect.cpp - The tt dialect, its types and attributes -------===//

#include "epiq/TritonIR/Triton.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/Transforms/InliningUtils.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

#include "epiq/TritonIR/TritonDialect.cpp.inc"
#include "epiq/TritonIR/TritonGPUDialect.cpp.inc"

#include "epiq/TritonIR/TritonEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "epiq/TritonIR/TritonAttrs.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "epiq/TritonIR/TritonTypes.cpp.inc"

namespace epiq::tt {

//===----------------------------------------------------------------------===//
// Dialects
//===----------------------------------------------------------------------===//

namespace {

// Lets upstream's inliner take tt.call apart. `noinline` functions stay.
struct TritonInliner : DialectInlinerInterface {
  using DialectInlinerInterface::DialectInlinerInterface;

  bool isLegalToInline(Operation *call, Operation *callable, bool) const final {
    auto func = dyn_cast<FuncOp>(callable);
    if (!func)
      return true;
    auto noinlineAttr = func->getAttrOfType<BoolAttr>("noinline");
    return !noinlineAttr || !noinlineAttr.getValue();
  }

  bool isLegalToInline(Region *, Region *, bool, IRMapping &) const final {
    return true;
  }

  bool isLegalToInline(Operation *, Region *, bool, IRMapping &) const final {
    return true;
  }

  void handleTerminator(Operation *op, ValueRange results) const final {
    auto ret = dyn_cast<ReturnOp>(op);
    if (!ret)
      return;
    for (auto [result, value] : llvm::zip(results, ret.getSrcs()))
      result.replaceAllUsesWith(value);
  }
};

} // namespace

void TritonDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "epiq/TritonIR/TritonAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "epiq/TritonIR/TritonTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "epiq/TritonIR/TritonOps.cpp.inc"
      >();
  addInterfaces<TritonInliner>();
}

TritonDialect &TritonDialect::in(MLIRContext *context) {
  return *context->getLoadedDialect<TritonDialect>();
}

Operation *TritonDialect::materializeConstant(OpBuilder &builder,
                                              Attribute value, Type type,
                                              Location loc) {
  return arith::ConstantOp::materialize(builder, value, type, loc);
}

StringRef stringifyVersion(TritonVersion version) {
  return version == TritonVersion::V3_9 ? "3.9" : "3.6";
}

std::optional<TritonVersion> symbolizeVersion(StringRef text) {
  if (text == "3.6")
    return TritonVersion::V3_6;
  if (text == "3.9")
    return TritonVersion::V3_9;
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// Types that follow from types
//===----------------------------------------------------------------------===//

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

Type getBlockBaseType(Type blockPointer) {
  auto pointer = cast<PointerType>(blockPointer);
  auto block = cast<RankedTensorType>(pointer.getPointeeType());
  return PointerType::get(block.getElementType(), pointer.getAddressSpace());
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
  if (isa<ShapedType>(pointee) && !isa<RankedTensorType>(pointee))
    return emitError() << "a pointer to " << pointee
                       << " is none to a ranked tensor";
  if (addressSpace < 0)
    return emitError() << "address space " << addressSpace << " is negative";
  return success();
}

//===----------------------------------------------------------------------===//
// !tt.tensordesc
//===----------------------------------------------------------------------===//

// Parses what 3.9 writes between the angle brackets: `128x64xbf16`, and an
// encoding after a comma.
static FailureOr<RankedTensorType> parseBareBlock(AsmParser &parser) {
  SmallVector<int64_t> shape;
  Type element;
  Attribute encoding;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseDimensionList(shape, /*allowDynamic=*/false) ||
      parser.parseType(element))
    return failure();
  if (succeeded(parser.parseOptionalComma()) && parser.parseAttribute(encoding))
    return failure();
  auto block = RankedTensorType::getChecked(
      [&] { return parser.emitError(loc); }, shape, element, encoding);
  if (!block)
    return failure();
  return block;
}

Type TensorDescType::parse(AsmParser &parser) {
  if (parser.parseLess())
    return Type();
  auto *dialect = parser.getContext()->getLoadedDialect<TritonDialect>();
  Type nested;
  SMLoc loc = parser.getCurrentLocation();
  OptionalParseResult full = parser.parseOptionalType(nested);
  RankedTensorType block;
  if (full.has_value()) {
    if (failed(*full))
      return Type();
    block = dyn_cast<RankedTensorType>(nested);
    if (!block) {
      parser.emitError(loc)
          << "a descriptor's block is a ranked tensor, not " << nested;
      return Type();
    }
    dialect->setSourceVersion(TritonVersion::V3_6);
  } else {
    FailureOr<RankedTensorType> bare = parseBareBlock(parser);
    if (failed(bare))
      return Type();
    block = *bare;
    dialect->setSourceVersion(TritonVersion::V3_9);
  }
  if (parser.parseGreater())
    return Type();
  return TensorDescType::get(block);
}

void TensorDescType::print(AsmPrinter &printer) const {
  RankedTensorType block = getBlockType();
  if (TritonDialect::in(getContext()).getPrintVersion() ==
      TritonVersion::V3_6) {
    printer << "<" << block << ">";
    return;
  }
  printer << "<";
  for (int64_t size : block.getShape())
    printer << size << "x";
  printer << block.getElementType();
  if (Attribute encoding = block.getEncoding())
    printer << ", " << encoding;
  printer << ">";
}

} // namespace epiq::tt

//===----------------------------------------------------------------------===//
// ttg
//===----------------------------------------------------------------------===//

namespace epiq::ttg {

void TritonGPUDialect::initialize() {
  allowUnknownOperations();
  allowUnknownTypes();
  addOperations<
#define GET_OP_LIST
#include "epiq/TritonIR/TritonGPUOps.cpp.inc"
      >();
}

Attribute TritonGPUDialect::parseAttribute(DialectAsmParser &parser,
                                           Type type) const {
  return OpaqueAttr::get(StringAttr::get(getContext(), getNamespace()),
                         parser.getFullSymbolSpec(),
                         type ? type : NoneType::get(getContext()));
}

} // namespace epiq::ttg
