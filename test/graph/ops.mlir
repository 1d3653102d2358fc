// RUN: epiq-opt %s | epiq-opt | FileCheck %s

// Every op keeps its form when it is read and printed twice.
// CHECK-LABEL: func.func @views
func.func @views(%x: tensor<?x4096xf32>, %w: tensor<4096xf32>, %c: tensor<f32>) -> tensor<32x?x128xf32> {
  // CHECK: epiq.broadcast %{{.*}} : tensor<4096xf32> to tensor<?x4096xf32>
  %0 = epiq.broadcast %w : tensor<4096xf32> to tensor<?x4096xf32>
  // CHECK: epiq.broadcast %{{.*}} : tensor<f32> to tensor<?x4096xf32>
  %1 = epiq.broadcast %c : tensor<f32> to tensor<?x4096xf32>
  // CHECK: epiq.reshape %{{.*}} : tensor<?x4096xf32> to tensor<?x32x128xf32>
  %2 = epiq.reshape %x : tensor<?x4096xf32> to tensor<?x32x128xf32>
  // CHECK: epiq.transpose %{{.*}} perm [1, 0, 2] : tensor<?x32x128xf32> to tensor<32x?x128xf32>
  %3 = epiq.transpose %2 perm [1, 0, 2] : tensor<?x32x128xf32> to tensor<32x?x128xf32>
  // CHECK: epiq.contiguous %{{.*}} : tensor<32x?x128xf32>
  %4 = epiq.contiguous %3 : tensor<32x?x128xf32>
  // CHECK: epiq.relayout %{{.*}} to column_major : tensor<32x?x128xf32> to tensor<32x?x128xf32>
  %5 = epiq.relayout %4 to column_major : tensor<32x?x128xf32> to tensor<32x?x128xf32>
  // CHECK: epiq.slice %{{.*}} dim 1 from 0 to 2048 : tensor<?x4096xf32> to tensor<?x2048xf32>
  %6 = epiq.slice %x dim 1 from 0 to 2048 : tensor<?x4096xf32> to tensor<?x2048xf32>
  return %5 : tensor<32x?x128xf32>
}

// CHECK-LABEL: func.func @reductions
func.func @reductions(%x: tensor<?x32x128xf32>) -> (tensor<?x32x1xf32>, tensor<?xf32>) {
  // CHECK: epiq.reduce max %{{.*}} dims [2] keep : tensor<?x32x128xf32> to tensor<?x32x1xf32>
  %0 = epiq.reduce max %x dims [2] keep : tensor<?x32x128xf32> to tensor<?x32x1xf32>
  // CHECK: epiq.reduce sum %{{.*}} dims [1, 2] : tensor<?x32x128xf32> to tensor<?xf32>
  %1 = epiq.reduce sum %x dims [1, 2] : tensor<?x32x128xf32> to tensor<?xf32>
  return %0, %1 : tensor<?x32x1xf32>, tensor<?xf32>
}

// CHECK-LABEL: func.func @extern
func.func @extern(%a: tensor<?x64xbf16>, %b: tensor<64x32xbf16>) -> tensor<?x32xbf16> {
  // CHECK: epiq.extern "aten.mm.default"(%{{.*}}, %{{.*}}) : (tensor<?x64xbf16>, tensor<64x32xbf16>) -> tensor<?x32xbf16>
  %c = epiq.extern "aten.mm.default"(%a, %b) : (tensor<?x64xbf16>, tensor<64x32xbf16>) -> tensor<?x32xbf16>
  // CHECK: epiq.extern "aten.copy_.default"(%{{.*}}, %{{.*}}) : (tensor<?x32xbf16>, tensor<?x32xbf16>) -> ()
  epiq.extern "aten.copy_.default"(%c, %c) : (tensor<?x32xbf16>, tensor<?x32xbf16>) -> ()
  return %c : tensor<?x32xbf16>
}

