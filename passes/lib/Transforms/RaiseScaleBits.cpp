//===- RaiseScaleBits.cpp - Powers of two from exponent bits --------------===//
// Libraries shift the exponent out of a scale and add 1 if its mantissa is not
// zero, in one of several ways. ScalarTable decides whether a spelling is the
// cast that epiq.to_ue8m0 names.
//===----------------------------------------------------------------------===//

#include "RaiseBits.h"
#include "ScalarTable.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

namespace {

constexpr int64_t kNanByte = 255;
// How far up a chain of ops a bound is looked for.
constexpr unsigned kMaxDepth = 16;

// The least number that `value` can be, if it is never negative and never -0;
// it may also be NaN or infinite.
std::optional<float> leastOf(Value value, unsigned depth = 0) {
  Operation *op = value.getDefiningOp();
  if (!op || depth == kMaxDepth)
    return std::nullopt;
  auto positive = [](Value constant) -> std::optional<float> {
    std::optional<double> number = splatNumber(constant);
    if (!number || !(*number > 0.0))
      return std::nullopt;
    return static_cast<float>(*number);
  };
  if (isa<math::AbsFOp>(op))
    return 0.0f;
  auto reduce = dyn_cast<ReduceOp>(op);
  if (isa<BroadcastOp, ReshapeOp, ContiguousOp, RelayoutOp, arith::ExtFOp>(
          op) ||
      (reduce && reduce.getKind() == ReduceKind::max))
    return leastOf(op->getOperand(0), depth + 1);
  if (isa<arith::TruncFOp>(op))
    return leastOf(op->getOperand(0), depth + 1) ? std::optional(0.0f)
                                                 : std::nullopt;
  if (op->getNumOperands() != 2 || op->getNumResults() != 1)
    return std::nullopt;
  std::optional<float> number = positive(op->getOperand(1));
  if (isa<arith::MaximumFOp>(op) && number)
    return std::max(*number, leastOf(op->getOperand(0), depth + 1).value_or(0));
  std::optional<float> least = leastOf(op->getOperand(0), depth + 1);
  if (!least || !number || !getElementTypeOrSelf(value).isF32())
    return std::nullopt;
  if (isa<arith::MinimumFOp>(op))
    return std::min(*least, *number);
  // Rounding keeps the order of quotients and of products.
  if (isa<arith::DivFOp>(op))
    return *least / *number;
  if (isa<arith::MulFOp>(op))
    return *least * *number;
  return std::nullopt;
}

// The byte that epiq.to_ue8m0 gives for a positive float.
int64_t byteOf(uint32_t sample, ScaleRounding rounding, int64_t less) {
  int64_t exponent = sample >> 23 & 0xff;
  bool hasMantissa = (sample & 0x7fffff) != 0;
  if (exponent == 0xff && hasMantissa)
    return kNanByte;
  exponent += rounding == ScaleRounding::rceil && hasMantissa;
  return std::clamp<int64_t>(exponent - less, 0, 254);
}

// The bits of 2^(byte - 127) as f32.
uint64_t powerBits(int64_t byte) {
  if (byte == kNanByte)
    return 0x7fc00000;
  return byte == 0 ? 0x400000 : byte << 23;
}

bool isNanBits(uint64_t bits) { return (bits & 0x7fffffff) > 0x7f800000; }

// Compares a table with the cast, for values from `least` on.
class PowerTable {
public:
  PowerTable(ArrayRef<uint64_t> table, bool isFloat, float least)
      : table(table), isFloat(isFloat), least(least) {}

  // What the table is for normal numbers.
  bool readNormal(PowerBits &power) const;
  bool isExact(const PowerBits &power) const;

private:
  bool agrees(size_t index, const PowerBits &power) const;
  bool occurs(uint32_t sample) const;

