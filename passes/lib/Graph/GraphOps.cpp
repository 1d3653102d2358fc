//===- GraphOps.cpp - Verifiers of the ops on single values ---------------===//

#include "epiq/Graph/Graph.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallBitVector.h"

using namespace mlir;
using namespace epiq::graph;

namespace {

RankedTensorType rankedType(Value value) {
  return cast<RankedTensorType>(value.getType());
}

// Guards a result shape that the operands determine.
LogicalResult verifyShape(Operation *op, ArrayRef<int64_t> expected) {
  RankedTensorType actual = rankedType(op->getResult(0));
  if (actual.getShape() == expected)
    return success();
  return op->emitOpError() << "result should be "
                           << RankedTensorType::get(expected,
                                                    actual.getElementType())
                           << ", got " << actual;
}

// The product of the static dimensions, and whether there are others.
struct Extent {
  int64_t known = 1;
  bool dynamic = false;
};

Extent extentOf(RankedTensorType type) {
  Extent extent;
  for (int64_t size : type.getShape()) {
    if (ShapedType::isDynamic(size))
      extent.dynamic = true;
    else
      extent.known *= size;
  }
  return extent;
}

// Whether `whole` elements can fill a shape of extent `part`.
bool canFill(const Extent &part, int64_t whole) {
  if (!part.dynamic)
    return part.known == whole;
  return part.known == 0 ? whole == 0 : whole % part.known == 0;
}

// An enum without the brackets or spaces that its attribute has elsewhere.
template <typename EnumAttr, typename Enum>
ParseResult parseEnumKeyword(OpAsmParser &parser, StringRef what,
                             EnumAttr &attr,
                             std::optional<Enum> (*symbolize)(StringRef)) {
  StringRef keyword;
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseKeyword(&keyword))
    return failure();
  std::optional<Enum> parsed = symbolize(keyword);
  if (!parsed)
    return parser.emitError(loc)
           << "unknown " << what << " `" << keyword << "`";
  attr = EnumAttr::get(parser.getContext(), *parsed);
  return success();
}

ParseResult parseLayoutKeyword(OpAsmParser &parser, LayoutAttr &layout) {
  return parseEnumKeyword<LayoutAttr, Layout>(parser, "layout", layout,
                                              symbolizeLayout);
}

void printLayoutKeyword(OpAsmPrinter &printer, Operation *, LayoutAttr layout) {
  printer << stringifyLayout(layout.getValue());
}

ParseResult parseReduceKindKeyword(OpAsmParser &parser, ReduceKindAttr &kind) {
  return parseEnumKeyword<ReduceKindAttr, ReduceKind>(parser, "reduction", kind,
                                                      symbolizeReduceKind);
}

void printReduceKindKeyword(OpAsmPrinter &printer, Operation *,
                            ReduceKindAttr kind) {
  printer << stringifyReduceKind(kind.getValue());
}

ParseResult parseScaleRoundingKeyword(OpAsmParser &parser,
                                      ScaleRoundingAttr &rounding) {
  return parseEnumKeyword<ScaleRoundingAttr, ScaleRounding>(
      parser, "rounding", rounding, symbolizeScaleRounding);
}

void printScaleRoundingKeyword(OpAsmPrinter &printer, Operation *,
                               ScaleRoundingAttr rounding) {
  printer << stringifyScaleRounding(rounding.getValue());
}

} // namespace

#define GET_OP_CLASSES
#include "epiq/Graph/GraphOps.cpp.inc"

LogicalResult BroadcastOp::verify() {
  RankedTensorType source = rankedType(getInput());
  RankedTensorType result = rankedType(getResult());
  if (source.getRank() > result.getRank())
    return emitOpError() << "cannot broadcast " << source
                         << " to the smaller rank of " << result;
  int64_t missing = result.getRank() - source.getRank();
  for (auto [i, size] : llvm::enumerate(source.getShape())) {
    if (size != 1 && size != result.getDimSize(missing + i))
      return emitOpError() << "dimension " << i << " of " << source
                           << " is neither 1 nor that of " << result;
  }
  return success();
}

LogicalResult ReshapeOp::verify() {
  Extent source = extentOf(rankedType(getInput()));
  Extent result = extentOf(rankedType(getResult()));
  bool fits = source.dynamic || canFill(result, source.known);
  fits &= result.dynamic || canFill(source, result.known);
  if (!fits)
    return emitOpError() << getInput().getType() << " and "
                         << getResult().getType()
                         << " differ in their number of elements";
  return success();
}

LogicalResult SliceOp::verify() {
  RankedTensorType source = rankedType(getInput());
  auto dim = static_cast<int64_t>(getDim());
  auto begin = static_cast<int64_t>(getBegin());
  auto end = static_cast<int64_t>(getEnd());
  if (dim < 0 || dim >= source.getRank())
    return emitOpError() << "dim " << dim << " is not a dimension of "
                         << source;
  if (begin < 0 || end < begin)
    return emitOpError() << "range from " << begin << " to " << end
                         << " is not ascending";
  if (!source.isDynamicDim(dim) && end > source.getDimSize(dim))
    return emitOpError() << "range to " << end << " leaves dimension " << dim
                         << " of " << source;
  SmallVector<int64_t> expected(source.getShape());
  expected[dim] = end - begin;
  return verifyShape(*this, expected);
}

