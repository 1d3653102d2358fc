//===- PullQuantRewrite.cpp - Loads in place of a quantization ------------===//
// Passes.td states the rule Q9 with epiq-pull-quant. The scale of the element
// that is `o` elements from the operand's first one lies `o / group` elements
// from the first scale: no argument of the kernel has to say where scales are.
//===----------------------------------------------------------------------===//

#include "PullQuantDetail.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace epiq::detail {

namespace {

// The type of integers wide enough for the symbols of the forms.
IntegerType widestOf(MLIRContext *context, ArrayRef<const IndexForm *> forms) {
  unsigned width = 32;
  auto widen = [&](Value value) {
    Type element = getElementTypeOrSelf(value.getType());
    width = std::max(width, element.getIntOrFloatBitWidth());
  };
  for (const IndexForm *form : forms) {
    for (const IndexTerm &term : form->getTerms()) {
      llvm::for_each(term.scalars, widen);
      if (term.tensor)
        widen(term.tensor);
    }
  }
  return IntegerType::get(context, width > 32 ? 64 : 32);
}

// Loads one scale of a slice.
class ScaleLoader {
public:
  ScaleLoader(const QuantSlice &slice, Value scale, const ScalePlace &place,
              Value pointer)
      : slice(slice), tile(slice.load), scale(scale), place(place),
        pointer(pointer), builder(tile.op->getLoc(), tile.op) {
    if (auto type = dyn_cast<RankedTensorType>(scale.getType()))
      shape.assign(type.getShape().begin(), type.getShape().end());
  }

  Value load(bool isSaid);

private:
  Value number(int64_t value, IntegerType type) {
    return arith::ConstantOp::create(builder, IntegerAttr::get(type, value));
  }
  RankedTensorType tensorOf(Type element) {
    return RankedTensorType::get(shape, element);
  }
  Value repeat(Value scalar) {
    return shape.empty() ? scalar
                         : tt::SplatOp::create(
                               builder, tensorOf(scalar.getType()), scalar)
                               .getResult();
  }
  Value spread(Value vector, unsigned dim);
  IndexForm inGroups(const IndexForm &form);
  IndexForm termInGroups(const IndexTerm &term);
  Value pointers();
  Value along(const TileBound &bound);
  Value mask();

