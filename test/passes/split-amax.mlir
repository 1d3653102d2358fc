// RUN: epiq-opt %s -epiq-split-amax -mlir-print-debuginfo -mlir-print-local-scope | FileCheck %s

// The example of Passes.td; the quantization reads amax in its place.
// CHECK-LABEL: @dynamic
func.func @dynamic(%x: tensor<?x256xbf16>) -> (tensor<?x256xf8E4M3FN>, tensor<f32>) {
  // CHECK: %[[A:.*]] = epiq.composite "amax" (%arg0) : (tensor<?x256xbf16>) -> tensor<f32> {
  // CHECK: %[[W:.*]] = arith.extf
  // CHECK: %[[M:.*]] = math.absf %[[W]]
  // CHECK: %[[R:.*]] = epiq.reduce max %[[M]] dims [0, 1] {{.*}} loc("amax"("model.py":1:0))
  // CHECK: epiq.yield %[[R]] : tensor<f32>
  // CHECK: epiq.composite "quantize" (%arg0, %[[A]]) {format = #epiq.format<element = f8E4M3FN, granularity = tensor>}
  // CHECK: ^bb0(%{{.*}}: tensor<?x256xbf16> {{.*}}, %[[B:.*]]: tensor<f32>
  // CHECK-NOT: math.absf
  // CHECK-NOT: epiq.reduce
  // CHECK: arith.divf %[[B]], %{{.*}}
  %q:2 = epiq.composite "quantize" (%x)
      {format = #epiq.format<element = f8E4M3FN, granularity = tensor>}
      : (tensor<?x256xbf16>) -> (tensor<?x256xf8E4M3FN>, tensor<f32>) {
  ^bb0(%a: tensor<?x256xbf16>):
    %max = arith.constant dense<448.0> : tensor<f32>
    %0 = arith.extf %a : tensor<?x256xbf16> to tensor<?x256xf32> loc("to"("model.py":1:0))
    %1 = math.absf %0 : tensor<?x256xf32> loc("abs"("model.py":1:0))
    %2 = epiq.reduce max %1 dims [0, 1] : tensor<?x256xf32> to tensor<f32> loc("amax"("model.py":1:0))
    %3 = arith.divf %2, %max : tensor<f32>
    %4 = epiq.broadcast %3 : tensor<f32> to tensor<?x256xf32>
    %5 = arith.divf %0, %4 : tensor<?x256xf32>
    %6 = arith.truncf %5 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %6, %3 : tensor<?x256xf8E4M3FN>, tensor<f32>
  }
  return %q#0, %q#1 : tensor<?x256xf8E4M3FN>, tensor<f32>
}

// Two quantizations of one value share its amax; who else reads it reads the same.
// CHECK-LABEL: @shared
func.func @shared(%x: tensor<?x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<?x256xf8E5M2>, tensor<f32>) {
  // CHECK: %[[A:.*]] = epiq.composite "amax" (%arg0)
  // CHECK-NOT: "amax" (
  // CHECK: %[[P:.*]]:2 = epiq.composite "quantize" (%arg0, %[[A]])
  // CHECK: %[[Q:.*]] = epiq.composite "quantize" (%arg0, %[[A]])
  // CHECK: return %[[P]]#0, %[[Q]], %[[A]]
  %p:2 = epiq.composite "quantize" (%x)
      {format = #epiq.format<element = f8E4M3FN, granularity = tensor>}
      : (tensor<?x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<f32>) {
  ^bb0(%a: tensor<?x256xf32>):
    %0 = math.absf %a : tensor<?x256xf32>
    %1 = epiq.reduce max %0 dims [0, 1] : tensor<?x256xf32> to tensor<f32>
    %2 = epiq.broadcast %1 : tensor<f32> to tensor<?x256xf32>
    %3 = arith.divf %a, %2 : tensor<?x256xf32>
    %4 = arith.truncf %3 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %4, %1 : tensor<?x256xf8E4M3FN>, tensor<f32>
  }
  %q = epiq.composite "quantize" (%x)
      {format = #epiq.format<element = f8E5M2, granularity = tensor>}
      : (tensor<?x256xf32>) -> tensor<?x256xf8E5M2> {
  ^bb0(%a: tensor<?x256xf32>):
    %0 = math.absf %a : tensor<?x256xf32>
    %1 = epiq.reduce max %0 dims [0, 1] : tensor<?x256xf32> to tensor<f32>
    %2 = epiq.broadcast %1 : tensor<f32> to tensor<?x256xf32>
    %3 = arith.divf %a, %2 : tensor<?x256xf32>
    %4 = arith.truncf %3 : tensor<?x256xf32> to tensor<?x256xf8E5M2>
    epiq.yield %4 : tensor<?x256xf8E5M2>
  }
  return %p#0, %q, %p#1 : tensor<?x256xf8E4M3FN>, tensor<?x256xf8E5M2>, tensor<f32>
}

// A scale that is given, but computed from the largest of all values (A2): what is
// between stays as it is. The maximum, a step inside of node "max", has its name.
// CHECK-LABEL: @given
func.func @given(%x: tensor<?x256xbf16>) -> tensor<?x256xf8E4M3FN> {
  // CHECK: %[[A:.*]] = epiq.composite "amax" (%arg0)
  // CHECK: arith.extf
  // CHECK: math.absf
  // CHECK: arith.truncf
  // CHECK: arith.extf
  // CHECK: epiq.reduce max
  // CHECK: } loc("max"("model.py":2:0))
  // CHECK: %[[M:.*]] = arith.truncf %[[A]] : tensor<f32> to tensor<bf16>
  // CHECK: %[[S:.*]] = arith.extf %[[M]]
  // CHECK: epiq.composite "quantize" (%arg0, %[[S]])
  %0 = arith.extf %x : tensor<?x256xbf16> to tensor<?x256xf32> loc("abs.aux"("model.py":2:0))
  %1 = math.absf %0 : tensor<?x256xf32> loc("abs.aux"("model.py":2:0))
  %2 = arith.truncf %1 : tensor<?x256xf32> to tensor<?x256xbf16> loc("abs"("model.py":2:0))
  %3 = arith.extf %2 : tensor<?x256xbf16> to tensor<?x256xf32> loc("max.aux"("model.py":2:0))
  %4 = epiq.reduce max %3 dims [0, 1] : tensor<?x256xf32> to tensor<f32> loc("max.aux"("model.py":2:0))
  %5 = arith.truncf %4 : tensor<f32> to tensor<bf16> loc("max"("model.py":2:0))
  %6 = arith.extf %5 : tensor<bf16> to tensor<f32> loc("to"("model.py":2:0))
  %q = epiq.composite "quantize" (%x, %6)
      {format = #epiq.format<element = f8E4M3FN, granularity = tensor, static = true>}
      : (tensor<?x256xbf16>, tensor<f32>) -> tensor<?x256xf8E4M3FN> {
  ^bb0(%a: tensor<?x256xbf16>, %s: tensor<f32>):
    %w = arith.extf %a : tensor<?x256xbf16> to tensor<?x256xf32>
    %b = epiq.broadcast %s : tensor<f32> to tensor<?x256xf32>
    %d = arith.divf %w, %b : tensor<?x256xf32>
    %y = arith.truncf %d : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %y : tensor<?x256xf8E4M3FN>
  }
  return %q : tensor<?x256xf8E4M3FN>
}

// All elements in a row, or in rows of another width, have the same maximum.
// CHECK-LABEL: @flat
func.func @flat(%x: tensor<2x?x256xbf16>) -> tensor<2x?x256xf8E4M3FN> {
  // CHECK: %[[A:.*]] = epiq.composite "amax" (%arg0)
  // CHECK: math.absf %{{.*}} : tensor<2x?x256xf32>
  // CHECK: epiq.reduce max %{{.*}} dims [0, 1, 2] : tensor<2x?x256xf32> to tensor<f32>
  // CHECK-NOT: epiq.reshape
  // CHECK: epiq.composite "quantize" (%arg0, %[[A]])
  %0 = arith.extf %x : tensor<2x?x256xbf16> to tensor<2x?x256xf32>
  %1 = epiq.reshape %0 : tensor<2x?x256xf32> to tensor<?xf32>
  %2 = math.absf %1 : tensor<?xf32>
  %3 = epiq.reduce max %2 dims [0] : tensor<?xf32> to tensor<f32>
  %q = epiq.composite "quantize" (%x, %3)
      {format = #epiq.format<element = f8E4M3FN, granularity = tensor, static = true>}
      : (tensor<2x?x256xbf16>, tensor<f32>) -> tensor<2x?x256xf8E4M3FN> {
  ^bb0(%a: tensor<2x?x256xbf16>, %s: tensor<f32>):
    %w = arith.extf %a : tensor<2x?x256xbf16> to tensor<2x?x256xf32>
    %b = epiq.broadcast %s : tensor<f32> to tensor<2x?x256xf32>
    %d = arith.divf %w, %b : tensor<2x?x256xf32>
    %y = arith.truncf %d : tensor<2x?x256xf32> to tensor<2x?x256xf8E4M3FN>
    epiq.yield %y : tensor<2x?x256xf8E4M3FN>
  }
  return %q : tensor<2x?x256xf8E4M3FN>
}

// A scale for each token stays in its quantization (A1).
// CHECK-LABEL: @no_split_a1_token
// CHECK-NOT: "amax"
// CHECK: epiq.composite "quantize" (%arg0) {
// CHECK: math.absf
func.func @no_split_a1_token(%x: tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  %q = epiq.composite "quantize" (%x)
      {format = #epiq.format<element = f8E4M3FN, granularity = token>}
      : (tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  ^bb0(%a: tensor<?x256xf32>):
    %0 = math.absf %a : tensor<?x256xf32>
    %1 = epiq.reduce max %0 dims [1] keep : tensor<?x256xf32> to tensor<?x1xf32>
    %2 = epiq.broadcast %1 : tensor<?x1xf32> to tensor<?x256xf32>
    %3 = arith.divf %a, %2 : tensor<?x256xf32>
    %4 = arith.truncf %3 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %4 : tensor<?x256xf8E4M3FN>
  }
  return %q : tensor<?x256xf8E4M3FN>
}

// A maximum that no quantization reads, and one that may be negative, are none (A2).
// CHECK-LABEL: @no_split_a2
// CHECK-NOT: "amax"
func.func @no_split_a2(%x: tensor<?x256xf32>) -> (tensor<f32>, tensor<?x256xf8E4M3FN>) {
  %0 = math.absf %x : tensor<?x256xf32>
  %1 = epiq.reduce max %0 dims [0, 1] : tensor<?x256xf32> to tensor<f32>
  %2 = epiq.reduce max %x dims [0, 1] : tensor<?x256xf32> to tensor<f32>
  %q = epiq.composite "quantize" (%x, %2)
      {format = #epiq.format<element = f8E4M3FN, granularity = tensor, static = true>}
      : (tensor<?x256xf32>, tensor<f32>) -> tensor<?x256xf8E4M3FN> {
  ^bb0(%a: tensor<?x256xf32>, %s: tensor<f32>):
    %b = epiq.broadcast %s : tensor<f32> to tensor<?x256xf32>
    %d = arith.divf %a, %b : tensor<?x256xf32>
    %y = arith.truncf %d : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %y : tensor<?x256xf8E4M3FN>
  }
  return %1, %q : tensor<f32>, tensor<?x256xf8E4M3FN>
}
