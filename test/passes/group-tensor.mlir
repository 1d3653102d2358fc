// RUN: epiq-opt %s -epiq-group -verify-diagnostics | FileCheck %s
// RUN: epiq-opt %s -epiq-group=fuse=false 2>/dev/null | FileCheck %s --check-prefix=SPLIT

// amax is taken where the sum is made; a second program quantizes.
// CHECK-LABEL: @add_quantize
// SPLIT-LABEL: @add_quantize
func.func @add_quantize(%x: tensor<?x256xf32>, %r: tensor<?x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<f32>) {
  // CHECK-NEXT: %[[P:.*]]:2 = epiq.row_program @fused_add_amax_0 (%arg0, %arg1) {{.*}} -> (tensor<?x256xf32>, tensor<f32>)
  // CHECK: %[[S:.*]] = arith.addf
  // CHECK: %[[A:.*]] = epiq.composite "amax" (%[[S]])
  // CHECK: epiq.yield %[[S]], %[[A]]
  // CHECK: %[[Q:.*]]:2 = epiq.row_program @quantize_1 (%[[P]]#0, %[[P]]#1)
  // CHECK: return %[[Q]]#0, %[[Q]]#1
  // SPLIT: %[[S:.*]] = arith.addf
  // SPLIT: %[[A:.*]] = epiq.row_program @amax_0 (%[[S]])
  // SPLIT: epiq.row_program @quantize_1 (%[[S]], %[[A]])
  %s = arith.addf %x, %r : tensor<?x256xf32>
  %m = epiq.composite "amax" (%s) : (tensor<?x256xf32>) -> tensor<f32> {
  ^bb0(%a: tensor<?x256xf32>):
    %0 = math.absf %a : tensor<?x256xf32>
    %1 = epiq.reduce max %0 dims [0, 1] : tensor<?x256xf32> to tensor<f32>
    epiq.yield %1 : tensor<f32>
  }
  // expected-remark @+1 {{fused: quantize(e4m3 tensor) amax into add}}
  %q:2 = epiq.composite "quantize" (%s, %m)
      {format = #epiq.format<element = f8E4M3FN, granularity = tensor>}
      : (tensor<?x256xf32>, tensor<f32>) -> (tensor<?x256xf8E4M3FN>, tensor<f32>) {
  ^bb0(%a: tensor<?x256xf32>, %b: tensor<f32>):
    %max = arith.constant dense<448.0> : tensor<f32>
    %0 = arith.divf %b, %max : tensor<f32>
    %1 = epiq.broadcast %0 : tensor<f32> to tensor<?x256xf32>
    %2 = arith.divf %a, %1 : tensor<?x256xf32>
    %3 = arith.truncf %2 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %3, %0 : tensor<?x256xf8E4M3FN>, tensor<f32>
  }
  return %q#0, %q#1 : tensor<?x256xf8E4M3FN>, tensor<f32>
}

// Without a producer amax is a program of its own.
// CHECK-LABEL: @alone
func.func @alone(%x: tensor<?x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<f32>) {
  // CHECK-NEXT: %[[A:.*]] = epiq.row_program @amax_2 (%arg0)
  // CHECK: epiq.row_program @quantize_3 (%arg0, %[[A]])
  %m = epiq.composite "amax" (%x) : (tensor<?x256xf32>) -> tensor<f32> {
  ^bb0(%a: tensor<?x256xf32>):
    %0 = math.absf %a : tensor<?x256xf32>
    %1 = epiq.reduce max %0 dims [0, 1] : tensor<?x256xf32> to tensor<f32>
    epiq.yield %1 : tensor<f32>
  }
  // expected-remark @+1 {{not fused: quantize(e4m3 tensor): F5: its input is an input of the graph}}
  %q:2 = epiq.composite "quantize" (%x, %m)
      {format = #epiq.format<element = f8E4M3FN, granularity = tensor>}
      : (tensor<?x256xf32>, tensor<f32>) -> (tensor<?x256xf8E4M3FN>, tensor<f32>) {
  ^bb0(%a: tensor<?x256xf32>, %b: tensor<f32>):
    %max = arith.constant dense<448.0> : tensor<f32>
    %0 = arith.divf %b, %max : tensor<f32>
    %1 = epiq.broadcast %0 : tensor<f32> to tensor<?x256xf32>
    %2 = arith.divf %a, %1 : tensor<?x256xf32>
    %3 = arith.truncf %2 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %3, %0 : tensor<?x256xf8E4M3FN>, tensor<f32>
  }
  return %q#0, %q#1 : tensor<?x256xf8E4M3FN>, tensor<f32>
}

// A quantization of the same value with other scales joins the first program, and
// the number in between the second one.
// CHECK-LABEL: @beside_token
func.func @beside_token(%x: tensor<?x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<f32>, tensor<?x256xf8E4M3FN>, tensor<?x1xf32>) {
  // CHECK-NEXT: %[[P:.*]]:4 = epiq.row_program @fused_mul_amax_quantize_5 (%arg0)
  // CHECK: %[[Q:.*]]:2 = epiq.row_program @quantize_4 (%[[P]]#1, %[[P]]#0)
  // CHECK: %[[D:.*]] = arith.addf
  // CHECK: epiq.composite "quantize" (%{{.*}}, %[[D]])
  // CHECK: return %[[Q]]#0, %[[Q]]#1, %[[P]]#2, %[[P]]#3
  %s = arith.mulf %x, %x : tensor<?x256xf32>
  %m = epiq.composite "amax" (%s) : (tensor<?x256xf32>) -> tensor<f32> {
  ^bb0(%a: tensor<?x256xf32>):
    %0 = math.absf %a : tensor<?x256xf32>
    %1 = epiq.reduce max %0 dims [0, 1] : tensor<?x256xf32> to tensor<f32>
    epiq.yield %1 : tensor<f32>
  }
  %n = arith.addf %m, %m : tensor<f32>
  // expected-remark @+1 {{fused: quantize(e4m3 tensor) amax into mul}}
  %q:2 = epiq.composite "quantize" (%s, %n)
      {format = #epiq.format<element = f8E4M3FN, granularity = tensor>}
      : (tensor<?x256xf32>, tensor<f32>) -> (tensor<?x256xf8E4M3FN>, tensor<f32>) {
  ^bb0(%a: tensor<?x256xf32>, %b: tensor<f32>):
    %max = arith.constant dense<448.0> : tensor<f32>
    %0 = arith.divf %b, %max : tensor<f32>
    %1 = epiq.broadcast %0 : tensor<f32> to tensor<?x256xf32>
    %2 = arith.divf %a, %1 : tensor<?x256xf32>
    %3 = arith.truncf %2 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %3, %0 : tensor<?x256xf8E4M3FN>, tensor<f32>
  }
  // expected-remark @+1 {{fused: quantize(e4m3 token) into mul}}
  %g:2 = epiq.composite "quantize" (%s)
      {format = #epiq.format<element = f8E4M3FN, granularity = token>}
      : (tensor<?x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<?x1xf32>) {
  ^bb0(%a: tensor<?x256xf32>):
    %0 = math.absf %a : tensor<?x256xf32>
    %1 = epiq.reduce max %0 dims [1] keep : tensor<?x256xf32> to tensor<?x1xf32>
    %2 = epiq.broadcast %1 : tensor<?x1xf32> to tensor<?x256xf32>
    %3 = arith.divf %a, %2 : tensor<?x256xf32>
    %4 = arith.truncf %3 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %4, %1 : tensor<?x256xf8E4M3FN>, tensor<?x1xf32>
  }
  return %q#0, %q#1, %g#0, %g#1 : tensor<?x256xf8E4M3FN>, tensor<f32>, tensor<?x256xf8E4M3FN>, tensor<?x1xf32>
}

// amax is that of a matrix product (F2): a program of its own, and no third one.
// CHECK-LABEL: @no_group_f2
func.func @no_group_f2(%x: tensor<?x64xf32>, %w: tensor<64x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<f32>) {
  // CHECK: %[[C:.*]] = epiq.extern
  // CHECK-NEXT: %[[A:.*]] = epiq.row_program @amax_6 (%[[C]])
  // CHECK: epiq.row_program @quantize_7 (%[[C]], %[[A]])
  %c = epiq.extern "aten.mm.default"(%x, %w) : (tensor<?x64xf32>, tensor<64x256xf32>) -> tensor<?x256xf32>
  %m = epiq.composite "amax" (%c) : (tensor<?x256xf32>) -> tensor<f32> {
  ^bb0(%a: tensor<?x256xf32>):
    %0 = math.absf %a : tensor<?x256xf32>
    %1 = epiq.reduce max %0 dims [0, 1] : tensor<?x256xf32> to tensor<f32>
    epiq.yield %1 : tensor<f32>
  }
  // expected-remark @+1 {{not fused: quantize(e4m3 tensor): F2: aten.mm.default is not a row op}}
  %q:2 = epiq.composite "quantize" (%c, %m)
      {format = #epiq.format<element = f8E4M3FN, granularity = tensor>}
      : (tensor<?x256xf32>, tensor<f32>) -> (tensor<?x256xf8E4M3FN>, tensor<f32>) {
  ^bb0(%a: tensor<?x256xf32>, %b: tensor<f32>):
    %max = arith.constant dense<448.0> : tensor<f32>
    %0 = arith.divf %b, %max : tensor<f32>
    %1 = epiq.broadcast %0 : tensor<f32> to tensor<?x256xf32>
    %2 = arith.divf %a, %1 : tensor<?x256xf32>
    %3 = arith.truncf %2 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %3, %0 : tensor<?x256xf8E4M3FN>, tensor<f32>
  }
  return %q#0, %q#1 : tensor<?x256xf8E4M3FN>, tensor<f32>
}

// The maximum over the tokens alone is a row (F1).
// CHECK-LABEL: @no_group_f1_columns
// CHECK-NOT: epiq.row_program
func.func @no_group_f1_columns(%x: tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  // expected-remark @+1 {{not fused: quantize: F1: epiq.reduce max of tensor<?x256xf32> combines several tokens}}
  %q = epiq.composite "quantize" (%x) : (tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  ^bb0(%a: tensor<?x256xf32>):
    %0 = math.absf %a : tensor<?x256xf32>
    %1 = epiq.reduce max %0 dims [0] keep : tensor<?x256xf32> to tensor<1x256xf32>
    %2 = epiq.broadcast %1 : tensor<1x256xf32> to tensor<?x256xf32>
    %3 = arith.divf %a, %2 : tensor<?x256xf32>
    %4 = arith.truncf %3 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %4 : tensor<?x256xf8E4M3FN>
  }
  return %q : tensor<?x256xf8E4M3FN>
}

// One that may be negative has no order as integers (F1).
// CHECK-LABEL: @no_group_f1_sign
// CHECK-NOT: epiq.row_program
func.func @no_group_f1_sign(%x: tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  // expected-remark @+1 {{not fused: quantize: F1: epiq.reduce max of tensor<?x256xf32> combines several tokens}}
  %q = epiq.composite "quantize" (%x) : (tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  ^bb0(%a: tensor<?x256xf32>):
    %1 = epiq.reduce max %a dims [0, 1] : tensor<?x256xf32> to tensor<f32>
    %2 = epiq.broadcast %1 : tensor<f32> to tensor<?x256xf32>
    %3 = arith.divf %a, %2 : tensor<?x256xf32>
    %4 = arith.truncf %3 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %4 : tensor<?x256xf8E4M3FN>
  }
  return %q : tensor<?x256xf8E4M3FN>
}
