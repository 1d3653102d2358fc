//===- LayoutAddress.h - Where a layout puts an element ---------*- C++ -*-===//
// Every layout is separable: the place of row m, column g is a function of m
// plus one of g, and each is a sum of a few terms. A layout is that data.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_CONVERSION_LAYOUTADDRESS_H
#define EPIQ_CONVERSION_LAYOUTADDRESS_H

#include "epiq/Graph/Graph.h"

#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "llvm/ADT/SmallVector.h"

namespace epiq {

// (index / divisor % modulus) * stride, without the modulus where it is 0.
struct LayoutTerm {
  int64_t stride = 1;
  int64_t divisor = 1;
  int64_t modulus = 0;
  // Times a distance that is known at run time only: the number of rows,
  // rounded up to `LayoutAddress::columnAlign`, or what the strides of a tensor
  // say.
  bool scaled = false;
};

// Offsets are in elements of the value, not in those of the memory type.
struct LayoutAddress {
  llvm::SmallVector<LayoutTerm, 3> row, column;
  int64_t columnAlign = 1;
  // Rows and columns up to the next multiple exist and hold zeros.
  int64_t rowMultiple = 1, columnMultiple = 1;

  // The layout of a matrix whose rows have `width` elements.
  static LayoutAddress get(graph::Layout layout, int64_t width);
  // The same where the width is not known: rows, or blocks of them, are then a
  // distance apart that is known at run time only.
  static LayoutAddress get(graph::Layout layout);

  // One term each, and nothing to pad: a stride for rows, one for columns.
  bool isLinear() const;
};

// The place of a number.
struct LayoutOffset {
  int64_t constant = 0;
  // Times the distance of scaled terms.
  int64_t scaled = 0;
};
LayoutOffset evaluate(llvm::ArrayRef<LayoutTerm> terms, int64_t index);

// The place of an index, an integer or a tensor of them, not negative; i64.
// `distance`: that of scaled terms, i64, if there are any.
mlir::Value evaluate(mlir::ImplicitLocOpBuilder &builder,
                     llvm::ArrayRef<LayoutTerm> terms, mlir::Value index,
                     mlir::Value distance);

// `number` (i64) rounded up to a multiple of `multiple`.
mlir::Value roundUp(mlir::ImplicitLocOpBuilder &builder, mlir::Value number,
                    int64_t multiple);

} // namespace epiq

#endif // EPIQ_CONVERSION_LAYOUTADDRESS_H
