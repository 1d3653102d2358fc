//===- CheapenDivision.cpp - Divide no more exactly than shows ------------===//
// Passes.td states the rules D1-D6; each guard below names the rule it checks.
//===----------------------------------------------------------------------===//

#include "epiq/Passes.h"
#include "epiq/TritonIR/Triton.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/WalkPatternRewriteDriver.h"

#include <cmath>
#include <limits>
#include <optional>

using namespace mlir;

namespace epiq {
#define GEN_PASS_DEF_CHEAPENDIVISION
#include "epiq/Passes.h.inc"

namespace {

// D2: within these a reciprocal is a normal number, and so is what a residual
// is made of wherever the quotient does not round to an fp8 zero.
constexpr double kLeastDivisor = 0x1p-80, kMostDivisor = 0x1p126;
// D3: how far a quotient may grow; far from f32's end, and above any fp8.
constexpr double kMostQuotient = 0x1p40;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The number that all elements of `value` are, if they are a constant.
std::optional<double> splatConstant(Value value) {
  if (auto splat = value.getDefiningOp<tt::SplatOp>())
    return splatConstant(splat.getSrc());
  Attribute attribute;
  if (!matchPattern(value, m_Constant(&attribute)))
    return std::nullopt;
  if (auto dense = dyn_cast<DenseElementsAttr>(attribute))
    attribute = dense.isSplat() ? dense.getSplatValue<Attribute>() : nullptr;
  if (auto number = dyn_cast_or_null<FloatAttr>(attribute))
    return number.getValueAsDouble();
  return std::nullopt;
}

// Whether the op combines along an axis by the maximum of magnitudes or
// numbers.
bool isMaximum(tt::ReduceOp reduce) {
  if (reduce.getSrcs().size() != 1)
    return false;
  auto &ops = reduce.getCombineOp().front().getOperations();
  return ops.size() == 2 && isa<arith::MaximumFOp>(ops.front());
}

// `value` before what only moves or repeats elements; null if it is none such.
Value sourceOfMove(Value value) {
  Operation *op = value.getDefiningOp();
  if (isa_and_nonnull<tt::BroadcastOp, tt::SplatOp, tt::ExpandDimsOp,
                      tt::ReshapeOp>(op))
    return op->getOperand(0);
  return nullptr;
}

// `value` before widenings and reshapes, which keep its numbers.
Value numbersOf(Value value) {
  while (isa_and_nonnull<arith::ExtFOp, tt::ReshapeOp>(value.getDefiningOp()))
    value = value.getDefiningOp()->getOperand(0);
  return value;
}

// Bounds of what is finite in a value; NaN and Inf may occur beside them.
struct Bounds {
  double least = -kInfinity, most = std::numeric_limits<float>::max();
};

Bounds boundsOf(Value value) {
  if (std::optional<double> constant = splatConstant(value))
    return {*constant, *constant};
  if (Value source = sourceOfMove(value))
    return boundsOf(source);
  Operation *op = value.getDefiningOp();
  if (!op)
    return {};
  if (auto reduce = dyn_cast<tt::ReduceOp>(op))
    return isMaximum(reduce) ? boundsOf(reduce.getSrcs()[0]) : Bounds{};
  if (isa<math::AbsFOp>(op))
    return {0.0, Bounds().most};
  if (isa<arith::ExtFOp>(op))
    return boundsOf(op->getOperand(0));
  if (isa<arith::MaximumFOp>(op)) {
    Bounds a = boundsOf(op->getOperand(0)), b = boundsOf(op->getOperand(1));
    return {std::max(a.least, b.least), std::max(a.most, b.most)};
  }
  if (isa<arith::MulFOp, tt::PreciseDivFOp>(op)) {
    std::optional<double> factor = splatConstant(op->getOperand(1));
    if (!factor || *factor <= 0.0)
      return {};
    double by = isa<arith::MulFOp>(op) ? *factor : 1.0 / *factor;
    Bounds a = boundsOf(op->getOperand(0));
    return {a.least * by, a.most * by};
  }
  return {};
}

// The least c found with `value` >= |dividend| / c in every element, up to
// rounding; infinity if none is.
double quotientBound(Value value, Value dividend) {
  if (Value source = sourceOfMove(value))
    return quotientBound(source, dividend);
  Operation *op = value.getDefiningOp();
  if (!op)
    return kInfinity;
  if (auto reduce = dyn_cast<tt::ReduceOp>(op))
    return isMaximum(reduce) ? quotientBound(reduce.getSrcs()[0], dividend)
                             : kInfinity;
  if (isa<math::AbsFOp>(op))
    return numbersOf(op->getOperand(0)) == numbersOf(dividend) ? 1.0
                                                               : kInfinity;
  if (isa<arith::ExtFOp>(op))
    return quotientBound(op->getOperand(0), dividend);
  if (isa<arith::MaximumFOp>(op))
    return std::min(quotientBound(op->getOperand(0), dividend),
                    quotientBound(op->getOperand(1), dividend));
  if (isa<arith::MulFOp, tt::PreciseDivFOp>(op)) {
    std::optional<double> factor = splatConstant(op->getOperand(1));
    if (!factor || *factor <= 0.0)
      return kInfinity;
    double by = isa<arith::MulFOp>(op) ? 1.0 / *factor : *factor;
    return quotientBound(op->getOperand(0), dividend) * by;
  }
  return kInfinity;
}

// Whether all that becomes of `value` is a clamp and a cast to fp8.
bool becomesFp8(Value value) {
  return !value.use_empty() &&
         llvm::all_of(value.getUsers(), [](Operation *op) {
           if (auto cast = dyn_cast<tt::FpToFpOp>(op))
             return getElementTypeOrSelf(cast.getType())
                        .getIntOrFloatBitWidth() == 8;
           return isa<arith::MaximumFOp, arith::MinimumFOp, tt::ClampFOp,
                      tt::ReshapeOp>(op) &&
                  becomesFp8(op->getResult(0));
         });
}

Value splatLike(OpBuilder &builder, Location loc, Value like, double number) {
  Attribute attribute =
      builder.getFloatAttr(getElementTypeOrSelf(like), number);
  if (auto type = dyn_cast<RankedTensorType>(like.getType()))
    attribute = DenseElementsAttr::get(type, attribute);
  return arith::ConstantOp::create(builder, loc, cast<TypedAttr>(attribute));
}

// A pattern for divisions, or only for those that an epilogue brought.
struct DivisionPattern : OpRewritePattern<tt::PreciseDivFOp> {
  DivisionPattern(MLIRContext *context, bool onlyEpilogues)
      : OpRewritePattern(context), onlyEpilogues(onlyEpilogues) {}

