//===- RowSegments.cpp - The independent parts of a row program -----------===//

#include "epiq/Analysis/RowSegments.h"

#include "RowShapeDetail.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/EquivalenceClasses.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/MathExtras.h"

#include <numeric>

using namespace mlir;

namespace epiq {

using namespace detail;

namespace {

// The ops that a result is made of, in no order, and the elements of the widest
// value that they compute with.
struct Cone {
  llvm::SetVector<Operation *> ops;
  llvm::DenseSet<Value> values;
  int64_t widest = 1;
};

int64_t staticElements(Value value) {
  return countTokens(tensorType(value).getShape()).known;
}

bool isView(Operation *op) { return isa<graph::SliceOp, graph::ReshapeOp>(op); }

// The same elements before they got their shape.
Value withoutReshapes(Value value) {
  while (auto reshape = value.getDefiningOp<graph::ReshapeOp>())
    value = reshape.getInput();
  return value;
}

Cone findCone(Value result, const llvm::DenseSet<Value> &memory) {
  Cone cone;
  SmallVector<Value> pending = {result};
  while (!pending.empty()) {
    Operation *op = pending.pop_back_val().getDefiningOp();
    if (op && cone.ops.insert(op))
      llvm::append_range(pending, op->getOperands());
  }
  for (Operation *op : cone.ops) {
    // What is only looked at through views counts as these.
    if (isView(op))
      continue;
    for (Value operand : op->getOperands())
      if (!memory.contains(operand))
        cone.values.insert(withoutReshapes(operand));
  }
  if (!memory.contains(result))
    cone.values.insert(withoutReshapes(result));
  for (Value value : cone.values)
    cone.widest = std::max(cone.widest, staticElements(value));
  return cone;
}

// Whether one of two results would compute anew, or read again, what makes up
// its row.
bool sharesRow(const Cone &a, const Cone &b) {
  int64_t row = std::min(a.widest, b.widest);
  return llvm::any_of(a.values, [&](Value value) {
    return staticElements(value) >= row && b.values.contains(value);
  });
}

// The numbers of the results of each segment.
SmallVector<SmallVector<unsigned>> partResults(graph::RowProgramOp program) {
  llvm::DenseSet<Value> memory = findMemory(program.getBlock());
  SmallVector<Cone> cones;
  for (Value result : program.getYield().getValues())
    cones.push_back(findCone(result, memory));
  llvm::EquivalenceClasses<unsigned> classes;
  for (unsigned i = 0; i < cones.size(); ++i) {
    classes.insert(i);
    for (unsigned j = 0; j < i; ++j)
      if (sharesRow(cones[i], cones[j]))
        classes.unionSets(i, j);
  }
  SmallVector<SmallVector<unsigned>> parts;
  for (unsigned i = 0; i < cones.size(); ++i) {
    auto *same = llvm::find_if(parts, [&](ArrayRef<unsigned> part) {
      return classes.isEquivalent(part.front(), i);
    });
    if (same == parts.end())
      parts.push_back({i});
    else
      same->push_back(i);
  }
  return parts;
}

// A program of the results `numbers` of `whole`, which is normalized.
RowSegment cloneSegment(graph::RowProgramOp whole, ArrayRef<unsigned> numbers) {
  RowSegment segment;
  segment.results.assign(numbers.begin(), numbers.end());
  llvm::SetVector<Operation *> ops;
  SmallVector<Value> yielded, pending;
  SmallVector<Type> types;
  SmallVector<Attribute> layouts;
  for (unsigned number : numbers) {
    yielded.push_back(whole.getYield().getOperand(number));
    types.push_back(whole.getResultTypes()[number]);
    layouts.push_back(whole.getLayouts()[number]);
  }
  llvm::DenseSet<Value> read(yielded.begin(), yielded.end());
  pending = yielded;
  while (!pending.empty()) {
    Operation *op = pending.pop_back_val().getDefiningOp();
    if (!op || !ops.insert(op))
      continue;
    read.insert(op->operand_begin(), op->operand_end());
    llvm::append_range(pending, op->getOperands());
  }

  SmallVector<Value> inputs;
  for (BlockArgument argument : whole.getBlock().getArguments())
    if (read.contains(argument)) {
      segment.inputs.push_back(argument.getArgNumber());
      inputs.push_back(whole.getInputs()[argument.getArgNumber()]);
    }
  OpBuilder builder(whole.getContext());
  auto program = graph::RowProgramOp::create(builder, whole.getLoc(), types,
                                             whole.getSymNameAttr(), inputs,
                                             builder.getArrayAttr(layouts));
  Block &block = program.getBody().emplaceBlock();
  IRMapping mapping;
  for (unsigned number : segment.inputs) {
    BlockArgument argument = whole.getBlock().getArgument(number);
    mapping.map(argument,
                block.addArgument(argument.getType(), argument.getLoc()));
  }
  builder.setInsertionPointToEnd(&block);
  for (Operation &op : whole.getBlock().without_terminator())
    if (ops.contains(&op))
      builder.clone(op, mapping);
  graph::YieldOp::create(builder, whole.getYield().getLoc(),
                         llvm::map_to_vector(yielded, [&](Value value) {
                           return mapping.lookup(value);
                         }));
  segment.program = OwningOpRef<graph::RowProgramOp>(program);
  return segment;
}

LogicalResult analyze(RowSegment &segment, std::string &reason,
                      std::optional<int64_t> limit = std::nullopt) {
  FailureOr<RowShape> shape = analyzeRows(segment.program.get(), reason, limit);
  if (failed(shape))
    return failure();
  segment.shape = std::move(*shape);
  return success();
}

bool hasTokens(const RowSegment &segment) {
  return llvm::any_of(segment.shape.inputs,
                      [](auto input) { return input.first > 0; });
}

// L1: segments are rows of the same tokens. The first try finds as many as it
// can; the least of these is what all have.
LogicalResult settleTokens(RowPlan &plan, std::string &reason) {
  std::optional<int64_t> least;
  for (RowSegment &segment : plan.segments) {
    int64_t known = segment.shape.tokens.known;
    if (hasTokens(segment))
      least = std::min(least.value_or(known), known);
  }
  for (RowSegment &segment : plan.segments) {
    if (!hasTokens(segment) || segment.shape.tokens.known == *least)
      continue;
    if (failed(analyze(segment, reason, least)))
      return failure();
    if (segment.shape.tokens.known != *least)
      return refuse(reason, "L1: results are rows of " + Twine(*least) +
                                " and of " + Twine(segment.shape.tokens.known) +
                                " tokens");
  }
  plan.staticRows = least.value_or(1);
  return success();
}

unsigned inputOf(Value memory) {
  return cast<BlockArgument>(withoutReshapes(memory)).getArgNumber();
}

LogicalResult collectInputs(graph::RowProgramOp program, RowPlan &plan,
                            std::string &reason) {
  for (BlockArgument argument : program.getBlock().getArguments())
    plan.inputs.emplace_back(0, staticElements(argument));
  plan.indexedRows.assign(plan.inputs.size(), 0);
  llvm::DenseSet<unsigned> seen;
  for (RowSegment &segment : plan.segments) {
    for (auto [number, found] :
         llvm::zip_equal(segment.inputs, segment.shape.inputs)) {
      auto &known = plan.inputs[number];
      if (!seen.insert(number).second && known != found)
        return refuse(
            reason, "L1: " + typeText(program.getBlock().getArgument(number)) +
                        " is read as rows of different tokens");
      known = found;
    }
    segment.program.get().walk([&](Operation *op) {
      if (auto gather = dyn_cast<graph::GatherRowsOp>(op)) {
        auto rows = tensorType(gather.getTable()).getShape().drop_front();
        plan.indexedRows[segment.inputs[inputOf(gather.getTable())]] =
            std::accumulate(rows.begin(), rows.end(), int64_t{1},
                            std::multiplies<>());
      }
      if (auto scatter = dyn_cast<graph::ScatterRowsOp>(op)) {
        auto rows = tensorType(scatter.getBuffer()).getShape().drop_front();
        plan.indexedRows[segment.inputs[inputOf(scatter.getBuffer())]] =
            std::accumulate(rows.begin(), rows.end(), int64_t{1},
                            std::multiplies<>());
      }
    });
  }
  return success();
}

// L10: memory that is written has one writer and no reader.
LogicalResult collectBuffers(graph::RowProgramOp program, RowPlan &plan,
                             std::string &reason) {
  plan.buffers.assign(program.getNumResults(), -1);
  for (RowSegment &segment : plan.segments)
    for (auto [number, value] : llvm::zip_equal(
             segment.results, segment.program.get().getYield().getValues()))
      if (auto scatter = value.getDefiningOp<graph::ScatterRowsOp>())
        plan.buffers[number] = segment.inputs[inputOf(scatter.getBuffer())];
  for (auto [result, buffer] : llvm::enumerate(plan.buffers)) {
    if (buffer < 0)
      continue;
    unsigned reads = 0;
    SmallVector<Value> pending = {program.getBlock().getArgument(buffer)};
    while (!pending.empty()) {
      Value memory = pending.pop_back_val();
      for (Operation *user : memory.getUsers()) {
        if (isa<graph::ReshapeOp>(user))
          pending.push_back(user->getResult(0));
        else
          ++reads;
      }
    }
    if (reads > 1)
      return refuse(reason,
                    "L10: the program stores rows in " +
                        typeText(program.getBlock().getArgument(buffer)) +
                        " and reads it, or stores there twice");
  }
  return success();
}

void collectColumns(RowPlan &plan) {
  plan.width = plan.columnUnit = 1;
  for (const RowSegment &segment : plan.segments) {
    plan.width = std::max(plan.width, segment.shape.width);
    plan.columnUnit = std::lcm(plan.columnUnit, segment.shape.columnUnit);
    plan.fullRow |= segment.shape.fullRow;
  }
  for (const RowSegment &segment : plan.segments)
    if (!llvm::isPowerOf2_64(plan.columnUnit / segment.shape.columnUnit)) {
      plan.columnUnit = 0;
      return;
    }
}

} // namespace

FailureOr<RowPlan> planRows(graph::RowProgramOp program, std::string &reason) {
  OwningOpRef<graph::RowProgramOp> normal = normalizeRowProgram(program);
  RowPlan plan;
  SmallVector<SmallVector<unsigned>> parts = partResults(*normal);
  if (parts.size() <= 1) {
    RowSegment segment;
    segment.inputs = llvm::to_vector(
        llvm::seq<unsigned>(0, normal->getBlock().getNumArguments()));
    segment.results =
        llvm::to_vector(llvm::seq<unsigned>(0, normal->getNumResults()));
    segment.program = std::move(normal);
    plan.segments.push_back(std::move(segment));
  } else {
    for (ArrayRef<unsigned> part : parts)
      plan.segments.push_back(cloneSegment(*normal, part));
  }
  for (RowSegment &segment : plan.segments)
    if (failed(analyze(segment, reason)))
      return failure();
  graph::RowProgramOp whole =
      normal ? *normal : plan.segments.front().program.get();
  if (failed(settleTokens(plan, reason)) ||
      failed(collectInputs(whole, plan, reason)) ||
      failed(collectBuffers(whole, plan, reason)))
    return failure();
  collectColumns(plan);
  return plan;
}

} // namespace epiq
