//===- RaiseElementBits.cpp - e2m1 values packed two a byte ---------------===//
// A code is counted from comparisons with the midpoints between magnitudes, and
// two neighbours share a byte. ScalarTable decides whether the codes are those
// of the cast to f4E2M1FN: nearest even, saturating, NaN as 6.
//===----------------------------------------------------------------------===//

#include "RaiseBits.h"
#include "ScalarTable.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/bit.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

namespace {

// A tie goes to the even code: above an even index the midpoint is exclusive.
constexpr float kMidpoints[] = {0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0};

uint64_t codeOf(uint32_t sample) {
  float magnitude = llvm::bit_cast<float>(sample & 0x7fffffff);
  if (magnitude != magnitude)
    return 7;
  uint64_t code = 0;
  for (auto [index, midpoint] : llvm::enumerate(kMidpoints))
    code += index % 2 ? magnitude >= midpoint : magnitude > midpoint;
  return code | (sample >> 31) << 3;
}

RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

// Through casts between integers that keep 4 bits, and views that keep all but
// the last dimensions.
Value throughCasts(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (!isa<arith::TruncIOp, arith::ExtUIOp, arith::ExtSIOp>(op))
      break;
    value = op->getOperand(0);
  }
  return value;
}

// Element 0 or 1 of each pair along the last dimension: gives the pairs.
Value pairsOf(Value part, int64_t index) {
  auto reshape = throughCasts(part).getDefiningOp<ReshapeOp>();
  auto slice =
      reshape ? reshape.getInput().getDefiningOp<SliceOp>() : SliceOp();
  if (!slice || static_cast<int64_t>(slice.getBegin()) != index ||
      static_cast<int64_t>(slice.getEnd()) != index + 1)
    return {};
  RankedTensorType pairs = typeOf(slice.getInput());
  if (static_cast<int64_t>(slice.getDim()) != pairs.getRank() - 1 ||
      pairs.getShape().back() != 2 ||
      typeOf(reshape.getResult()).getShape() != pairs.getShape().drop_back())
    return {};
  return slice.getInput();
}

bool isFour(Value value) {
  Operation *op = value.getDefiningOp();
  while (isa_and_present<BroadcastOp, ReshapeOp>(op))
    op = op->getOperand(0).getDefiningOp();
  auto constant = dyn_cast_or_null<arith::ConstantOp>(op);
  auto splat = constant ? dyn_cast<DenseIntElementsAttr>(constant.getValue())
                        : DenseIntElementsAttr();
  return splat && splat.isSplat() && splat.getSplatValue<APInt>() == 4;
}

// The codes that `value` packs: lo | hi << 4, or their sum.
Value packedCodes(Value value) {
  Operation *sum = throughCasts(value).getDefiningOp();
  if (!isa_and_present<arith::OrIOp, arith::AddIOp>(sum))
    return {};
  for (bool swapped : {false, true}) {
    Value low = sum->getOperand(swapped), high = sum->getOperand(!swapped);
    auto shift = throughCasts(high).getDefiningOp<arith::ShLIOp>();
    if (!shift || !isFour(shift.getRhs()))
      continue;
    Value pairs = pairsOf(low, 0);
    if (!pairs || pairs != pairsOf(shift.getLhs(), 1))
      continue;
    auto split = throughCasts(pairs).getDefiningOp<ReshapeOp>();
    return split ? split.getInput() : Value();
  }
  return {};
}

// The f32 values whose e2m1 codes `codes` are, or null.
Value encodedValues(Value codes) {
  static const FloatClasses classes = classesBetween(kMidpoints);
  ScalarTable scalar(classes);
  std::optional<ArrayRef<uint64_t>> table = scalar.read(codes);
  if (!table)
    return {};
  for (auto [sample, code] : llvm::zip_equal(classes.samples, *table))
    if (code != codeOf(sample))
      return {};
  return scalar.root();
}

// The type of values whose bytes have the type `bytes`.
RankedTensorType valuesType(RankedTensorType bytes) {
  SmallVector<int64_t> shape(bytes.getShape());
  shape.back() *= 2;
  return RankedTensorType::get(shape,
                               Float4E2M1FNType::get(bytes.getContext()));
}

// Gives the op that is not used any more.
Operation *raisePacked(Value bytes, Value values) {
  // Views of the bytes are views of the values: the last of them is what a
  // torch node holds.
  Value last = bytes;
  while (auto view = dyn_cast_or_null<ReshapeOp>(onlyUser(last))) {
    RankedTensorType type = typeOf(view.getResult());
    if (type.getRank() == 0 || type.isDynamicDim(type.getRank() - 1))
      break;
    last = view.getResult();
  }
  OpBuilder builder(last.getDefiningOp());
  Location loc = last.getLoc(), helper = helperLocation(loc);
  RankedTensorType own =
      typeOf(values).clone(Float4E2M1FNType::get(builder.getContext()));
  Value cast = arith::TruncFOp::create(builder, helper, own, values);
  RankedTensorType wanted = valuesType(typeOf(last));
  if (own != wanted)
    cast = ReshapeOp::create(builder, helper, wanted, cast);
  auto packed = RelayoutOp::create(builder, loc, last.getType(), cast,
                                   Layout::packed_e2m1);
  last.replaceAllUsesWith(packed.getResult());
  return last.getDefiningOp();
}

} // namespace

void raiseElementBits(Block &block) {
  SmallVector<Value> ends;
  for (Operation &op : block) {
    if (!isa<arith::TruncIOp, arith::OrIOp, arith::AddIOp>(op) ||
        !getElementTypeOrSelf(op.getResult(0).getType()).isInteger(8))
      continue;
    RankedTensorType type = typeOf(op.getResult(0));
    if (type.getRank() > 0 && !type.isDynamicDim(type.getRank() - 1))
      ends.push_back(op.getResult(0));
  }
  SmallVector<Operation *> replaced;
  for (Value bytes : ends) {
    Value codes = packedCodes(bytes);
    Value values = codes ? encodedValues(codes) : Value();
    if (values && typeOf(values).getShape() == typeOf(codes).getShape())
      replaced.push_back(raisePacked(bytes, values));
  }
  llvm::for_each(replaced, eraseUnused);
}

} // namespace epiq
