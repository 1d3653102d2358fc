//===- RowLowering.h - One segment of a row program in Triton ---*- C++ -*-===//

#ifndef EPIQ_CONVERSION_ROWLOWERING_H
#define EPIQ_CONVERSION_ROWLOWERING_H

#include "RowBody.h"
#include "RowKernel.h"
#include "RowPairs.h"
#include "RowStore.h"
#include "RowTile.h"

namespace epiq {

// Emits loads, arithmetic and stores of one segment where `builder` stands.
class RowLowering {
public:
  RowLowering(mlir::ImplicitLocOpBuilder &builder, RowKernel &kernel,
              const RowSegment &segment, RowSchedule schedule, RowGrid grid,
              int64_t target);

  void emit();

private:
  mlir::Block &body() { return program.getBlock(); }
  mlir::ValueRange outputs() { return program.getYield().getValues(); }
  const RowValue &describe(mlir::Value value) const {
    return shape.values.find(value)->second;
  }
  bool padsRows();

  void defineLoad(mlir::Value value, const RowView &view);
  mlir::Value load(mlir::Value value, const RowView &view, const RowPart &part,
                   RowTile &from);
  llvm::SmallVector<mlir::Value> loadParts(mlir::Value value,
                                           const RowView &view, RowTile &from);
  void lower(mlir::Operation &op);
  void defineWhole(mlir::Value value);

  void storeAll(mlir::Value value);
  void store(unsigned output);
  RowStore makeStore();

  // A load that was emitted: equal ones are one.
  struct Loaded {
    RowView view;
    unsigned chunk;
    bool perToken;
    mlir::Value tile;
  };

  mlir::ImplicitLocOpBuilder &builder;
  RowKernel &kernel;
  const RowSegment &segment;
  graph::RowProgramOp program;
  const RowShape &shape;
  int64_t target;
  RowTile tile;
  RowPairs pairs;
  RowBody arithmetic;
  llvm::SmallVector<Loaded> known;
  // The same with nothing unrolled, for sums, and with the innermost factor not
  // unrolled, for stores of pairs.
  RowShape wholeShape, pairShape;
  std::optional<RowTile> wholeTile, pairTile;
  std::optional<RowBody> whole;
};

} // namespace epiq

#endif // EPIQ_CONVERSION_ROWLOWERING_H