  const QuantSlice &slice;
  const TileLoad &tile;
  Value scale;
  const ScalePlace &place;
  Value pointer;
  ImplicitLocOpBuilder builder;
  SmallVector<int64_t> shape;
};

// A vector along one dimension of the scales, repeated for the others.
Value ScaleLoader::spread(Value vector, unsigned dim) {
  Type element = getElementTypeOrSelf(vector.getType());
  SmallVector<int64_t> sizes{shape[dim]};
  Value value = vector;
  for (unsigned i = 0; i < shape.size(); ++i) {
    if (i == dim)
      continue;
    sizes.insert(sizes.begin() + i, 1);
    value = tt::ExpandDimsOp::create(
        builder, RankedTensorType::get(sizes, element), value,
        builder.getI32IntegerAttr(static_cast<int32_t>(i)));
  }
  Type type = tensorOf(element);
  return value.getType() == type
             ? value
             : tt::BroadcastOp::create(builder, type, value).getResult();
}

// A term divided by the group; the division is one of scalars if it can be.
IndexForm ScaleLoader::termInGroups(const IndexTerm &term) {
  IndexForm result;
  if (term.coeff % place.group == 0) {
    IndexTerm divided = term;
    divided.coeff /= place.group;
    result.add(std::move(divided));
    return result;
  }
  IndexTerm factor{term.coeff, term.scalars, -1, {}};
  IndexForm factors;
  factors.add(std::move(factor));
  if (!term.scalars.empty()) {
    IntegerType type = widestOf(builder.getContext(), {&factors});
    Value product = materializeScalar(builder, builder.getLoc(), factors, type);
    Value divided =
        arith::DivSIOp::create(builder, product, number(place.group, type));
    IndexTerm moved{1, {divided}, term.dim, term.tensor};
    result.add(std::move(moved));
    return result;
  }
  // A tensor that already counts elements.
  IndexForm whole;
  whole.add(term);
  IntegerType type = widestOf(builder.getContext(), {&whole});
  int64_t size = tile.type.getDimSize(term.dim);
  Value vector =
      materializeVector(builder, builder.getLoc(), whole, term.dim, size, type);
  Value group =
      tt::SplatOp::create(builder, vector.getType(), number(place.group, type));
  return IndexForm::along(term.dim,
                          arith::DivSIOp::create(builder, vector, group));
}

IndexForm ScaleLoader::inGroups(const IndexForm &form) {
  IndexForm result, rest;
  for (const IndexTerm &term : form.getTerms()) {
    if (term.isUniform() && term.coeff % place.group != 0)
      rest.add(term);
    else
      result = result + termInGroups(term);
  }
  if (rest.getTerms().empty())
    return result;
  // What is the same for the whole tile is divided as a whole.
  IntegerType type = builder.getI64Type();
  Value sum = materializeScalar(builder, builder.getLoc(), rest, type);
  return result + IndexForm::ofScalar(arith::DivSIOp::create(
                      builder, sum, number(place.group, type)));
}

Value ScaleLoader::pointers() {
  IndexForm start = inGroups(tile.offset.getUniform());
  Value base = pointer;
  if (start.getConstant() != 0) {
    Value first = materializeScalar(builder, builder.getLoc(), start,
                                    builder.getI64Type());
    base = tt::AddPtrOp::create(builder, pointer, first);
  }
  Value result = repeat(base);
  for (auto [i, dim] : llvm::enumerate(place.dims)) {
    IndexForm form;
    int varying = 0;
    if (dim.rowDim >= 0) {
      varying = dim.rowDim;
      form = inGroups(tile.offset.filter(
          [&](const IndexTerm &term) { return term.dim == dim.rowDim; }));
    } else if (dim.groupStride != 0) {
      form = *IndexForm::along(0).times(IndexForm(dim.groupStride));
    }
    if (form.getTerms().empty())
      continue;
    IntegerType type = widestOf(builder.getContext(), {&form});
    Value vector = materializeVector(builder, builder.getLoc(), form, varying,
                                     shape[i], type);
    result = tt::AddPtrOp::create(builder, result,
                                  spread(vector, static_cast<unsigned>(i)));
  }
  return result;
}

// A condition as a vector of truth values, or a scalar if it does not vary, as
// where all rows share it.
Value ScaleLoader::along(const TileBound &bound) {
  bool varies = bound.dim >= 0 && !slice.isOneRow;
  int64_t size = varies ? tile.type.getDimSize(bound.dim) : 1;
  if (bound.opaque) {
    auto type = dyn_cast<RankedTensorType>(bound.opaque.getType());
    if (!type || type.getRank() == 1)
      return bound.opaque;
    return tt::ReshapeOp::create(
        builder, RankedTensorType::get({size}, builder.getI1Type()),
        bound.opaque, /*allow_reorder=*/nullptr, /*efficient_layout=*/nullptr);
  }
  IntegerType type = widestOf(builder.getContext(), {&bound.lhs, &bound.rhs});
  auto side = [&](const IndexForm &form) {
    return varies ? materializeVector(builder, builder.getLoc(), form,
                                      bound.dim, size, type)
                  : materializeScalar(builder, builder.getLoc(),
                                      form.getUniform(), type);
  };
  Value lhs = side(bound.lhs), rhs = side(bound.rhs);
  return arith::CmpIOp::create(builder, bound.predicate, lhs, rhs);
}

// The mask of the tile, as far as it is one of rows; null for none.
Value ScaleLoader::mask() {
  Value result;
  for (const TileBound &bound : tile.bounds) {
    Value condition = along(bound);
    if (!isa<RankedTensorType>(condition.getType())) {
      condition = repeat(condition);
    } else {
      const auto *at =
          llvm::find_if(place.dims, [&](const ScalePlace::Dim &dim) {
            return dim.rowDim == bound.dim;
          });
      condition =
          spread(condition, static_cast<unsigned>(at - place.dims.begin()));
    }
    result = result
                 ? arith::AndIOp::create(builder, result, condition).getResult()
                 : condition;
  }
  return result;
}

Value ScaleLoader::load(bool isSaid) {
  Value places = pointers();
  Value condition = mask();
  Value other;
  if (condition && isSaid)
    other = repeat(materializeMaskedLane(builder, slice, scale));
  return tt::LoadOp::create(builder, places, condition, other);
}

// The tile that is loaded, in the shape of the slice's 8-bit values.
Value inShapeOf(Value quantized, Value tile, const PulledProgram &program,
                ImplicitLocOpBuilder &builder) {
  auto wanted = cast<RankedTensorType>(quantized.getType());
  auto shaped = [&](Value value, ArrayRef<int64_t> sizes) -> Value {
    auto type = cast<RankedTensorType>(value.getType());
    if (type.getShape() == sizes)
      return value;
    return tt::ReshapeOp::create(
        builder, RankedTensorType::get(sizes, type.getElementType()), value,
        /*allow_reorder=*/nullptr, /*efficient_layout=*/nullptr);
  };
  Value value = tile;
  if (value.getType() == wanted && llvm::is_sorted(program.order))
    return value;
  value = shaped(value, program.factored);
  if (!llvm::is_sorted(program.order)) {
    SmallVector<int64_t> sizes;
    for (int32_t from : program.order)
      sizes.push_back(program.factored[from]);
    value = tt::TransOp::create(
        builder, RankedTensorType::get(sizes, wanted.getElementType()), value,
        builder.getDenseI32ArrayAttr(program.order));
  }
  return shaped(value, wanted.getShape());
}

// Makes the load one of 8-bit values, in place.
void retypeLoad(const QuantSlice &slice, const MaskedLanes &masked) {
  Operation *op = slice.load.op;
  Type element = getElementTypeOrSelf(slice.quantized.getType());
  auto type = RankedTensorType::get(slice.load.type.getShape(), element);
  auto load = dyn_cast<tt::LoadOp>(op);
  if (load && load.getOther()) {
    ImplicitLocOpBuilder builder(op->getLoc(), op);
    Attribute number =
        isa<FloatType>(element)
            ? Attribute(builder.getFloatAttr(element, masked.quantized))
            : Attribute(builder.getIntegerAttr(
                  element, static_cast<int64_t>(masked.quantized)));
    load.getOtherMutable().assign(arith::ConstantOp::create(
        builder, DenseElementsAttr::get(type, number)));
  }
  op->getResult(0).setType(type);
}

} // namespace

