//===- RaiseQuantize.cpp - Finds quantizations by their cast --------------===//
// From a quantizing cast backwards: clamp, quotient, then the scale's own
// arithmetic (ScaleMatch.cpp), then the value that both start from. Passes.td
// states the rules R1-R6; each refusal below names the rule it checks.
//===----------------------------------------------------------------------===//

#include "Raise.h"
#include "ScaleMatch.h"

#include "epiq/Analysis/RowDomain.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

bool isFp8(Type type) {
  Type element = getElementTypeOrSelf(type);
  return isa<Float8E4M3FNType, Float8E5M2Type>(element);
}

std::string elementName(Type element) {
  if (isa<Float8E4M3FNType>(element))
    return "e4m3";
  if (isa<Float8E5M2Type>(element))
    return "e5m2";
  if (isa<Float4E2M1FNType>(element))
    return "e2m1";
  if (isa<Float8E8M0FNUType>(element))
    return "ue8m0";
  if (element.isInteger(8))
    return "int8";
  std::string text;
  llvm::raw_string_ostream(text) << element;
  return text;
}

std::string describe(FormatAttr format) {
  std::string text = elementName(format.getElement());
  text += " " + stringifyGranularity(format.getGranularity()).str();
  if (format.getGroupSize() != 0)
    text += " " + std::to_string(format.getGroupSize());
  if (format.getIsStatic())
    text += " static";
  if (!format.getScaleDtype().isF32())
    text += " " + elementName(format.getScaleDtype());
  return text;
}

bool isQuantizingCast(Operation *op) {
  if (auto cast = dyn_cast<arith::TruncFOp>(op))
    return isFp8(cast.getType()) ||
           isa<Float4E2M1FNType>(getElementTypeOrSelf(cast.getType()));
  auto cast = dyn_cast<arith::FPToSIOp>(op);
  if (!cast || !getElementTypeOrSelf(cast.getType()).isInteger(8))
    return false;
  // Through the clamp.
  Operation *source = cast.getIn().getDefiningOp();
  while (isa_and_present<arith::MaximumFOp, arith::MinimumFOp, arith::ExtFOp,
                         arith::TruncFOp>(source))
    source = source->getOperand(isSplat(source->getOperand(0)) ? 1 : 0)
                 .getDefiningOp();
  return isa_and_present<math::RoundEvenOp>(source);
}

namespace {

RankedTensorType typeOf(Value value) {
  return cast<RankedTensorType>(value.getType());
}

int64_t lastDim(Value value) {
  RankedTensorType type = typeOf(value);
  return type.getRank() == 0 ? 1 : type.getShape().back();
}

struct Groups {
  Granularity granularity;
  int64_t size = 0;
};

class QuantizeFinder {
public:
  explicit QuantizeFinder(Operation *cast)
      : cast(cast), element(getElementTypeOrSelf(cast->getResult(0))) {
    if (auto type = dyn_cast<FloatType>(element))
      elementMax =
          APFloat::getLargest(type.getFloatSemantics()).convertToDouble();
  }

  OrRefusal<Named> run();

private:
  OrRefusal<Value> peelClamp(Value value);
  Value peelZeroScale(Value value);
  OrRefusal<ScaleMatch> readScale(Value x, Value factor);
  OrRefusal<Groups> findGroups(const ScaleMatch &scale, Value origin);
  void growOrigin(Value &origin, ReduceOp reduce);
  Value absorbReshapes(Value q, Groups &groups);

  Operation *cast;
  Type element;
  double elementMax = 127;
  OpSet ops;
};

// Whether a value of this lineage was repeated: the scale's side of a quotient.
bool isRepeated(Value value) {
  if (isSplat(value))
    return true;
  Operation *op = value.getDefiningOp();
  while (
      isa_and_present<arith::ExtFOp, arith::TruncFOp, ReshapeOp, ContiguousOp>(
          op))
    op = op->getOperand(0).getDefiningOp();
  return isa_and_present<BroadcastOp>(op);
}

// where(scale == 0, 0, value) gives value.
Value QuantizeFinder::peelZeroScale(Value value) {
  auto select = value.getDefiningOp<arith::SelectOp>();
  if (!select || !isSplatOf(select.getTrueValue(), 0.0))
    return value;
  Value condition = select.getCondition();
  OpSet inner;
  inner.insert(select);
  while (isa_and_present<BroadcastOp, ReshapeOp>(condition.getDefiningOp())) {
    inner.insert(condition.getDefiningOp());
    condition = condition.getDefiningOp()->getOperand(0);
  }
  auto equal = condition.getDefiningOp<arith::CmpFOp>();
  if (!equal || equal.getPredicate() != arith::CmpFPredicate::OEQ ||
      !isSplatOf(equal.getRhs(), 0.0))
    return value;
  inner.insert(equal);
  ops.insert(inner.begin(), inner.end());
  return select.getFalseValue();
}

// Through min and max with the element's range, rounding to integers where the
// element is one, and casts around them.
OrRefusal<Value> QuantizeFinder::peelClamp(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    bool lower = isa<arith::MaximumFOp, arith::MaxNumFOp>(op);
    bool upper = isa<arith::MinimumFOp, arith::MinNumFOp>(op);
    if (isa<arith::ExtFOp, arith::TruncFOp>(op) ||
        (isa<math::RoundEvenOp>(op) && element.isInteger(8))) {
      ops.insert(op);
      value = op->getOperand(0);
      continue;
    }
    if (!lower && !upper)
      break;
    bool swapped = isSplat(op->getOperand(0));
    std::optional<double> bound = splatNumber(op->getOperand(swapped ? 0 : 1));
    if (!bound)
      break;
    // No quotient by a scale of amax / 127 rounds to -128.
    bool isLeast = lower && element.isInteger(8) && *bound == -128.0;
    if (*bound != (lower ? -elementMax : elementMax) && !isLeast)
      return refuse("R2: clamps to ", *bound, ", the largest ", element, " is ",
                    elementMax);
    ops.insert(op);
    value = op->getOperand(swapped ? 1 : 0);
  }
  return value;
}

