//===- TritonDescriptorOps.cpp - Verifiers of descriptor ops --------------===//

#include "epiq/TritonIR/Triton.h"

using namespace mlir;

namespace epiq::tt {

using Effects =
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>;

void DescriptorLoadOp::getEffects(Effects &effects) {
  effects.emplace_back(MemoryEffects::Read::get());
}
void DescriptorGatherOp::getEffects(Effects &effects) {
  effects.emplace_back(MemoryEffects::Read::get());
}
void DescriptorStoreOp::getEffects(Effects &effects) {
  effects.emplace_back(MemoryEffects::Write::get());
}
void DescriptorScatterOp::getEffects(Effects &effects) {
  effects.emplace_back(MemoryEffects::Write::get());
}
void DescriptorReduceOp::getEffects(Effects &effects) {
  effects.emplace_back(MemoryEffects::Read::get());
  effects.emplace_back(MemoryEffects::Write::get());
}

// Blocks keep the sign of integers (`si32`), tensors do not.
static Type signless(Type type) {
  auto integer = dyn_cast<IntegerType>(type);
  return integer ? IntegerType::get(type.getContext(), integer.getWidth())
                 : type;
}

static ArrayRef<int64_t> dropLeadingOnes(ArrayRef<int64_t> shape) {
  return shape.drop_while([](int64_t size) { return size == 1; });
}

// A block and the tensor read or written; leading dimensions of size 1 may be
// dropped. There is an index for each dimension of the block.
static LogicalResult verifyBlock(Operation *op, TensorDescType desc,
                                 RankedTensorType tensor, size_t numIndices) {
  RankedTensorType block = desc.getBlockType();
  if (signless(block.getElementType()) != tensor.getElementType() ||
      dropLeadingOnes(block.getShape()) != dropLeadingOnes(tensor.getShape()))
    return op->emitOpError()
           << "moves blocks of " << block << ", not " << tensor;
  if (static_cast<int64_t>(numIndices) != block.getRank())
    return op->emitOpError()
           << "has " << numIndices << " indices for a block of rank "
           << block.getRank();
  return success();
}

LogicalResult MakeTensorDescOp::verify() {
  RankedTensorType block = getType().getBlockType();
  if (static_cast<int64_t>(getShape().size()) != block.getRank())
    return emitOpError() << "has " << getShape().size()
                         << " sizes for a block of rank " << block.getRank();
  Type element = getBase().getType().getPointeeType();
  if (signless(element) != signless(block.getElementType()))
    return emitOpError() << "base points to " << element
                         << ", but the block holds " << block.getElementType();
  return success();
}

LogicalResult DescriptorLoadOp::verify() {
  if (isa_and_present<CachePolicyAttr>(getCachePolicyAttr()) &&
      (getCache() != CacheModifier::NONE ||
       getEvict() != EvictionPolicy::NORMAL))
    return emitOpError() << "has both cachePolicy and cache or evict";
  return verifyBlock(*this, getDesc().getType(), getType(),
                     getIndices().size());
}

LogicalResult DescriptorStoreOp::verify() {
  return verifyBlock(*this, getDesc().getType(), getSrc().getType(),
                     getIndices().size());
}

LogicalResult DescriptorReduceOp::verify() {
  return verifyBlock(*this, getDesc().getType(), getSrc().getType(),
                     getIndices().size());
}

// Rows of a 2-D tensor: the block has one row, the tensor one for each offset.
static LogicalResult verifyRows(Operation *op, TensorDescType desc,
                                RankedTensorType offsets,
                                RankedTensorType tensor) {
  RankedTensorType block = desc.getBlockType();
  if (block.getRank() != 2 || block.getDimSize(0) != 1)
    return op->emitOpError() << "needs a block of one row, not " << block;
  if (offsets.getRank() != 1)
    return op->emitOpError() << "needs 1-D row offsets, not " << offsets;
  int64_t expected[] = {offsets.getDimSize(0), block.getDimSize(1)};
  if (tensor.getShape() != ArrayRef(expected) ||
      tensor.getElementType() != signless(block.getElementType()))
    return op->emitOpError() << "moves " << expected[0] << " rows of " << block
                             << ", not " << tensor;
  return success();
}

LogicalResult DescriptorGatherOp::verify() {
  return verifyRows(*this, getDesc().getType(), getXOffsets().getType(),
                    getType());
}

LogicalResult DescriptorScatterOp::verify() {
  return verifyRows(*this, getDesc().getType(), getXOffsets().getType(),
                    getSrc().getType());
}

} // namespace epiq::tt
