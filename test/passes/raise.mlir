// RUN: epiq-opt %s -epiq-raise -verify-diagnostics | FileCheck %s

// A scale that is given, applied by division and clamped: the example of Passes.td.
// CHECK-LABEL: @quantize_static
func.func @quantize_static(%x: tensor<?x4096xbf16>, %scale: tensor<f32>) -> tensor<?x4096xf8E4M3FN> {
  // CHECK-NEXT: %[[Q:.*]] = epiq.composite "quantize" (%{{.*}}, %{{.*}}) {format = #epiq.format<element = f8E4M3FN, granularity = tensor, static = true>} : (tensor<?x4096xbf16>, tensor<f32>) -> tensor<?x4096xf8E4M3FN>
  // CHECK: arith.extf
  // CHECK: arith.divf
  // CHECK: arith.maximumf
  // CHECK: arith.minimumf
  // CHECK: arith.truncf
  // CHECK: return %[[Q]]
  %lo = arith.constant dense<-448.0> : tensor<f32>
  %hi = arith.constant dense<448.0> : tensor<f32>
  %min = epiq.broadcast %lo : tensor<f32> to tensor<?x4096xf32>
  %max = epiq.broadcast %hi : tensor<f32> to tensor<?x4096xf32>
  %f = arith.extf %x : tensor<?x4096xbf16> to tensor<?x4096xf32>
  %b = epiq.broadcast %scale : tensor<f32> to tensor<?x4096xf32>
  %d = arith.divf %f, %b : tensor<?x4096xf32>
  %l = arith.maximumf %d, %min : tensor<?x4096xf32>
  %h = arith.minimumf %l, %max : tensor<?x4096xf32>
  // expected-remark @+1 {{named quantize(e4m3 tensor static)}}
  %q = arith.truncf %h : tensor<?x4096xf32> to tensor<?x4096xf8E4M3FN>
  return %q : tensor<?x4096xf8E4M3FN>
}

// The reciprocal of a given scale is taken before it is repeated; no clamp.
// CHECK-LABEL: @quantize_static_reciprocal
func.func @quantize_static_reciprocal(%x: tensor<4x64xf32>, %scale: tensor<1xf32>) -> tensor<4x64xf8E5M2> {
  // CHECK: epiq.composite "quantize" (%{{.*}}, %{{.*}}) {format = #epiq.format<element = f8E5M2, granularity = tensor, static = true, division = false>}
  %one = arith.constant dense<1.0> : tensor<1xf32>
  %inv = arith.divf %one, %scale : tensor<1xf32>
  %b = epiq.broadcast %inv : tensor<1xf32> to tensor<4x64xf32>
  %d = arith.mulf %b, %x : tensor<4x64xf32>
  // expected-remark @+1 {{named quantize(e5m2 tensor static)}}
  %q = arith.truncf %d : tensor<4x64xf32> to tensor<4x64xf8E5M2>
  return %q : tensor<4x64xf8E5M2>
}

