// RUN: epiq-opt %s -epiq-raise -verify-diagnostics | FileCheck %s

// Rounded to bf16 before the weight, which is widened after its broadcast. The
// stored input is read by others, too.
// CHECK-LABEL: @rms_norm
func.func @rms_norm(%x: tensor<?x64xbf16>, %w: tensor<64xbf16>) -> (tensor<?x64xbf16>, tensor<?x64xbf16>) {
  // CHECK-NEXT: %[[Y:.*]] = epiq.composite "rms_norm" (%arg0, %arg1) {eps = 9.99999974E-6 : f32} : (tensor<?x64xbf16>, tensor<64xbf16>) -> tensor<?x64xbf16>
  // CHECK: return %[[Y]], %arg0
  %n_0 = arith.constant dense<64.0> : tensor<f32>
  %n = epiq.broadcast %n_0 : tensor<f32> to tensor<?x1xf32>
  %eps_0 = arith.constant dense<1.0e-05> : tensor<f32>
  %eps = epiq.broadcast %eps_0 : tensor<f32> to tensor<?x1xf32>
  %f = arith.extf %x : tensor<?x64xbf16> to tensor<?x64xf32>
  %sq = arith.mulf %f, %f : tensor<?x64xf32>
  %sum = epiq.reduce sum %sq dims [1] keep : tensor<?x64xf32> to tensor<?x1xf32>
  %mean = arith.divf %sum, %n : tensor<?x1xf32>
  %v = arith.addf %mean, %eps : tensor<?x1xf32>
  %r = math.rsqrt %v : tensor<?x1xf32>
  %rb = epiq.broadcast %r : tensor<?x1xf32> to tensor<?x64xf32>
  %y = arith.mulf %f, %rb : tensor<?x64xf32>
  %yr = arith.truncf %y : tensor<?x64xf32> to tensor<?x64xbf16>
  %yf = arith.extf %yr : tensor<?x64xbf16> to tensor<?x64xf32>
  %wb = epiq.broadcast %w : tensor<64xbf16> to tensor<?x64xbf16>
  %wf = arith.extf %wb : tensor<?x64xbf16> to tensor<?x64xf32>
  %z = arith.mulf %wf, %yf : tensor<?x64xf32>
  // expected-remark @+1 {{named rms_norm}}
  %zr = arith.truncf %z : tensor<?x64xf32> to tensor<?x64xbf16>
  return %zr, %x : tensor<?x64xbf16>, tensor<?x64xbf16>
}

// 1 / sqrt, the mean as a product, 1 + w in f32 before the only rounding.
// CHECK-LABEL: @rms_norm_one_plus_weight
func.func @rms_norm_one_plus_weight(%x: tensor<2x?x64xbf16>, %w: tensor<64xf32>) -> tensor<2x?x64xbf16> {
  // CHECK-NEXT: %[[Y:.*]] = epiq.composite "rms_norm" (%arg0, %arg1) {eps = 9.99999997E-7 : f32} : (tensor<2x?x64xbf16>, tensor<64xf32>) -> tensor<2x?x64xbf16>
  // CHECK: return %[[Y]]
  %n_0 = arith.constant dense<0.015625> : tensor<f32>
  %n = epiq.broadcast %n_0 : tensor<f32> to tensor<2x?xf32>
  %eps_0 = arith.constant dense<1.0e-06> : tensor<f32>
  %eps = epiq.broadcast %eps_0 : tensor<f32> to tensor<2x?x1xf32>
  %two_0 = arith.constant dense<2.0> : tensor<f32>
  %two = epiq.broadcast %two_0 : tensor<f32> to tensor<2x?x64xf32>
  %one = arith.constant dense<1.0> : tensor<64xf32>
  %unit_0 = arith.constant dense<1.0> : tensor<f32>
  %unit = epiq.broadcast %unit_0 : tensor<f32> to tensor<2x?x1xf32>
  %f = arith.extf %x : tensor<2x?x64xbf16> to tensor<2x?x64xf32>
  %sq = math.powf %f, %two : tensor<2x?x64xf32>
  %sum = epiq.reduce sum %sq dims [2] : tensor<2x?x64xf32> to tensor<2x?xf32>
  %mean = arith.mulf %sum, %n : tensor<2x?xf32>
  %mr = epiq.reshape %mean : tensor<2x?xf32> to tensor<2x?x1xf32>
  %v = arith.addf %eps, %mr : tensor<2x?x1xf32>
  %root = math.sqrt %v : tensor<2x?x1xf32>
  %r = arith.divf %unit, %root : tensor<2x?x1xf32>
  %rb = epiq.broadcast %r : tensor<2x?x1xf32> to tensor<2x?x64xf32>
  %y = arith.mulf %f, %rb : tensor<2x?x64xf32>
  %w1 = arith.addf %w, %one : tensor<64xf32>
  %wb = epiq.broadcast %w1 : tensor<64xf32> to tensor<2x?x64xf32>
  %z = arith.mulf %y, %wb : tensor<2x?x64xf32>
  // expected-remark @+1 {{named rms_norm}}
  %zr = arith.truncf %z : tensor<2x?x64xf32> to tensor<2x?x64xbf16>
  return %zr : tensor<2x?x64xbf16>
}

