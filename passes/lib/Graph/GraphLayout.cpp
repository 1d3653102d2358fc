//===- GraphLayout.cpp - The memory form of a layout ----------------------===//
// GraphAttrs.td has the table of layouts.
//===----------------------------------------------------------------------===//

#include "epiq/Graph/Graph.h"

#include "mlir/IR/Builders.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace epiq::graph;

namespace {

constexpr int64_t kSwizzleTokens = 128;
constexpr int64_t kSwizzleGroups = 4;

bool isByte(Type type) {
  return type.isIntOrFloat() && type.getIntOrFloatBitWidth() == 8;
}

bool hasStaticRow(RankedTensorType type) {
  return type.getRank() > 0 && !type.isDynamicDim(type.getRank() - 1);
}

RankedTensorType withRow(RankedTensorType type, int64_t width, Type element) {
  SmallVector<int64_t> shape(type.getShape());
  shape.back() = width;
  return RankedTensorType::get(shape, element);
}

RankedTensorType swizzled(RankedTensorType type) {
  int64_t groups = llvm::alignTo(type.getDimSize(1), kSwizzleGroups);
  int64_t size = ShapedType::kDynamic;
  if (!type.isDynamicDim(0))
    size = llvm::alignTo(type.getDimSize(0), kSwizzleTokens) * groups;
  return RankedTensorType::get({size}, type.getElementType());
}

} // namespace

bool epiq::graph::isMatrixLayout(Layout layout) {
  return layout != Layout::row_major && layout != Layout::packed_e2m1;
}

StringRef epiq::graph::layoutSubject(Layout layout) {
  switch (layout) {
  case Layout::row_major:
    return "any tensor";
  case Layout::column_major:
  case Layout::tma_aligned:
    return "a tensor of two dimensions or more";
  case Layout::packed_ue8m0:
    return "bytes in rows of a static width";
  case Layout::swizzled_128x4:
    return "a matrix of bytes with rows of a static width";
  case Layout::packed_e2m1:
    return "f4E2M1FN in rows of a static even width";
  }
  llvm_unreachable("unknown layout");
}

FailureOr<RankedTensorType> epiq::graph::memoryType(Layout layout,
                                                    RankedTensorType type) {
  Builder builder(type.getContext());
  switch (layout) {
  case Layout::row_major:
    return type;
  case Layout::column_major:
  case Layout::tma_aligned:
    if (type.getRank() < 2)
      return failure();
    return type;
  case Layout::packed_ue8m0:
    if (!isByte(type.getElementType()) || !hasStaticRow(type))
      return failure();
    return withRow(type, llvm::divideCeil(type.getShape().back(), 4),
                   builder.getI32Type());
  case Layout::swizzled_128x4:
    if (!isByte(type.getElementType()) || !hasStaticRow(type) ||
        type.getRank() != 2)
      return failure();
    return swizzled(type);
  case Layout::packed_e2m1:
    if (!isa<Float4E2M1FNType>(type.getElementType()) || !hasStaticRow(type) ||
        type.getShape().back() % 2 != 0)
      return failure();
    return withRow(type, type.getShape().back() / 2, builder.getI8Type());
  }
  llvm_unreachable("unknown layout");
}
