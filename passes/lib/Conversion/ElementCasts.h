//===- ElementCasts.h - Casts that Triton IR lacks --------------*- C++ -*-===//
// UE8M0 scales and e2m1 values, by instructions where the target has them and
// by arithmetic with the same bits where not. All take a tile or a scalar.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_CONVERSION_ELEMENTCASTS_H
#define EPIQ_CONVERSION_ELEMENTCASTS_H

#include "epiq/Graph/Graph.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace epiq {

class ElementCasts {
public:
  // `target` is an architecture: 90 or 100.
  ElementCasts(mlir::ImplicitLocOpBuilder &builder, int64_t target)
      : builder(builder), target(target) {}

  // What epiq.to_ue8m0 gives for f32 values that are not negative: i8.
  mlir::Value toUe8m0(mlir::Value x, graph::ScaleRounding rounding,
                      int64_t less);
  // 2^(b - 127) of bytes, f32.
  mlir::Value fromUe8m0(mlir::Value bytes);
  // 2^(127 - b): a product with it is the quotient by 2^(b - 127), rounded
  // alike, since both are the same real number.
  mlir::Value inverseOfUe8m0(mlir::Value bytes);

  // The e2m1 codes of f32 values, [.., 2k], packed two a byte: i8 [.., k].
  mlir::Value packE2m1(mlir::Value x);

private:
  mlir::Type typeLike(mlir::Value value, mlir::Type element);
  mlir::Value integer(mlir::Value like, int64_t number);
  mlir::Value real(mlir::Value like, double number);
  mlir::Value bitcast(mlir::Value value, mlir::Type element);
  mlir::Value select(mlir::arith::CmpIPredicate predicate, mlir::Value a,
                     int64_t b, int64_t then, mlir::Value otherwise);
  mlir::Value wideByte(mlir::Value bytes);
  mlir::Value assembly(llvm::StringRef text, llvm::StringRef constraints,
                       int64_t packed, mlir::ValueRange operands,
                       mlir::Type element);
  mlir::Value codesOf(mlir::Value x);

  mlir::ImplicitLocOpBuilder &builder;
  int64_t target;
};

} // namespace epiq

#endif // EPIQ_CONVERSION_ELEMENTCASTS_H
