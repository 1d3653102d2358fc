//===- PullQuant.cpp - Move an operand's quantization out of a kernel -----===//
// Passes.td states the rules Q1-Q9; each guard names the rule it checks.
// Nothing is changed before every load of the operand has passed all of them.
//===----------------------------------------------------------------------===//

#include "PullQuantDetail.h"

#include "epiq/Passes.h"
#include "epiq/TritonIR/Triton.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;

namespace epiq {
#define GEN_PASS_DEF_PULLQUANT
#include "epiq/Passes.h.inc"

namespace {

// One load of the operand, and what is to become of it.
struct Pulled {
  detail::QuantSlice slice;
  detail::MaskedLanes masked;
  detail::PulledProgram program;
};

LogicalResult refuse(StoreRefusal &refusal, Operation *op,
                     const Twine &reason) {
  refusal.op = op;
  refusal.reason = reason.str();
  return failure();
}

// Q1: the module's one function, a kernel by itself, and its operand.
FailureOr<BlockArgument> findOperand(ModuleOp module, int64_t number,
                                     StoreRefusal &refusal) {
  tt::FuncOp kernel;
  for (auto func : module.getOps<tt::FuncOp>()) {
    if (kernel) {
      refuse(refusal, func,
             "Q1: the module has a second function, @" + func.getName());
      return failure();
    }
    kernel = func;
  }
  if (!kernel || kernel.isDeclaration() || !kernel.isPublic()) {
    refuse(refusal, module,
           "Q1: the module has no public function with a body");
    return failure();
  }
  int64_t count = kernel.getNumArguments();
  if (number < 0 || number >= count) {
    refuse(refusal, kernel,
           "Q1: operand " + Twine(number) + " of " + Twine(count) +
               " arguments");
    return failure();
  }
  BlockArgument operand = kernel.getArgument(number);
  if (!isa<tt::PointerType, tt::TensorDescType>(operand.getType())) {
    refuse(refusal, kernel,
           "Q1: argument " + Twine(number) +
               " is neither a pointer nor a tensor descriptor");
    return failure();
  }
  return operand;
}

FailureOr<Pulled> analyze(tt::FuncOp kernel, const TileLoad &load,
                          StoreRefusal &refusal) {
  Pulled pulled;
  FailureOr<detail::QuantSlice> slice =
      detail::findSlice(kernel, load, refusal);
  if (failed(slice) || failed(detail::checkOneRow(*slice, refusal)))
    return failure();
  FailureOr<detail::MaskedLanes> masked =
      detail::evaluateMaskedLanes(*slice, refusal);
  if (failed(masked))
    return failure();
  FailureOr<detail::PulledProgram> program =
      detail::writeProgram(*slice, *masked, refusal);
  if (failed(program) ||
      failed(detail::checkScaleAddress(*slice, *program, refusal)))
    return failure();
  pulled.slice = std::move(*slice);
  pulled.masked = std::move(*masked);
  pulled.program = std::move(*program);
  return pulled;
}

// The argument that a given value is, or is read from.
int64_t argumentOf(Value given) {
  if (auto load = given.getDefiningOp<tt::LoadOp>())
    given = load.getPtr();
  return cast<BlockArgument>(given).getArgNumber();
}

func::FuncOp functionOf(const detail::PulledProgram &program) {
  return *ModuleOp(*program.module).getOps<func::FuncOp>().begin();
}

// Says which arguments of the kernel the function's are, how many neighbouring
// elements share each scale, and how many rows of the operand are one of the
// program's, if they are several.
void describe(const Pulled &pulled, BlockArgument operand) {
  const detail::PulledProgram &program = pulled.program;
  func::FuncOp function = functionOf(program);
  Builder builder(function.getContext());
  SmallVector<int64_t> arguments{operand.getArgNumber()}, groups;
  for (Value given : program.givens)
    arguments.push_back(argumentOf(given));
  for (const detail::ScalePlace &place : program.scales)
    groups.push_back(place.group);
  function->setAttr("epiq.arguments", builder.getDenseI64ArrayAttr(arguments));
  function->setAttr("epiq.groups", builder.getDenseI64ArrayAttr(groups));
  if (pulled.slice.isOneRow)
    function->setAttr(
        "epiq.rows", builder.getI64IntegerAttr(pulled.slice.getColumns() /
                                               pulled.slice.load.getColumns()));
}

std::string textOf(const detail::PulledProgram &program) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  ModuleOp(*program.module).print(stream);
  return text;
}

// Q8: two loads of an element must get the same bits.
LogicalResult checkSame(ArrayRef<Pulled> all, StoreRefusal &refusal) {
  std::string first = textOf(all.front().program);
  for (const Pulled &pulled : all.drop_front())
    if (textOf(pulled.program) != first)
      return refuse(refusal, pulled.slice.load.op,
                    "Q8: what is loaded here is quantized in another way than "
                    "elsewhere");
  return success();
}

Type withElement(Type type, Type element) {
  if (auto tensor = dyn_cast<RankedTensorType>(type))
    return tensor.clone(withElement(tensor.getElementType(), element));
  if (auto pointer = dyn_cast<tt::PointerType>(type))
    return tt::PointerType::get(element, pointer.getAddressSpace());
  if (auto descriptor = dyn_cast<tt::TensorDescType>(type))
    return tt::TensorDescType::get(descriptor.getBlockType().clone(element));
  return type;
}

void eraseDeadOps(tt::FuncOp kernel) {
  SmallVector<Operation *> dead;
  do {
    dead.clear();
    kernel.walk<WalkOrder::PreOrder>([&](Operation *op) {
      if (!isOpTriviallyDead(op))
        return WalkResult::advance();
      dead.push_back(op);
      // What is inside goes with it.
      return WalkResult::skip();
    });
    for (Operation *op : llvm::reverse(dead))
      op->erase();
  } while (!dead.empty());
}

struct PullQuant : impl::PullQuantBase<PullQuant> {
  using PullQuantBase::PullQuantBase;

