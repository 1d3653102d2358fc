// RUN: epiq-opt %s -epiq-group=keep-out=silu,rms_norm -verify-diagnostics | FileCheck %s

// A kind that is kept out stays outside (F10); the quantization is a program of its own.
// CHECK-LABEL: @no_group_f10_kept_out
func.func @no_group_f10_kept_out(%x: tensor<?x256xf32>, %r: tensor<?x256xf32>, %scale: tensor<f32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK: %[[Y:.*]] = epiq.composite "silu"
  // CHECK: %[[Q:.*]] = epiq.row_program @quantize_0 (%[[Y]], %arg2)
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
  // expected-remark @+1 {{not fused: quantize(e4m3 tensor static): F10: silu is kept out by an option}}
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
