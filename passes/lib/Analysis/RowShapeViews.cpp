//===- RowShapeViews.cpp - What a row program reads as it lies in memory --===//

#include "RowShapeDetail.h"

using namespace mlir;

namespace epiq::detail {

namespace {

SmallVector<int64_t> rowMajorStrides(ArrayRef<int64_t> dims) {
  SmallVector<int64_t> strides(dims.size(), 1);
  for (size_t dim = dims.size(); dim > 1; --dim)
    strides[dim - 2] = strides[dim - 1] * dims[dim - 1];
  return strides;
}

// The strides of the same elements, in the same order, with dimensions `to`
// instead of `from`; none where they lie at no fixed distances.
std::optional<SmallVector<int64_t>> viewedStrides(ArrayRef<int64_t> from,
                                                  ArrayRef<int64_t> strides,
                                                  ArrayRef<int64_t> to) {
  SmallVector<int64_t> result(to.size(), 1);
  size_t dim = to.size();
  for (size_t last = from.size(); last > 0;) {
    // A run of dimensions, `elements` in all, each `stride` from the next.
    int64_t stride = strides[last - 1], elements = from[last - 1];
    --last;
    while (last > 0 && (from[last - 1] == 1 || elements == 1 ||
                        strides[last - 1] == stride * elements)) {
      if (elements == 1)
        stride = strides[last - 1];
      elements *= from[--last];
    }
    int64_t taken = 1;
    while (dim > 0 && taken < elements) {
      result[--dim] = stride * taken;
      taken *= to[dim];
    }
    if (taken != elements)
      return std::nullopt;
  }
  return result;
}

bool isStatic(ArrayRef<int64_t> dims) {
  return llvm::none_of(dims, ShapedType::isDynamic);
}

class ViewFinder {
public:
  ViewFinder(const LeadingDims &leading) : leading(leading) {}

  void visit(BlockArgument argument);
  void visit(Operation &op);

  MemoryViews views;

private:
  void visitSlice(graph::SliceOp op);
  void visitReshape(graph::ReshapeOp op);
  void visitGather(graph::GatherRowsOp op);

  const LeadingDims &leading;
};

void ViewFinder::visit(BlockArgument argument) {
  ArrayRef<int64_t> dims = rowDims(argument, leading);
  // The first dimension has no part in the strides.
  if (isStatic(dims.drop_front(!dims.empty())))
    views[argument] = {argument.getArgNumber(), 0, rowMajorStrides(dims)};
}

void ViewFinder::visitSlice(graph::SliceOp op) {
  auto source = views.find(op.getInput());
  if (source == views.end())
    return;
  MemoryView view = source->second;
  unsigned dim = op.getDim() - leading.lookup(op.getInput());
  view.offset += view.strides[dim] * op.getBegin();
  views[op.getResult()] = view;
}

void ViewFinder::visitReshape(graph::ReshapeOp op) {
  auto source = views.find(op.getInput());
  ArrayRef<int64_t> from = rowDims(op.getInput(), leading);
  ArrayRef<int64_t> to = rowDims(op.getResult(), leading);
  if (source == views.end() || !isStatic(from) || !isStatic(to))
    return;
  std::optional<SmallVector<int64_t>> strides =
      viewedStrides(from, source->second.strides, to);
  if (!strides)
    return;
  MemoryView view = source->second;
  view.strides = *strides;
  views[op.getResult()] = view;
}

void ViewFinder::visitGather(graph::GatherRowsOp op) {
  auto source = views.find(op.getTable());
  if (source == views.end())
    return;
  MemoryView view = source->second;
  view.index = op.getIndex();
  view.rowStride = view.strides.front();
  view.strides.erase(view.strides.begin());
  views[op.getResult()] = view;
}

void ViewFinder::visit(Operation &op) {
  if (auto slice = dyn_cast<graph::SliceOp>(op))
    return visitSlice(slice);
  if (auto reshape = dyn_cast<graph::ReshapeOp>(op))
    return visitReshape(reshape);
  if (auto gather = dyn_cast<graph::GatherRowsOp>(op))
    visitGather(gather);
}

} // namespace

llvm::DenseSet<Value> findMemory(Block &body) {
  llvm::DenseSet<Value> memory;
  auto add = [&](Value value) {
    memory.insert(value);
    while (auto reshape = value.getDefiningOp<graph::ReshapeOp>()) {
      value = reshape.getInput();
      memory.insert(value);
    }
  };
  for (Operation &op : body) {
    if (auto gather = dyn_cast<graph::GatherRowsOp>(op))
      add(gather.getTable());
    if (auto scatter = dyn_cast<graph::ScatterRowsOp>(op)) {
      add(scatter.getBuffer());
      memory.insert(scatter.getResult());
    }
  }
  return memory;
}

MemoryViews findViews(Block &body, const LeadingDims &leading) {
  ViewFinder finder(leading);
  for (BlockArgument argument : body.getArguments())
    finder.visit(argument);
  for (Operation &op : body)
    finder.visit(op);
  return std::move(finder.views);
}

// True when `value` is read only through views of it, or not at all.
bool isOnlyViewed(Value value, const MemoryViews &views) {
  return views.contains(value) &&
         llvm::all_of(value.getUsers(), [&](Operation *user) {
           return user->getNumResults() == 1 && user->getOperand(0) == value &&
                  views.contains(user->getResult(0));
         });
}

RowView viewByFactor(const MemoryView &view, const RowValue &value,
                     ArrayRef<int64_t> factors) {
  RowView result{view.input, view.offset, {}, view.index, view.rowStride};
  result.strides.assign(factors.size(), 0);
  for (auto [covered, dimStride] : llvm::zip_equal(value.dims, view.strides)) {
    int64_t stride = dimStride;
    for (unsigned factor : llvm::reverse(covered)) {
      result.strides[factor] = stride;
      stride *= factors[factor];
    }
  }
  return result;
}

} // namespace epiq::detail