  LogicalResult matchAndRewrite(tt::PreciseDivFOp div,
                                PatternRewriter &rewriter) const final {
    if (onlyEpilogues && !div->hasAttr(kEpilogueAttr))
      return rewriter.notifyMatchFailure(div, "the division is a user's");
    return rewrite(div, rewriter);
  }

  virtual LogicalResult rewrite(tt::PreciseDivFOp div,
                                PatternRewriter &rewriter) const = 0;

private:
  bool onlyEpilogues;
};

// x / broadcast(s) => one step from x * broadcast(1 / s)
struct ShareReciprocal : DivisionPattern {
  using DivisionPattern::DivisionPattern;

  LogicalResult rewrite(tt::PreciseDivFOp div,
                        PatternRewriter &rewriter) const override {
    Value dividend = div.getX(), divisor = div.getY();
    Operation *repeat = divisor.getDefiningOp();
    if (!getElementTypeOrSelf(div.getType()).isF32() ||
        !isa_and_nonnull<tt::BroadcastOp, tt::SplatOp>(repeat))
      return rewriter.notifyMatchFailure(
          div, "D1: the divisor is not an f32 that several quotients share");
    Bounds bounds = boundsOf(divisor);
    if (!(bounds.least >= kLeastDivisor && bounds.most <= kMostDivisor))
      return rewriter.notifyMatchFailure(div,
                                         "D2: the divisor may be tiny or huge");
    if (!(quotientBound(divisor, dividend) <= kMostQuotient))
      return rewriter.notifyMatchFailure(div, "D3: the quotient may overflow");
    auto widened = dividend.getDefiningOp<arith::ExtFOp>();
    if (!widened ||
        getElementTypeOrSelf(widened.getIn()).getIntOrFloatBitWidth() != 16)
      return rewriter.notifyMatchFailure(
          div, "D4: the dividend is not a widened bf16 or f16");
    if (!becomesFp8(div))
      return rewriter.notifyMatchFailure(
          div, "D5: the quotient is used for more than an fp8 value");

    Location loc = div.getLoc();
    Value shared = repeat->getOperand(0);
    Value one = splatLike(rewriter, loc, shared, 1.0);
    Value minusOne = splatLike(rewriter, loc, shared, -1.0);
    Value zero = splatLike(rewriter, loc, shared, 0.0);
    Value infinite =
        arith::CmpFOp::create(rewriter, loc, arith::CmpFPredicate::OEQ, shared,
                              splatLike(rewriter, loc, shared, kInfinity));
    // An infinite divisor would make a NaN of the residual; its quotients are
    // zeros, which are right before the step.
    Value finite =
        arith::SelectOp::create(rewriter, loc, infinite, zero, shared);
    Value reciprocal = tt::PreciseDivFOp::create(rewriter, loc, one, shared);
    Value negated = arith::MulFOp::create(rewriter, loc, reciprocal, minusOne);
    auto repeated = [&](Value value) {
      return rewriter
          .create(OperationState(loc, repeat->getName(), value,
                                 repeat->getResultTypes(), repeat->getAttrs()))
          ->getResult(0);
    };
    // The residual is taken with its sign turned, which keeps a quotient of -0.
    Value minusX = arith::MulFOp::create(
        rewriter, loc, dividend, splatLike(rewriter, loc, dividend, -1.0));
    Value guess =
        arith::MulFOp::create(rewriter, loc, dividend, repeated(reciprocal));
    Value residual =
        math::FmaOp::create(rewriter, loc, guess, repeated(finite), minusX);
    rewriter.replaceOpWithNewOp<math::FmaOp>(div, residual, repeated(negated),
                                             guess);
    return success();
  }
};

// Whether `value` is made of an exponential by arithmetic on it.
bool hasExponential(Value value) {
  Operation *op = value.getDefiningOp();
  if (isa_and_nonnull<math::ExpOp, math::Exp2Op>(op))
    return true;
  return isa_and_nonnull<arith::AddFOp, arith::SubFOp, arith::MulFOp>(op) &&
         llvm::any_of(op->getOperands(), hasExponential);
}

// x / (1 + exp(y)), precise => fast
struct RelaxBesideExponential : DivisionPattern {
  using DivisionPattern::DivisionPattern;

  LogicalResult rewrite(tt::PreciseDivFOp div,
                        PatternRewriter &rewriter) const override {
    if (!hasExponential(div.getY()))
      return rewriter.notifyMatchFailure(
          div, "D6: the divisor is not made of an exponential");
    rewriter.replaceOpWithNewOp<arith::DivFOp>(div, div.getX(), div.getY());
    return success();
  }
};

struct CheapenDivision : impl::CheapenDivisionBase<CheapenDivision> {
  using CheapenDivisionBase::CheapenDivisionBase;

  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<ShareReciprocal, RelaxBesideExponential>(&getContext(),
                                                          onlyEpilogues);
    walkAndApplyPatterns(getOperation(), std::move(patterns));
    // Triton does not know the mark.
    getOperation().walk(
        [](tt::PreciseDivFOp div) { div->removeAttr(kEpilogueAttr); });
  }
};

} // namespace
} // namespace epiq