// One scale a token, amax in bf16, floor on amax, product with the reciprocal.
// The input that others read as f32 stays outside; the composite reads bf16.
// CHECK-LABEL: @quantize_token
func.func @quantize_token(%x: tensor<?x64xbf16>) -> (tensor<?x64xf8E4M3FN>, tensor<?x1xf32>, tensor<?x64xf32>) {
  // CHECK-DAG: %[[F:.*]] = arith.extf %arg0
  // CHECK-DAG: %[[Q:.*]]:2 = epiq.composite "quantize" (%arg0) {format = #epiq.format<element = f8E4M3FN, granularity = token, floor = 1.000000e-10, floor_on = amax, division = false>} : (tensor<?x64xbf16>) -> (tensor<?x64xf8E4M3FN>, tensor<?x1xf32>)
  // CHECK: return %[[Q]]#0, %[[Q]]#1, %[[F]]
  %eps_0 = arith.constant dense<1.0e-10> : tensor<f32>
  %eps = epiq.broadcast %eps_0 : tensor<f32> to tensor<?x1xf32>
  %max_0 = arith.constant dense<448.0> : tensor<f32>
  %max = epiq.broadcast %max_0 : tensor<f32> to tensor<?x1xf32>
  %one_0 = arith.constant dense<1.0> : tensor<f32>
  %one = epiq.broadcast %one_0 : tensor<f32> to tensor<?x1xf32>
  %a = math.absf %x : tensor<?x64xbf16>
  %m = epiq.reduce max %a dims [1] keep : tensor<?x64xbf16> to tensor<?x1xbf16>
  %mf = arith.extf %m : tensor<?x1xbf16> to tensor<?x1xf32>
  %c = arith.maximumf %mf, %eps : tensor<?x1xf32>
  %s = arith.divf %c, %max : tensor<?x1xf32>
  %r = arith.divf %one, %s : tensor<?x1xf32>
  %b = epiq.broadcast %r : tensor<?x1xf32> to tensor<?x64xf32>
  %f = arith.extf %x : tensor<?x64xbf16> to tensor<?x64xf32>
  %d = arith.mulf %f, %b : tensor<?x64xf32>
  // expected-remark @+1 {{named quantize(e4m3 token)}}
  %q = arith.truncf %d : tensor<?x64xf32> to tensor<?x64xf8E4M3FN>
  return %q, %s, %f : tensor<?x64xf8E4M3FN>, tensor<?x1xf32>, tensor<?x64xf32>
}

// Groups of 128 by a reshape and back, an upper bound on amax, a floor on the
// scale; the squeezed scale is the result.
// CHECK-LABEL: @quantize_group
func.func @quantize_group(%x: tensor<2x?x256xbf16>) -> (tensor<2x?x256xf8E4M3FN>, tensor<2x?x2xf32>) {
  // CHECK-NEXT: %[[Q:.*]]:2 = epiq.composite "quantize" (%arg0) {format = #epiq.format<element = f8E4M3FN, granularity = group, group_size = 128, floor = 9.99999974E-6, upper_bound = 1.200000e+03>} : (tensor<2x?x256xbf16>) -> (tensor<2x?x256xf8E4M3FN>, tensor<2x?x2xf32>)
  // CHECK: return %[[Q]]#0, %[[Q]]#1
  %max_0 = arith.constant dense<0.002232142857142857> : tensor<f32>
  %max = epiq.broadcast %max_0 : tensor<f32> to tensor<2x?x2x1xf32>
  %floor_0 = arith.constant dense<1.0e-05> : tensor<f32>
  %floor = epiq.broadcast %floor_0 : tensor<f32> to tensor<2x?x2x1xf32>
  %bound_0 = arith.constant dense<1200.0> : tensor<f32>
  %bound = epiq.broadcast %bound_0 : tensor<f32> to tensor<2x?x2x1xf32>
  %g = epiq.reshape %x : tensor<2x?x256xbf16> to tensor<2x?x2x128xbf16>
  %f = arith.extf %g : tensor<2x?x2x128xbf16> to tensor<2x?x2x128xf32>
  %a = math.absf %f : tensor<2x?x2x128xf32>
  %m = epiq.reduce max %a dims [3] keep : tensor<2x?x2x128xf32> to tensor<2x?x2x1xf32>
  %u = arith.minimumf %m, %bound : tensor<2x?x2x1xf32>
  %d = arith.mulf %u, %max : tensor<2x?x2x1xf32>
  %s = arith.maximumf %d, %floor : tensor<2x?x2x1xf32>
  %b = epiq.broadcast %s : tensor<2x?x2x1xf32> to tensor<2x?x2x128xf32>
  %v = arith.divf %f, %b : tensor<2x?x2x128xf32>
  // expected-remark @+1 {{named quantize(e4m3 group 128)}}
  %q = arith.truncf %v : tensor<2x?x2x128xf32> to tensor<2x?x2x128xf8E4M3FN>
  %qr = epiq.reshape %q : tensor<2x?x2x128xf8E4M3FN> to tensor<2x?x256xf8E4M3FN>
  %sr = epiq.reshape %s : tensor<2x?x2x1xf32> to tensor<2x?x2xf32>
  return %qr, %sr : tensor<2x?x256xf8E4M3FN>, tensor<2x?x2xf32>
}

