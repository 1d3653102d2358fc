//===- Precompiled.h - What nearly every C++ file here includes -*- C++ -*-===//
// Compiled once: parsing MLIR's headers is most of what compiling a file costs.
// A file still includes what it uses.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_PRECOMPILED_H
#define EPIQ_PRECOMPILED_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Pass/Pass.h"

#endif // EPIQ_PRECOMPILED_H
