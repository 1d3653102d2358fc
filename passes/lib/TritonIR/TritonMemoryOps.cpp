//===- TritonMemoryOps.cpp - Loads, stores, block pointers, atomics -------===//

#include "epiq/TritonIR/Triton.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;

namespace epiq::tt {

//===----------------------------------------------------------------------===//
// Effects
//===----------------------------------------------------------------------===//

using Effects =
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>;

static void addReadWrite(Effects &effects) {
  effects.emplace_back(MemoryEffects::Read::get());
  effects.emplace_back(MemoryEffects::Write::get());
}

// A volatile load must not be removed, and another program's stores make
// two of them differ.
void LoadOp::getEffects(Effects &effects) {
  effects.emplace_back(MemoryEffects::Read::get());
  if (getIsVolatile())
    effects.emplace_back(MemoryEffects::Write::get());
}

void StoreOp::getEffects(Effects &effects) {
  effects.emplace_back(MemoryEffects::Write::get());
}

void AtomicRMWOp::getEffects(Effects &effects) { addReadWrite(effects); }
void AtomicCASOp::getEffects(Effects &effects) { addReadWrite(effects); }
void AtomicLoadOp::getEffects(Effects &effects) { addReadWrite(effects); }
void AtomicStoreOp::getEffects(Effects &effects) { addReadWrite(effects); }
void AtomicPollOp::getEffects(Effects &effects) { addReadWrite(effects); }

//===----------------------------------------------------------------------===//
// Loads and stores
//===----------------------------------------------------------------------===//

void LoadOp::build(OpBuilder &, OperationState &state, Value ptr, Value mask,
                   Value other) {
  state.addOperands(ptr);
  if (mask)
    state.addOperands(mask);
  if (other)
    state.addOperands(other);
  state.getOrAddProperties<Properties>().operandSegmentSizes = {1, mask ? 1 : 0,
                                                                other ? 1 : 0};
  state.addTypes(getPointeeType(ptr.getType()));
}

void StoreOp::build(OpBuilder &, OperationState &state, Value ptr, Value value,
                    Value mask) {
  state.addOperands({ptr, value});
  if (mask)
    state.addOperands(mask);
}

// What tt.load and tt.store have in common: the mask's type, and the attributes
// that only block pointers know.
template <typename OpTy> static LogicalResult verifyAccess(OpTy op) {
  Type ptr = op.getPtr().getType();
  Type maskType = getI1SameShape(getPointeeType(ptr));
  if (Value mask = op.getMask(); mask && mask.getType() != maskType)
    return op.emitOpError()
           << "mask is " << mask.getType() << ", but needs " << maskType;
  auto pointer = dyn_cast<PointerType>(ptr);
  auto block = pointer ? dyn_cast<RankedTensorType>(pointer.getPointeeType())
                       : RankedTensorType();
  ArrayRef<int32_t> check = op.getBoundaryCheck();
  if (!block && !check.empty())
    return op.emitOpError()
           << "has boundaryCheck, but " << ptr << " is no block pointer";
  if (block && op.getMask())
    return op.emitOpError()
           << "has a mask, but " << ptr << " is a block pointer";
  for (int32_t dim : check)
    if (dim < 0 || dim >= block.getRank())
      return op.emitOpError()
             << "boundaryCheck of dimension " << dim << " of " << block;
  if (isa_and_present<CachePolicyAttr>(op.getCachePolicyAttr()) &&
      (op.getCache() != CacheModifier::NONE ||
       op.getEvict() != EvictionPolicy::NORMAL))
    return op.emitOpError() << "has both cachePolicy and cache or evict";
  return success();
}

LogicalResult LoadOp::verify() {
  Type pointee = getPointeeType(getPtr().getType());
  if (getType() != pointee)
    return emitOpError() << "from " << getPtr().getType() << " gives "
                         << pointee << ", not " << getType();
  if (Value other = getOther(); other && other.getType() != pointee)
    return emitOpError() << "other is " << other.getType() << ", but needs "
                         << pointee;
  if (getOther() && !getMask())
    return emitOpError() << "has other without a mask";
  return verifyAccess(*this);
}

LogicalResult StoreOp::verify() {
  Type pointee = getPointeeType(getPtr().getType());
  if (getValue().getType() != pointee)
    return emitOpError() << "to " << getPtr().getType() << " takes " << pointee
                         << ", not " << getValue().getType();
  return verifyAccess(*this);
}

//===----------------------------------------------------------------------===//
// Block pointers
//===----------------------------------------------------------------------===//

static int64_t blockRank(PointerType pointer) {
  return cast<RankedTensorType>(pointer.getPointeeType()).getRank();
}

LogicalResult MakeTensorPtrOp::verify() {
  int64_t rank = blockRank(getType());
  int64_t sizes = getShape().size(), order = getOrder().size();
  if (sizes != rank || order != rank)
    return emitOpError() << "has " << sizes << " sizes and " << order
                         << " order entries for a block of rank " << rank;
  return success();
}

LogicalResult AdvanceOp::verify() {
  int64_t rank = blockRank(getType()), count = getOffsets().size();
  if (count != rank)
    return emitOpError() << "has " << count << " offsets for a block of rank "
                         << rank;
  return success();
}

//===----------------------------------------------------------------------===//
// Atomics
//===----------------------------------------------------------------------===//

// `value` has the pointee's type, `mask` its shape.
static LogicalResult verifyAtomic(Operation *op, Value ptr, Type value,
                                  Value mask) {
  Type pointee = getPointeeType(ptr.getType());
  if (value != pointee)
    return op->emitOpError() << "on " << ptr.getType() << " takes " << pointee
                             << ", not " << value;
  if (mask && mask.getType() != getI1SameShape(pointee))
    return op->emitOpError() << "mask is " << mask.getType() << ", but needs "
                             << getI1SameShape(pointee);
  return success();
}

LogicalResult AtomicRMWOp::verify() {
  if (failed(verifyAtomic(*this, getPtr(), getVal().getType(), getMask())))
    return failure();
  if (getType() != getVal().getType())
    return emitOpError() << "of " << getVal().getType()
                         << " gives it back, not " << getType();
  Type element = getElementTypeOrSelf(getType());
  bool isFloat = isa<FloatType>(element);
  bool wantsFloat = getAtomicRmwOp() == RMWOp::FADD;
  // Exchanges and minima of floats are written on either type.
  bool wantsInt =
      getAtomicRmwOp() != RMWOp::FADD && getAtomicRmwOp() != RMWOp::XCHG &&
      getAtomicRmwOp() != RMWOp::MAX && getAtomicRmwOp() != RMWOp::MIN;
  if ((wantsFloat && !isFloat) || (wantsInt && isFloat))
    return emitOpError() << "'" << stringifyRMWOp(getAtomicRmwOp())
                         << "' does not take " << element;
  return success();
}

LogicalResult AtomicCASOp::verify() {
  if (failed(verifyAtomic(*this, getPtr(), getVal().getType(), {})))
    return failure();
  if (getCmp().getType() != getVal().getType() ||
      getType() != getVal().getType())
    return emitOpError() << "compares " << getCmp().getType() << ", stores "
                         << getVal().getType() << " and gives " << getType()
                         << ", which should be one type";
  return success();
}

static LogicalResult verifyOrder(Operation *op, MemSemantic sem,
                                 MemSemantic strong) {
  if (sem == MemSemantic::RELAXED || sem == strong)
    return success();
  return op->emitOpError() << "is relaxed or " << stringifyMemSemantic(strong)
                           << ", not " << stringifyMemSemantic(sem);
}

LogicalResult AtomicLoadOp::verify() {
  if (failed(verifyOrder(*this, getSem(), MemSemantic::ACQUIRE)))
    return failure();
  return verifyAtomic(*this, getPtr(), getType(), getMask());
}

LogicalResult AtomicStoreOp::verify() {
  return verifyOrder(*this, getSem(), MemSemantic::RELEASE);
}

LogicalResult AtomicPollOp::verify() {
  if (failed(verifyOrder(*this, getSem(), MemSemantic::ACQUIRE)))
    return failure();
  return verifyAtomic(*this, getPtr(), getExpected().getType(), {});
}

} // namespace epiq::tt
