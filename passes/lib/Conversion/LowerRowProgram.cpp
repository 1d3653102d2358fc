//===- LowerRowProgram.cpp - One row program to one Triton kernel ---------===//
// Passes.td states the rules and the kernel's arguments.
//===----------------------------------------------------------------------===//

#include "RowBody.h"
#include "RowPairs.h"
#include "RowStore.h"
#include "RowTile.h"

#include "epiq/Analysis/RowOps.h"
#include "epiq/Conversion/TileBody.h"
#include "epiq/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Dominance.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/CSE.h"
#include "llvm/ADT/StringExtras.h"

namespace epiq {
#define GEN_PASS_DEF_LOWERROWPROGRAM
#include "epiq/Passes.h.inc"

namespace {

using namespace mlir;

constexpr int64_t kVectorBytes = 16;

int64_t elementBytes(Type element) {
  return memoryType(element).getIntOrFloatBitWidth() / 8;
}

std::string kernelName(StringRef symbol) {
  std::string name;
  for (char c : symbol)
    name += llvm::isAlnum(c) ? c : '_';
  if (name.empty() || llvm::isDigit(name.front()))
    name.insert(name.begin(), '_');
  return name;
}

// Builds the kernel of one normalized row program.
class KernelBuilder {
public:
  KernelBuilder(graph::RowProgramOp program, const RowShape &shape,
                RowSchedule schedule, int64_t target, ModuleOp module)
      : program(program), body(program.getBlock()), shape(shape),
        schedule(schedule), target(target),
        builder(program.getLoc(), program.getContext()) {
    builder.setInsertionPointToEnd(module.getBody());
  }

  void build();

private:
  ValueRange outputs() { return program.getYield().getValues(); }
  const RowValue &describe(Value value) const {
    return shape.values.find(value)->second;
  }
  bool fillsRow(Value value) const;
  int64_t laneElements();
  tt::FuncOp buildFunction();
  Value pointerArgument(unsigned index) { return kernel.getArgument(index); }
  Value numRows() {
    return kernel.getArgument(body.getNumArguments() + outputs().size());
  }
  Value rowStride(unsigned input);
  SmallVector<Value> load(Value value, const RowView &view);
  void store(unsigned output);
  bool padsRows();

