//===- LowerRowProgram.cpp - One row program to one Triton kernel ---------===//
// Passes.td states the rules and the kernel's arguments.
//===----------------------------------------------------------------------===//

#include "RowKernel.h"
#include "RowLowering.h"

#include "epiq/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/CSE.h"

namespace epiq {
#define GEN_PASS_DEF_LOWERROWPROGRAM
#include "epiq/Passes.h.inc"

namespace {

using namespace mlir;

// L7: a tile of packed elements holds whole bytes.
LogicalResult checkBytes(graph::RowProgramOp program, RowSchedule schedule,
                         std::string &reason) {
  bool isOneColumn = schedule.blockCols == 1 || schedule.chunkCols == 1;
  for (unsigned result = 0; result < program.getNumResults(); ++result)
    if (isOneColumn &&
        program.getLayout(result) == graph::Layout::packed_e2m1) {
      reason = "L7: a tile of one column splits a byte of packed_e2m1";
      return failure();
    }
  return success();
}

LogicalResult checkSchedule(const RowPlan &plan, RowSchedule schedule,
                            std::string &reason) {
  for (const RowSegment &segment : plan.segments)
    if (failed(RowTile::check(segment.shape, schedule, reason)) ||
        failed(checkBytes(segment.program.get(), schedule, reason)))
      return failure();
  return success();
}

struct LowerRowProgram : impl::LowerRowProgramBase<LowerRowProgram> {
  using LowerRowProgramBase::LowerRowProgramBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<graph::RowProgramOp> programs;
    module->walk(
        [&](graph::RowProgramOp program) { programs.push_back(program); });
    if (programs.size() != 1) {
      module.emitError() << "expected one epiq.row_program, found "
                         << programs.size();
      return signalPassFailure();
    }
    std::string reason;
    RowSchedule schedule{blockRows, blockCols, chunkCols};
    FailureOr<RowPlan> plan = planRows(programs.front(), reason);
    if (failed(plan) || failed(checkSchedule(*plan, schedule, reason))) {
      programs.front().emitError() << reason;
      return signalPassFailure();
    }

    SmallVector<Operation *> old;
    for (Operation &op : *module.getBody())
      old.push_back(&op);
    buildKernel(module, programs.front(), *plan, schedule);
    plan = failure();
    for (Operation *op : llvm::reverse(old))
      op->erase();

    IRRewriter rewriter(&getContext());
    DominanceInfo dominance(module);
    eliminateCommonSubExpressions(rewriter, dominance, module);
  }

  void buildKernel(ModuleOp module, graph::RowProgramOp program,
                   const RowPlan &plan, RowSchedule schedule);
};

// Programs are dealt out to the segments by their place in the row of the grid.
void LowerRowProgram::buildKernel(ModuleOp module, graph::RowProgramOp program,
                                  const RowPlan &plan, RowSchedule schedule) {
  ImplicitLocOpBuilder builder(program.getLoc(), program.getContext());
  builder.setInsertionPointToEnd(module.getBody());
  RowKernel kernel(builder, program, plan);
  builder.setInsertionPointToEnd(kernel.func.addEntryBlock());
  OpBuilder::InsertPoint end;

  RowGrid grid;
  for (const RowSegment &segment : plan.segments)
    grid.columns += RowTile::programsOfRow(segment.shape, schedule);
  auto number = [&](int64_t value) -> Value {
    return arith::ConstantIntOp::create(builder, builder.getI32Type(), value);
  };
  for (const RowSegment &segment : plan.segments) {
    int64_t next = grid.first + RowTile::programsOfRow(segment.shape, schedule);
    bool isLast = &segment == &plan.segments.back();
    scf::IfOp branch;
    if (!isLast) {
      Value place = arith::RemSIOp::create(
          builder,
          tt::GetProgramIdOp::create(builder, builder.getI32Type(),
                                     tt::ProgramAxis::X),
          number(grid.columns));
      Value isOwn = arith::CmpIOp::create(builder, arith::CmpIPredicate::slt,
                                          place, number(next));
      branch = scf::IfOp::create(builder, isOwn, /*withElseRegion=*/true);
      if (!end.isSet())
        end = {branch->getBlock(), std::next(branch->getIterator())};
      builder.setInsertionPointToStart(branch.thenBlock());
    }
    RowLowering(builder, kernel, segment, schedule, grid, target).emit();
    builder.setLoc(program.getLoc());
    if (branch)
      builder.setInsertionPointToStart(branch.elseBlock());
    grid.first = next;
  }
  if (end.isSet())
    builder.restoreInsertionPoint(end);
  tt::ReturnOp::create(builder, ValueRange{});
}

} // namespace
} // namespace epiq
