//===- PullQuantDetail.h - The parts of epiq-pull-quant ---------*- C++ -*-===//

#ifndef EPIQ_TRANSFORMS_PULLQUANTDETAIL_H
#define EPIQ_TRANSFORMS_PULLQUANTDETAIL_H

#include "epiq/Analysis/TileLoad.h"
#include "epiq/Graph/Graph.h"

#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/SetVector.h"

namespace epiq::detail {

// What a kernel makes of one load of the operand and of nothing else, up to the
// values that the rest of the kernel needs of it.
struct QuantSlice {
  TileLoad load;
  // The ops to pull, in program order.
  llvm::SetVector<mlir::Operation *> ops;
  // A tile of 8-bit values that a dot takes, and scales, which have fewer
  // elements.
  mlir::Value quantized;
  llvm::SmallVector<mlir::Value, 2> scales;
  // All rows of the tile, which lie next to each other, are one row of the
  // program: they share a scale. The sizes of what is one row then.
  bool isOneRow = false;

  int64_t getColumns() const {
    return isOneRow ? load.type.getNumElements() : load.getColumns();
  }
  int64_t getWidth() const { return isOneRow ? getColumns() : load.width; }
};

// Whether `value` is the same for every element of every tile: constants,
// scalars that are arguments, the first element of what an argument points to,
// and arithmetic of them.
bool isGiven(mlir::Value value);

// Q3, Q4, Q5: the slice that starts at `load`.
mlir::FailureOr<QuantSlice> findSlice(tt::FuncOp kernel, const TileLoad &load,
                                      StoreRefusal &refusal);

// How a scale lies over the tile. Each dimension of its value is a dimension of
// the tile's rows, or a factor of its columns, or neither (size 1).
struct ScalePlace {
  struct Dim {
    int rowDim = -1;
    // Groups between neighbours along a factor of the columns.
    int64_t groupStride = 0;
  };
  llvm::SmallVector<Dim> dims;
  // Neighbouring columns that share a scale.
  int64_t group = 1;
};

// The slice as a row program: a row is the `width` columns of a row of the
// tile. Its first input is the operand, the others are `givens`; its results
// are the quantized values and the scales.
struct PulledProgram {
  // A module with one function that holds the program.
  mlir::OwningOpRef<mlir::ModuleOp> module;
  llvm::SmallVector<mlir::Value> givens;
  llvm::SmallVector<ScalePlace> scales;
  // From the tile that is loaded to the quantized one: its dimensions with the
  // columns in factors and without sizes of 1, and where each of them goes.
  llvm::SmallVector<int64_t> factored;
  llvm::SmallVector<int32_t> order;
};

// What lanes that the mask of the load leaves out hold in the slice.
struct MaskedLanes {
  // Whether there are any, and the load says what they hold.
  bool isSaid = false;
  double quantized = 0.0;
  // Where the mask cuts columns off, a reduction over columns counts these.
  llvm::DenseMap<mlir::Operation *, double> reductions;
};

// Q7: evaluates the slice on the lanes that are left out.
mlir::FailureOr<MaskedLanes> evaluateMaskedLanes(const QuantSlice &slice,
                                                 StoreRefusal &refusal);

// What `scale` is in rows that are left out, as a scalar made of constants and
// of what is given.
mlir::Value materializeMaskedLane(mlir::ImplicitLocOpBuilder &builder,
                                  const QuantSlice &slice, mlir::Value scale);

// Q9: writes the slice as a row program.
mlir::FailureOr<PulledProgram> writeProgram(const QuantSlice &slice,
                                            const MaskedLanes &masked,
                                            StoreRefusal &refusal);

// Q7, Q9: whether the rows of the tile can be one: they lie next to each other,
// and the mask lets all of them through or none.
mlir::LogicalResult checkOneRow(const QuantSlice &slice, StoreRefusal &refusal);

// Q9: whether the scales can be addressed from the tile's own address.
mlir::LogicalResult checkScaleAddress(const QuantSlice &slice,
                                      const PulledProgram &program,
                                      StoreRefusal &refusal);

// Loads the scales, and the quantized tile in place of the slice's.
// `scalePointers` are the kernel's new arguments.
void rewriteSlice(QuantSlice &slice, const PulledProgram &program,
                  const MaskedLanes &masked,
                  llvm::ArrayRef<mlir::Value> scalePointers);

} // namespace epiq::detail

#endif // EPIQ_TRANSFORMS_PULLQUANTDETAIL_H
