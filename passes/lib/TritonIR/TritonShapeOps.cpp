//===- TritonShapeOps.cpp - Verifiers of ops that move elements -----------===//

#include "epiq/TritonIR/Triton.h"

using namespace mlir;

namespace epiq::tt {

LogicalResult MakeRangeOp::verify() {
  auto type = getResult().getType();
  int64_t start = getStartAttr().getInt(), end = getEndAttr().getInt();
  if (type.getRank() != 1 || !type.getElementType().isInteger(32))
    return emitOpError() << "gives a 1-D tensor of i32, not " << type;
  if (end - start != type.getDimSize(0))
    return emitOpError() << "from " << start << " to " << end << " has "
                         << end - start << " values, but the result is "
                         << type;
  return success();
}

OpFoldResult SplatOp::fold(FoldAdaptor adaptor) {
  auto value = adaptor.getSrc();
  if (!value || !isa<FloatAttr, IntegerAttr>(value))
    return {};
  return SplatElementsAttr::get(cast<ShapedType>(getType()), value);
}

LogicalResult UnsplatOp::verify() {
  int64_t count = getSrc().getType().getNumElements();
  if (count != 1)
    return emitOpError() << "takes a tensor of 1 element, not of " << count;
  return success();
}

LogicalResult ExpandDimsOp::verify() {
  auto src = getSrc().getType(), dst = getType();
  int64_t axis = getAxisAttr().getInt();
  if (axis < 0 || axis > src.getRank())
    return emitOpError() << "axis " << axis << " is not in [0, "
                         << src.getRank() << "]";
  SmallVector<int64_t> shape(src.getShape());
  shape.insert(shape.begin() + axis, 1);
  if (dst.getShape() != ArrayRef(shape))
    return emitOpError() << "of " << src << " at axis " << axis
                         << " does not give " << dst;
  return success();
}

LogicalResult BroadcastOp::verify() {
  auto src = getSrc().getType(), dst = getType();
  if (src.getRank() != dst.getRank())
    return emitOpError() << "keeps the rank: " << src << " does not give "
                         << dst;
  for (auto [i, sizes] :
       llvm::enumerate(llvm::zip(src.getShape(), dst.getShape()))) {
    auto [from, to] = sizes;
    if (from != to && from != 1)
      return emitOpError() << "changes dimension " << i << " of size " << from
                           << ", which is not 1, to " << to;
  }
  return success();
}

LogicalResult ReshapeOp::verify() {
  auto src = getSrc().getType(), dst = getType();
  if (src.getNumElements() != dst.getNumElements())
    return emitOpError() << "of " << src.getNumElements() << " elements gives "
                         << dst.getNumElements();
  return success();
}

LogicalResult TransOp::verify() {
  auto src = getSrc().getType(), dst = getType();
  ArrayRef<int32_t> order = getOrder();
  if (static_cast<int64_t>(order.size()) != src.getRank())
    return emitOpError() << "order has " << order.size()
                         << " entries, but the source has rank "
                         << src.getRank();
  SmallVector<bool> seen(order.size(), false);
  SmallVector<int64_t> shape;
  for (int32_t dim : order) {
    if (dim < 0 || dim >= src.getRank() || seen[dim])
      return emitOpError() << "order is no permutation of " << order.size()
                           << " dimensions: entry " << dim;
    seen[dim] = true;
    shape.push_back(src.getDimSize(dim));
  }
  if (dst.getShape() != ArrayRef(shape))
    return emitOpError() << "of " << src << " does not give " << dst;
  return success();
}

LogicalResult CatOp::verify() {
  auto src = getLhs().getType(), dst = getType();
  if (src.getRank() != dst.getRank() ||
      2 * src.getNumElements() != dst.getNumElements())
    return emitOpError() << "of two " << src << " does not give " << dst;
  return success();
}

LogicalResult JoinOp::verify() {
  auto src = getLhs().getType(), dst = getType();
  SmallVector<int64_t> shape(src.getShape());
  shape.push_back(2);
  if (dst.getShape() != ArrayRef(shape))
    return emitOpError() << "of two " << src << " does not give " << dst;
  return success();
}

LogicalResult SplitOp::verify() {
  auto src = getSrc().getType();
  auto dst = getOutLHS().getType();
  if (src.getRank() == 0 || src.getShape().back() != 2)
    return emitOpError() << "takes a last dimension of size 2, not " << src;
  if (src.getShape().drop_back() != dst.getShape() ||
      src.getElementType() != dst.getElementType())
    return emitOpError() << "of " << src << " does not give " << dst;
  return success();
}

LogicalResult GatherOp::verify() {
  auto src = getSrc().getType(), indices = getIndices().getType(),
       dst = getType();
  int64_t axis = getAxisAttr().getInt();
  if (src.getRank() != indices.getRank())
    return emitOpError() << "indices " << indices << " and source " << src
                         << " differ in rank";
  if (axis < 0 || axis >= src.getRank())
    return emitOpError() << "axis " << axis << " is not in [0, "
                         << src.getRank() << ")";
  if (dst.getShape() != indices.getShape() ||
      dst.getElementType() != src.getElementType())
    return emitOpError() << "of " << src << " at " << indices
                         << " does not give " << dst;
  for (int64_t dim = 0; dim < src.getRank(); ++dim)
    if (dim != axis && indices.getDimSize(dim) > src.getDimSize(dim))
      return emitOpError() << "indices have size " << indices.getDimSize(dim)
                           << " in dimension " << dim << ", the source "
                           << src.getDimSize(dim);
  return success();
}

} // namespace epiq::tt
