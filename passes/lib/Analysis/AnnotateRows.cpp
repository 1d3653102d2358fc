//===- AnnotateRows.cpp - Facts about row programs, as attributes ---------===//
// A program that epiq-lower-row-program would refuse is dissolved: its ops go
// back into the graph, with a remark.
//===----------------------------------------------------------------------===//

#include "epiq/Analysis/RowSegments.h"
#include "epiq/Passes.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"

namespace epiq {
#define GEN_PASS_DEF_ANNOTATEROWS
#include "epiq/Passes.h.inc"

namespace {

using namespace mlir;

void annotate(graph::RowProgramOp program, const RowPlan &plan) {
  Builder builder(program.getContext());
  program->setAttr("row_width", builder.getI64IntegerAttr(plan.width));
  program->setAttr("column_unit", builder.getI64IntegerAttr(plan.columnUnit));
  program->setAttr("full_row", builder.getBoolAttr(plan.fullRow));
  program->setAttr("num_rows", builder.getI64IntegerAttr(plan.staticRows));
  SmallVector<bool> rowLike;
  for (auto [leading, width] : plan.inputs)
    rowLike.push_back(leading > 0);
  program->setAttr("input_row_like", builder.getBoolArrayAttr(rowLike));

  bool hasRows = llvm::is_contained(rowLike, true);
  SmallVector<bool> shared(program.getNumResults(), false);
  SmallVector<bool> startsAtZero(program.getNumResults(), false);
  SmallVector<int64_t> widths;
  for (const RowSegment &segment : plan.segments) {
    const RowShape &shape = segment.shape;
    widths.push_back(shape.width);
    for (auto [number, result] : llvm::zip_equal(
             segment.results, segment.program.get().getYield().getValues())) {
      auto described = shape.values.find(result);
      shared[number] = hasRows && described != shape.values.end() &&
                       !described->second.isPerToken();
      startsAtZero[number] = shape.tensorMaxes.contains(result);
    }
  }
  if (llvm::is_contained(shared, true))
    program->setAttr("output_shared", builder.getBoolArrayAttr(shared));
  if (llvm::is_contained(startsAtZero, true))
    program->setAttr("output_zeroed", builder.getBoolArrayAttr(startsAtZero));
  if (widths.size() > 1)
    program->setAttr("segment_widths", builder.getI64ArrayAttr(widths));
  if (llvm::any_of(plan.indexedRows, [](int64_t width) { return width > 0; }))
    program->setAttr("input_indexed",
                     builder.getI64ArrayAttr(plan.indexedRows));
  if (llvm::any_of(plan.buffers, [](int64_t input) { return input >= 0; }))
    program->setAttr("output_buffer", builder.getI64ArrayAttr(plan.buffers));
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
      std::string reason;
      FailureOr<RowPlan> plan = planRows(program, reason);
      if (succeeded(plan)) {
        annotate(program, *plan);
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