LogicalResult ConcatOp::verify() {
  if (getInputs().empty())
    return emitOpError() << "concatenates nothing";
  RankedTensorType first = rankedType(getInputs().front());
  auto dim = static_cast<int64_t>(getDim());
  if (dim < 0 || dim >= first.getRank())
    return emitOpError() << "dim " << dim << " is not a dimension of " << first;
  SmallVector<int64_t> expected(first.getShape());
  expected[dim] = 0;
  for (Value input : getInputs()) {
    RankedTensorType type = rankedType(input);
    bool fits = type.getElementType() == first.getElementType() &&
                type.getRank() == first.getRank() && !type.isDynamicDim(dim);
    for (int64_t other = 0; fits && other < type.getRank(); ++other)
      fits = other == dim || type.getDimSize(other) == first.getDimSize(other);
    if (!fits)
      return emitOpError() << type << " does not fit beside " << first;
    expected[dim] += type.getDimSize(dim);
  }
  if (rankedType(getResult()).getElementType() != first.getElementType())
    return emitOpError() << "result of " << first << " is "
                         << getResult().getType();
  return verifyShape(*this, expected);
}

namespace {

// The rows that `index` names: its shape, then that of one row of `table`.
SmallVector<int64_t> indexedShape(RankedTensorType table,
                                  RankedTensorType index) {
  SmallVector<int64_t> shape(index.getShape());
  llvm::append_range(shape, table.getShape().drop_front());
  return shape;
}

} // namespace

LogicalResult GatherRowsOp::verify() {
  RankedTensorType table = rankedType(getTable());
  if (table.getRank() == 0)
    return emitOpError() << "table " << table << " has no rows";
  if (rankedType(getResult()).getElementType() != table.getElementType())
    return emitOpError() << "result of " << table << " is "
                         << getResult().getType();
  return verifyShape(*this, indexedShape(table, rankedType(getIndex())));
}

LogicalResult ScatterRowsOp::verify() {
  RankedTensorType buffer = rankedType(getBuffer());
  RankedTensorType rows = rankedType(getRows());
  if (buffer.getRank() == 0)
    return emitOpError() << "buffer " << buffer << " has no rows";
  auto expected = RankedTensorType::get(
      indexedShape(buffer, rankedType(getIndex())), buffer.getElementType());
  if (rows != expected)
    return emitOpError() << "rows should be " << expected << ", got " << rows;
  return success();
}

LogicalResult TransposeOp::verify() {
  RankedTensorType source = rankedType(getInput());
  ArrayRef<int64_t> perm = getPerm();
  llvm::SmallBitVector seen(source.getRank());
  SmallVector<int64_t> expected;
  for (int64_t dim : perm) {
    if (dim < 0 || dim >= source.getRank() || seen.test(dim))
      return emitOpError() << "perm names dimension " << dim
                           << " twice or beyond " << source;
    seen.set(dim);
    expected.push_back(source.getDimSize(dim));
  }
  if (!seen.all())
    return emitOpError() << "perm has " << perm.size() << " entries for rank "
                         << source.getRank();
  return verifyShape(*this, expected);
}

LogicalResult RelayoutOp::verify() {
  RankedTensorType source = rankedType(getInput());
  FailureOr<RankedTensorType> memory = memoryType(getLayout(), source);
  if (failed(memory))
    return emitOpError() << stringifyLayout(getLayout()) << " is a layout of "
                         << layoutSubject(getLayout()) << ", got " << source;
  if (getResult().getType() != *memory)
    return emitOpError() << "result should be " << *memory << ", got "
                         << getResult().getType();
  return success();
}

LogicalResult ToUe8m0Op::verify() {
  if (getRounding() == ScaleRounding::none)
    return emitOpError() << "rounding of a power of two is rceil or floor";
  if (static_cast<int64_t>(getLess()) < 0)
    return emitOpError() << "less " << static_cast<int64_t>(getLess())
                         << " is negative";
  return success();
}

LogicalResult ReduceOp::verify() {
  RankedTensorType source = rankedType(getInput());
  llvm::SmallBitVector reduced(source.getRank());
  for (int64_t dim : getDims()) {
    if (dim < 0 || dim >= source.getRank() || reduced.test(dim))
      return emitOpError() << "dims name dimension " << dim
                           << " twice or beyond " << source;
    reduced.set(dim);
  }
  SmallVector<int64_t> expected;
  for (auto [i, size] : llvm::enumerate(source.getShape())) {
    if (!reduced.test(i))
      expected.push_back(size);
    else if (getKeep())
      expected.push_back(1);
  }
  return verifyShape(*this, expected);
}