// Takes casts and splits into groups in, so that the input is what was stored.
void QuantizeFinder::growOrigin(Value &origin, ReduceOp reduce) {
  while (Operation *op = origin.getDefiningOp()) {
    bool splits = false;
    if (auto reshape = dyn_cast<ReshapeOp>(op); reshape && reduce)
      splits = lastDim(reshape.getResult()) != lastDim(reshape.getInput());
    if (!isa<arith::ExtFOp>(op) && !splits)
      return;
    ops.insert(op);
    origin = op->getOperand(0);
  }
}

OrRefusal<Groups> QuantizeFinder::findGroups(const ScaleMatch &scale,
                                             Value origin) {
  if (!scale.reduce)
    return Groups{Granularity::tensor};
  ReduceOp reduce = scale.reduce;
  RankedTensorType reduced = typeOf(reduce.getInput());
  ArrayRef<int64_t> dims = reduce.getDims();
  int64_t rank = reduced.getRank(), count = dims.size();
  if (count == rank && std::max(rank, typeOf(origin).getRank()) > 1)
    return Groups{Granularity::tensor};
  for (int64_t dim = rank - count; dim < rank; ++dim)
    if (!llvm::is_contained(dims, dim))
      return refuse("R6: amax is not over the last dimensions of ", reduced);
  std::optional<int64_t> size = tailWidth(reduced, rank - count);
  if (!size)
    return refuse("R6: a group of ", reduced, " has no static size");
  for (int64_t lead = typeOf(origin).getRank(); lead > 0; --lead) {
    std::optional<int64_t> width = tailWidth(origin.getType(), lead - 1);
    if (!width || *width < *size)
      continue;
    if (*width == *size)
      return Groups{Granularity::token};
    if (*width % *size == 0)
      return Groups{Granularity::group, *size};
    break;
  }
  return refuse("R6: groups of ", *size, " do not divide the rows of ",
                typeOf(origin));
}

// The reshape that undoes the split into groups is part of the quantization,
// and so is what packs the values: they exist packed only.
Value QuantizeFinder::absorbReshapes(Value q, Groups &groups) {
  while (Operation *user = onlyUser(q)) {
    auto reshape = dyn_cast<ReshapeOp>(user);
    bool merges = reshape && lastDim(reshape.getResult()) != lastDim(q);
    auto relayout = dyn_cast<RelayoutOp>(user);
    bool packs = relayout && relayout.getLayout() == Layout::packed_e2m1;
    if (!merges && !packs && !isa<ContiguousOp>(user))
      break;
    if (merges && groups.granularity == Granularity::token)
      groups = {Granularity::group, lastDim(q)};
    ops.insert(user);
    q = user->getResult(0);
  }
  return q;
}

// What is multiplied with the global scale to give `x`; `x` itself if nothing.
Value withoutGlobal(Value x, const ScaleMatch &scale) {
  auto product =
      matchEither<arith::MulFOp>(x.getDefiningOp(), [&](Value operand) {
        return scale.globalScale && oneGiven(operand) == scale.globalScale;
      });
  return product ? product->other : x;
}

// A scale computed from amax of `x`, or else one that is given.
OrRefusal<ScaleMatch> QuantizeFinder::readScale(Value x, Value factor) {
  OpSet withGiven = ops;
  OrRefusal<ScaleMatch> given = matchGivenScale(factor, withGiven);
  if (!comesFromAmax(factor)) {
    ops = withGiven;
    return given;
  }
  OpSet withComputed = ops;
  OrRefusal<ScaleMatch> computed =
      matchComputedScale(factor, elementMax, withComputed);
  if (const auto *scale = std::get_if<ScaleMatch>(&computed))
    if (!commonOrigin(lineageOf(withoutGlobal(x, *scale)),
                      lineageOf(scale->absOperand)))
      computed = refuse("R3: amax is not taken over the value that is scaled");
  bool useGiven = getRefusal(computed) && !getRefusal(given);
  ops = useGiven ? withGiven : withComputed;
  return useGiven ? given : computed;
}

