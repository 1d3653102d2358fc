//===- RowDomainInference.h - How splits spread over ops --------*- C++ -*-===//

#ifndef EPIQ_ANALYSIS_ROWDOMAININFERENCE_H
#define EPIQ_ANALYSIS_ROWDOMAININFERENCE_H

#include "epiq/Analysis/RowDomain.h"
#include "epiq/Graph/Graph.h"

#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/SmallVector.h"

namespace epiq::detail {

inline mlir::RankedTensorType rankedType(mlir::Value value) {
  return llvm::cast<mlir::RankedTensorType>(value.getType());
}

// Whether what is taken over all of a value is taken over several tokens.
inline bool isOverTokens(RowSplit split) {
  return split.isRows() && split.lead > 0;
}

// Splits spread from the anchor, from op to op in both directions, until
// nothing changes.
class Inference {
public:
  Inference(llvm::ArrayRef<mlir::Operation *> ops,
            llvm::MapVector<mlir::Value, RowSplit> &splits, int64_t &widest)
      : splits(splits), widest(widest) {
    for (mlir::Operation *op : ops)
      addOp(op);
  }

  std::optional<Refusal> run(mlir::Value anchor, unsigned lead,
                             int64_t maxWidth);

private:
  void addOp(mlir::Operation *op);
  void assign(mlir::Value value, RowSplit split);
  void link(mlir::Value a, mlir::Value b);
  std::optional<RowSplit> known(mlir::Value value) const;

  void visit(mlir::Operation *op);
  void visitElementwise(mlir::Operation *op);
  void visitBroadcast(graph::BroadcastOp op);
  void visitReduce(graph::ReduceOp op);
  void visitReshape(graph::ReshapeOp op);
  void visitSlice(graph::SliceOp op);
  void visitConcat(graph::ConcatOp op);
  void visitGather(graph::GatherRowsOp op);
  void visitScatter(graph::ScatterRowsOp op);
  void visitTranspose(graph::TransposeOp op);
  void visitRelayout(graph::RelayoutOp op);
  void linkIndexed(mlir::Value index, mlir::Value rows);
  void visitComposite(graph::CompositeOp op);

  mlir::Value viewedBase(mlir::Value value) const;
  bool isOnlySliced(mlir::Value value) const;

  void checkTensorMaxes();
  void checkWidths(int64_t maxWidth);
  template <typename... Parts> void fail(const Parts &...parts) {
    if (!refusal)
      refusal = refuse(parts...);
  }

  llvm::MapVector<mlir::Value, RowSplit> &splits;
  int64_t &widest;
  llvm::SmallVector<mlir::Operation *> ops;
  llvm::SmallPtrSet<mlir::Operation *, 32> members;
  std::optional<Refusal> refusal;
  bool changed = false;
};

} // namespace epiq::detail

#endif // EPIQ_ANALYSIS_ROWDOMAININFERENCE_H
