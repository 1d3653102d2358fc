//===- LayoutAddress.cpp - Where a layout puts an element -----------------===//
// GraphAttrs.td has the table of layouts.
//===----------------------------------------------------------------------===//

#include "epiq/Conversion/LayoutAddress.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/Support/MathExtras.h"

#include "epiq/TritonIR/Triton.h"

using namespace mlir;

namespace epiq {

LayoutAddress LayoutAddress::get(graph::Layout layout, int64_t width) {
  LayoutAddress address;
  switch (layout) {
  case graph::Layout::row_major:
  case graph::Layout::packed_e2m1:
    address.row = {{/*stride=*/width}};
    address.column = {{/*stride=*/1}};
    return address;
  case graph::Layout::column_major:
  case graph::Layout::tma_aligned:
    address.row = {{/*stride=*/1}};
    address.column = {{/*stride=*/1, 1, 0, /*scaled=*/true}};
    address.columnAlign = layout == graph::Layout::tma_aligned ? 4 : 1;
    return address;
  case graph::Layout::packed_ue8m0:
    address.row = {{/*stride=*/4}};
    address.column = {{/*stride=*/4, /*divisor=*/4, 0, /*scaled=*/true},
                      {/*stride=*/1, 1, /*modulus=*/4}};
    address.columnAlign = 4;
    address.columnMultiple = 4;
    return address;
  case graph::Layout::swizzled_128x4:
    address.row = {
        {/*stride=*/int64_t(512 * llvm::divideCeil(width, 4)), /*divisor=*/128},
        {/*stride=*/16, 1, /*modulus=*/32},
        {/*stride=*/4, /*divisor=*/32, /*modulus=*/4}};
    address.column = {{/*stride=*/512, /*divisor=*/4},
                      {/*stride=*/1, 1, /*modulus=*/4}};
    address.rowMultiple = 128;
    address.columnMultiple = 4;
    return address;
  }
  llvm_unreachable("unknown layout");
}

LayoutAddress LayoutAddress::get(graph::Layout layout) {
  LayoutAddress address = get(layout, /*width=*/1);
  bool isColumnMajor = llvm::any_of(
      address.column, [](const LayoutTerm &term) { return term.scaled; });
  // The outermost term of the rows is the one whose stride grows with them.
  if (!isColumnMajor) {
    address.row.front().stride = 1;
    address.row.front().scaled = true;
  }
  return address;
}

bool LayoutAddress::isLinear() const {
  auto isStride = [](ArrayRef<LayoutTerm> terms) {
    return terms.size() == 1 && terms[0].divisor == 1 && terms[0].modulus == 0;
  };
  return isStride(row) && isStride(column) && rowMultiple == 1 &&
         columnMultiple == 1;
}

LayoutOffset evaluate(ArrayRef<LayoutTerm> terms, int64_t index) {
  LayoutOffset offset;
  for (const LayoutTerm &term : terms) {
    int64_t part = index / term.divisor;
    if (term.modulus)
      part %= term.modulus;
    (term.scaled ? offset.scaled : offset.constant) += part * term.stride;
  }
  return offset;
}

namespace {

// A number of the type of `like`.
Value number(ImplicitLocOpBuilder &builder, int64_t value, Value like) {
  TypedAttr scalar = builder.getIntegerAttr(getElementTypeOrSelf(like), value);
  if (auto tensor = dyn_cast<RankedTensorType>(like.getType()))
    scalar = DenseElementsAttr::get(tensor, Attribute(scalar));
  return arith::ConstantOp::create(builder, scalar);
}

Value widen(ImplicitLocOpBuilder &builder, Value index) {
  if (getElementTypeOrSelf(index).isInteger(64))
    return index;
  Type type = builder.getI64Type();
  if (auto tensor = dyn_cast<RankedTensorType>(index.getType()))
    type = tensor.clone(type);
  return arith::ExtSIOp::create(builder, type, index);
}

// divsi and remsi rather than shifts and masks: Triton knows which lanes they
// leave next to each other.
Value evaluateTerm(ImplicitLocOpBuilder &builder, const LayoutTerm &term,
                   Value index, Value distance) {
  if (term.divisor != 1)
    index = arith::DivSIOp::create(builder, index,
                                   number(builder, term.divisor, index));
  if (term.modulus)
    index = arith::RemSIOp::create(builder, index,
                                   number(builder, term.modulus, index));
  index = widen(builder, index);
  if (term.stride != 1)
    index = arith::MulIOp::create(builder, index,
                                  number(builder, term.stride, index));
  if (!term.scaled)
    return index;
  if (isa<RankedTensorType>(index.getType()))
    distance = tt::SplatOp::create(builder, index.getType(), distance);
  return arith::MulIOp::create(builder, index, distance);
}

} // namespace

Value evaluate(ImplicitLocOpBuilder &builder, ArrayRef<LayoutTerm> terms,
               Value index, Value distance) {
  Value total;
  for (const LayoutTerm &term : terms) {
    Value part = evaluateTerm(builder, term, index, distance);
    total =
        total ? arith::AddIOp::create(builder, total, part).getResult() : part;
  }
  return total;
}

Value roundUp(ImplicitLocOpBuilder &builder, Value value, int64_t multiple) {
  if (multiple == 1)
    return value;
  Value up = arith::AddIOp::create(builder, value,
                                   number(builder, multiple - 1, value));
  Value count =
      arith::DivSIOp::create(builder, up, number(builder, multiple, up));
  return arith::MulIOp::create(builder, count,
                               number(builder, multiple, count));
}

} // namespace epiq
