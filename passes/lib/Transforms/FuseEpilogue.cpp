//===- FuseEpilogue.cpp - Move a row program into a kernel's stores -------===//
// Passes.td states the rules E1-E10; each guard below names the rule it checks.
// Nothing is changed before every store has passed all of them.
//===----------------------------------------------------------------------===//

#include "FuseEpilogueDetail.h"

#include "epiq/Graph/Graph.h"
#include "epiq/Passes.h"
#include "epiq/TritonIR/Triton.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;

namespace epiq {
#define GEN_PASS_DEF_FUSEEPILOGUE
#include "epiq/Passes.h.inc"

namespace {

// E1: the one function of the module, if it is a kernel by itself.
FailureOr<tt::FuncOp> findKernel(ModuleOp module, StoreRefusal &refusal) {
  tt::FuncOp kernel;
  for (auto func : module.getOps<tt::FuncOp>()) {
    if (kernel) {
      refusal = {func, "E1: the module has a second function, @" +
                           func.getName().str()};
      return failure();
    }
    kernel = func;
  }
  if (!kernel || kernel.isDeclaration() || !kernel.isPublic()) {
    refusal = {module, "E1: the module has no public function with a body"};
    return failure();
  }
  return kernel;
}

// E1: an argument that the epilogue reads.
FailureOr<BlockArgument> findOutput(tt::FuncOp kernel, int64_t number,
                                    StoreRefusal &refusal) {
  int64_t count = kernel.getNumArguments();
  if (number < 0 || number >= count) {
    refusal = {kernel, "E1: output " + std::to_string(number) + " of " +
                           std::to_string(count) + " arguments"};
    return failure();
  }
  BlockArgument output = kernel.getArgument(number);
  if (!isa<tt::PointerType, tt::TensorDescType>(output.getType())) {
    refusal = {kernel, "E1: argument " + std::to_string(number) +
                           " is neither a pointer nor a tensor descriptor"};
    return failure();
  }
  return output;
}

// The distance between the rows of a tile, for the caller to compare with the
// output's: a number, or one times an argument of the kernel. Empty where it is
// nothing so simple.
std::string describeRowStride(const TileStore &tile) {
  if (tile.rowStride.getTerms().size() != 1)
    return {};
  const IndexTerm &term = tile.rowStride.getTerms().front();
  std::string text = ", rows " + std::to_string(term.coeff);
  if (term.scalars.empty())
    return text + " apart";
  auto argument = dyn_cast<BlockArgument>(term.scalars.front());
  if (term.scalars.size() != 1 || !argument ||
      !isa<tt::FuncOp>(argument.getOwner()->getParentOp()))
    return {};
  return text + " * argument " + std::to_string(argument.getArgNumber()) +
         " apart";
}

// Erases what only the store at `op` needed.
void eraseWithOperands(Operation *op) {
  SmallVector<Operation *> worklist{op};
  while (!worklist.empty()) {
    Operation *next = worklist.pop_back_val();
    llvm::SetVector<Operation *> makers;
    for (Value operand : next->getOperands())
      if (Operation *maker = operand.getDefiningOp())
        makers.insert(maker);
    next->erase();
    for (Operation *maker : makers)
      if (isOpTriviallyDead(maker))
        worklist.push_back(maker);
  }
}

// Triton does not know the attribute.
void forgetValues(tt::FuncOp kernel) {
  for (unsigned i = 0; i < kernel.getNumArguments(); ++i)
    kernel.removeArgAttr(i, kValueAttr);
}

struct FuseEpilogue : impl::FuseEpilogueBase<FuseEpilogue> {
  using FuseEpilogueBase::FuseEpilogueBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    graph::RowProgramOp program;
    module.walk(
        [&](graph::RowProgramOp op) { program = program ? program : op; });
    if (!program) {
      module.emitError("no epiq.row_program to fuse");
      return signalPassFailure();
    }
    StoreRefusal refusal;
    if (failed(fuse(module, program, refusal)))
      refusal.op->emitRemark() << "not fused: " << refusal.reason;
  }

private:
  SmallVector<int64_t> getOutputs() const {
    if (outputs.empty())
      return {0};
    return llvm::to_vector<6>(outputs);
  }
  FailureOr<SmallVector<detail::TileSet, 0>> findTiles(tt::FuncOp kernel,
                                                       StoreRefusal &refusal);
  LogicalResult fuse(ModuleOp module, graph::RowProgramOp program,
                     StoreRefusal &refusal);
};

// E1-E4, E10: the stores to the outputs, those that belong together in sets.
FailureOr<SmallVector<detail::TileSet, 0>>
FuseEpilogue::findTiles(tt::FuncOp kernel, StoreRefusal &refusal) {
  SmallVector<SmallVector<TileStore, 0>> stores;
  llvm::SmallDenseSet<int64_t> seen;
  for (int64_t number : getOutputs()) {
    FailureOr<BlockArgument> argument = findOutput(kernel, number, refusal);
    if (failed(argument))
      return failure();
    if (!seen.insert(number).second) {
      refusal = {kernel, "E1: argument " + std::to_string(number) +
                             " is given as an output twice"};
      return failure();
    }
    FailureOr<SmallVector<TileStore, 0>> tiles =
        analyzeStores(*argument, columns, refusal);
    if (failed(tiles))
      return failure();
    stores.push_back(std::move(*tiles));
  }
  return detail::pairStores(stores, refusal);
}

LogicalResult FuseEpilogue::fuse(ModuleOp module, graph::RowProgramOp program,
                                 StoreRefusal &refusal) {
  FailureOr<tt::FuncOp> kernel = findKernel(module, refusal);
  if (failed(kernel))
    return failure();
  FailureOr<SmallVector<detail::TileSet, 0>> sets = findTiles(*kernel, refusal);
  if (failed(sets))
    return failure();
  refusal.op = program;
  FailureOr<detail::Epilogue> epilogue =
      detail::readEpilogue(program, sets->front().tiles.size(), refusal.reason);
  if (failed(epilogue))
    return failure();
  for (const detail::TileSet &set : *sets)
    if (failed(detail::checkTiles(*epilogue, set, refusal)))
      return failure();

  detail::EpilogueArguments arguments =
      detail::addArguments(*kernel, *epilogue, divisibility);
  for (const detail::TileSet &set : *sets) {
    detail::emitEpilogue(*epilogue, set, arguments, target);
    for (const TileStore &tile : set.tiles)
      tile.op->emitRemark() << "fused: @" << program.getSymName() << " into @"
                            << kernel->getName() << ", tile " << tile.numRows
                            << " x " << tile.numCols << describeRowStride(tile)
                            << (tile.flat ? ", flat" : "");
  }
  if (!keepOutput)
    for (const detail::TileSet &set : *sets)
      for (const TileStore &tile : set.tiles)
        eraseWithOperands(tile.op);
  forgetValues(*kernel);
  // The copy that was emitted has the same operands as the original.
  epilogue->owner = nullptr;
  if (auto function = program->getParentOfType<func::FuncOp>())
    function.erase();
  else
    program.erase();
  return success();
}

} // namespace
} // namespace epiq
