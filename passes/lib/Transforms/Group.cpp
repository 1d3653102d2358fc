//===- Group.cpp - Outlines groups as row programs, and says what fused ---===//
// GroupGrow.cpp decides which ops a group holds; Passes.td states the rules.
//===----------------------------------------------------------------------===//

#include "Group.h"

#include "Amax.h"
#include "Outline.h"
#include "Raise.h"

#include "epiq/Analysis/RowSegments.h"
#include "epiq/Graph/Graph.h"
#include "epiq/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {
#define GEN_PASS_DEF_GROUP
#include "epiq/Passes.h.inc"

namespace {

// What an op is called in a program's name; empty for casts, views and what is
// the same for all tokens.
std::string shortName(Operation *op) {
  if (auto composite = dyn_cast<CompositeOp>(op))
    return composite.getKind().str();
  if (auto reduce = dyn_cast<ReduceOp>(op))
    return stringifyReduceKind(reduce.getKind()).str();
  if (!isElementwise(op) ||
      isa<arith::ExtFOp, arith::TruncFOp, arith::BitcastOp>(op))
    return "";
  // addf, maximumf, absf: the type's letter says nothing here.
  StringRef name = op->getName().stripDialect();
  if (name != "erf")
    name.consume_back("f");
  return name.str();
}

// Elements of the narrowest row that the group quantizes or stores by index:
// what is narrower, such as a scale or an angle, only helps to compute one.
int64_t narrowestRow(const Group &group) {
  int64_t width = group.domain.rowWidth();
  for (Operation *op : group.ops) {
    if (auto scatter = dyn_cast<ScatterRowsOp>(op))
      width = std::min(width, group.domain.width(scatter.getRows()));
    else if (isQuantization(op))
      width = std::min(width, group.domain.width(op->getResult(0)));
  }
  return width;
}

// The members that are not quantizations, each name once, in block order.
SmallVector<std::string> producerNames(const Group &group) {
  Boundary boundary = findBoundary(group.ops, {});
  int64_t width = narrowestRow(group);
  SmallVector<std::string> names;
  for (Operation *op : boundary.ops) {
    bool isNamed = isAmax(op) || group.domain.isRowLike(op->getResult(0));
    std::string name =
        isQuantization(op) || !isNamed ? std::string() : shortName(op);
    bool narrow = op->getNumResults() == 1 && !isAmax(op) &&
                  group.domain.width(op->getResult(0)) < width;
    if (!name.empty() && !narrow && !llvm::is_contained(names, name))
      names.push_back(name);
  }
  return names;
}

std::string programName(const Group &group, bool fused, unsigned index) {
  SmallVector<std::string> parts = producerNames(group);
  if (llvm::any_of(group.ops, isQuantization))
    parts.push_back("quantize");
  return (fused && parts.size() > 1 ? "fused_" : "") + llvm::join(parts, "_") +
         "_" + std::to_string(index);
}

std::string describeSeed(Operation *op) {
  if (auto composite = dyn_cast<CompositeOp>(op))
    return composite.getFormatAttr()
               ? "quantize(" + describe(composite.getFormatAttr()) + ")"
               : "quantize";
  if (auto scatter = dyn_cast<ScatterRowsOp>(op))
    return "write(" +
           elementName(getElementTypeOrSelf(scatter.getRows().getType())) +
           " rows by index)";
  Value cast = isa<RelayoutOp>(op) ? op->getOperand(0) : op->getResult(0);
  return "cast(" + elementName(getElementTypeOrSelf(cast.getType())) + ")";
}

// What a seed shares its program with, nearest first: `rms_norm + add`. Where
// nothing comes before it, the store of its rows.
std::string fusedInto(const Seed &seed) {
  SmallVector<std::string> producers;
  if (seed.group)
    producers = producerNames(*seed.group);
  llvm::erase(producers, "amax");
  std::reverse(producers.begin(), producers.end());
  bool isStored = seed.group && isQuantization(seed.op) &&
                  llvm::any_of(seed.group->ops, llvm::IsaPred<ScatterRowsOp>);
  if (producers.empty() && isStored)
    producers.push_back("the write of its rows");
  return llvm::join(producers, " + ");
}

// The seed of the amax that a quantization reads; null when it reads none.
const Seed *amaxOf(const Seed &seed, ArrayRef<Seed> seeds) {
  auto quantize = dyn_cast<CompositeOp>(seed.op);
  Operation *amax = quantize ? findNumberSource(quantize, isAmax) : nullptr;
  const Seed *found =
      llvm::find_if(seeds, [&](const Seed &other) { return other.op == amax; });
  return found == seeds.end() ? nullptr : found;
}

// Exactly one remark for each quantization. With a scale for the tensor, only
// its amax can be computed where the values are.
void report(const Seed &seed, ArrayRef<Seed> seeds) {
  const Seed *amax = amaxOf(seed, seeds);
  std::string what = describeSeed(seed.op), into = fusedInto(seed);
  if (amax) {
    if (std::string amaxInto = fusedInto(*amax); !amaxInto.empty()) {
      into = amaxInto;
      what += " amax";
    }
  }
  const Seed &first = amax ? *amax : seed;
  if (!into.empty()) {
    InFlightDiagnostic remark = emitRemark(seed.op->getLoc());
    remark << "fused: " << what << " into " << into;
    if (!first.broken.empty())
      remark << "; not further: " << first.broken;
    return;
  }
  // Its rows come from elsewhere: it shares the launch of others, or is left to
  // torch, which is no loss.
  if (isa<ScatterRowsOp>(seed.op)) {
    std::string why = seed.broken.empty() ? seed.blocked : seed.broken;
    if (seed.group)
      emitRemark(seed.op->getLoc()) << "fused: " << what << " into the launch";
    else if (!why.empty())
      emitRemark(seed.op->getLoc()) << "left alone: " << what << ": " << why;
    return;
  }
  std::string why = first.broken.empty() ? first.blocked : first.broken;
  emitRemark(seed.op->getLoc())
      << "not fused: " << what << ": " << (why.empty() ? seed.blocked : why);
}

Layout layoutOf(Value value) {
  if (auto composite = value.getDefiningOp<CompositeOp>())
    value = composite.getYield().getOperand(
        cast<OpResult>(value).getResultNumber());
  auto relayout = value.getDefiningOp<RelayoutOp>();
  return relayout ? relayout.getLayout() : Layout::row_major;
}

// The program, where `builder` stands or nowhere; the group's ops stay.
RowProgramOp buildProgram(OpBuilder &builder, const Group &group,
                          const Boundary &boundary, StringRef name) {
  SmallVector<Type> types;
  SmallVector<Attribute> layouts;
  for (Value result : boundary.results) {
    types.push_back(result.getType());
    layouts.push_back(LayoutAttr::get(builder.getContext(), layoutOf(result)));
  }
  Location loc = group.seeds.empty() ? boundary.ops.back()->getLoc()
                                     : group.seeds.front()->getLoc();
  auto program =
      RowProgramOp::create(builder, loc, types, builder.getStringAttr(name),
                           boundary.inputs, builder.getArrayAttr(layouts));
  Block &block = program.getBody().emplaceBlock();
  for (Value input : boundary.inputs)
    block.addArgument(input.getType(), input.getLoc());
  cloneInto(boundary, block);
  return program;
}

// Whether a kernel can be made of the group: rules L1-L8.
std::optional<Refusal> checkKernel(const Group &group) {
  Boundary boundary = findBoundary(group.ops, {});
  OpBuilder nowhere(boundary.ops.front()->getContext());
  OwningOpRef<RowProgramOp> program(
      buildProgram(nowhere, group, boundary, "candidate"));
  std::string reason;
  if (failed(planRows(*program, reason)))
    return Refusal{reason};
  return std::nullopt;
}

void outline(const Group &group, StringRef name) {
  Boundary boundary = findBoundary(group.ops, {});
  OpBuilder builder(boundary.ops.back());
  replaceWith(boundary, buildProgram(builder, group, boundary, name));
}

struct GroupPass : impl::GroupBase<GroupPass> {
  using GroupBase::GroupBase;

  void runOnOperation() override {
    unsigned index = 0;
    for (func::FuncOp func : getOperation().getOps<func::FuncOp>()) {
      if (!func.getBody().hasOneBlock())
        continue;
      Grouper grouper(func.getBody().front(), maxRowWidth, keepOut,
                      checkKernel);
      if (fuse)
        grouper.growAll();
      else
        grouper.splitAll();
      for (const Seed &seed : grouper.seeds)
        if (isQuantization(seed.op) || isa<ScatterRowsOp>(seed.op))
          report(seed, grouper.seeds);
      for (const std::unique_ptr<Group> &group : grouper.groups)
        outline(*group, programName(*group, fuse, index++));
      eraseUnusedSplats(func.getBody().front());
    }
  }
};

} // namespace
} // namespace epiq
