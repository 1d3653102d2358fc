//===- IndexForm.h - Integers as sums over positions -----------*- C++ -*-===//
// An index tensor of a kernel is nearly always a sum of products: scalars of
// the program (its id, strides, loop counters) times the position along one
// dimension of the tile. This file writes an SSA value as such a sum, and a sum
// as SSA values again. Arithmetic is taken not to wrap, as Triton takes it.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_ANALYSIS_INDEXFORM_H
#define EPIQ_ANALYSIS_INDEXFORM_H

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"

#include <optional>

namespace epiq {

// coeff * scalars[0] * scalars[1] * .. * what varies.
struct IndexTerm {
  int64_t coeff = 1;
  // Opaque scalar integers, in any order.
  llvm::SmallVector<mlir::Value, 2> scalars;
  // The dimension of the tile along which the term varies, -1 for none.
  int dim = -1;
  // Null: the position along `dim`. Else a tensor that varies along `dim` only.
  mlir::Value tensor;

  bool isUniform() const { return dim < 0; }
  bool isConstant() const { return isUniform() && scalars.empty(); }
  bool isPosition() const { return dim >= 0 && !tensor; }
  bool hasSymbolsOf(const IndexTerm &other) const;
};

// A sum of terms with different symbols, none of them zero.
class IndexForm {
public:
  IndexForm() = default;
  explicit IndexForm(int64_t constant);
  // The position along `dim`, or a tensor that varies along it.
  static IndexForm along(int dim, mlir::Value tensor = {});
  static IndexForm ofScalar(mlir::Value scalar);

  llvm::ArrayRef<IndexTerm> getTerms() const { return terms; }
  // The value, if no symbol is left.
  std::optional<int64_t> getConstant() const;
  bool isUniform() const;
  bool variesAlong(int dim) const;
  // The terms that `keep` accepts.
  IndexForm filter(llvm::function_ref<bool(const IndexTerm &)> keep) const;
  // The part that varies along no dimension.
  IndexForm getUniform() const;

  void add(IndexTerm term);
  IndexForm operator+(const IndexForm &other) const;
  IndexForm operator-(const IndexForm &other) const;
  bool operator==(const IndexForm &other) const;
  // Nothing if both vary.
  std::optional<IndexForm> times(const IndexForm &other) const;
  // Nothing if the constant does not divide each term.
  std::optional<IndexForm> dividedBy(int64_t constant) const;
  // The largest power of two (at most 2^30) that divides the form wherever it
  // is evaluated, as far as constants, arguments and loop bounds tell.
  int64_t getDivisor() const;

private:
  llvm::SmallVector<IndexTerm, 0> terms;
};

// A value that a loop carries from one iteration to the next.
struct LoopCarried {
  mlir::scf::ForOp loop;
  // What it is before the loop, and at the end of an iteration.
  mlir::Value init, next;
};

// Nothing if `argument` is not carried by an scf.for.
std::optional<LoopCarried> getLoopCarried(mlir::BlockArgument argument);

// `step` times the iterations of `loop` that have passed, if it does not change
// in the loop.
std::optional<IndexForm> timesIterations(const IndexForm &step,
                                         mlir::scf::ForOp loop);

// Writes an integer, or a tensor of integers, as a form. `dims` maps the
// dimensions of the value to those of the tile (empty for a scalar). Nothing if
// some part varies along two dimensions at once.
std::optional<IndexForm> getIndexForm(mlir::Value value,
                                      llvm::ArrayRef<int> dims);

// The largest power of two (at most 2^30) that is known to divide `scalar`.
int64_t getKnownDivisor(mlir::Value scalar);

// The uniform form as a scalar of `type` (i32 or i64).
mlir::Value materializeScalar(mlir::OpBuilder &builder, mlir::Location loc,
                              const IndexForm &form, mlir::IntegerType type);

// The form, which varies along at most `dim`, as a tensor<`size` x `type`>.
mlir::Value materializeVector(mlir::OpBuilder &builder, mlir::Location loc,
                              const IndexForm &form, int dim, int64_t size,
                              mlir::IntegerType type);

} // namespace epiq

#endif // EPIQ_ANALYSIS_INDEXFORM_H
