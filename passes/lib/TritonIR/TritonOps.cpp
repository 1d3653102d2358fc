//===- TritonOps.cpp - The generated part of tt's and ttg's ops -----------===//

#include "epiq/TritonIR/Triton.h"

#include "mlir/IR/Builders.h"

using namespace mlir;

namespace epiq::ttg {

// `local|global_read`, the memories that a barrier orders.
static ParseResult parseAddrSpaces(OpAsmParser &parser, AddrSpaceAttr &attr) {
  AddrSpace spaces = AddrSpace::None;
  do {
    StringRef keyword;
    SMLoc loc = parser.getCurrentLocation();
    if (parser.parseKeyword(&keyword))
      return failure();
    std::optional<AddrSpace> space = symbolizeAddrSpace(keyword);
    if (!space)
      return parser.emitError(loc) << "unknown memory '" << keyword << "'";
    spaces = spaces | *space;
  } while (succeeded(parser.parseOptionalVerticalBar()));
  attr = AddrSpaceAttr::get(parser.getContext(), spaces);
  return success();
}

static void printAddrSpaces(OpAsmPrinter &printer, BarrierOp,
                            AddrSpaceAttr attr) {
  printer << stringifyAddrSpace(attr.getValue());
}

} // namespace epiq::ttg

#define GET_OP_CLASSES
#include "epiq/TritonIR/TritonOps.cpp.inc"
#define GET_OP_CLASSES
#include "epiq/TritonIR/TritonGPUOps.cpp.inc"
