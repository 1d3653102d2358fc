//===- Raise.cpp - Names the sub-graphs of a torch graph ------------------===//
// Finds first, then outlines: a finder changes nothing. Passes.td states the
// rules R1-R6 that a cast to fp8 without a name is reported with.
//===----------------------------------------------------------------------===//

#include "Raise.h"
#include "Outline.h"
#include "RaiseBits.h"

#include "epiq/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <functional>

using namespace mlir;
using namespace epiq::graph;

namespace epiq {
#define GEN_PASS_DEF_RAISE
#include "epiq/Passes.h.inc"

OrRefusal<Value> findColumnMajor(TransposeOp last) {
  auto contiguous = last.getInput().getDefiningOp<ContiguousOp>();
  if (!contiguous || !contiguous->hasOneUse())
    return refuse("no contiguous value is transposed, or it has other users");
  auto first = contiguous.getInput().getDefiningOp<TransposeOp>();
  if (!first || first.getPerm() != last.getPerm())
    return refuse("the contiguous value is not transposed likewise");
  ArrayRef<int64_t> perm = last.getPerm();
  int64_t rank = perm.size();
  for (auto [i, dim] :
       llvm::enumerate(perm.drop_back(std::min<int64_t>(rank, 2))))
    if (dim != static_cast<int64_t>(i))
      return refuse("dimension ", i,
                    " moves, which is not one of the last two");
  if (rank < 2 || perm[rank - 1] != rank - 2)
    return refuse("the last two dimensions do not swap");
  return first.getInput();
}

namespace {

template <typename OpT> SmallVector<OpT> opsOf(func::FuncOp func) {
  return llvm::to_vector(func.getBody().getOps<OpT>());
}

CompositeOp outline(const Named &named, const OpSet &others) {
  Boundary boundary = findBoundary(named.ops, named.wanted, others);
  OpBuilder builder(boundary.ops.back());
  SmallVector<Type> types;
  for (Value result : boundary.results)
    types.push_back(result.getType());
  auto composite =
      CompositeOp::create(builder, named.loc, types, named.kind,
                          boundary.inputs, named.format, named.eps);
  Block &block = composite.getBody().emplaceBlock();
  for (Value input : boundary.inputs)
    block.addArgument(input.getType(), input.getLoc());
  cloneInto(boundary, block);
  replaceWith(boundary, composite);
  return composite;
}

void remarkNamed(const Named &named) {
  InFlightDiagnostic remark = emitRemark(named.loc) << "named " << named.kind;
  if (named.format)
    remark << "(" << describe(named.format) << ")";
}

struct Raise : impl::RaiseBase<Raise> {
  using RaiseBase::RaiseBase;

  void runOnOperation() override {
    for (func::FuncOp func : getOperation().getOps<func::FuncOp>()) {
      if (!func.getBody().hasOneBlock())
        continue;
      raiseElementBits(func.getBody().front());
      raiseScaleBits(func.getBody().front());
      raiseLayouts(func);
      raiseAt<math::RsqrtOp>(func, {findRmsNorm, findLayerNorm});
      raiseAt<math::SqrtOp>(func, {findRmsNorm, findLayerNorm});
      raiseAt<math::ExpOp>(func, {findSwiglu, findSiluMul});
      raiseAt<math::ErfOp>(func, {findGelu});
      raiseAt<math::TanhOp>(func, {findGelu});
      raiseAt<arith::MaximumFOp>(func, {findRelu2});
      raiseQuantizes(func);
      eraseUnusedSplats(func.getBody().front());
    }
  }

  void raiseLayouts(func::FuncOp func) {
    for (TransposeOp last : opsOf<TransposeOp>(func)) {
      OrRefusal<Value> found = findColumnMajor(last);
      if (getRefusal(found))
        continue;
      Operation *contiguous = last.getInput().getDefiningOp();
      Operation *first = contiguous->getOperand(0).getDefiningOp();
      OpBuilder builder(last);
      auto relayout =
          RelayoutOp::create(builder, last.getLoc(), last.getType(),
                             std::get<Value>(found), Layout::column_major);
      emitRemark(last.getLoc()) << "named relayout(column_major)";
      last.replaceAllUsesWith(relayout.getResult());
      last.erase();
      contiguous->erase();
      if (first->use_empty())
        first->erase();
    }
  }

  // The first of the finders that finds something names it. No find holds
  // another anchor of its kind, so outlining one leaves the others alone.
  template <typename OpT>
  void raiseAt(func::FuncOp func,
               ArrayRef<std::function<OrRefusal<Named>(OpT)>> finders) {
    for (OpT anchor : opsOf<OpT>(func)) {
      for (const auto &find : finders) {
        OrRefusal<Named> found = find(anchor);
        const auto *named = std::get_if<Named>(&found);
        if (!named)
          continue;
        remarkNamed(*named);
        outline(*named, OpSet());
        break;
      }
    }
  }

  // Several quantizations may share amax or the scale: each gets its own copy.
  // A cast that makes the scale of another one is no quantization.
  void raiseQuantizes(func::FuncOp func) {
    SmallVector<Named> found;
    OpSet all;
    SmallVector<Operation *> casts;
    for (Operation &op : func.getBody().front())
      if (isQuantizingCast(&op))
        casts.push_back(&op);
    llvm::stable_sort(casts, [](Operation *a, Operation *b) {
      return isFp8(a->getResult(0).getType()) <
             isFp8(b->getResult(0).getType());
    });
    for (Operation *cast : casts) {
      if (all.contains(cast))
        continue;
      OrRefusal<Named> quantize = findQuantize(cast);
      if (const Refusal *refusal = getRefusal(quantize)) {
        emitRemark(cast->getLoc()) << "not named: " << refusal->reason;
        continue;
      }
      auto &named = std::get<Named>(quantize);
      remarkNamed(named);
      all.insert(named.ops.begin(), named.ops.end());
      found.push_back(std::move(named));
    }
    for (Named &named : found)
      absorbScaleOps(named, all);
    for (const Named &named : found)
      unflattenTokens(outline(named, all));
  }
};

} // namespace
} // namespace epiq