// Division by the root; a factor for each token is no weight and stays outside.
// CHECK-LABEL: @rms_norm_without_weight
func.func @rms_norm_without_weight(%x: tensor<4x64xf32>, %t: tensor<4x1xf32>) -> tensor<4x64xf32> {
  // CHECK: %[[Y:.*]] = epiq.composite "rms_norm" (%arg0)
  // CHECK: %[[T:.*]] = epiq.broadcast %arg1
  // CHECK: arith.mulf %[[Y]], %[[T]]
  %n = arith.constant dense<64.0> : tensor<4x1xf32>
  %eps = arith.constant dense<1.0e-05> : tensor<4x1xf32>
  %sq = arith.mulf %x, %x : tensor<4x64xf32>
  %sum = epiq.reduce sum %sq dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %mean = arith.divf %sum, %n : tensor<4x1xf32>
  %v = arith.addf %mean, %eps : tensor<4x1xf32>
  %root = math.sqrt %v : tensor<4x1xf32>
  %rb = epiq.broadcast %root : tensor<4x1xf32> to tensor<4x64xf32>
  // expected-remark @+1 {{named rms_norm}}
  %y = arith.divf %x, %rb : tensor<4x64xf32>
  %tb = epiq.broadcast %t : tensor<4x1xf32> to tensor<4x64xf32>
  %z = arith.mulf %y, %tb : tensor<4x64xf32>
  return %z : tensor<4x64xf32>
}

// The sum is divided by another number than its length.
// CHECK-LABEL: @no_rms_norm_count
func.func @no_rms_norm_count(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  // CHECK-NOT: epiq.composite
  %n = arith.constant dense<63.0> : tensor<4x1xf32>
  %eps = arith.constant dense<1.0e-05> : tensor<4x1xf32>
  %sq = arith.mulf %x, %x : tensor<4x64xf32>
  %sum = epiq.reduce sum %sq dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %mean = arith.divf %sum, %n : tensor<4x1xf32>
  %v = arith.addf %mean, %eps : tensor<4x1xf32>
  %r = math.rsqrt %v : tensor<4x1xf32>
  %rb = epiq.broadcast %r : tensor<4x1xf32> to tensor<4x64xf32>
  %y = arith.mulf %x, %rb : tensor<4x64xf32>
  return %y : tensor<4x64xf32>
}

// Without eps under the root it is another function.
// CHECK-LABEL: @no_rms_norm_eps
func.func @no_rms_norm_eps(%x: tensor<4x64xf32>) -> tensor<4x64xf32> {
  // CHECK-NOT: epiq.composite
  %n = arith.constant dense<64.0> : tensor<4x1xf32>
  %sq = arith.mulf %x, %x : tensor<4x64xf32>
  %sum = epiq.reduce sum %sq dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %mean = arith.divf %sum, %n : tensor<4x1xf32>
  %r = math.rsqrt %mean : tensor<4x1xf32>
  %rb = epiq.broadcast %r : tensor<4x1xf32> to tensor<4x64xf32>
  %y = arith.mulf %x, %rb : tensor<4x64xf32>
  return %y : tensor<4x64xf32>
}