  ArrayRef<uint64_t> table;
  bool isFloat;
  float least;
};

bool PowerTable::occurs(uint32_t sample) const {
  if (isNanBits(sample))
    return true;
  // Of a class that lies partly below the least value, the rest occurs.
  float last =
      llvm::bit_cast<float>(sample & 0x7fffff ? sample | 0x7fffff : sample);
  return sample >> 31 == 0 && last >= least;
}

bool PowerTable::agrees(size_t index, const PowerBits &power) const {
  int64_t byte =
      byteOf(exponentClasses().samples[index], power.rounding, power.less);
  if (!isFloat)
    return table[index] == static_cast<uint64_t>(byte);
  if (byte == kNanByte)
    return isNanBits(table[index]);
  return table[index] == powerBits(byte);
}

bool PowerTable::readNormal(PowerBits &power) const {
  // 2^3 and the number after it tell the rounding and what is subtracted.
  constexpr uint32_t probe = 130;
  auto find = [&](uint32_t sample) {
    ArrayRef<uint32_t> samples = exponentClasses().samples;
    uint64_t found = table[llvm::find(samples, sample) - samples.begin()];
    return static_cast<int64_t>(isFloat ? found >> 23 : found);
  };
  int64_t even = find(probe << 23), above = find(probe << 23 | 1);
  if (above != even && above != even + 1)
    return false;
  power.less = probe - even;
  power.rounding = above == even ? ScaleRounding::floor : ScaleRounding::rceil;
  if (power.less < 0)
    return false;
  for (size_t i = 0; i < table.size(); ++i) {
    uint32_t sample = exponentClasses().samples[i];
    int64_t byte = byteOf(sample, power.rounding, power.less);
    bool isNormal = sample >> 31 == 0 && sample >> 23 > 0 &&
                    sample >> 23 < 0xfe && byte > 0 && byte < 254;
    if (isNormal && occurs(sample) && !agrees(i, power))
      return false;
  }
  return true;
}

bool PowerTable::isExact(const PowerBits &power) const {
  for (size_t i = 0; i < table.size(); ++i)
    if (occurs(exponentClasses().samples[i]) && !agrees(i, power))
      return false;
  return true;
}

bool isByte(Type type) {
  Type element = getElementTypeOrSelf(type);
  return element.isInteger(8) || isa<Float8E8M0FNUType>(element);
}

// Whether `op` ends such arithmetic: a byte of it, or its f32 number. A byte
// that is only viewed as a scale is not the end yet.
bool isEnd(Operation *op) {
  if (auto cast = dyn_cast<arith::BitcastOp>(op))
    return isa<Float8E8M0FNUType>(getElementTypeOrSelf(cast.getType())) ||
           (getElementTypeOrSelf(cast.getType()).isF32() &&
            getElementTypeOrSelf(cast.getIn()).isInteger(32));
  auto cast = dyn_cast<arith::TruncIOp>(op);
  if (!cast || !getElementTypeOrSelf(cast.getType()).isInteger(8))
    return false;
  Operation *user = onlyUser(cast.getResult());
  return !user || !isEnd(user);
}

} // namespace

Location helperLocation(Location loc) {
  auto name = loc->findInstanceOf<NameLoc>();
  if (!name || name.getName().getValue().ends_with(".aux"))
    return loc;
  auto helper =
      StringAttr::get(loc->getContext(), name.getName().getValue() + ".aux");
  return NameLoc::get(helper, name.getChildLoc());
}

void eraseUnused(Operation *op) {
  OpSet worklist;
  worklist.insert(op);
  while (!worklist.empty()) {
    Operation *next = worklist.pop_back_val();
    if (!isOpTriviallyDead(next))
      continue;
    for (Value operand : next->getOperands())
      if (Operation *producer = operand.getDefiningOp())
        worklist.insert(producer);
    next->erase();
  }
}

std::optional<PowerBits> matchPowerBits(Value value) {
  bool isFloat = getElementTypeOrSelf(value).isF32();
  if (!isFloat && !isByte(value.getType()))
    return std::nullopt;
  ScalarTable scalar(exponentClasses());
  std::optional<ArrayRef<uint64_t>> table = scalar.read(value);
  if (!table)
    return std::nullopt;
  PowerBits power;
  power.input = scalar.magnitude() ? scalar.magnitude() : scalar.root();
  std::optional<float> least = leastOf(power.input);
  if (!least || cast<ShapedType>(power.input.getType()).getShape() !=
                    cast<ShapedType>(value.getType()).getShape())
    return std::nullopt;
  PowerTable powers(*table, isFloat, *least);
  if (!powers.readNormal(power))
    return std::nullopt;
  power.isExact = powers.isExact(power);
  power.ops = scalar.ops();
  return power;
}

void raiseScaleBits(Block &block) {
  SmallVector<Operation *> ends;
  for (Operation &op : block)
    if (isEnd(&op))
      ends.push_back(&op);
  for (Operation *end : ends) {
    Operation &op = *end;
    Value value = op.getResult(0);
    std::optional<PowerBits> power = matchPowerBits(value);
    if (!power || !power->isExact)
      continue;
    OpBuilder builder(&op);
    auto type = cast<RankedTensorType>(value.getType());
    auto scaleType = type.clone(Float8E8M0FNUType::get(op.getContext()));
    bool isScale = type == scaleType;
    Location loc = isScale ? op.getLoc() : helperLocation(op.getLoc());
    Value result = ToUe8m0Op::create(builder, loc, scaleType, power->rounding,
                                     power->input, power->less);
    if (!isScale && type.getElementType().isF32())
      result = arith::ExtFOp::create(builder, op.getLoc(), type, result);
    else if (!isScale)
      result = arith::BitcastOp::create(builder, op.getLoc(), type, result);
    value.replaceAllUsesWith(result);
  }
  for (Operation *end : ends)
    eraseUnused(end);
}

} // namespace epiq
