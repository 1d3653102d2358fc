// RUN: epiq-opt %s -epiq-group -verify-diagnostics | FileCheck %s

// A sum over more than a tile holds (L7) is left out; what reads it is not.
// CHECK-LABEL: @l7_wide_sum
func.func @l7_wide_sum(%x: tensor<?x65536xf32>) -> tensor<?x65536xf8E4M3FN> {
  // CHECK: %[[S:.*]] = epiq.reduce sum
  // CHECK-NEXT: epiq.row_program @fused_mul_quantize_0 (%[[S]], %arg0)
  // CHECK: arith.mulf
  %s = epiq.reduce sum %x dims [1] keep : tensor<?x65536xf32> to tensor<?x1xf32>
  %b = epiq.broadcast %s : tensor<?x1xf32> to tensor<?x65536xf32>
  %y = arith.mulf %x, %b : tensor<?x65536xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into mul; not further: L7: a reduction spans a row of 65536}}
  %q = arith.truncf %y : tensor<?x65536xf32> to tensor<?x65536xf8E4M3FN>
  return %q : tensor<?x65536xf8E4M3FN>
}

// Two quantizations still share what is left, with their producers nearest first.
// CHECK-LABEL: @two
func.func @two(%x: tensor<?x65536xf32>) -> (tensor<?x65536xf8E4M3FN>, tensor<?x65536xf8E4M3FN>) {
  // CHECK: %[[S:.*]] = epiq.reduce sum
  // CHECK-NEXT: %[[P:.*]]:2 = epiq.row_program @fused_mul_abs_quantize_1 (%[[S]], %arg0)
  // CHECK: return %[[P]]#0, %[[P]]#1
  %s = epiq.reduce sum %x dims [1] keep : tensor<?x65536xf32> to tensor<?x1xf32>
  %b = epiq.broadcast %s : tensor<?x1xf32> to tensor<?x65536xf32>
  %y = arith.mulf %x, %b : tensor<?x65536xf32>
  %a = math.absf %y : tensor<?x65536xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into abs + mul; not further: L7: a reduction spans a row of 65536}}
  %q0 = arith.truncf %a : tensor<?x65536xf32> to tensor<?x65536xf8E4M3FN>
  // expected-remark @+1 {{fused: cast(e4m3) into abs + mul; not further: L7: a reduction spans a row of 65536}}
  %q1 = arith.truncf %y : tensor<?x65536xf32> to tensor<?x65536xf8E4M3FN>
  return %q0, %q1 : tensor<?x65536xf8E4M3FN>, tensor<?x65536xf8E4M3FN>
}

// The op that breaks a rule (L3) and what is beyond it stay outside.
// CHECK-LABEL: @l3_between
func.func @l3_between(%x: tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK: arith.bitcast
  // CHECK-NEXT: %[[N:.*]] = math.ctpop
  // CHECK-NEXT: epiq.row_program @fused_sitofp_quantize_2 (%[[N]])
  %i = arith.bitcast %x : tensor<?x256xf32> to tensor<?x256xi32>
  %n = math.ctpop %i : tensor<?x256xi32>
  %y = arith.sitofp %n : tensor<?x256xi32> to tensor<?x256xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into sitofp; not further: L3: math.ctpop cannot be part of a row program}}
  %q = arith.truncf %y : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q : tensor<?x256xf8E4M3FN>
}

// The op next to the cast breaks it: the cast is a program of its own.
// CHECK-LABEL: @no_group_l3
func.func @no_group_l3(%x: tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK: %[[Y:.*]] = math.cbrt
  // CHECK-NEXT: epiq.row_program @quantize_3 (%[[Y]])
  %a = math.absf %x : tensor<?x256xf32>
  %y = math.cbrt %a : tensor<?x256xf32>
  // expected-remark @+1 {{not fused: cast(e4m3): L3: math.cbrt cannot be part of a row program}}
  %q = arith.truncf %y : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q : tensor<?x256xf8E4M3FN>
}