// g / (1 + exp(-g)), rounded, times u; both are slices of one tensor.
// CHECK-LABEL: @silu_mul
func.func @silu_mul(%x: tensor<?x128xbf16>) -> tensor<?x64xbf16> {
  // CHECK-DAG: %[[G:.*]] = epiq.slice %arg0 dim 1 from 0 to 64
  // CHECK-DAG: %[[U:.*]] = epiq.slice %arg0 dim 1 from 64 to 128
  // CHECK: %[[Y:.*]] = epiq.composite "silu_mul" (%[[G]], %[[U]]) : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
  // CHECK: return %[[Y]]
  %one_0 = arith.constant dense<1.0> : tensor<f32>
  %one = epiq.broadcast %one_0 : tensor<f32> to tensor<?x64xf32>
  %g = epiq.slice %x dim 1 from 0 to 64 : tensor<?x128xbf16> to tensor<?x64xbf16>
  %u = epiq.slice %x dim 1 from 64 to 128 : tensor<?x128xbf16> to tensor<?x64xbf16>
  %f = arith.extf %g : tensor<?x64xbf16> to tensor<?x64xf32>
  %n = arith.negf %f : tensor<?x64xf32>
  %e = math.exp %n : tensor<?x64xf32>
  %d = arith.addf %one, %e : tensor<?x64xf32>
  %s = arith.divf %f, %d : tensor<?x64xf32>
  %sr = arith.truncf %s : tensor<?x64xf32> to tensor<?x64xbf16>
  %sf = arith.extf %sr : tensor<?x64xbf16> to tensor<?x64xf32>
  %uf = arith.extf %u : tensor<?x64xbf16> to tensor<?x64xf32>
  %y = arith.mulf %sf, %uf : tensor<?x64xf32>
  // expected-remark @+1 {{named silu_mul}}
  %yr = arith.truncf %y : tensor<?x64xf32> to tensor<?x64xbf16>
  return %yr : tensor<?x64xbf16>
}

