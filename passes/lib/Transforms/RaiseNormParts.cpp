//===- RaiseNormParts.cpp - What norms have in common ---------------------===//

#include "RaiseNormParts.h"

#include "epiq/Analysis/RowDomain.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

Value readSquare(Value value, OpSet &ops) {
  Operation *op = value.getDefiningOp();
  bool square = isa_and_present<arith::MulFOp>(op) &&
                op->getOperand(0) == op->getOperand(1);
  square |=
      isa_and_present<math::PowFOp>(op) && isSplatOf(op->getOperand(1), 2.0);
  if (!square)
    return {};
  ops.insert(op);
  return op->getOperand(0);
}

// By division, or by the product with 1 / width.
OrRefusal<Mean> readMean(Value value, OpSet &ops) {
  Operation *op = value.getDefiningOp();
  while (isa_and_present<ReshapeOp, BroadcastOp>(op)) {
    ops.insert(op);
    op = op->getOperand(0).getDefiningOp();
  }
  auto product = matchEither<arith::MulFOp>(op, isSplat);
  bool quotient =
      isa_and_present<arith::DivFOp>(op) && isSplat(op->getOperand(1));
  if (!product && !quotient)
    return refuse("the root is not one of a mean");
  ops.insert(op);
  Value sum = product ? product->other : op->getOperand(0);
  Value count = product ? product->match : op->getOperand(1);

  auto reduce = sum.getDefiningOp<ReduceOp>();
  if (!reduce || reduce.getKind() != ReduceKind::sum)
    return refuse("the mean is not one of a sum");
  ops.insert(reduce);
  auto type = cast<RankedTensorType>(reduce.getInput().getType());
  int64_t lead = type.getRank() - static_cast<int64_t>(reduce.getDims().size());
  for (int64_t dim = lead; dim < type.getRank(); ++dim)
    if (!llvm::is_contained(reduce.getDims(), dim))
      return refuse("the sum is not over the last dimensions of ", type);
  std::optional<int64_t> width = tailWidth(type, lead);
  if (!width)
    return refuse("the row of ", type, " has no static width");
  double expected =
      product ? 1.0 / static_cast<double>(*width) : static_cast<double>(*width);
  if (!isSplatOf(count, expected))
    return refuse("the sum over ", *width,
                  " values is scaled by another number");
  return Mean{reduce.getInput(), *width};
}

namespace {

// The product with the reciprocal root, or the quotient by the root.
OrRefusal<Scaled> readScaled(Operation *root, OpSet &ops) {
  Value value = root->getResult(0);
  bool isReciprocal = isa<math::RsqrtOp>(root);
  while (Operation *user = onlyUser(value)) {
    if (isa<BroadcastOp, ReshapeOp, arith::TruncFOp, arith::ExtFOp>(user)) {
      ops.insert(user);
      value = user->getResult(0);
      continue;
    }
    if (!isReciprocal && isa<arith::DivFOp>(user) &&
        isSplatOf(user->getOperand(0), 1.0)) {
      isReciprocal = true;
      ops.insert(user);
      value = user->getResult(0);
      continue;
    }
    bool applies =
        isReciprocal ? isa<arith::MulFOp>(user)
                     : isa<arith::DivFOp>(user) && user->getOperand(1) == value;
    if (!applies)
      return refuse(user->getName(), " uses the root");
    ops.insert(user);
    return Scaled{user->getOperand(user->getOperand(0) == value ? 1 : 0),
                  user->getResult(0)};
  }
  return refuse("the root has several users");
}

} // namespace

OrRefusal<RootScaled> readRoot(Operation *root, OpSet &ops) {
  ops.insert(root);
  Operation *shift = root->getOperand(0).getDefiningOp();
  auto sum = matchEither<arith::AddFOp>(shift, isSplat);
  std::optional<double> eps = sum ? splatNumber(sum->match) : std::nullopt;
  if (!eps)
    return refuse("no eps is added under the root");
  ops.insert(shift);
  OrRefusal<Mean> mean = readMean(sum->other, ops);
  if (const Refusal *refusal = getRefusal(mean))
    return *refusal;
  auto [values, width] = std::get<Mean>(mean);
  Value squared = readSquare(values, ops);
  if (!squared)
    return refuse("the root is not one of squares");
  OrRefusal<Scaled> scaled = readScaled(root, ops);
  if (const Refusal *refusal = getRefusal(scaled))
    return *refusal;
  auto number =
      Builder(root->getContext()).getF32FloatAttr(static_cast<float>(*eps));
  return RootScaled{squared, width, std::get<Scaled>(scaled), number};
}

namespace {

// Whether `value` repeats a vector of `width` numbers, one a column; takes its
// casts, its `1 + w` and its broadcast in.
bool readColumns(Value value, int64_t width, OpSet &ops) {
  OpSet found;
  bool repeated = false;
  while (Operation *op = value.getDefiningOp()) {
    auto shifted = matchEither<arith::AddFOp>(op, isSplat);
    if (!shifted &&
        !isa<BroadcastOp, ReshapeOp, arith::ExtFOp, arith::TruncFOp>(op))
      break;
    repeated |= isa<BroadcastOp>(op);
    found.insert(op);
    value = shifted ? shifted->other : op->getOperand(0);
  }
  if (isSplat(value) || !repeated || numElements(value) != width)
    return false;
  ops.insert(found.begin(), found.end());
  return true;
}

} // namespace

Value readAffineTail(Value value, int64_t width, bool bias, OpSet &ops) {
  bool weighted = false, shifted = !bias;
  while (Operation *user = onlyUser(value)) {
    Operation *next = user;
    if (isa<arith::ExtFOp>(user))
      next = onlyUser(user->getResult(0));
    bool rounds =
        isa<arith::TruncFOp>(user) && !isFp8(user->getResult(0).getType());
    if (rounds) {
      ops.insert(user);
      value = user->getResult(0);
      continue;
    }
    bool scales = !weighted && isa_and_present<arith::MulFOp>(next);
    bool shifts = !shifted && isa_and_present<arith::AddFOp>(next);
    if (!scales && !shifts)
      break;
    Value factor = next == user ? value : user->getResult(0);
    Value other = next->getOperand(next->getOperand(0) == factor ? 1 : 0);
    if (!readColumns(other, width, ops))
      break;
    weighted = true;
    shifted |= shifts;
    ops.insert(user);
    ops.insert(next);
    value = next->getResult(0);
  }
  return value;
}

} // namespace epiq
