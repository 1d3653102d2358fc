// RUN: epiq-opt %s -epiq-group -verify-diagnostics | FileCheck %s

// Scales that are packed or swizzled are results of the program that computes
// them; the shape that a consumer takes is a view outside.
// CHECK-LABEL: @packed_and_swizzled
// CHECK: %[[P:.*]]:3 = epiq.row_program @fused_abs_quantize_0 (%arg0)
// CHECK-SAME: #epiq.layout<packed_ue8m0>
// CHECK-SAME: #epiq.layout<swizzled_128x4>
// CHECK: epiq.reshape %[[P]]#{{.}} : tensor<?xi8> to tensor<?x2x32x4x4xi8>
func.func @packed_and_swizzled(%x: tensor<?x80xf32>)
    -> (tensor<?x80xf8E4M3FN>, tensor<?x2xi32>, tensor<?x2x32x4x4xi8>) {
  %a = math.absf %x : tensor<?x80xf32>
  // expected-remark @+1 {{fused: quantize(e4m3 group 16 ue8m0) into abs}}
  %q:2 = epiq.composite "quantize" (%a)
      {format = #epiq.format<element = f8E4M3FN, scale_dtype = f8E8M0FNU, granularity = group, group_size = 16, scale_rounding = rceil>}
      : (tensor<?x80xf32>) -> (tensor<?x80xf8E4M3FN>, tensor<?x5xf8E8M0FNU>) {
  ^bb0(%y: tensor<?x80xf32>):
    %g = epiq.reshape %y : tensor<?x80xf32> to tensor<?x5x16xf32>
    %m = epiq.reduce max %g dims [2] keep : tensor<?x5x16xf32> to tensor<?x5x1xf32>
    %s = epiq.to_ue8m0 rceil %m : tensor<?x5x1xf32> to tensor<?x5x1xf8E8M0FNU>
    %f = arith.extf %s : tensor<?x5x1xf8E8M0FNU> to tensor<?x5x1xf32>
    %b = epiq.broadcast %f : tensor<?x5x1xf32> to tensor<?x5x16xf32>
    %d = arith.divf %g, %b : tensor<?x5x16xf32>
    %c = arith.truncf %d : tensor<?x5x16xf32> to tensor<?x5x16xf8E4M3FN>
    %r = epiq.reshape %c : tensor<?x5x16xf8E4M3FN> to tensor<?x80xf8E4M3FN>
    %n = epiq.reshape %s : tensor<?x5x1xf8E8M0FNU> to tensor<?x5xf8E8M0FNU>
    epiq.yield %r, %n : tensor<?x80xf8E4M3FN>, tensor<?x5xf8E8M0FNU>
  }
  %b8 = arith.bitcast %q#1 : tensor<?x5xf8E8M0FNU> to tensor<?x5xi8>
  %p = epiq.relayout %b8 to packed_ue8m0 : tensor<?x5xi8> to tensor<?x2xi32>
  %w = epiq.relayout %b8 to swizzled_128x4 : tensor<?x5xi8> to tensor<?xi8>
  %v = epiq.reshape %w : tensor<?xi8> to tensor<?x2x32x4x4xi8>
  return %q#0, %p, %v : tensor<?x80xf8E4M3FN>, tensor<?x2xi32>, tensor<?x2x32x4x4xi8>
}

// Columns of several batches (F8): the copy stays outside.
// CHECK-LABEL: @no_group_f8_batches
// CHECK: epiq.row_program
// CHECK: epiq.relayout
func.func @no_group_f8_batches(%x: tensor<2x?x256xf32>) -> tensor<2x?x256xf8E4M3FN> {
  %a = math.absf %x : tensor<2x?x256xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into abs}}
  %q = arith.truncf %a : tensor<2x?x256xf32> to tensor<2x?x256xf8E4M3FN>
  %c = epiq.relayout %q to tma_aligned : tensor<2x?x256xf8E4M3FN> to tensor<2x?x256xf8E4M3FN>
  return %c : tensor<2x?x256xf8E4M3FN>
}
