//===- IndexForm.cpp - Sums over the positions of a tile ------------------===//

#include "epiq/Analysis/IndexForm.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace epiq {

namespace {

constexpr int64_t kMaxDivisor = int64_t(1) << 30;

// The largest power of two that divides `value`.
int64_t powerOfTwoIn(int64_t value) {
  if (value == 0)
    return kMaxDivisor;
  return std::min<int64_t>(value & -value, kMaxDivisor);
}

} // namespace

bool IndexTerm::hasSymbolsOf(const IndexTerm &other) const {
  return dim == other.dim && tensor == other.tensor &&
         scalars.size() == other.scalars.size() &&
         std::is_permutation(scalars.begin(), scalars.end(),
                             other.scalars.begin());
}

IndexForm::IndexForm(int64_t constant) { add(IndexTerm{constant, {}, -1, {}}); }

IndexForm IndexForm::along(int dim, Value tensor) {
  IndexForm form;
  form.add(IndexTerm{1, {}, dim, tensor});
  return form;
}

IndexForm IndexForm::ofScalar(Value scalar) {
  IndexForm form;
  form.add(IndexTerm{1, {scalar}, -1, {}});
  return form;
}

std::optional<int64_t> IndexForm::getConstant() const {
  if (terms.empty())
    return 0;
  if (terms.size() == 1 && terms.front().isConstant())
    return terms.front().coeff;
  return std::nullopt;
}

bool IndexForm::isUniform() const {
  return llvm::all_of(terms, [](const IndexTerm &t) { return t.isUniform(); });
}

bool IndexForm::variesAlong(int dim) const {
  return llvm::any_of(terms, [&](const IndexTerm &t) { return t.dim == dim; });
}

IndexForm
IndexForm::filter(llvm::function_ref<bool(const IndexTerm &)> keep) const {
  IndexForm result;
  for (const IndexTerm &term : terms)
    if (keep(term))
      result.terms.push_back(term);
  return result;
}

IndexForm IndexForm::getUniform() const {
  return filter([](const IndexTerm &term) { return term.isUniform(); });
}

void IndexForm::add(IndexTerm term) {
  if (term.coeff == 0)
    return;
  for (auto it = terms.begin(); it != terms.end(); ++it) {
    if (!it->hasSymbolsOf(term))
      continue;
    it->coeff += term.coeff;
    if (it->coeff == 0)
      terms.erase(it);
    return;
  }
  terms.push_back(std::move(term));
}

IndexForm IndexForm::operator+(const IndexForm &other) const {
  IndexForm result = *this;
  for (const IndexTerm &term : other.terms)
    result.add(term);
  return result;
}

IndexForm IndexForm::operator-(const IndexForm &other) const {
  IndexForm result = *this;
  for (IndexTerm term : other.terms) {
    term.coeff = -term.coeff;
    result.add(std::move(term));
  }
  return result;
}

bool IndexForm::operator==(const IndexForm &other) const {
  return (*this - other).terms.empty();
}

std::optional<IndexForm> IndexForm::times(const IndexForm &other) const {
  IndexForm result;
  for (const IndexTerm &a : terms) {
    for (const IndexTerm &b : other.terms) {
      if (!a.isUniform() && !b.isUniform())
        return std::nullopt;
      IndexTerm product = a.isUniform() ? b : a;
      const IndexTerm &uniform = a.isUniform() ? a : b;
      product.coeff *= uniform.coeff;
      product.scalars.append(uniform.scalars.begin(), uniform.scalars.end());
      result.add(std::move(product));
    }
  }
  return result;
}

std::optional<IndexForm> IndexForm::dividedBy(int64_t constant) const {
  IndexForm result;
  for (IndexTerm term : terms) {
    if (constant == 0 || term.coeff % constant != 0)
      return std::nullopt;
    term.coeff /= constant;
    result.add(std::move(term));
  }
  return result;
}

int64_t IndexForm::getDivisor() const {
  int64_t divisor = kMaxDivisor;
  for (const IndexTerm &term : terms) {
    int64_t known = powerOfTwoIn(term.coeff);
    for (Value scalar : term.scalars)
      known = std::min(known * getKnownDivisor(scalar), kMaxDivisor);
    divisor = std::min(divisor, known);
  }
  return divisor;
}

} // namespace epiq
