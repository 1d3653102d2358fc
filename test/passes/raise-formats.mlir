// RUN: epiq-opt %s -epiq-raise -verify-diagnostics | FileCheck %s

// Integers are rounded before the clamp and the cast, which cuts.
// CHECK-LABEL: @int8_token
func.func @int8_token(%x: tensor<4x64xf32>) -> (tensor<4x64xi8>, tensor<4x1xf32>) {
  // CHECK: epiq.composite "quantize" (%arg0) {format = #epiq.format<element = i8, granularity = token, floor = 1.000000e-10>}
  %eps = arith.constant dense<1.0e-10> : tensor<4x1xf32>
  %max = arith.constant dense<127.0> : tensor<4x1xf32>
  %lo = arith.constant dense<-127.0> : tensor<4x64xf32>
  %hi = arith.constant dense<127.0> : tensor<4x64xf32>
  %a = math.absf %x : tensor<4x64xf32>
  %m = epiq.reduce max %a dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %d = arith.divf %m, %max : tensor<4x1xf32>
  %s = arith.maximumf %d, %eps : tensor<4x1xf32>
  %b = epiq.broadcast %s : tensor<4x1xf32> to tensor<4x64xf32>
  %y = arith.divf %x, %b : tensor<4x64xf32>
  %r = math.roundeven %y : tensor<4x64xf32>
  %l = arith.maximumf %r, %lo : tensor<4x64xf32>
  %h = arith.minimumf %l, %hi : tensor<4x64xf32>
  // expected-remark @+1 {{named quantize(int8 token)}}
  %q = arith.fptosi %h : tensor<4x64xf32> to tensor<4x64xi8>
  return %q, %s : tensor<4x64xi8>, tensor<4x1xf32>
}

// A cast to i8 that cuts is some other integer work: no quantization, and no remark.
// CHECK-LABEL: @no_int8_cut
func.func @no_int8_cut(%x: tensor<4x64xf32>, %scale: tensor<f32>) -> tensor<4x64xi8> {
  // CHECK-NOT: epiq.composite
  // CHECK: return
  %b = epiq.broadcast %scale : tensor<f32> to tensor<4x64xf32>
  %y = arith.divf %x, %b : tensor<4x64xf32>
  %q = arith.fptosi %y : tensor<4x64xf32> to tensor<4x64xi8>
  return %q : tensor<4x64xi8>
}

// NVFP4: the global scale multiplies amax and the values; the scale is e4m3, no quantization of its own; groups
// whose scale is 0 hold zeros; the packing is inside.
// CHECK-LABEL: @nvfp4
func.func @nvfp4(%in: tensor<3x64xf32>, %gs: tensor<f32>) -> (tensor<3x32xi8>, tensor<3x4x1xf8E4M3FN>) {
  // CHECK: %[[Q:.*]]:2 = epiq.composite "quantize" (%arg0, %arg1) {format = #epiq.format<element = f4E2M1FN, scale_dtype = f8E4M3FN, granularity = group, group_size = 16, global_scale = true>} : (tensor<3x64xf32>, tensor<f32>) -> (tensor<3x32xi8>, tensor<3x4x1xf8E4M3FN>)
  // CHECK: epiq.relayout %{{.*}} to packed_e2m1
  // CHECK: return %[[Q]]#0, %[[Q]]#1
  %six = arith.constant dense<6.0> : tensor<3x4x1xf32>
  %top = arith.constant dense<448.0> : tensor<3x4x1xf32>
  %zero = arith.constant dense<0.0> : tensor<3x4x1xf32>
  %zeros = arith.constant dense<0.0> : tensor<3x4x16xf32>
  %x = epiq.reshape %in : tensor<3x64xf32> to tensor<3x4x16xf32>
  %a = math.absf %x : tensor<3x4x16xf32>
  %m = epiq.reduce max %a dims [2] keep : tensor<3x4x16xf32> to tensor<3x4x1xf32>
  %g1 = epiq.broadcast %gs : tensor<f32> to tensor<3x4x1xf32>
  %p = arith.mulf %g1, %m : tensor<3x4x1xf32>
  %d = arith.divf %p, %six : tensor<3x4x1xf32>
  %c = arith.minimumf %d, %top : tensor<3x4x1xf32>
  %s = arith.truncf %c : tensor<3x4x1xf32> to tensor<3x4x1xf8E4M3FN>
  %f = arith.extf %s : tensor<3x4x1xf8E4M3FN> to tensor<3x4x1xf32>
  %g2 = epiq.broadcast %gs : tensor<f32> to tensor<3x4x16xf32>
  %v = arith.mulf %x, %g2 : tensor<3x4x16xf32>
  %b = epiq.broadcast %f : tensor<3x4x1xf32> to tensor<3x4x16xf32>
  %y = arith.divf %v, %b : tensor<3x4x16xf32>
  %is = arith.cmpf oeq, %f, %zero : tensor<3x4x1xf32>
  %w = epiq.broadcast %is : tensor<3x4x1xi1> to tensor<3x4x16xi1>
  %z = arith.select %w, %zeros, %y : tensor<3x4x16xi1>, tensor<3x4x16xf32>
  %t = arith.truncf %z : tensor<3x4x16xf32> to tensor<3x4x16xf4E2M1FN>
  %u = epiq.reshape %t : tensor<3x4x16xf4E2M1FN> to tensor<3x64xf4E2M1FN>
  // expected-remark @+1 {{named quantize(e2m1 group 16 e4m3)}}
  %q = epiq.relayout %u to packed_e2m1 : tensor<3x64xf4E2M1FN> to tensor<3x32xi8>
  return %q, %s : tensor<3x32xi8>, tensor<3x4x1xf8E4M3FN>
}