// One scale for the tensor, a power of two.
// CHECK-LABEL: @quantize_tensor
func.func @quantize_tensor(%x: tensor<?x64xf32>) -> (tensor<?x64xf8E4M3FN>, tensor<f32>) {
  // CHECK: epiq.composite "quantize" (%arg0) {format = #epiq.format<element = f8E4M3FN, granularity = tensor, scale_rounding = rceil>}
  %max = arith.constant dense<448.0> : tensor<f32>
  %a = math.absf %x : tensor<?x64xf32>
  %m = epiq.reduce max %a dims [0, 1] : tensor<?x64xf32> to tensor<f32>
  %s = arith.divf %m, %max : tensor<f32>
  %l = math.log2 %s : tensor<f32>
  %c = math.ceil %l : tensor<f32>
  %p = math.exp2 %c : tensor<f32>
  %b = epiq.broadcast %p : tensor<f32> to tensor<?x64xf32>
  %d = arith.divf %x, %b : tensor<?x64xf32>
  // expected-remark @+1 {{named quantize(e4m3 tensor)}}
  %q = arith.truncf %d : tensor<?x64xf32> to tensor<?x64xf8E4M3FN>
  return %q, %p : tensor<?x64xf8E4M3FN>, tensor<f32>
}

// Two quantizations share amax: each gets its own copy of it.
// CHECK-LABEL: @quantize_shared_amax
func.func @quantize_shared_amax(%x: tensor<4x64xf32>) -> (tensor<4x64xf8E4M3FN>, tensor<4x64xf8E5M2>) {
  // CHECK-NEXT: epiq.composite "quantize" (%arg0) {{.*}} : (tensor<4x64xf32>) -> tensor<4x64xf8E4M3FN>
  // CHECK: epiq.composite "quantize" (%arg0) {{.*}} : (tensor<4x64xf32>) -> tensor<4x64xf8E5M2>
  %big = arith.constant dense<57344.0> : tensor<4x1xf32>
  %max = arith.constant dense<448.0> : tensor<4x1xf32>
  %a = math.absf %x : tensor<4x64xf32>
  %m = epiq.reduce max %a dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %s0 = arith.divf %m, %max : tensor<4x1xf32>
  %s1 = arith.divf %m, %big : tensor<4x1xf32>
  %b0 = epiq.broadcast %s0 : tensor<4x1xf32> to tensor<4x64xf32>
  %b1 = epiq.broadcast %s1 : tensor<4x1xf32> to tensor<4x64xf32>
  %d0 = arith.divf %x, %b0 : tensor<4x64xf32>
  %d1 = arith.divf %x, %b1 : tensor<4x64xf32>
  // expected-remark @+1 {{named quantize(e4m3 token)}}
  %q0 = arith.truncf %d0 : tensor<4x64xf32> to tensor<4x64xf8E4M3FN>
  // expected-remark @+1 {{named quantize(e5m2 token)}}
  %q1 = arith.truncf %d1 : tensor<4x64xf32> to tensor<4x64xf8E5M2>
  return %q0, %q1 : tensor<4x64xf8E4M3FN>, tensor<4x64xf8E5M2>
}

// No scale is applied before the cast (R1).
// CHECK-LABEL: @no_quantize_r1_cast
func.func @no_quantize_r1_cast(%x: tensor<4x64xf32>) -> tensor<4x64xf8E4M3FN> {
  // CHECK-NOT: epiq.composite
  // expected-remark @+1 {{not named: R1: no scale is applied before the cast}}
  %q = arith.truncf %x : tensor<4x64xf32> to tensor<4x64xf8E4M3FN>
  return %q : tensor<4x64xf8E4M3FN>
}

// A quotient of two tensors of one shape has no scale (R1).
// CHECK-LABEL: @no_quantize_r1_quotient
func.func @no_quantize_r1_quotient(%x: tensor<4x64xf32>, %y: tensor<4x64xf32>) -> tensor<4x64xf8E4M3FN> {
  // CHECK-NOT: epiq.composite
  %d = arith.divf %x, %y : tensor<4x64xf32>
  // expected-remark @+1 {{not named: R1: neither operand of arith.divf is a scale that several values share}}
  %q = arith.truncf %d : tensor<4x64xf32> to tensor<4x64xf8E4M3FN>
  return %q : tensor<4x64xf8E4M3FN>
}