// CHECK-LABEL: func.func @regions
func.func @regions(%x: tensor<?x64xf32>, %scale: tensor<f32>) -> tensor<?x64xf8E4M3FN> {
  // CHECK: epiq.row_program @static_quantize (%{{.*}}, %{{.*}}) {layouts = [#epiq.layout<row_major>]} : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf8E4M3FN> {
  %0 = epiq.row_program @static_quantize (%x, %scale) {layouts = [#epiq.layout<row_major>]}
      : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf8E4M3FN> {
  ^bb0(%a: tensor<?x64xf32>, %s: tensor<f32>):
    // CHECK: epiq.composite "quantize" (%{{.*}}, %{{.*}}) {format = #epiq.format<element = f8E4M3FN, granularity = tensor, static = true>}
    %1 = epiq.composite "quantize" (%a, %s)
        {format = #epiq.format<element = f8E4M3FN, granularity = tensor, static = true>}
        : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xf8E4M3FN> {
    ^bb0(%b: tensor<?x64xf32>, %t: tensor<f32>):
      %2 = epiq.broadcast %t : tensor<f32> to tensor<?x64xf32>
      %3 = arith.divf %b, %2 : tensor<?x64xf32>
      %4 = arith.truncf %3 : tensor<?x64xf32> to tensor<?x64xf8E4M3FN>
      epiq.yield %4 : tensor<?x64xf8E4M3FN>
    }
    epiq.yield %1 : tensor<?x64xf8E4M3FN>
  }
  return %0 : tensor<?x64xf8E4M3FN>
}

// Fields of a format that hold their default are not printed.
// CHECK-LABEL: func.func @formats
func.func @formats() attributes {
  // CHECK-SAME: a = #epiq.format<element = f8E4M3FN, granularity = token>
  a = #epiq.format<element = f8E4M3FN, scale_dtype = f32, granularity = token, group_size = 0, static = false, floor = 0.0, floor_on = scale, upper_bound = 0.0, division = true, scale_rounding = none>,
  // CHECK-SAME: b = #epiq.format<element = f8E5M2, scale_dtype = f8E8M0FNU, granularity = group, group_size = 32, floor = 1.000000e-10, floor_on = amax, upper_bound = 1.200000e+03, division = false, scale_rounding = rceil>
  b = #epiq.format<element = f8E5M2, scale_dtype = f8E8M0FNU, granularity = group, group_size = 32, floor = 1.0e-10, floor_on = amax, upper_bound = 1200.0, division = false, scale_rounding = rceil>
} {
  return
}

// Scales as powers of two, and layouts whose memory has another type.
// CHECK-LABEL: @scale_layouts
func.func @scale_layouts(%x: tensor<?x30xf32>, %y: tensor<?x64xf4E2M1FN>, %s: tensor<200x30xf8E4M3FN>) {
  // CHECK: epiq.to_ue8m0 rceil %{{.*}} : tensor<?x30xf32> to tensor<?x30xf8E8M0FNU>
  %a = epiq.to_ue8m0 rceil %x : tensor<?x30xf32> to tensor<?x30xf8E8M0FNU>
  // CHECK: epiq.to_ue8m0 floor %{{.*}} less 2 : tensor<?x30xf32> to tensor<?x30xf8E8M0FNU>
  %b = epiq.to_ue8m0 floor %x less 2 : tensor<?x30xf32> to tensor<?x30xf8E8M0FNU>
  // CHECK: epiq.relayout %{{.*}} to tma_aligned : tensor<?x30xf32> to tensor<?x30xf32>
  %c = epiq.relayout %x to tma_aligned : tensor<?x30xf32> to tensor<?x30xf32>
  // CHECK: epiq.relayout %{{.*}} to packed_ue8m0 : tensor<?x30xf8E8M0FNU> to tensor<?x8xi32>
  %p = epiq.relayout %a to packed_ue8m0 : tensor<?x30xf8E8M0FNU> to tensor<?x8xi32>
  // CHECK: epiq.relayout %{{.*}} to swizzled_128x4 : tensor<?x30xf8E8M0FNU> to tensor<?xf8E8M0FNU>
  %w = epiq.relayout %a to swizzled_128x4 : tensor<?x30xf8E8M0FNU> to tensor<?xf8E8M0FNU>
  // CHECK: epiq.relayout %{{.*}} to swizzled_128x4 : tensor<200x30xf8E4M3FN> to tensor<8192xf8E4M3FN>
  %v = epiq.relayout %s to swizzled_128x4 : tensor<200x30xf8E4M3FN> to tensor<8192xf8E4M3FN>
  // CHECK: epiq.relayout %{{.*}} to packed_e2m1 : tensor<?x64xf4E2M1FN> to tensor<?x32xi8>
  %q = epiq.relayout %y to packed_e2m1 : tensor<?x64xf4E2M1FN> to tensor<?x32xi8>
  return
}
