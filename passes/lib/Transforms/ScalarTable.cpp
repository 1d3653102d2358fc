//===- ScalarTable.cpp - Integer work on the bits of one float ------------===//

#include "ScalarTable.h"

#include "epiq/Graph/Graph.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/bit.h"
#include <cmath>
#include <limits>

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

namespace {

constexpr uint32_t kSign = 0x80000000, kInf = 0x7f800000, kMantissa = 0x7fffff;
constexpr uint32_t kNan = 0x7fc00000;
// More ops than any of these casts has.
constexpr size_t kMaxOps = 256;

unsigned widthOf(Value value) {
  return getElementTypeOrSelf(value).getIntOrFloatBitWidth();
}

uint64_t masked(uint64_t bits, unsigned width) {
  return width >= 64 ? bits : bits & ((uint64_t(1) << width) - 1);
}

int64_t extended(uint64_t bits, unsigned width) {
  return llvm::SignExtend64(bits, width);
}

// The bits of a constant that is the same for every element.
std::optional<uint64_t> splatBits(Value value) {
  Operation *op = value.getDefiningOp();
  while (isa_and_present<BroadcastOp, ReshapeOp>(op))
    op = op->getOperand(0).getDefiningOp();
  auto constant = dyn_cast_or_null<arith::ConstantOp>(op);
  if (!constant)
    return std::nullopt;
  auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
  if (!dense || !dense.isSplat())
    return std::nullopt;
  if (isa<FloatType>(dense.getElementType()))
    return dense.getSplatValue<APFloat>().bitcastToAPInt().getZExtValue();
  if (dense.getElementType().isSignlessInteger())
    return dense.getSplatValue<APInt>().getZExtValue();
  return std::nullopt;
}

bool compare(arith::CmpIPredicate predicate, uint64_t a, uint64_t b,
             unsigned width) {
  return arith::applyCmpPredicate(predicate, APInt(width, a), APInt(width, b));
}

// What an elementwise op gives for operands of these bits; none for an op that
// is not integer work.
std::optional<uint64_t> apply(Operation *op, ArrayRef<uint64_t> in) {
  unsigned from = widthOf(op->getOperand(0));
  auto asSigned = [&](unsigned i) { return extended(in[i], from); };
  if (isa<arith::AddIOp>(op))
    return in[0] + in[1];
  if (isa<arith::SubIOp>(op))
    return in[0] - in[1];
  if (isa<arith::MulIOp>(op))
    return in[0] * in[1];
  if (isa<arith::AndIOp>(op))
    return in[0] & in[1];
  if (isa<arith::OrIOp>(op))
    return in[0] | in[1];
  if (isa<arith::XOrIOp>(op))
    return in[0] ^ in[1];
  if (isa<arith::MaxSIOp>(op))
    return std::max(asSigned(0), asSigned(1));
  if (isa<arith::MinSIOp>(op))
    return std::min(asSigned(0), asSigned(1));
  if (isa<arith::MaxUIOp>(op))
    return std::max(in[0], in[1]);
  if (isa<arith::MinUIOp>(op))
    return std::min(in[0], in[1]);
  if (isa<arith::ShLIOp, arith::ShRSIOp, arith::ShRUIOp>(op)) {
    if (in[1] >= from)
      return std::nullopt;
    if (isa<arith::ShLIOp>(op))
      return in[0] << in[1];
    return isa<arith::ShRSIOp>(op) ? asSigned(0) >> in[1] : in[0] >> in[1];
  }
  if (isa<arith::ExtUIOp, arith::TruncIOp, arith::BitcastOp>(op))
    return in[0];
  if (isa<arith::ExtSIOp>(op))
    return asSigned(0);
  if (isa<arith::SelectOp>(op))
    return in[0] ? in[1] : in[2];
  if (auto cmp = dyn_cast<arith::CmpIOp>(op))
    return compare(cmp.getPredicate(), in[0], in[1], from);
  if (auto cmp = dyn_cast<arith::CmpFOp>(op))
    return arith::applyCmpPredicate(
        cmp.getPredicate(),
        APFloat(APFloat::IEEEsingle(), APInt(32, masked(in[0], 32))),
        APFloat(APFloat::IEEEsingle(), APInt(32, masked(in[1], 32))));
  return std::nullopt;
}

// Whether `value` is a float that integer work makes, and so no root.
bool isMadeOfBits(Value value) {
  if (auto select = value.getDefiningOp<arith::SelectOp>())
    return llvm::all_of(select->getOperands().drop_front(), [](Value choice) {
      return splatBits(choice) || isMadeOfBits(choice);
    });
  auto cast = value.getDefiningOp<arith::BitcastOp>();
  return cast && getElementTypeOrSelf(cast.getIn()).isSignlessInteger();
}

FloatClasses makeExponentClasses() {
  FloatClasses classes;
  classes.byExponent = true;
  for (uint32_t sign : {0u, kSign})
    for (uint32_t exponent = 0; exponent < 256; ++exponent)
      for (uint32_t mantissa : {0u, 1u})
        classes.samples.push_back(sign | exponent << 23 | mantissa);
  return classes;
}

} // namespace

