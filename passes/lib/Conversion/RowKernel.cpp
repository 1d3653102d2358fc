//===- RowKernel.cpp - The Triton function of a row program ---------------===//

#include "RowKernel.h"

#include "epiq/Analysis/RowOps.h"

#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace epiq {

namespace {

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

bool fillsRow(const RowShape &shape, Value value) {
  auto described = shape.values.find(value);
  if (described == shape.values.end())
    return true;
  for (auto [factor, size] : llvm::enumerate(shape.factors))
    if (size > 1 && !described->second.covers(factor))
      return false;
  return true;
}

// How many neighbouring elements a thread holds: 16 bytes of the widest tensor
// that fills the row. Triton gives a thread 16 bytes of the narrowest one when
// alignment allows it, and then moves values between threads for the others.
// What all tokens share is read from the cache, and counts for nothing.
int64_t laneElements(const RowSegment &segment) {
  int64_t widest = 1;
  auto see = [&](Value value) {
    if (fillsRow(segment.shape, value))
      widest = std::max(widest, elementBytes(getElementTypeOrSelf(value)));
  };
  graph::RowProgramOp program = segment.program.get();
  for (BlockArgument input : program.getBlock().getArguments())
    if (segment.shape.inputs[input.getArgNumber()].first > 0)
      see(input);
  llvm::for_each(program.getYield().getValues(), see);
  return kVectorBytes / widest;
}

// The alignment to promise for each input and output, in this order, that of
// one lane's elements where it is less.
SmallVector<int64_t> findAlignments(graph::RowProgramOp program,
                                    const RowPlan &plan) {
  unsigned numInputs = program.getNumOperands();
  SmallVector<int64_t> alignments(numInputs + program.getNumResults(),
                                  kVectorBytes);
  for (const RowSegment &segment : plan.segments) {
    int64_t lane = laneElements(segment);
    auto bound = [&](Value value, unsigned number) {
      Type element = getElementTypeOrSelf(value);
      int64_t bytes = lane * elementBytes(element);
      if (isE2m1(element))
        bytes /= 2;
      if (fillsRow(segment.shape, value))
        alignments[number] = std::min(alignments[number], bytes);
    };
    graph::RowProgramOp part = segment.program.get();
    for (auto [value, number] :
         llvm::zip_equal(part.getBlock().getArguments(), segment.inputs))
      bound(value, number);
    for (auto [value, number] :
         llvm::zip_equal(part.getYield().getValues(), segment.results))
      bound(value, numInputs + number);
  }
  return alignments;
}

} // namespace

RowKernel::RowKernel(ImplicitLocOpBuilder &builder, graph::RowProgramOp program,
                     const RowPlan &plan)
    : plan(plan) {
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
  // Elements as the body has them: a relayout packs those of a result.
  SmallVector<Value> values(program.getBlock().getArguments());
  llvm::append_range(values, program.getYield().getValues());
  for (auto [number, alignment] :
       llvm::enumerate(findAlignments(program, plan))) {
    Value value = values[number];
    while (auto relayout = value.getDefiningOp<graph::RelayoutOp>())
      value = relayout.getInput();
    add(tt::PointerType::get(memoryType(getElementTypeOrSelf(value))),
        alignment);
  }
  add(builder.getI32Type(), 1);
  for (auto [leading, width] : plan.inputs)
    if (leading > 0)
      add(builder.getI64Type(), width % 16 == 0 ? 16 : 1);
  NamedAttribute visibility = builder.getNamedAttr(
      SymbolTable::getVisibilityAttrName(), builder.getStringAttr("public"));
  NamedAttribute noinline_ =
      builder.getNamedAttr("noinline", builder.getBoolAttr(false));
  func = tt::FuncOp::create(builder, kernelName(program.getSymName()),
                            builder.getFunctionType(types, {}),
                            ArrayRef<NamedAttribute>{visibility, noinline_},
                            attributes);
}

Value RowKernel::rowStride(unsigned input) {
  if (plan.inputs[input].first == 0)
    return {};
  unsigned argument = plan.inputs.size() + plan.buffers.size() + 1;
  for (unsigned before = 0; before < input; ++before)
    argument += plan.inputs[before].first > 0;
  return func.getArgument(argument);
}

} // namespace epiq
