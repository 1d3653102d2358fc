//===- Refusal.h - Why something was not done -------------------*- C++ -*-===//

#ifndef EPIQ_ANALYSIS_REFUSAL_H
#define EPIQ_ANALYSIS_REFUSAL_H

#include "mlir/IR/Operation.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <string>
#include <type_traits>
#include <variant>

namespace epiq {

// A reason, its rule's label first: "F3: row widths 4096 and 512 differ".
struct Refusal {
  std::string reason;
};

// What was asked for, or why not.
template <typename T> using OrRefusal = std::variant<T, Refusal>;

// Numbers as `%g` writes them: 448, not 4.480000e+02.
template <typename Part>
void writePart(llvm::raw_ostream &stream, const Part &part) {
  if constexpr (std::is_same_v<Part, double>)
    stream << llvm::format("%g", part);
  else
    stream << part;
}

template <typename... Parts> Refusal refuse(const Parts &...parts) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  (writePart(stream, parts), ...);
  return {text};
}

template <typename T> const Refusal *getRefusal(const OrRefusal<T> &result) {
  return std::get_if<Refusal>(&result);
}

} // namespace epiq

#endif // EPIQ_ANALYSIS_REFUSAL_H