// The range of another fp8 type (R2).
// CHECK-LABEL: @no_quantize_r2_range
func.func @no_quantize_r2_range(%x: tensor<4x64xf32>, %scale: tensor<f32>) -> tensor<4x64xf8E4M3FN> {
  // CHECK-NOT: epiq.composite
  %max = arith.constant dense<240.0> : tensor<4x64xf32>
  %b = epiq.broadcast %scale : tensor<f32> to tensor<4x64xf32>
  %d = arith.divf %x, %b : tensor<4x64xf32>
  %h = arith.minimumf %d, %max : tensor<4x64xf32>
  // expected-remark @+1 {{not named: R2: clamps to 240, the largest f8E4M3FN is 448}}
  %q = arith.truncf %h : tensor<4x64xf32> to tensor<4x64xf8E4M3FN>
  return %q : tensor<4x64xf8E4M3FN>
}

// amax of another value (R3).
// CHECK-LABEL: @no_quantize_r3_other
func.func @no_quantize_r3_other(%x: tensor<4x64xf32>, %y: tensor<4x64xf32>) -> tensor<4x64xf8E4M3FN> {
  // CHECK-NOT: epiq.composite
  %max = arith.constant dense<448.0> : tensor<4x1xf32>
  %a = math.absf %y : tensor<4x64xf32>
  %m = epiq.reduce max %a dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %s = arith.divf %m, %max : tensor<4x1xf32>
  %b = epiq.broadcast %s : tensor<4x1xf32> to tensor<4x64xf32>
  %d = arith.divf %x, %b : tensor<4x64xf32>
  // expected-remark @+1 {{not named: R3: amax is not taken over the value that is scaled}}
  %q = arith.truncf %d : tensor<4x64xf32> to tensor<4x64xf8E4M3FN>
  return %q : tensor<4x64xf8E4M3FN>
}

// The maximum of the values, not of their magnitudes (R3).
// CHECK-LABEL: @no_quantize_r3_signed
func.func @no_quantize_r3_signed(%x: tensor<4x64xf32>) -> tensor<4x64xf8E4M3FN> {
  // CHECK-NOT: epiq.composite
  %max = arith.constant dense<448.0> : tensor<4x1xf32>
  %m = epiq.reduce max %x dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %s = arith.divf %m, %max : tensor<4x1xf32>
  %b = epiq.broadcast %s : tensor<4x1xf32> to tensor<4x64xf32>
  %d = arith.divf %x, %b : tensor<4x64xf32>
  // expected-remark @+1 {{not named: R3: the maximum is not one of magnitudes}}
  %q = arith.truncf %d : tensor<4x64xf32> to tensor<4x64xf8E4M3FN>
  return %q : tensor<4x64xf8E4M3FN>
}

// A given scale for each column (R4).
// CHECK-LABEL: @no_quantize_r4_columns
func.func @no_quantize_r4_columns(%x: tensor<4x64xf32>, %scale: tensor<64xf32>) -> tensor<4x64xf8E4M3FN> {
  // CHECK-NOT: epiq.composite
  %b = epiq.broadcast %scale : tensor<64xf32> to tensor<4x64xf32>
  %d = arith.divf %x, %b : tensor<4x64xf32>
  // expected-remark @+1 {{not named: R4: the scale is given as tensor<64xf32>, not as one element}}
  %q = arith.truncf %d : tensor<4x64xf32> to tensor<4x64xf8E4M3FN>
  return %q : tensor<4x64xf8E4M3FN>
}

// amax is divided by another number than the element's maximum (R5).
// CHECK-LABEL: @no_quantize_r5_divisor
func.func @no_quantize_r5_divisor(%x: tensor<4x64xf32>) -> tensor<4x64xf8E4M3FN> {
  // CHECK-NOT: epiq.composite
  %max = arith.constant dense<224.0> : tensor<4x1xf32>
  %a = math.absf %x : tensor<4x64xf32>
  %m = epiq.reduce max %a dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %s = arith.divf %m, %max : tensor<4x1xf32>
  %b = epiq.broadcast %s : tensor<4x1xf32> to tensor<4x64xf32>
  %d = arith.divf %x, %b : tensor<4x64xf32>
  // expected-remark @+1 {{not named: R5: divides amax by 224, not once by 448}}
  %q = arith.truncf %d : tensor<4x64xf32> to tensor<4x64xf8E4M3FN>
  return %q : tensor<4x64xf8E4M3FN>
}