  void runOnOperation() override {
    StoreRefusal refusal;
    if (failed(pull(refusal)))
      refusal.op->emitRemark() << "not pulled: " << refusal.reason;
  }

private:
  LogicalResult pull(StoreRefusal &refusal);
  SmallVector<Value> addScaleArguments(tt::FuncOp kernel,
                                       const detail::PulledProgram &program);
};

SmallVector<Value>
PullQuant::addScaleArguments(tt::FuncOp kernel,
                             const detail::PulledProgram &program) {
  Builder builder(kernel.getContext());
  SmallVector<Value> pointers;
  ArrayRef<Type> results = functionOf(program).getResultTypes();
  for (auto [i, type] : llvm::enumerate(results.drop_front())) {
    SmallVector<NamedAttribute> attributes;
    if (i < divisibility.size() && divisibility[i] > 1)
      attributes.push_back(builder.getNamedAttr(
          "tt.divisibility", builder.getI32IntegerAttr(divisibility[i])));
    unsigned index = kernel.getNumArguments();
    (void)kernel.insertArgument(
        index, tt::PointerType::get(getElementTypeOrSelf(type)),
        builder.getDictionaryAttr(attributes), kernel.getLoc());
    pointers.push_back(kernel.getArgument(index));
  }
  return pointers;
}

LogicalResult PullQuant::pull(StoreRefusal &refusal) {
  ModuleOp module = getOperation();
  FailureOr<BlockArgument> found = findOperand(module, operand, refusal);
  if (failed(found))
    return failure();
  BlockArgument argument = *found;
  auto kernel = cast<tt::FuncOp>(argument.getOwner()->getParentOp());
  FailureOr<SmallVector<TileLoad, 0>> loads =
      analyzeLoads(kernel, argument, refusal);
  if (failed(loads))
    return failure();
  SmallVector<Pulled, 0> all;
  for (const TileLoad &load : *loads) {
    FailureOr<Pulled> pulled = analyze(kernel, load, refusal);
    if (failed(pulled))
      return failure();
    describe(*pulled, argument);
    all.push_back(std::move(*pulled));
  }
  if (failed(checkSame(all, refusal)))
    return failure();

  SmallVector<Value> pointers = getPointersInto(argument);
  Type element = getElementTypeOrSelf(all.front().slice.quantized.getType());
  SmallVector<Value> scales = addScaleArguments(kernel, all.front().program);
  for (Pulled &pulled : all) {
    pulled.slice.load.op->emitRemark()
        << "pulled: rows of " << pulled.slice.getWidth() << " to " << element
        << " with " << scales.size()
        << (scales.size() == 1 ? " scale" : " scales");
    detail::rewriteSlice(pulled.slice, pulled.program, pulled.masked, scales);
  }
  for (Value pointer : pointers)
    pointer.setType(withElement(pointer.getType(), element));
  kernel.setFunctionType(
      FunctionType::get(&getContext(), kernel.getBody().getArgumentTypes(),
                        kernel.getFunctionType().getResults()));
  eraseDeadOps(kernel);
  functionOf(all.front().program)
      ->moveBefore(module.getBody(), module.getBody()->end());
  return success();
}

} // namespace
} // namespace epiq
