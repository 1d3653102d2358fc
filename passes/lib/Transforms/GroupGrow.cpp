//===- GroupGrow.cpp - Grows groups from quantizations --------------------===//
// A group starts at a quantization and takes producers in as long as all its
// values are rows of the same tokens. Passes.td states the rules F1-F9.
//===----------------------------------------------------------------------===//

#include "Group.h"

#include "Amax.h"
#include "Outline.h"
#include "Raise.h"

#include "epiq/Graph/Graph.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace epiq::graph;

namespace epiq {

bool isQuantization(Operation *op) {
  if (auto composite = dyn_cast<CompositeOp>(op))
    return composite.getKind() == "quantize";
  // Values of e2m1 exist packed only.
  if (auto relayout = dyn_cast<RelayoutOp>(op))
    return relayout.getLayout() == Layout::packed_e2m1;
  auto cast = dyn_cast<arith::TruncFOp>(op);
  return cast && isFp8(cast.getType());
}

namespace {

// `op` and the helper ops of its torch node: a group holds whole nodes, since
// nothing but a node's value can be handed to torch.
OpSet withHelpers(Operation *op) {
  OpSet ops;
  ops.insert(op);
  StringRef node = nodeName(op);
  for (size_t i = 0; i < ops.size(); ++i)
    for (Value operand : ops[i]->getOperands()) {
      Operation *producer = operand.getDefiningOp();
      if (producer && !isSplat(operand) && isHelper(producer) &&
          nodeName(producer) == node)
        ops.insert(producer);
    }
  return ops;
}

// The values that a group reads, in the order of its ops.
llvm::SetVector<Value> inputsOf(const OpSet &ops) {
  llvm::SetVector<Value> inputs;
  for (Operation *op : ops)
    for (Value operand : op->getOperands())
      if (!ops.contains(operand.getDefiningOp()) && !isSplat(operand))
        inputs.insert(operand);
  return inputs;
}

} // namespace

// The candidates for the tokens are the leading dimensions, all but one at
// first: a row is as short as its ops allow.
std::optional<Refusal> Grouper::tryAdd(Group &group, const OpSet &more) {
  Group next = group;
  next.ops.insert(more.begin(), more.end());
  unsigned least = std::min<unsigned>(group.lead, 1);
  std::optional<Refusal> first;
  for (unsigned lead = group.lead;; --lead) {
    OrRefusal<RowDomain> domain =
        RowDomain::infer(next.ops.getArrayRef(), group.anchor, lead, maxWidth);
    if (auto *found = std::get_if<RowDomain>(&domain)) {
      next.lead = lead;
      next.domain = std::move(*found);
      first.reset();
      break;
    }
    if (!first)
      first = std::get<Refusal>(domain);
    if (lead == least)
      return first;
  }
  auto clusterOf = [&](Operation *op) -> const OpSet * {
    Group *other = ownerOf(op);
    return other && other != &group ? &other->ops : nullptr;
  };
  if (!isConvex(next.ops, clusterOf))
    return refuse(
        "F4: another node reads a value of the program and feeds one back");
  if (checksEachStep)
    if (std::optional<Refusal> refusal = check(next))
      return refusal;
  for (Operation *op : more)
    if (!isFree(op))
      owner[op] = &group;
  group = std::move(next);
  return std::nullopt;
}

std::optional<Refusal> Grouper::tryMerge(Group &group, Group &other) {
  // Each op of `other` has to count as a member, not as a cluster of its own.
  OpSet ops = other.ops;
  for (Operation *op : ops)
    owner.erase(op);
  if (std::optional<Refusal> refusal = tryAdd(group, ops)) {
    for (Operation *op : ops)
      if (!isFree(op))
        owner[op] = &other;
    return refusal;
  }
  group.seeds.append(other.seeds);
  for (Seed &seed : seeds)
    if (seed.group == &other)
      seed.group = &group;
  llvm::erase_if(groups, [&](const std::unique_ptr<Group> &g) {
    return g.get() == &other;
  });
  return std::nullopt;
}

std::optional<Refusal> Grouper::start(Operation *op, Group &group) {
  bool readsAnchor = isAmax(op) || isa<ScatterRowsOp>(op);
  group.anchor = readsAnchor ? op->getOperand(0) : op->getResult(0);
  auto type = cast<RankedTensorType>(group.anchor.getType());
  if (type.getRank() == 0)
    return refuse("F6: ", type, " has no row");
  group.lead = type.getRank() - 1;
  std::optional<Refusal> refusal = tryAdd(group, withHelpers(op));
  if (!refusal)
    refusal = check(group);
  if (refusal)
    for (Operation *member : group.ops)
      owner.erase(member);
  return refusal;
}

std::optional<Refusal> Grouper::addProducer(Group &group, Value input) {
  Operation *producer = input.getDefiningOp();
  if (!producer)
    return refuse("F5: its input is an input of the graph");
  if (auto node = dyn_cast<ExternOp>(producer))
    return refuse("F2: ", node.getTarget(), " is not a row op");
  if (!isRowOp(producer))
    return refuse("F2: ", producer->getName(), " is not a row op");
  if (auto composite = dyn_cast<CompositeOp>(producer);
      composite && llvm::is_contained(keepOut, composite.getKind()))
    return refuse("F10: ", composite.getKind(), " is kept out by an option");
  Group *other = isFree(producer) ? nullptr : ownerOf(producer);
  return other ? tryMerge(group, *other) : tryAdd(group, withHelpers(producer));
}

// The latest op first: when a value is tried, all that could use it in the
// group is there, so that a value with two uses is not one that feeds back
// (F4).
void Grouper::growProducers(Group &group, Seed &seed) {
  llvm::SetVector<Value> seen, worklist;
  auto push = [&](const llvm::SetVector<Value> &inputs) {
    for (Value input : inputs)
      if (seen.insert(input))
        worklist.insert(input);
  };
  auto isEarlier = [](Value a, Value b) {
    Operation *from = a.getDefiningOp(), *to = b.getDefiningOp();
    return to && (!from || from->isBeforeInBlock(to));
  };
  push(inputsOf(group.ops));
  while (!worklist.empty()) {
    Value input = *llvm::max_element(worklist, isEarlier);
    worklist.remove(input);
    if (group.ops.contains(input.getDefiningOp()))
      continue;
    std::optional<Refusal> refusal = addProducer(group, input);
    if (!refusal)
      push(inputsOf(group.ops));
    else if (seed.blocked.empty() && group.domain.isRowLike(input))
      seed.blocked = refusal->reason;
  }
}

// Layouts of results, roundings, which make them smaller, and arithmetic on
// values narrower than a row, such as the reciprocal of a scale, which would be
// a kernel of its own.
bool Grouper::addConsumer(Group &group, Operation *user, Value value) {
  if (group.ops.contains(user) || ownerOf(user) || user->getBlock() != &block)
    return false;
  if (isa<RelayoutOp>(user))
    return !tryAdd(group, withHelpers(user));
  if (isa<ContiguousOp>(user))
    return value.hasOneUse() && !tryAdd(group, withHelpers(user));
  if (isa<ReshapeOp>(user)) {
    Operation *next = onlyUser(user->getResult(0));
    OpSet both;
    both.insert(user);
    both.insert(next);
    return isa_and_present<RelayoutOp>(next) && !tryAdd(group, both);
  }
  bool narrow = group.domain.isRowLike(value) &&
                group.domain.width(value) < group.domain.rowWidth();
  bool rounds = isa<arith::TruncFOp>(user) && !isQuantization(user);
  if ((!narrow && !rounds) || !isElementwise(user))
    return false;
  OpSet ops = withHelpers(user);
  bool closed = llvm::all_of(inputsOf(ops), [&](Value input) {
    return group.ops.contains(input.getDefiningOp());
  });
  return closed && !tryAdd(group, ops);
}

void Grouper::growConsumers(Group &group) {
  for (size_t i = 0; i < group.ops.size(); ++i)
    for (Value result : group.ops[i]->getResults())
      for (Operation *user : llvm::to_vector(result.getUsers()))
        addConsumer(group, user, result);
}

// Two groups that read the same rows read them once when they are one.
void Grouper::mergeSiblings() {
  auto share = [](const Group &a, const Group &b) {
    llvm::SetVector<Value> read = inputsOf(b.ops);
    return llvm::any_of(inputsOf(a.ops), [&](Value input) {
      return read.contains(input) && a.domain.isRowLike(input) &&
             b.domain.isRowLike(input);
    });
  };
  for (size_t i = 0; i < groups.size(); ++i)
    for (size_t j = i + 1; j < groups.size();)
      if (!share(*groups[i], *groups[j]) || tryMerge(*groups[i], *groups[j]))
        ++j;
}

void Grouper::growAll() {
  for (Operation &op : block)
    if (isQuantization(&op) || isAmax(&op) || isa<ScatterRowsOp>(op))
      seeds.push_back({&op});
  for (Seed &seed : seeds)
    grow(seed);
  mergeSiblings();
  prune();
  dropCopies();
}

// A store by index of what others compute would only move the copy.
void Grouper::dropCopies() {
  auto computes = [](const Group &group) {
    return llvm::any_of(group.ops, [&](Operation *op) {
      if (isFree(op) || isa<ScatterRowsOp, GatherRowsOp>(op))
        return false;
      Value result = op->getResult(0);
      return isQuantization(op) || isAmax(op) ||
             (group.domain.isRowLike(result) && group.domain.width(result) > 1);
    });
  };
  for (Seed &seed : seeds)
    if (seed.group && !computes(*seed.group))
      seed.group = nullptr;
  llvm::erase_if(groups, [&](const std::unique_ptr<Group> &group) {
    return !computes(*group);
  });
}

void Grouper::grow(Seed &seed) {
  if (Group *joined = ownerOf(seed.op)) {
    seed.group = joined;
    return;
  }
  auto group = std::make_unique<Group>();
  if (std::optional<Refusal> refusal = start(seed.op, *group)) {
    seed.blocked = refusal->reason;
    return;
  }
  group->seeds.push_back(seed.op);
  seed.group = group.get();
  groups.push_back(std::move(group));
  growProducers(*seed.group, seed);
  growConsumers(*seed.group);
}

void Grouper::prune() {
  std::vector<std::unique_ptr<Group>> candidates = std::move(groups);
  groups.clear();
  SmallVector<Seed *> again;
  for (std::unique_ptr<Group> &group : candidates) {
    std::optional<Refusal> refusal = check(*group);
    if (!refusal) {
      groups.push_back(std::move(group));
      continue;
    }
    for (Operation *op : group->ops)
      owner.erase(op);
    for (Seed &seed : seeds) {
      if (seed.group != group.get())
        continue;
      seed.group = nullptr;
      seed.broken = refusal->reason;
      again.push_back(&seed);
    }
  }
  if (again.empty())
    return;
  checksEachStep = true;
  for (Seed *seed : again)
    grow(*seed);
  mergeSiblings();
}

void Grouper::splitAll() {
  for (Operation &op : block) {
    if (isQuantization(&op))
      seeds.push_back({&op, nullptr, "fusion is off"});
    if (!isa<CompositeOp>(op))
      continue;
    auto group = std::make_unique<Group>();
    if (!start(&op, *group))
      groups.push_back(std::move(group));
  }
}

} // namespace epiq