LogicalResult checkOneRow(const QuantSlice &slice, StoreRefusal &refusal) {
  if (!slice.isOneRow)
    return success();
  const TileLoad &tile = slice.load;
  refusal.op = tile.op;
  refusal.reason = ("Q9: one scale for a tile of several rows, which are not "
                    "known to lie " +
                    Twine(tile.getColumns()) + " apart")
                       .str();
  if (tile.masksColumns())
    return failure();
  // Innermost first, each dimension of rows spans those before it.
  llvm::SmallDenseMap<int64_t, int64_t> sizeByStride;
  for (auto [dim, size] : llvm::enumerate(tile.type.getShape())) {
    IndexForm part = tile.offset.filter([&](const IndexTerm &term) {
      return term.dim == static_cast<int>(dim);
    });
    if (size == 1)
      continue;
    ArrayRef<IndexTerm> terms = part.getTerms();
    if (terms.size() != 1 || !terms[0].isPosition() ||
        !terms[0].scalars.empty())
      return failure();
    sizeByStride[terms[0].coeff] = size;
  }
  for (int64_t stride = 1; stride < slice.getColumns();
       stride *= sizeByStride[stride])
    if (!sizeByStride.contains(stride))
      return failure();
  for (const TileBound &bound : tile.bounds) {
    int64_t size = bound.dim < 0 ? 1 : tile.type.getDimSize(bound.dim);
    IndexForm rest = bound.rhs - bound.lhs.getUniform();
    bool isLess = bound.predicate == arith::CmpIPredicate::slt ||
                  bound.predicate == arith::CmpIPredicate::ult;
    if (size == 1 && bound.dim < 0)
      continue;
    if (bound.opaque || !isLess ||
        !(bound.lhs - bound.lhs.getUniform() == IndexForm::along(bound.dim)) ||
        !rest.isUniform() || rest.getDivisor() % size != 0) {
      refusal.reason = "Q7: the mask may leave out some of the rows that share "
                       "a scale";
      return failure();
    }
  }
  return success();
}

LogicalResult checkScaleAddress(const QuantSlice &slice,
                                const PulledProgram &program,
                                StoreRefusal &refusal) {
  auto isArgument = [](Value scalar) {
    auto argument = dyn_cast<BlockArgument>(scalar);
    return argument && isa<tt::FuncOp>(argument.getOwner()->getParentOp());
  };
  for (const ScalePlace &place : program.scales) {
    for (const IndexTerm &term : slice.load.offset.getTerms()) {
      // Arguments are strides, whose values the caller knows.
      bool isOpen = llvm::any_of(term.scalars, isArgument) ||
                    (term.tensor && term.coeff == 1);
      bool isWithin =
          term.dim == slice.load.colDim || (slice.isOneRow && term.dim >= 0);
      if (isWithin || isOpen || term.coeff % place.group == 0)
        continue;
      refusal.op = slice.load.op;
      refusal.reason = ("Q9: the tile is moved by " + Twine(term.coeff) +
                        " elements, which is no multiple of the " +
                        Twine(place.group) + " that share a scale")
                           .str();
      return failure();
    }
  }
  return success();
}

void rewriteSlice(QuantSlice &slice, const PulledProgram &program,
                  const MaskedLanes &masked, ArrayRef<Value> scalePointers) {
  Operation *load = slice.load.op;
  SmallVector<Value> scales;
  for (auto [scale, place, pointer] :
       llvm::zip(slice.scales, program.scales, scalePointers))
    scales.push_back(
        ScaleLoader(slice, scale, place, pointer).load(masked.isSaid));
  retypeLoad(slice, masked);
  ImplicitLocOpBuilder builder(load->getLoc(), load->getContext());
  builder.setInsertionPointAfter(load);
  Value tile = inShapeOf(slice.quantized, load->getResult(0), program, builder);
  slice.quantized.replaceAllUsesWith(tile);
  for (auto [scale, loaded] : llvm::zip(slice.scales, scales))
    scale.replaceAllUsesWith(loaded);
  for (Operation *op : llvm::reverse(slice.ops))
    if (op->use_empty())
      op->erase();
}

} // namespace epiq::detail
