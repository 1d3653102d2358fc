//===- GraphMatch.h - Looking through a graph's values ----------*- C++ -*-===//

#ifndef EPIQ_TRANSFORMS_GRAPHMATCH_H
#define EPIQ_TRANSFORMS_GRAPHMATCH_H

#include "mlir/IR/Operation.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallVector.h"
#include <optional>

namespace epiq {

using OpSet = llvm::SetVector<mlir::Operation *>;

// The number that every element of `value` is, when it is made of constants.
std::optional<double> splatNumber(mlir::Value value);

// Whether all elements of `value` are `number`, as f32 writes it.
bool isSplatOf(mlir::Value value, double number);

// `value` and the values it is made from without other arithmetic: through
// widening casts, reshapes and contiguous. Latest first.
struct Lineage {
  llvm::SmallVector<mlir::Value> values;
};
Lineage lineageOf(mlir::Value value);

// The latest value that both are made from; null when there is none.
mlir::Value commonOrigin(const Lineage &a, const Lineage &b);

// Adds to `ops` the ops between `origin` and `value` of a lineage.
void addLineage(OpSet &ops, mlir::Value value, mlir::Value origin);

// The op with the operands in either order: the operand that satisfies the
// test, and the other one.
struct Operands {
  mlir::Value match;
  mlir::Value other;
};
template <typename OpT, typename Test>
std::optional<Operands> matchEither(mlir::Operation *op, Test test) {
  if (!mlir::isa_and_present<OpT>(op))
    return std::nullopt;
  if (test(op->getOperand(1)))
    return Operands{op->getOperand(1), op->getOperand(0)};
  if (test(op->getOperand(0)))
    return Operands{op->getOperand(0), op->getOperand(1)};
  return std::nullopt;
}

// The only op that uses `value`, or null.
mlir::Operation *onlyUser(mlir::Value value);

// The product of all dimensions; none when one is dynamic.
std::optional<int64_t> numElements(mlir::Value value);

} // namespace epiq

#endif // EPIQ_TRANSFORMS_GRAPHMATCH_H
