//===- RaiseQuantize.cpp - Finds quantizations by their cast --------------===//
// From a cast to fp8 backwards: clamp, quotient, then the scale's own
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
  return text;
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
  explicit QuantizeFinder(arith::TruncFOp cast) : cast(cast) {
    auto element = llvm::cast<FloatType>(getElementTypeOrSelf(cast.getType()));
    elementMax =
        APFloat::getLargest(element.getFloatSemantics()).convertToDouble();
  }

  OrRefusal<Named> run();

private:
  OrRefusal<Value> peelClamp(Value value);
  OrRefusal<ScaleMatch> readScale(Value x, Value factor);
  OrRefusal<Groups> findGroups(const ScaleMatch &scale, Value origin);
  void growOrigin(Value &origin, ReduceOp reduce);
  Value absorbReshapes(Value q, Groups &groups);

  arith::TruncFOp cast;
  double elementMax;
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

// Through min and max with the element's range, and casts around them.
OrRefusal<Value> QuantizeFinder::peelClamp(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    bool lower = isa<arith::MaximumFOp, arith::MaxNumFOp>(op);
    bool upper = isa<arith::MinimumFOp, arith::MinNumFOp>(op);
    if (isa<arith::ExtFOp, arith::TruncFOp>(op)) {
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
    if (*bound != (lower ? -elementMax : elementMax))
      return refuse("R2: clamps to ", *bound, ", the largest ",
                    getElementTypeOrSelf(cast.getType()), " is ", elementMax);
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
  if (count == rank && rank > 1)
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

// The reshape that undoes the split into groups is part of the quantization.
Value QuantizeFinder::absorbReshapes(Value q, Groups &groups) {
  while (Operation *user = onlyUser(q)) {
    auto reshape = dyn_cast<ReshapeOp>(user);
    bool merges = reshape && lastDim(reshape.getResult()) != lastDim(q);
    if (!merges && !isa<ContiguousOp>(user))
      break;
    if (merges && groups.granularity == Granularity::token)
      groups = {Granularity::group, lastDim(q)};
    ops.insert(user);
    q = user->getResult(0);
  }
  return q;
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
    if (!commonOrigin(lineageOf(x), lineageOf(scale->absOperand)))
      computed = refuse("R3: amax is not taken over the value that is scaled");
  bool useGiven = getRefusal(computed) && !getRefusal(given);
  ops = useGiven ? withGiven : withComputed;
  return useGiven ? given : computed;
}

OrRefusal<Named> QuantizeFinder::run() {
  ops.insert(cast);
  OrRefusal<Value> clamped = peelClamp(cast.getIn());
  if (const Refusal *refusal = getRefusal(clamped))
    return *refusal;
  Operation *apply = std::get<Value>(clamped).getDefiningOp();
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
  Value q = absorbReshapes(cast.getResult(), groups);

  MLIRContext *ctx = cast.getContext();
  APFloat floor(static_cast<float>(scale.floor)),
      bound(static_cast<float>(scale.upperBound));
  auto format = FormatAttr::get(ctx, getElementTypeOrSelf(cast.getType()),
                                Float32Type::get(ctx), groups.granularity,
                                groups.size, !scale.reduce, floor,
                                scale.floorOn, bound, divides, scale.rounding,
                                /*global_scale=*/false);
  return Named{"quantize", ops, {q}, cast.getLoc(), format};
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

OrRefusal<Named> findQuantize(arith::TruncFOp cast) {
  return QuantizeFinder(cast).run();
}

} // namespace epiq
