//===- PullQuantAxes.h - Tiles of a slice as rows of a program --*- C++ -*-===//
// A value of the slice is a tile; in the program it is a row for each token.

#ifndef EPIQ_TRANSFORMS_PULLQUANTAXES_H
#define EPIQ_TRANSFORMS_PULLQUANTAXES_H

#include "epiq/TritonIR/Triton.h"

#include "llvm/ADT/SmallVector.h"

namespace epiq::detail {

// What a dimension of a tile is.
struct Axis {
  // One: of size 1. Any: all elements along it are the same.
  enum Kind { One, Any, Row, Column } kind = One;
  int64_t size = 1;
  // Of rows: the dimension of the tile that is loaded.
  int dim = 0;
  // Of columns: how many of them lie between neighbours.
  int64_t stride = 0;

  bool operator==(const Axis &other) const {
    return kind == other.kind && size == other.size && dim == other.dim &&
           stride == other.stride;
  }
};

using Axes = llvm::SmallVector<Axis>;

// The factors of columns among `axes`, outermost first.
Axes getColumns(llvm::ArrayRef<Axis> axes);

// Each dimension of a tile by what the operands of an elementwise op are along
// it; nothing where they disagree.
std::optional<Axes> unify(llvm::ArrayRef<Axes> operands);

// The dimensions after a reshape; nothing where it tears rows apart.
std::optional<Axes> getReshaped(llvm::ArrayRef<Axis> axes,
                                llvm::ArrayRef<int64_t> sizes);

// The dimensions of the result of an op that only moves elements; nothing for
// other ops, and for what cannot be said.
std::optional<Axes> getMoved(mlir::Operation *op, llvm::ArrayRef<Axis> axes);

} // namespace epiq::detail

#endif // EPIQ_TRANSFORMS_PULLQUANTAXES_H
