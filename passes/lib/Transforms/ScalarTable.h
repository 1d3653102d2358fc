//===- ScalarTable.h - Integer work on the bits of one float ----*- C++ -*-===//
// Casts that torch lacks are written as comparisons, shifts and masks of one
// f32 value. Such arithmetic is a function of the class that the value is in,
// where classes are chosen so that no op below tells members of one apart; its
// results for one sample of each class are then all that there is to know, and
// two spellings with equal tables are equal for every float.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_TRANSFORMS_SCALARTABLE_H
#define EPIQ_TRANSFORMS_SCALARTABLE_H

#include "GraphMatch.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/DenseMap.h"

namespace epiq {

// A partition of the f32 values, with one bit pattern from each class. NaN is
// apart from numbers and either sign from the other in all of them.
struct FloatClasses {
  llvm::SmallVector<uint32_t> samples;
  // By exponent field, and by whether the mantissa is zero; else by where a
  // magnitude lies among `bounds`, on one of them or between two.
  bool byExponent = false;
  llvm::SmallVector<float> bounds;
};
const FloatClasses &exponentClasses();
FloatClasses classesBetween(llvm::ArrayRef<float> bounds);

class ScalarTable {
public:
  explicit ScalarTable(const FloatClasses &classes) : classes(classes) {}

  // The bits of `value` for each sample of the one f32 value that it is made
  // from; none when it is not a function of the classes of one value.
  std::optional<llvm::ArrayRef<uint64_t>> read(mlir::Value value);

  // After `read`: that f32 value, never the result of math.absf.
  mlir::Value root() const { return source; }
  // Its magnitude, where nothing else of it is looked at; else null.
  mlir::Value magnitude() const { return seesSign ? nullptr : absolute; }
  // The ops from it to `value`, without constants.
  const OpSet &ops() const { return cone; }

private:
  enum class Kind {
    unknown,
    constant,
    classed,  // the same for all members of a class
    number,   // the root or its magnitude
    bits,     // its bits
    carried,  // its bits plus 0x7fffff
    mantissa, // its mantissa
  };
  struct Entry {
    Kind kind = Kind::unknown;
    llvm::SmallVector<uint64_t> values;
  };

  const Entry &entryOf(mlir::Value value);
  Entry evaluate(mlir::Value value);
  Entry evaluateRoot(mlir::Value value);
  Entry constantEntry(uint64_t bits) const;
  Kind kindOf(mlir::Operation *op,
              llvm::ArrayRef<const Entry *> operands) const;
  Kind kindOfMask(const Entry &bits, const Entry &mask) const;
  Kind kindOfComparison(mlir::Operation *op,
                        llvm::ArrayRef<const Entry *> operands) const;
  bool isBound(uint64_t bits) const;

  const FloatClasses &classes;
  mlir::Value source, absolute;
  bool seesSign = false;
  OpSet cone;
  llvm::DenseMap<mlir::Value, Entry> entries;
};

} // namespace epiq

#endif // EPIQ_TRANSFORMS_SCALARTABLE_H