OrRefusal<Named> QuantizeFinder::run() {
  ops.insert(cast);
  OrRefusal<Value> clamped = peelClamp(cast->getOperand(0));
  if (const Refusal *refusal = getRefusal(clamped))
    return *refusal;
  Operation *apply = peelZeroScale(std::get<Value>(clamped)).getDefiningOp();
  bool divides = isa_and_present<arith::DivFOp>(apply);
  if (!divides && !isa_and_present<arith::MulFOp>(apply))
    return refuse("R1: no scale is applied before the cast");
  bool scaleFirst = !divides && !isRepeated(apply->getOperand(1));
  Value x = apply->getOperand(scaleFirst ? 1 : 0);
  Value factor = apply->getOperand(scaleFirst ? 0 : 1);
  if (!isRepeated(factor))
    return refuse("R1: neither operand of ", apply->getName(),
                  " is a scale that several values share");
  ops.insert(apply);

  OrRefusal<ScaleMatch> matched = readScale(x, factor);
  if (const Refusal *refusal = getRefusal(matched))
    return *refusal;
  const ScaleMatch &scale = std::get<ScaleMatch>(matched);
  if (scale.globalScale) {
    Value values = withoutGlobal(x, scale);
    if (values == x)
      return refuse("R5: the global scale multiplies amax, not the values");
    for (Value operand : x.getDefiningOp()->getOperands())
      if (oneGiven(operand) == scale.globalScale)
        addLineage(ops, operand, scale.globalScale);
    ops.insert(x.getDefiningOp());
    x = values;
  }
  if (divides == scale.inverted)
    return refuse("R5: ", apply->getName(), " by ",
                  scale.inverted ? "the reciprocal of " : "",
                  "the scale is no quantization");

  Value origin = scale.reduce
                     ? commonOrigin(lineageOf(x), lineageOf(scale.absOperand))
                     : x;
  if (scale.reduce)
    addLineage(ops, scale.absOperand, origin);
  addLineage(ops, x, origin);
  growOrigin(origin, scale.reduce);

  OrRefusal<Groups> found = findGroups(scale, origin);
  if (const Refusal *refusal = getRefusal(found))
    return *refusal;
  Groups groups = std::get<Groups>(found);
  Value q = absorbReshapes(cast->getResult(0), groups);

  MLIRContext *ctx = cast->getContext();
  APFloat floor(static_cast<float>(scale.floor)),
      bound(static_cast<float>(scale.upperBound));
  Type stored = scale.dtype ? scale.dtype : Float32Type::get(ctx);
  auto format = FormatAttr::get(ctx, element, stored, groups.granularity,
                                groups.size, !scale.reduce, floor,
                                scale.floorOn, bound, divides, scale.rounding,
                                /*global_scale=*/scale.globalScale != nullptr);
  Location loc = q.getDefiningOp<RelayoutOp>() ? q.getLoc() : cast->getLoc();
  return Named{"quantize", ops, {q}, loc, format};
}

// A view, or arithmetic on values of this quantization alone.
bool isScaleOp(Operation *op, const OpSet &ops) {
  if (isa<ReshapeOp>(op))
    return lastDim(op->getResult(0)) != lastDim(op->getOperand(0)) ||
           typeOf(op->getResult(0)).getRank() <
               typeOf(op->getOperand(0)).getRank();
  return isElementwise(op) && !isFp8(op->getResult(0).getType()) &&
         llvm::all_of(op->getOperands(), [&](Value operand) {
           return isSplat(operand) || ops.contains(operand.getDefiningOp());
         });
}

// The only op outside that uses `value`, or null.
Operation *onlyUserOutside(Value value, const OpSet &ops) {
  Operation *outside = nullptr;
  for (Operation *user : value.getUsers()) {
    if (ops.contains(user) || user == outside)
      continue;
    if (outside)
      return nullptr;
    outside = user;
  }
  return outside;
}

} // namespace

void absorbScaleOps(Named &named, OpSet &taken) {
  ArrayRef<int64_t> full = typeOf(named.ops.front()->getResult(0)).getShape();
  // The set grows while it is walked.
  for (size_t i = 0; i < named.ops.size(); ++i) {
    Value value = named.ops[i]->getResult(0);
    if (value == named.wanted.front() || typeOf(value).getShape() == full)
      continue;
    Operation *user = onlyUserOutside(value, named.ops);
    if (!user || taken.contains(user) || !isScaleOp(user, named.ops))
      continue;
    named.ops.insert(user);
    named.wanted.push_back(user->getResult(0));
    taken.insert(user);
  }
  auto isInner = [&](Value value) {
    return llvm::all_of(value.getUsers(), [&](Operation *user) {
      return named.ops.contains(user);
    });
  };
  named.wanted.erase(llvm::remove_if(llvm::drop_begin(named.wanted), isInner),
                     named.wanted.end());
}

OrRefusal<Named> findQuantize(Operation *cast) {
  return QuantizeFinder(cast).run();
}

} // namespace epiq