// Arithmetic that no format has (R5).
// CHECK-LABEL: @no_quantize_r5_arithmetic
func.func @no_quantize_r5_arithmetic(%x: tensor<4x64xf32>) -> tensor<4x64xf8E4M3FN> {
  // CHECK-NOT: epiq.composite
  %a = math.absf %x : tensor<4x64xf32>
  %m = epiq.reduce max %a dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %s = math.sqrt %m : tensor<4x1xf32>
  %b = epiq.broadcast %s : tensor<4x1xf32> to tensor<4x64xf32>
  %d = arith.divf %x, %b : tensor<4x64xf32>
  // expected-remark @+1 {{not named: R5: math.sqrt in the scale}}
  %q = arith.truncf %d : tensor<4x64xf32> to tensor<4x64xf8E4M3FN>
  return %q : tensor<4x64xf8E4M3FN>
}

// The product with a scale, where a quotient belongs (R5).
// CHECK-LABEL: @no_quantize_r5_product
func.func @no_quantize_r5_product(%x: tensor<4x64xf32>, %scale: tensor<f32>) -> tensor<4x64xf8E4M3FN> {
  // CHECK-NOT: epiq.composite
  %b = epiq.broadcast %scale : tensor<f32> to tensor<4x64xf32>
  %d = arith.mulf %x, %b : tensor<4x64xf32>
  // expected-remark @+1 {{not named: R5: arith.mulf by the scale is no quantization}}
  %q = arith.truncf %d : tensor<4x64xf32> to tensor<4x64xf8E4M3FN>
  return %q : tensor<4x64xf8E4M3FN>
}

// One scale a column (R6).
// CHECK-LABEL: @no_quantize_r6_columns
func.func @no_quantize_r6_columns(%x: tensor<4x64xf32>) -> tensor<4x64xf8E4M3FN> {
  // CHECK-NOT: epiq.composite
  %max = arith.constant dense<448.0> : tensor<1x64xf32>
  %a = math.absf %x : tensor<4x64xf32>
  %m = epiq.reduce max %a dims [0] keep : tensor<4x64xf32> to tensor<1x64xf32>
  %s = arith.divf %m, %max : tensor<1x64xf32>
  %b = epiq.broadcast %s : tensor<1x64xf32> to tensor<4x64xf32>
  %d = arith.divf %x, %b : tensor<4x64xf32>
  // expected-remark @+1 {{not named: R6: amax is not over the last dimensions of tensor<4x64xf32>}}
  %q = arith.truncf %d : tensor<4x64xf32> to tensor<4x64xf8E4M3FN>
  return %q : tensor<4x64xf8E4M3FN>
}

// A row without a static width (R6).
// CHECK-LABEL: @no_quantize_r6_dynamic
func.func @no_quantize_r6_dynamic(%x: tensor<4x?xf32>) -> tensor<4x?xf8E4M3FN> {
  // CHECK-NOT: epiq.composite
  %max = arith.constant dense<448.0> : tensor<4x1xf32>
  %a = math.absf %x : tensor<4x?xf32>
  %m = epiq.reduce max %a dims [1] keep : tensor<4x?xf32> to tensor<4x1xf32>
  %s = arith.divf %m, %max : tensor<4x1xf32>
  %b = epiq.broadcast %s : tensor<4x1xf32> to tensor<4x?xf32>
  %d = arith.divf %x, %b : tensor<4x?xf32>
  // expected-remark @+1 {{not named: R6: a group of tensor<4x?xf32> has no static size}}
  %q = arith.truncf %d : tensor<4x?xf32> to tensor<4x?xf8E4M3FN>
  return %q : tensor<4x?xf8E4M3FN>
}