  graph::RowProgramOp program;
  Block &body;
  const RowShape &shape;
  RowSchedule schedule;
  int64_t target;
  ImplicitLocOpBuilder builder;
  tt::FuncOp kernel;
  std::optional<RowTile> tile;
  std::optional<RowPairs> pairs;
  std::optional<RowBody> arithmetic;
};

bool KernelBuilder::fillsRow(Value value) const {
  auto described = shape.values.find(value);
  if (described == shape.values.end())
    return true;
  for (unsigned factor = 0; factor < shape.factors.size(); ++factor)
    if (!described->second.covers(factor))
      return false;
  return true;
}

// How many neighbouring elements a thread holds: 16 bytes of the widest tensor
// that fills the row. Triton gives a thread 16 bytes of the narrowest one when
// alignment allows it, and then moves values between threads for the others.
// What all tokens share is read from the cache, and counts for nothing.
int64_t KernelBuilder::laneElements() {
  int64_t widest = 1;
  auto see = [&](Value value) {
    if (fillsRow(value))
      widest = std::max(widest, elementBytes(getElementTypeOrSelf(value)));
  };
  for (BlockArgument input : body.getArguments())
    if (shape.inputs[input.getArgNumber()].first > 0)
      see(input);
  llvm::for_each(outputs(), see);
  return kVectorBytes / widest;
}

// Arguments: a pointer for each input and output, the number of rows, the row
// stride of each input that has one.
tt::FuncOp KernelBuilder::buildFunction() {
  SmallVector<Type> types;
  SmallVector<DictionaryAttr> attributes;
  auto add = [&](Type type, int64_t divisibility) {
    types.push_back(type);
    SmallVector<NamedAttribute> named;
    if (divisibility > 1)
      named.push_back(builder.getNamedAttr(
          "tt.divisibility", builder.getI32IntegerAttr(divisibility)));
    attributes.push_back(builder.getDictionaryAttr(named));
  };
  int64_t lane = laneElements();
  auto addPointer = [&](Value value) {
    Type element = memoryType(getElementTypeOrSelf(value));
    bool isWide = fillsRow(value);
    int64_t laneBytes = lane * elementBytes(element);
    if (isE2m1(getElementTypeOrSelf(value)))
      laneBytes /= 2;
    add(tt::PointerType::get(element),
        isWide ? std::min(kVectorBytes, laneBytes) : kVectorBytes);
  };
  llvm::for_each(body.getArguments(), addPointer);
  llvm::for_each(outputs(), addPointer);
  add(builder.getI32Type(), 1);
  for (auto [leading, width] : shape.inputs)
    if (leading > 0)
      add(builder.getI64Type(), width % 16 == 0 ? 16 : 1);
  NamedAttribute visibility = builder.getNamedAttr(
      SymbolTable::getVisibilityAttrName(), builder.getStringAttr("public"));
  NamedAttribute noinline_ =
      builder.getNamedAttr("noinline", builder.getBoolAttr(false));
  return tt::FuncOp::create(builder, kernelName(program.getSymName()),
                            builder.getFunctionType(types, {}),
                            ArrayRef<NamedAttribute>{visibility, noinline_},
                            attributes);
}

Value KernelBuilder::rowStride(unsigned input) {
  unsigned argument = body.getNumArguments() + outputs().size() + 1;
  for (unsigned before = 0; before < input; ++before)
    argument += shape.inputs[before].first > 0;
  return kernel.getArgument(argument);
}

SmallVector<Value> KernelBuilder::load(Value value, const RowView &view) {
  const RowValue &described = describe(value);
  RowAddress address;
  address.pointer = pointerArgument(view.input);
  address.offset = view.offset;
  if (shape.inputs[view.input].first > 0)
    address.rowStride = rowStride(view.input);
  address.strides = view.strides;

  SmallVector<int64_t> dims = tile->dims(described);
  Type element = getElementTypeOrSelf(value);
  bool isNumber =
      !described.isPerToken() &&
      llvm::all_of(described.dims, [](const auto &dim) { return dim.empty(); });
  auto loadChunk = [&](unsigned chunk) -> Value {
    if (isNumber) {
      Value first = tile->firstPointer(address, described, chunk);
      return tile->fit(tt::LoadOp::create(builder, first), dims);
    }
    if (pairs->isHalf(described, view))
      return pairs->load(address, described, view, chunk, memoryType(element));
    Value pointers = tile->pointers(address, described, chunk);
    Value mask = tile->loadMask(described, chunk);
    Value padding;
    if (mask)
      padding = tile->constant(builder.getZeroAttr(memoryType(element)), dims);
    return tt::LoadOp::create(builder, pointers, mask, padding);
  };
  SmallVector<Value> loaded;
  for (unsigned chunk = 0; chunk < tile->chunks(described); ++chunk)
    loaded.push_back(loadChunk(chunk));
  if (!element.isInteger(1))
    return loaded;
  Value zero = tile->constant(builder.getZeroAttr(memoryType(element)), dims);
  for (Value &part : loaded)
    part = arith::CmpIOp::create(builder, arith::CmpIPredicate::ne, part, zero);
  return loaded;
}

void KernelBuilder::store(unsigned output) {
  Value value = outputs()[output];
  if (shape.tensorMaxes.contains(value))
    return maximizeInMemory(builder,
                            pointerArgument(body.getNumArguments() + output),
                            arithmetic->lookup(value).front());
  const RowValue &described = describe(value);
  SmallVector<Value> tiles(arithmetic->lookup(value));
  for (Value &part : tiles)
    part = asInMemory(builder, target, getElementTypeOrSelf(value), part);
  RowStore(builder, shape, *tile, numRows())
      .store(pointerArgument(body.getNumArguments() + output),
             program.getLayout(output), described, tiles);
}

// Whether a result is stored for rows that pad the last ones.
bool KernelBuilder::padsRows() {
  for (unsigned output = 0; output < outputs().size(); ++output)
    if (LayoutAddress::get(program.getLayout(output), 1).rowMultiple > 1)
      return true;
  return false;
}

// Loads come first, so that all are under way before the first is used; a
// result is stored as soon as it is there, which frees its registers.
void KernelBuilder::build() {
  kernel = buildFunction();
  builder.setInsertionPointToEnd(kernel.addEntryBlock());
  tile.emplace(builder, shape, schedule, numRows(), padsRows());
  pairs.emplace(builder, shape, schedule, *tile, numRows(), padsRows());
  arithmetic.emplace(builder, shape, *tile, target);

  auto storeAll = [&](Value value) {
    for (auto [index, output] : llvm::enumerate(outputs()))
      if (output == value)
        store(index);
  };
  for (const auto &[value, view] : shape.loads) {
    builder.setLoc(value.getLoc());
    auto same = llvm::find_if(shape.loads, [&, &value = value,
                                            &view = view](auto &other) {
      return arithmetic->isDefined(other.first) && other.second == view &&
             describe(other.first).isPerToken() == describe(value).isPerToken();
    });
    SmallVector<Value> loaded =
        same == shape.loads.end()
            ? load(value, view)
            : llvm::to_vector(arithmetic->lookup(same->first));
    arithmetic->define(value, loaded, /*zeroPadded=*/true);
  }
  for (const auto &[value, view] : shape.loads) {
    builder.setLoc(value.getLoc());
    storeAll(value);
  }
  for (Operation &op : body.without_terminator()) {
    if (llvm::any_of(op.getResults(), [&](Value result) {
          return arithmetic->isDefined(result) ||
                 !shape.values.contains(result);
        }))
      continue;
    builder.setLoc(op.getLoc());
    arithmetic->lower(op);
    llvm::for_each(op.getResults(), storeAll);
  }
  builder.setLoc(program.getLoc());
  tt::ReturnOp::create(builder, ValueRange{});
}

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
    OwningOpRef<graph::RowProgramOp> program =
        normalizeRowProgram(programs.front());
    std::string reason;
    RowSchedule schedule{blockRows, blockCols, chunkCols};
    FailureOr<RowShape> shape = analyzeRows(*program, reason);
    if (failed(shape) || failed(RowTile::check(*shape, schedule, reason)) ||
        failed(checkBytes(*program, schedule, reason))) {
      programs.front().emitError() << reason;
      return signalPassFailure();
    }

    SmallVector<Operation *> old;
    for (Operation &op : *module.getBody())
      old.push_back(&op);
    KernelBuilder(*program, *shape, schedule, target, module).build();
    program = nullptr;
    for (Operation *op : llvm::reverse(old))
      op->erase();

    IRRewriter rewriter(&getContext());
    DominanceInfo dominance(module);
    eliminateCommonSubExpressions(rewriter, dominance, module);
  }
};

} // namespace
} // namespace epiq