// A global scale that the values do not have is no NVFP4.
// CHECK-LABEL: @no_r5_global
func.func @no_r5_global(%x: tensor<3x64xf32>, %gs: tensor<f32>) -> tensor<3x64xf8E4M3FN> {
  // CHECK-NOT: epiq.composite
  // CHECK: return
  %max = arith.constant dense<448.0> : tensor<3x1xf32>
  %a = math.absf %x : tensor<3x64xf32>
  %m = epiq.reduce max %a dims [1] keep : tensor<3x64xf32> to tensor<3x1xf32>
  %g1 = epiq.broadcast %gs : tensor<f32> to tensor<3x1xf32>
  %p = arith.mulf %g1, %m : tensor<3x1xf32>
  %s = arith.divf %p, %max : tensor<3x1xf32>
  %b = epiq.broadcast %s : tensor<3x1xf32> to tensor<3x64xf32>
  %y = arith.divf %x, %b : tensor<3x64xf32>
  // expected-remark @+1 {{not named: R5: the global scale multiplies amax, not the values}}
  %q = arith.truncf %y : tensor<3x64xf32> to tensor<3x64xf8E4M3FN>
  return %q : tensor<3x64xf8E4M3FN>
}

// OCP's floor takes 8 off for e4m3; 2 is for e2m1.
// CHECK-LABEL: @no_r5_exponent
func.func @no_r5_exponent(%x: tensor<3x64xf32>) -> tensor<3x64xf8E4M3FN> {
  // CHECK-NOT: epiq.composite
  // CHECK: return
  %a = math.absf %x : tensor<3x64xf32>
  %m = epiq.reduce max %a dims [1] keep : tensor<3x64xf32> to tensor<3x1xf32>
  %p = epiq.to_ue8m0 floor %m less 2 : tensor<3x1xf32> to tensor<3x1xf8E8M0FNU>
  %s = arith.extf %p : tensor<3x1xf8E8M0FNU> to tensor<3x1xf32>
  %b = epiq.broadcast %s : tensor<3x1xf32> to tensor<3x64xf32>
  %y = arith.divf %x, %b : tensor<3x64xf32>
  // expected-remark @+1 {{not named: R5: takes 2 from the exponent of amax, not once 8}}
  %q = arith.truncf %y : tensor<3x64xf32> to tensor<3x64xf8E4M3FN>
  return %q : tensor<3x64xf8E4M3FN>
}

// An f32 scale made from bits that Inf would tell from the cast: named, and computed as it is written.
// CHECK-LABEL: @power_of_two_f32
func.func @power_of_two_f32(%x: tensor<3x64xf32>) -> (tensor<3x64xf8E4M3FN>, tensor<3x1xf32>) {
  // CHECK: epiq.composite "quantize" (%arg0) {format = #epiq.format<element = f8E4M3FN, granularity = token, floor = {{[^,]*}}, floor_on = amax, scale_rounding = rceil>}
  // CHECK: arith.shrui
  %max = arith.constant dense<448.0> : tensor<3x1xf32>
  %tiny = arith.constant dense<1.0e-4> : tensor<3x1xf32>
  %c23 = arith.constant dense<23> : tensor<3x1xi32>
  %low = arith.constant dense<8388607> : tensor<3x1xi32>
  %a = math.absf %x : tensor<3x64xf32>
  %m = epiq.reduce max %a dims [1] keep : tensor<3x64xf32> to tensor<3x1xf32>
  %f = arith.maximumf %m, %tiny : tensor<3x1xf32>
  %d = arith.divf %f, %max : tensor<3x1xf32>
  %i = arith.bitcast %d : tensor<3x1xf32> to tensor<3x1xi32>
  %c = arith.addi %i, %low : tensor<3x1xi32>
  %e = arith.shrui %c, %c23 : tensor<3x1xi32>
  %h = arith.shli %e, %c23 : tensor<3x1xi32>
  %s = arith.bitcast %h : tensor<3x1xi32> to tensor<3x1xf32>
  %b = epiq.broadcast %s : tensor<3x1xf32> to tensor<3x64xf32>
  %y = arith.divf %x, %b : tensor<3x64xf32>
  // expected-remark @+1 {{named quantize(e4m3 token)}}
  %q = arith.truncf %y : tensor<3x64xf32> to tensor<3x64xf8E4M3FN>
  return %q, %s : tensor<3x64xf8E4M3FN>, tensor<3x1xf32>
}
