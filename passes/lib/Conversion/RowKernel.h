//===- RowKernel.h - The Triton function of a row program -------*- C++ -*-===//
// Passes.td states its arguments.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_CONVERSION_ROWKERNEL_H
#define EPIQ_CONVERSION_ROWKERNEL_H

#include "epiq/Analysis/RowSegments.h"
#include "epiq/Conversion/TileBody.h"
#include "epiq/TritonIR/Triton.h"

#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace epiq {

class RowKernel {
public:
  // Creates the function where `builder` stands, without a body.
  RowKernel(mlir::ImplicitLocOpBuilder &builder, graph::RowProgramOp program,
            const RowPlan &plan);

  mlir::Value input(unsigned number) { return func.getArgument(number); }
  mlir::Value output(unsigned number) {
    return func.getArgument(plan.inputs.size() + number);
  }
  mlir::Value numRows() {
    return func.getArgument(plan.inputs.size() + plan.buffers.size());
  }
  // The distance between the rows of an input; null where all tokens share it.
  mlir::Value rowStride(unsigned input);

  tt::FuncOp func;

private:
  const RowPlan &plan;
};

} // namespace epiq

#endif // EPIQ_CONVERSION_ROWKERNEL_H