// g times the rounded sigmoid of g; nothing is rounded before u.
// CHECK-LABEL: @silu_mul_sigmoid
func.func @silu_mul_sigmoid(%g: tensor<?x64xbf16>, %u: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // CHECK: epiq.composite "silu_mul" (%arg0, %arg1) : (tensor<?x64xbf16>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %one_0 = arith.constant dense<1.0> : tensor<f32>
  %one = epiq.broadcast %one_0 : tensor<f32> to tensor<?x64xf32>
  %f = arith.extf %g : tensor<?x64xbf16> to tensor<?x64xf32>
  %n = arith.negf %f : tensor<?x64xf32>
  %e = math.exp %n : tensor<?x64xf32>
  %d = arith.addf %e, %one : tensor<?x64xf32>
  %s = arith.divf %one, %d : tensor<?x64xf32>
  %sr = arith.truncf %s : tensor<?x64xf32> to tensor<?x64xbf16>
  %sf = arith.extf %sr : tensor<?x64xbf16> to tensor<?x64xf32>
  %p = arith.mulf %sf, %f : tensor<?x64xf32>
  // expected-remark @+1 {{named silu_mul}}
  %y = arith.mulf %p, %u : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// Nothing multiplies it.
// CHECK-LABEL: @silu
func.func @silu(%g: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // CHECK: epiq.composite "silu" (%arg0)
  %one_0 = arith.constant dense<1.0> : tensor<f32>
  %one = epiq.broadcast %one_0 : tensor<f32> to tensor<?x64xf32>
  %n = arith.negf %g : tensor<?x64xf32>
  %e = math.exp %n : tensor<?x64xf32>
  %d = arith.addf %e, %one : tensor<?x64xf32>
  // expected-remark @+1 {{named silu}}
  %s = arith.divf %g, %d : tensor<?x64xf32>
  return %s : tensor<?x64xf32>
}

// The sigmoid of another value is a gate, not silu.
// CHECK-LABEL: @no_silu_other
func.func @no_silu_other(%g: tensor<?x64xf32>, %h: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // CHECK-NOT: epiq.composite
  %one_0 = arith.constant dense<1.0> : tensor<f32>
  %one = epiq.broadcast %one_0 : tensor<f32> to tensor<?x64xf32>
  %n = arith.negf %g : tensor<?x64xf32>
  %e = math.exp %n : tensor<?x64xf32>
  %d = arith.addf %e, %one : tensor<?x64xf32>
  %s = arith.divf %h, %d : tensor<?x64xf32>
  return %s : tensor<?x64xf32>
}

// The exponent is not negated: another function.
// CHECK-LABEL: @no_silu_sign
func.func @no_silu_sign(%g: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // CHECK-NOT: epiq.composite
  %one_0 = arith.constant dense<1.0> : tensor<f32>
  %one = epiq.broadcast %one_0 : tensor<f32> to tensor<?x64xf32>
  %e = math.exp %g : tensor<?x64xf32>
  %d = arith.addf %e, %one : tensor<?x64xf32>
  %s = arith.divf %g, %d : tensor<?x64xf32>
  return %s : tensor<?x64xf32>
}

// CHECK-LABEL: @relayout
func.func @relayout(%s: tensor<?x32xf32>) -> tensor<?x32xf32> {
  // CHECK-NEXT: %[[C:.*]] = epiq.relayout %arg0 to column_major : tensor<?x32xf32> to tensor<?x32xf32>
  // CHECK-NEXT: return %[[C]]
  %t = epiq.transpose %s perm [1, 0] : tensor<?x32xf32> to tensor<32x?xf32>
  %c = epiq.contiguous %t : tensor<32x?xf32>
  // expected-remark @+1 {{named relayout(column_major)}}
  %u = epiq.transpose %c perm [1, 0] : tensor<32x?xf32> to tensor<?x32xf32>
  return %u : tensor<?x32xf32>
}

// The last two of three dimensions.
// CHECK-LABEL: @relayout_batched
func.func @relayout_batched(%s: tensor<2x?x32xf32>) -> tensor<2x?x32xf32> {
  // CHECK-NEXT: epiq.relayout %arg0 to column_major : tensor<2x?x32xf32> to tensor<2x?x32xf32>
  %t = epiq.transpose %s perm [0, 2, 1] : tensor<2x?x32xf32> to tensor<2x32x?xf32>
  %c = epiq.contiguous %t : tensor<2x32x?xf32>
  // expected-remark @+1 {{named relayout(column_major)}}
  %u = epiq.transpose %c perm [0, 2, 1] : tensor<2x32x?xf32> to tensor<2x?x32xf32>
  return %u : tensor<2x?x32xf32>
}

// The transposed copy is read by others: it has to exist.
// CHECK-LABEL: @no_relayout_shared
func.func @no_relayout_shared(%s: tensor<4x32xf32>) -> (tensor<4x32xf32>, tensor<32x4xf32>) {
  // CHECK-NOT: epiq.relayout
  %t = epiq.transpose %s perm [1, 0] : tensor<4x32xf32> to tensor<32x4xf32>
  %c = epiq.contiguous %t : tensor<32x4xf32>
  %u = epiq.transpose %c perm [1, 0] : tensor<32x4xf32> to tensor<4x32xf32>
  return %u, %c : tensor<4x32xf32>, tensor<32x4xf32>
}

// Another dimension than the last two moves.
// CHECK-LABEL: @no_relayout_outer
func.func @no_relayout_outer(%s: tensor<4x3x32xf32>) -> tensor<4x3x32xf32> {
  // CHECK-NOT: epiq.relayout
  %t = epiq.transpose %s perm [1, 0, 2] : tensor<4x3x32xf32> to tensor<3x4x32xf32>
  %c = epiq.contiguous %t : tensor<3x4x32xf32>
  %u = epiq.transpose %c perm [1, 0, 2] : tensor<3x4x32xf32> to tensor<4x3x32xf32>
  return %u : tensor<4x3x32xf32>
}
