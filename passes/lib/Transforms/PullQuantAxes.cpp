//===- PullQuantAxes.cpp - What becomes of rows and columns ---------------===//

#include "PullQuantAxes.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;

namespace epiq::detail {

namespace {

Axis withSize(int64_t size) {
  Axis axis;
  axis.kind = size == 1 ? Axis::One : Axis::Any;
  axis.size = size;
  return axis;
}

// Whether columns in these factors, outermost first, are one run.
bool areNested(ArrayRef<Axis> axes) {
  for (unsigned i = 0; i + 1 < axes.size(); ++i)
    if (axes[i].stride != axes[i + 1].stride * axes[i + 1].size)
      return false;
  return llvm::all_of(axes,
                      [](const Axis &a) { return a.kind == Axis::Column; });
}

// Dimensions of `from` as dimensions of `sizes`, which hold as many elements.
bool reshapeRun(ArrayRef<Axis> from, ArrayRef<int64_t> sizes, Axes &result) {
  Axes source;
  llvm::copy_if(from, std::back_inserter(source),
                [](const Axis &axis) { return axis.size != 1; });
  int64_t wide = llvm::count_if(sizes, [](int64_t size) { return size != 1; });
  bool isAny = llvm::all_of(
      source, [](const Axis &axis) { return axis.kind == Axis::Any; });
  bool isSame = source.size() == 1 && wide == 1;
  if (!isAny && !isSame && !areNested(source))
    return false;
  int64_t stride = source.empty() ? 1 : source.back().stride;
  Axes run;
  for (int64_t size : llvm::reverse(sizes)) {
    Axis axis = withSize(size);
    if (size != 1 && isSame)
      axis = source.front();
    if (size != 1 && !isAny && !isSame) {
      axis.kind = Axis::Column;
      axis.stride = stride;
      stride *= size;
    }
    run.push_back(axis);
  }
  llvm::append_range(result, llvm::reverse(run));
  return true;
}

} // namespace

Axes getColumns(ArrayRef<Axis> axes) {
  Axes columns;
  llvm::copy_if(axes, std::back_inserter(columns),
                [](const Axis &axis) { return axis.kind == Axis::Column; });
  llvm::sort(columns,
             [](const Axis &a, const Axis &b) { return a.stride > b.stride; });
  return columns;
}

std::optional<Axes> unify(ArrayRef<Axes> operands) {
  Axes result;
  for (const Axes &axes : operands) {
    if (result.empty())
      result = axes;
    for (auto [known, axis] : llvm::zip(result, axes)) {
      if (known.kind <= Axis::Any)
        known = axis;
      else if (axis.kind > Axis::Any && !(axis == known))
        return std::nullopt;
    }
  }
  return result;
}

std::optional<Axes> getReshaped(ArrayRef<Axis> axes, ArrayRef<int64_t> sizes) {
  Axes result;
  size_t i = 0, j = 0;
  while (i < axes.size() || j < sizes.size()) {
    size_t firstAxis = i, firstSize = j;
    int64_t source = 1, target = 1;
    // The shortest runs of both that hold as many elements.
    do {
      if (i < axes.size() && (source <= target || j == sizes.size()))
        source *= axes[i++].size;
      else
        target *= sizes[j++];
    } while (source != target && (i < axes.size() || j < sizes.size()));
    if (source != target ||
        !reshapeRun(axes.slice(firstAxis, i - firstAxis),
                    sizes.slice(firstSize, j - firstSize), result))
      return std::nullopt;
  }
  return result;
}

std::optional<Axes> getMoved(Operation *op, ArrayRef<Axis> axes) {
  auto type = dyn_cast<RankedTensorType>(op->getResult(0).getType());
  Axes result(axes);
  if (isa<tt::SplatOp>(op)) {
    result.clear();
    for (int64_t size : type.getShape())
      result.push_back(withSize(size));
    return result;
  }
  if (isa<tt::BroadcastOp>(op)) {
    for (auto [axis, size] : llvm::zip(result, type.getShape()))
      if (axis.size != size)
        axis = withSize(size);
    return result;
  }
  if (auto expand = dyn_cast<tt::ExpandDimsOp>(op)) {
    result.insert(result.begin() + expand.getAxis(), Axis());
    return result;
  }
  if (auto trans = dyn_cast<tt::TransOp>(op)) {
    for (auto [i, from] : llvm::enumerate(trans.getOrder()))
      result[i] = axes[from];
    return result;
  }
  auto reshape = dyn_cast<tt::ReshapeOp>(op);
  // A reduction to one number sees no order; writeReduce() takes no sums.
  bool isReduced = type && type.getRank() == 1 &&
                   llvm::all_of(op->getUsers(), llvm::IsaPred<tt::ReduceOp>);
  if (!reshape || (reshape.getAllowReorder() && !isReduced))
    return std::nullopt;
  return getReshaped(axes, type.getShape());
}

} // namespace epiq::detail
