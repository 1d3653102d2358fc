//===- TritonComputeOps.cpp - Verifiers of casts, dots and reductions -----===//

#include "epiq/TritonIR/Triton.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;

namespace epiq::tt {

//===----------------------------------------------------------------------===//
// Casts
//===----------------------------------------------------------------------===//

// Bits of a scalar; pointers have 64, what is no scalar has none.
static unsigned bitWidth(Type type) {
  if (isa<PointerType>(type))
    return 64;
  return type.isIntOrFloat() ? type.getIntOrFloatBitWidth() : 0;
}

LogicalResult BitcastOp::verify() {
  Type src = getElementTypeOrSelf(getSrc().getType());
  Type dst = getElementTypeOrSelf(getType());
  if (bitWidth(src) != bitWidth(dst) || bitWidth(src) == 0)
    return emitOpError() << "keeps the bits: " << src << " does not give "
                         << dst;
  if (isa<PointerType>(src) != isa<PointerType>(dst))
    return emitOpError() << "casts pointers to pointers only: " << src
                         << " does not give " << dst;
  return success();
}

LogicalResult FpToFpOp::verify() {
  Type src = getElementTypeOrSelf(getSrc().getType());
  Type dst = getElementTypeOrSelf(getType());
  if (bitWidth(src) > bitWidth(dst) && !getRounding())
    return emitOpError() << "from " << src << " to " << dst
                         << " loses bits and needs a rounding";
  return success();
}

//===----------------------------------------------------------------------===//
// Dots
//===----------------------------------------------------------------------===//

namespace {

// The sizes of a (batched) matrix product, packing undone.
struct DotSizes {
  int64_t batch = 1, rows = 0, depth = 0, columns = 0;
};

} // namespace

// Fails, saying so, unless the ranks are 2, or 3 with one batch size.
static LogicalResult verifyDotRanks(Operation *op, RankedTensorType a,
                                    RankedTensorType b, RankedTensorType c) {
  int64_t rank = a.getRank();
  if ((rank != 2 && rank != 3) || b.getRank() != rank || c.getRank() != rank)
    return op->emitOpError()
           << "takes three matrices or three batches of them, not " << a << ", "
           << b << " and " << c;
  if (rank == 3 && (a.getDimSize(0) != b.getDimSize(0) ||
                    a.getDimSize(0) != c.getDimSize(0)))
    return op->emitOpError()
           << "batch sizes differ: " << a.getDimSize(0) << ", "
           << b.getDimSize(0) << " and " << c.getDimSize(0);
  return success();
}

static LogicalResult verifyDotShapes(Operation *op, ArrayRef<int64_t> lhs,
                                     ArrayRef<int64_t> rhs,
                                     RankedTensorType c) {
  ArrayRef<int64_t> out = c.getShape().take_back(2);
  if (lhs[1] != rhs[0])
    return op->emitOpError() << "depths differ: lhs has K = " << lhs[1]
                             << ", rhs has K = " << rhs[0];
  if (out[0] != lhs[0] || out[1] != rhs[1])
    return op->emitOpError() << "gives " << lhs[0] << "x" << rhs[1]
                             << ", but the accumulator is " << c;
  return success();
}

LogicalResult DotOp::verify() {
  auto a = getA().getType(), b = getB().getType(), c = getC().getType();
  if (failed(verifyDotRanks(*this, a, b, c)))
    return failure();
  if (bitWidth(a.getElementType()) != bitWidth(b.getElementType()))
    return emitOpError() << "operands differ in width: " << a.getElementType()
                         << " and " << b.getElementType();
  return verifyDotShapes(*this, a.getShape().take_back(2),
                         b.getShape().take_back(2), c);
}

LogicalResult DotScaledOp::verify() {
  auto a = getA().getType(), b = getB().getType(), c = getC().getType();
  if (failed(verifyDotRanks(*this, a, b, c)))
    return failure();
  SmallVector<int64_t> lhs(a.getShape().take_back(2));
  SmallVector<int64_t> rhs(b.getShape().take_back(2));
  if (getAElemType() == ScaleDotElemType::E2M1)
    lhs[getLhsKPack() ? 1 : 0] *= 2;
  if (getBElemType() == ScaleDotElemType::E2M1)
    rhs[getRhsKPack() ? 0 : 1] *= 2;
  if (failed(verifyDotShapes(*this, lhs, rhs, c)))
    return failure();

  // A scale holds a row for each row of lhs, or for each column of rhs.
  auto verifyScale = [&](Value scale, StringRef side,
                         int64_t rows) -> LogicalResult {
    if (!scale)
      return success();
    auto type = cast<RankedTensorType>(scale.getType());
    if (type.getRank() != a.getRank() ||
        type.getDimSize(type.getRank() - 2) != rows)
      return emitOpError() << "scale of " << side << " is " << type
                           << ", but needs " << rows << " rows";
    return success();
  };
  if (failed(verifyScale(getAScale(), "lhs", lhs[0])))
    return failure();
  return verifyScale(getBScale(), "rhs", rhs[1]);
}

//===----------------------------------------------------------------------===//
// Reductions and scans
//===----------------------------------------------------------------------===//

// Operands of one shape, `axis` among their dimensions, a result for each.
static LogicalResult verifyCombineOperands(Operation *op, int64_t axis) {
  if (op->getNumOperands() == 0)
    return op->emitOpError() << "has no operand";
  if (op->getNumResults() != op->getNumOperands())
    return op->emitOpError()
           << "has " << op->getNumOperands() << " operands, but "
           << op->getNumResults() << " results";
  auto first = cast<RankedTensorType>(op->getOperand(0).getType());
  for (Type type : op->getOperandTypes())
    if (cast<RankedTensorType>(type).getShape() != first.getShape())
      return op->emitOpError()
             << "operands differ in shape: " << first << " and " << type;
  if (axis < 0 || axis >= first.getRank())
    return op->emitOpError()
           << "axis " << axis << " is not in [0, " << first.getRank() << ")";
  return success();
}

// The block takes two scalars for each operand, the first of all pairs first,
// and its terminator gives one for each.
static LogicalResult verifyCombineRegion(Operation *op, Region &region) {
  Block &block = region.front();
  unsigned count = op->getNumOperands();
  if (block.getNumArguments() != 2 * count)
    return op->emitOpError() << "region takes " << block.getNumArguments()
                             << " values, but needs " << 2 * count;
  for (auto [i, argument] : llvm::enumerate(block.getArguments())) {
    Type wanted = getElementTypeOrSelf(op->getOperand(i % count).getType());
    if (argument.getType() != wanted)
      return op->emitOpError()
             << "region argument " << i << " is " << argument.getType()
             << ", but needs " << wanted;
  }
  if (block.empty() || !isa<ReduceReturnOp, ScanReturnOp>(block.back()))
    return op->emitOpError() << "region ends without a return";
  Operation *ret = &block.back();
  if (ret->getNumOperands() != count)
    return op->emitOpError() << "region gives " << ret->getNumOperands()
                             << " values, but needs " << count;
  for (unsigned i = 0; i < count; ++i) {
    Type wanted = getElementTypeOrSelf(op->getOperand(i).getType());
    if (ret->getOperand(i).getType() != wanted)
      return op->emitOpError()
             << "region gives " << ret->getOperand(i).getType() << " as value "
             << i << ", but needs " << wanted;
  }
  return success();
}

LogicalResult ReduceOp::verify() {
  int64_t axis = getAxisAttr().getInt();
  if (failed(verifyCombineOperands(*this, axis)))
    return failure();
  for (auto [operand, result] : llvm::zip(getSrcs(), getResults())) {
    auto src = cast<RankedTensorType>(operand.getType());
    SmallVector<int64_t> shape(src.getShape());
    shape.erase(shape.begin() + axis);
    auto dst = dyn_cast<RankedTensorType>(result.getType());
    bool sameShape = dst ? dst.getShape() == ArrayRef(shape) : shape.empty();
    if (!sameShape ||
        getElementTypeOrSelf(result.getType()) != src.getElementType())
      return emitOpError() << "of " << src << " along axis " << axis
                           << " does not give " << result.getType();
  }
  return success();
}

LogicalResult ReduceOp::verifyRegions() {
  return verifyCombineRegion(*this, getCombineOp());
}

LogicalResult ScanOp::verify() {
  if (failed(verifyCombineOperands(*this, getAxisAttr().getInt())))
    return failure();
  for (auto [operand, result] : llvm::zip(getSrcs(), getResults()))
    if (operand.getType() != result.getType())
      return emitOpError() << "of " << operand.getType() << " does not give "
                           << result.getType();
  return success();
}

LogicalResult ScanOp::verifyRegions() {
  return verifyCombineRegion(*this, getCombineOp());
}

//===----------------------------------------------------------------------===//
// Maps and histograms
//===----------------------------------------------------------------------===//

LogicalResult MapElementwiseOp::verify() {
  int64_t pack = getPackAttr().getInt();
  if (pack < 1)
    return emitOpError() << "pack " << pack << " is not positive";
  if (getSrcs().empty())
    return emitOpError() << "has no operand";
  auto first = cast<RankedTensorType>(getSrcs().front().getType());
  for (TypeRange types :
       {TypeRange(getOperandTypes()), TypeRange(getResultTypes())})
    for (Type type : types)
      if (cast<RankedTensorType>(type).getShape() != first.getShape())
        return emitOpError() << "is elementwise, but " << first << " and "
                             << type << " differ in shape";
  if (first.getNumElements() % pack != 0)
    return emitOpError() << "pack " << pack << " does not divide "
                         << first.getNumElements() << " elements";
  return success();
}

LogicalResult MapElementwiseOp::verifyRegions() {
  int64_t pack = getPackAttr().getInt();
  Block &entry = getScalarOp().front();
  if (entry.getNumArguments() != getNumOperands() * pack)
    return emitOpError() << "region takes " << entry.getNumArguments()
                         << " values, but needs " << getNumOperands() * pack;
  for (auto [i, argument] : llvm::enumerate(entry.getArguments())) {
    Type wanted = getElementTypeOrSelf(getOperand(i / pack).getType());
    if (argument.getType() != wanted)
      return emitOpError() << "region argument " << i << " is "
                           << argument.getType() << ", but needs " << wanted;
  }
  for (Block &block : getScalarOp()) {
    auto ret = block.empty() ? MapElementwiseReturnOp()
                             : dyn_cast<MapElementwiseReturnOp>(block.back());
    if (!ret)
      continue;
    if (ret.getNumOperands() != getNumResults() * pack)
      return emitOpError() << "region gives " << ret.getNumOperands()
                           << " values, but needs " << getNumResults() * pack;
    for (auto [i, type] : llvm::enumerate(ret.getOperandTypes())) {
      Type wanted = getElementTypeOrSelf(getResults()[i / pack].getType());
      if (type != wanted)
        return emitOpError() << "region gives " << type << " as value " << i
                             << ", but needs " << wanted;
    }
  }
  return success();
}

LogicalResult HistogramOp::verify() {
  if (getSrc().getType().getRank() != 1 || getType().getRank() != 1)
    return emitOpError() << "counts a 1-D tensor into a 1-D tensor, not "
                         << getSrc().getType() << " into " << getType();
  return success();
}

} // namespace epiq::tt
