//===- RowDomain.h - Which dimensions are tokens, which the row -*- C++ -*-===//

#ifndef EPIQ_ANALYSIS_ROWDOMAIN_H
#define EPIQ_ANALYSIS_ROWDOMAIN_H

#include "epiq/Analysis/Refusal.h"

#include "mlir/IR/Value.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SmallVector.h"

namespace epiq {

// The first `lead` dimensions of a value count tokens and the others are the
// row of one token; or all tokens share the value; or it is memory that rows
// are taken from, or put into, by index.
struct RowSplit {
  enum class Kind { rows, shared, memory };
  Kind kind = Kind::rows;
  unsigned lead = 0;

  static RowSplit rows(unsigned lead) { return {Kind::rows, lead}; }
  static RowSplit shared() { return {Kind::shared, 0}; }
  static RowSplit memory() { return {Kind::memory, 0}; }
  bool isRows() const { return kind == Kind::rows; }
  bool isMemory() const { return kind == Kind::memory; }
};

// Gives every value of some ops its split, so that all of them are rows of the
// same tokens. Passes.td states the rules F1-F9 that refuse.
class RowDomain {
public:
  // Looks through composites. `anchor` is a value of `ops` whose first `lead`
  // dimensions are the tokens; `maxWidth` is the widest row allowed.
  static OrRefusal<RowDomain> infer(llvm::ArrayRef<mlir::Operation *> ops,
                                    mlir::Value anchor, unsigned lead,
                                    int64_t maxWidth);

  bool isRowLike(mlir::Value value) const;
  // Elements of one token's row of `value`, or of all of it when shared.
  int64_t width(mlir::Value value) const;
  // Elements of the widest row that the ops compute.
  int64_t rowWidth() const { return widest; }

private:
  llvm::MapVector<mlir::Value, RowSplit> splits;
  int64_t widest = 0;
};

// Whether `op` is one that row programs are made of.
bool isRowOp(mlir::Operation *op);

// Whether `op` applies the same scalar function to each element.
bool isElementwise(mlir::Operation *op);

// Whether `value` is the same for every element, made of constants alone.
bool isSplat(mlir::Value value);

// The number of elements in the dimensions from `lead` on; none when dynamic.
std::optional<int64_t> tailWidth(mlir::Type type, unsigned lead);

} // namespace epiq

#endif // EPIQ_ANALYSIS_ROWDOMAIN_H