const FloatClasses &exponentClasses() {
  static const FloatClasses classes = makeExponentClasses();
  return classes;
}

FloatClasses classesBetween(ArrayRef<float> bounds) {
  FloatClasses classes;
  classes.bounds.assign(bounds.begin(), bounds.end());
  for (uint32_t sign : {0u, kSign}) {
    classes.samples.append({sign, sign | 1, sign | kInf, sign | kNan});
    for (float bound : bounds) {
      auto bits = llvm::bit_cast<uint32_t>(bound);
      classes.samples.append({sign | bits, sign | (bits + 1)});
    }
  }
  return classes;
}

bool ScalarTable::isBound(uint64_t bits) const {
  bits &= ~uint64_t(kSign);
  if (classes.byExponent || bits == 0)
    return (bits & kMantissa) == 0;
  return llvm::any_of(classes.bounds, [&](float bound) {
    return llvm::bit_cast<uint32_t>(bound) == bits;
  });
}

ScalarTable::Entry ScalarTable::constantEntry(uint64_t bits) const {
  return {Kind::constant, SmallVector<uint64_t>(classes.samples.size(), bits)};
}

// A mask of the sign and the exponent leaves what classes say; so does one of
// the mantissa, if it is only asked whether it is zero.
ScalarTable::Kind ScalarTable::kindOfMask(const Entry &bits,
                                          const Entry &mask) const {
  if (mask.kind != Kind::constant)
    return Kind::unknown;
  uint64_t ones = mask.values.front();
  bool isFloat = bits.kind == Kind::bits;
  if (isFloat && ones == kSign)
    return Kind::classed;
  if (!classes.byExponent || (!isFloat && bits.kind != Kind::carried))
    return Kind::unknown;
  if ((ones & kMantissa) == 0)
    return Kind::classed;
  return isFloat && ones == kMantissa ? Kind::mantissa : Kind::unknown;
}

ScalarTable::Kind
ScalarTable::kindOfComparison(Operation *op,
                              ArrayRef<const Entry *> operands) const {
  const Entry &a = *operands[0], &b = *operands[1];
  if (isa<arith::CmpFOp>(op)) {
    // Whether it is NaN, or where its magnitude lies.
    if (a.kind == Kind::number && b.kind == Kind::number)
      return &a == &b ? Kind::classed : Kind::unknown;
    const Entry &number = a.kind == Kind::number ? a : b;
    const Entry &bound = a.kind == Kind::number ? b : a;
    return number.kind == Kind::number && bound.kind == Kind::constant &&
                   isBound(bound.values.front())
               ? Kind::classed
               : Kind::unknown;
  }
  if (b.kind != Kind::constant || b.values.front() != 0)
    return Kind::unknown;
  auto predicate = cast<arith::CmpIOp>(op).getPredicate();
  if (a.kind == Kind::bits)
    return predicate == arith::CmpIPredicate::slt ||
                   predicate == arith::CmpIPredicate::sge
               ? Kind::classed
               : Kind::unknown;
  // A mantissa is not negative: each comparison with 0 asks whether it is 0.
  return a.kind == Kind::mantissa ? Kind::classed : Kind::unknown;
}

