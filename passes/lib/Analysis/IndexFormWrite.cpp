//===- IndexFormWrite.cpp - Index forms to SSA values ---------------------===//

#include "epiq/Analysis/IndexForm.h"
#include "epiq/TritonIR/Triton.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace epiq {

namespace {

// A scalar or tensor of integers with elements of `type`.
Value castTo(OpBuilder &builder, Location loc, Value value, IntegerType type) {
  Type elementType = getElementTypeOrSelf(value.getType());
  if (elementType == type)
    return value;
  Type target = type;
  if (auto tensor = dyn_cast<RankedTensorType>(value.getType()))
    target = tensor.clone(type);
  if (elementType.getIntOrFloatBitWidth() < type.getWidth())
    return arith::ExtSIOp::create(builder, loc, target, value);
  return arith::TruncIOp::create(builder, loc, target, value);
}

Value constant(OpBuilder &builder, Location loc, int64_t value,
               IntegerType type) {
  return arith::ConstantOp::create(builder, loc, IntegerAttr::get(type, value));
}

// coeff * scalars; null for the factor 1.
Value productOf(OpBuilder &builder, Location loc, const IndexTerm &term,
                IntegerType type) {
  Value product;
  for (Value scalar : term.scalars) {
    Value factor = castTo(builder, loc, scalar, type);
    product =
        product ? arith::MulIOp::create(builder, loc, product, factor) : factor;
  }
  if (term.coeff == 1)
    return product;
  Value coeff = constant(builder, loc, term.coeff, type);
  return product ? arith::MulIOp::create(builder, loc, product, coeff) : coeff;
}

// A tensor with one dimension of `size` and others of size 1, as a 1-d tensor.
Value flatten(OpBuilder &builder, Location loc, Value tensor, int64_t size) {
  auto type = cast<RankedTensorType>(tensor.getType());
  if (type.getRank() == 1)
    return tensor;
  return tt::ReshapeOp::create(
      builder, loc, RankedTensorType::get({size}, type.getElementType()),
      tensor, /*allow_reorder=*/nullptr, /*efficient_layout=*/nullptr);
}

Value sum(OpBuilder &builder, Location loc, Value lhs, Value rhs) {
  if (!lhs)
    return rhs;
  return arith::AddIOp::create(builder, loc, lhs, rhs);
}

} // namespace

Value materializeScalar(OpBuilder &builder, Location loc, const IndexForm &form,
                        IntegerType type) {
  Value total;
  for (const IndexTerm &term : form.getTerms()) {
    assert(term.isUniform() && "a scalar does not vary");
    Value product = productOf(builder, loc, term, type);
    if (!product)
      product = constant(builder, loc, 1, type);
    total = sum(builder, loc, total, product);
  }
  return total ? total : constant(builder, loc, 0, type);
}

Value materializeVector(OpBuilder &builder, Location loc, const IndexForm &form,
                        int dim, int64_t size, IntegerType type) {
  auto vectorType = RankedTensorType::get({size}, type);
  Value total;
  IndexForm uniform = form.getUniform();
  if (form.isUniform() || !uniform.getTerms().empty()) {
    Value start = materializeScalar(builder, loc, uniform, type);
    total = tt::SplatOp::create(builder, loc, vectorType, start);
  }
  for (const IndexTerm &term : form.getTerms()) {
    if (term.isUniform())
      continue;
    assert(term.dim == dim && "a vector varies along its dimension");
    Value varying =
        term.tensor
            ? castTo(builder, loc, flatten(builder, loc, term.tensor, size),
                     type)
            : castTo(builder, loc,
                     tt::MakeRangeOp::create(
                         builder, loc,
                         RankedTensorType::get({size}, builder.getI32Type()), 0,
                         size),
                     type);
    if (Value factor = productOf(builder, loc, term, type)) {
      Value splat = tt::SplatOp::create(builder, loc, vectorType, factor);
      varying = arith::MulIOp::create(builder, loc, varying, splat);
    }
    total = sum(builder, loc, total, varying);
  }
  return total;
}

} // namespace epiq
