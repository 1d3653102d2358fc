//===- AnnotateRows.cpp - Facts about row programs, as attributes ---------===//
// A program that epiq-lower-row-program would refuse is dissolved: its ops go
// back into the graph, with a remark.
//===----------------------------------------------------------------------===//

#include "epiq/Analysis/RowShape.h"
#include "epiq/Passes.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"

namespace epiq {
#define GEN_PASS_DEF_ANNOTATEROWS
#include "epiq/Passes.h.inc"

namespace {

using namespace mlir;

// `normal` is `program` normalized, of which `shape` tells.
void annotate(graph::RowProgramOp program, graph::RowProgramOp normal,
              const RowShape &shape) {
  Builder builder(program.getContext());
  program->setAttr("row_width", builder.getI64IntegerAttr(shape.width));
  program->setAttr("column_unit", builder.getI64IntegerAttr(shape.columnUnit));
  program->setAttr("full_row", builder.getBoolAttr(shape.fullRow));
  program->setAttr("num_rows", builder.getI64IntegerAttr(shape.staticRows));
  SmallVector<bool> rowLike;
  for (auto [leading, width] : shape.inputs)
    rowLike.push_back(leading > 0);
  program->setAttr("input_row_like", builder.getBoolArrayAttr(rowLike));
  bool hasRows = llvm::is_contained(rowLike, true);
  SmallVector<bool> shared, startsAtZero;
  for (Value result : normal.getYield().getValues()) {
    shared.push_back(hasRows &&
                     !shape.values.find(result)->second.isPerToken());
    startsAtZero.push_back(shape.tensorMaxes.contains(result));
  }
  if (llvm::is_contained(shared, true))
    program->setAttr("output_shared", builder.getBoolArrayAttr(shared));
  if (llvm::is_contained(startsAtZero, true))
    program->setAttr("output_zeroed", builder.getBoolArrayAttr(startsAtZero));
}

// Moves the body of `program` before it and erases it.
void dissolve(graph::RowProgramOp program) {
  Block &body = program.getBlock();
  graph::YieldOp yield = program.getYield();
  for (auto [argument, input] :
       llvm::zip_equal(body.getArguments(), program.getInputs()))
    argument.replaceAllUsesWith(input);
  program.replaceAllUsesWith(yield.getValues());
  yield.erase();
  program->getBlock()->getOperations().splice(program->getIterator(),
                                              body.getOperations());
  program.erase();
}

struct AnnotateRows : impl::AnnotateRowsBase<AnnotateRows> {
  void runOnOperation() override {
    SmallVector<graph::RowProgramOp> programs;
    getOperation()->walk(
        [&](graph::RowProgramOp program) { programs.push_back(program); });
    for (graph::RowProgramOp program : programs) {
      OwningOpRef<graph::RowProgramOp> normal = normalizeRowProgram(program);
      std::string reason;
      FailureOr<RowShape> shape = analyzeRows(*normal, reason);
      if (succeeded(shape)) {
        annotate(program, *normal, *shape);
        continue;
      }
      program.emitRemark() << "not fused: " << reason;
      dissolve(program);
      ++numDissolved;
    }
  }
};

} // namespace
} // namespace epiq