ScalarTable::Kind ScalarTable::kindOf(Operation *op,
                                      ArrayRef<const Entry *> operands) const {
  auto isSettled = [](const Entry *entry) {
    return entry->kind == Kind::constant || entry->kind == Kind::classed;
  };
  if (llvm::all_of(operands, isSettled))
    return Kind::classed;
  if (llvm::any_of(operands, [](const Entry *entry) {
        return entry->kind == Kind::unknown;
      }))
    return Kind::unknown;
  const Entry &a = *operands[0];
  if (isa<arith::BitcastOp>(op))
    return a.kind == Kind::number ? Kind::bits : Kind::unknown;
  if (isa<arith::CmpFOp, arith::CmpIOp>(op))
    return kindOfComparison(op, operands);
  if (operands.size() != 2)
    return Kind::unknown;
  const Entry &b = *operands[1];
  bool flipped = a.kind == Kind::constant;
  const Entry &raw = flipped ? b : a, &other = flipped ? a : b;
  if (isa<arith::AndIOp>(op))
    return kindOfMask(raw, other);
  if (other.kind != Kind::constant)
    return Kind::unknown;
  uint64_t number = other.values.front();
  if (isa<arith::AddIOp>(op))
    return classes.byExponent && raw.kind == Kind::bits && number == kMantissa
               ? Kind::carried
               : Kind::unknown;
  bool shifts = isa<arith::ShRSIOp, arith::ShRUIOp>(op) && !flipped &&
                (raw.kind == Kind::bits || raw.kind == Kind::carried);
  bool leaves =
      classes.byExponent ? number == 23 || number == 31 : number == 31;
  return shifts && leaves ? Kind::classed : Kind::unknown;
}

// The f32 value itself, met under a bitcast or a comparison.
ScalarTable::Entry ScalarTable::evaluateRoot(Value value) {
  auto abs = value.getDefiningOp<math::AbsFOp>();
  Value base = abs ? abs.getOperand() : value;
  if (source && source != base)
    return {};
  source = base;
  Entry entry{Kind::number, {}};
  if (abs)
    absolute = value;
  for (uint32_t sample : classes.samples)
    entry.values.push_back(abs ? sample & ~kSign : sample);
  return entry;
}

ScalarTable::Entry ScalarTable::evaluate(Value value) {
  if (std::optional<uint64_t> bits = splatBits(value))
    return constantEntry(*bits);
  Operation *op = value.getDefiningOp();
  Type element = getElementTypeOrSelf(value);
  if (element.isF32() && !isMadeOfBits(value))
    return evaluateRoot(value);
  if (!op || cone.size() > kMaxOps || op->getNumResults() != 1)
    return {};
  SmallVector<const Entry *> operands;
  for (Value operand : op->getOperands())
    operands.push_back(&entryOf(operand));
  // Reading an operand may move the entries of those before.
  operands.clear();
  for (Value operand : op->getOperands())
    operands.push_back(&entryOf(operand));
  Entry entry{kindOf(op, operands), {}};
  if (entry.kind == Kind::unknown)
    return {};
  if (isa<arith::BitcastOp>(op) && entry.kind == Kind::bits)
    seesSign |= op->getOperand(0) == source;
  if (isa<arith::CmpFOp>(op))
    seesSign |= llvm::is_contained(op->getOperands(), source) &&
                op->getOperand(0) != op->getOperand(1);
  for (size_t i = 0; i < classes.samples.size(); ++i) {
    SmallVector<uint64_t> in;
    for (const Entry *operand : operands)
      in.push_back(operand->values[i]);
    std::optional<uint64_t> out = apply(op, in);
    if (!out)
      return {};
    entry.values.push_back(masked(*out, widthOf(value)));
  }
  cone.insert(op);
  return entry;
}

const ScalarTable::Entry &ScalarTable::entryOf(Value value) {
  auto known = entries.find(value);
  if (known != entries.end())
    return known->second;
  Entry entry = evaluate(value);
  return entries[value] = std::move(entry);
}

std::optional<ArrayRef<uint64_t>> ScalarTable::read(Value value) {
  const Entry &entry = entryOf(value);
  if (entry.kind != Kind::classed || !source)
    return std::nullopt;
  return ArrayRef<uint64_t>(entry.values);
}

} // namespace epiq
