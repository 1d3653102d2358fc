// RUN: epiq-opt %s -epiq-group=fuse=false -verify-diagnostics | FileCheck %s

// Each composite is a program of its own; the sum stays where it is.
// CHECK-LABEL: @unfused
func.func @unfused(%x: tensor<?x256xf32>, %r: tensor<?x256xf32>, %scale: tensor<f32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK-NEXT: %[[H:.*]] = arith.addf %arg0, %arg1
  // CHECK-NEXT: %[[Y:.*]] = epiq.row_program @silu_0 (%[[H]])
  // CHECK: %[[Q:.*]] = epiq.row_program @quantize_1 (%[[Y]], %arg2)
  // CHECK: return %[[Q]]
  %h = arith.addf %x, %r : tensor<?x256xf32>
  %y = epiq.composite "silu" (%h) : (tensor<?x256xf32>) -> tensor<?x256xf32> {
  ^bb0(%a: tensor<?x256xf32>):
    %one = arith.constant dense<1.0> : tensor<f32>
    %ones = epiq.broadcast %one : tensor<f32> to tensor<?x256xf32>
    %0 = arith.negf %a : tensor<?x256xf32>
    %1 = math.exp %0 : tensor<?x256xf32>
    %2 = arith.addf %1, %ones : tensor<?x256xf32>
    %3 = arith.divf %a, %2 : tensor<?x256xf32>
    epiq.yield %3 : tensor<?x256xf32>
  }
  // expected-remark @+1 {{not fused: quantize(e4m3 tensor static): fusion is off}}
  %q = epiq.composite "quantize" (%y, %scale)
      {format = #epiq.format<element = f8E4M3FN, granularity = tensor, static = true>}
      : (tensor<?x256xf32>, tensor<f32>) -> tensor<?x256xf8E4M3FN> {
  ^bb0(%a: tensor<?x256xf32>, %t: tensor<f32>):
    %0 = epiq.broadcast %t : tensor<f32> to tensor<?x256xf32>
    %1 = arith.divf %a, %0 : tensor<?x256xf32>
    %2 = arith.truncf %1 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %2 : tensor<?x256xf8E4M3FN>
  }
  return %q : tensor<?x256xf8E4M3FN>
}

// A composite that no program can hold stays a composite (F1).
// CHECK-LABEL: @no_program_f1
func.func @no_program_f1(%x: tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK-NOT: epiq.row_program
  // expected-remark @+1 {{not fused: quantize(e4m3 tensor): fusion is off}}
  %q = epiq.composite "quantize" (%x)
      {format = #epiq.format<element = f8E4M3FN, granularity = tensor>}
      : (tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  ^bb0(%a: tensor<?x256xf32>):
    %0 = math.absf %a : tensor<?x256xf32>
    %1 = epiq.reduce max %0 dims [0, 1] : tensor<?x256xf32> to tensor<f32>
    %2 = epiq.broadcast %1 : tensor<f32> to tensor<?x256xf32>
    %3 = arith.divf %a, %2 : tensor<?x256xf32>
    %4 = arith.truncf %3 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %4 : tensor<?x256xf8E4M3FN>
  }
  return %q : tensor<?x256xf8E4M3FN>
}
