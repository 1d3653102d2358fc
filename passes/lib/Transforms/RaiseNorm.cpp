//===- RaiseNorm.cpp - Finds RMSNorm by its root --------------------------===//
// x * rsqrt(mean(x * x) + eps), then maybe times a weight, each with or without
// a rounding to a small float. Passes.td says what is recognized.
//===----------------------------------------------------------------------===//

#include "Outline.h"
#include "Raise.h"

#include "epiq/Analysis/RowDomain.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

namespace {

class NormFinder {
public:
  explicit NormFinder(Operation *root) : root(root) {}
  OrRefusal<Named> run();

private:
  std::optional<Refusal> readMean(Value value);
  std::optional<Refusal> readSquare(Value value);
  OrRefusal<Value> readProduct();
  Value readTail(Value value);
  bool readWeight(Value value);

  Operation *root;
  OpSet ops;
  Value squared;
  int64_t width = 0;
};

// The square of a value: x * x or x to the power of 2.
std::optional<Refusal> NormFinder::readSquare(Value value) {
  Operation *op = value.getDefiningOp();
  bool square = isa_and_present<arith::MulFOp>(op) &&
                op->getOperand(0) == op->getOperand(1);
  square |=
      isa_and_present<math::PowFOp>(op) && isSplatOf(op->getOperand(1), 2.0);
  if (!square)
    return refuse("the root is not one of squares");
  ops.insert(op);
  squared = op->getOperand(0);
  return std::nullopt;
}

// sum(x * x) / width, or times 1 / width.
std::optional<Refusal> NormFinder::readMean(Value value) {
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
  std::optional<int64_t> reduced = tailWidth(type, lead);
  if (!reduced)
    return refuse("the row of ", type, " has no static width");
  width = *reduced;
  double expected =
      product ? 1.0 / static_cast<double>(width) : static_cast<double>(width);
  if (!isSplatOf(count, expected))
    return refuse("the sum over ", width,
                  " values is scaled by another number");
  return readSquare(reduce.getInput());
}

// x times the reciprocal root, or x divided by the root.
OrRefusal<Value> NormFinder::readProduct() {
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
    Value x = user->getOperand(user->getOperand(0) == value ? 1 : 0);
    Value origin = commonOrigin(lineageOf(x), lineageOf(squared));
    if (!origin)
      return refuse("the root scales another value than was squared");
    addLineage(ops, x, origin);
    addLineage(ops, squared, origin);
    if (auto widened = origin.getDefiningOp<arith::ExtFOp>())
      ops.insert(widened);
    return user->getResult(0);
  }
  return refuse("the root has several users");
}

// Whether `value` repeats a vector of one number a column; takes its casts, its
// `1 + w` and its broadcast in.
bool NormFinder::readWeight(Value value) {
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

// Roundings and the weight, as far as each value has one user.
Value NormFinder::readTail(Value value) {
  bool weighted = false;
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
    if (weighted || !isa_and_present<arith::MulFOp>(next))
      break;
    Value factor = next == user ? value : user->getResult(0);
    Value other = next->getOperand(next->getOperand(0) == factor ? 1 : 0);
    if (!readWeight(other))
      break;
    weighted = true;
    ops.insert(user);
    ops.insert(next);
    value = next->getResult(0);
  }
  return value;
}

OrRefusal<Named> NormFinder::run() {
  ops.insert(root);
  auto sum =
      matchEither<arith::AddFOp>(root->getOperand(0).getDefiningOp(), isSplat);
  if (!sum || !splatNumber(sum->match))
    return refuse("no eps is added under the root");
  ops.insert(root->getOperand(0).getDefiningOp());
  if (std::optional<Refusal> refusal = readMean(sum->other))
    return *refusal;
  OrRefusal<Value> product = readProduct();
  if (const Refusal *refusal = getRefusal(product))
    return *refusal;
  Value result = readTail(std::get<Value>(product));
  if (!isConvex(ops))
    return refuse("a node outside reads an inner value and feeds one back");
  FloatAttr eps =
      Builder(root->getContext())
          .getF32FloatAttr(static_cast<float>(*splatNumber(sum->match)));
  Named named{"rms_norm", ops, {result}, result.getLoc()};
  named.eps = eps;
  return named;
}

} // namespace

OrRefusal<Named> findRmsNorm(Operation *root) { return NormFinder(root).run(); }

} // namespace epiq
