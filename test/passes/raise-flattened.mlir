// RUN: epiq-opt %s -epiq-raise | FileCheck %s

// Groups of 128 as rows of a flattened tensor: in the composite the tokens keep
// a dimension of their own.
// CHECK-LABEL: @flattened
func.func @flattened(%x: tensor<?x256xbf16>) -> (tensor<?x256xf8E4M3FN>, tensor<?x2xf32>) {
  // CHECK-NEXT: %[[Q:.*]]:2 = epiq.composite "quantize" (%arg0) {format = #epiq.format<element = f8E4M3FN, granularity = group, group_size = 128, floor = 1.000000e-10, floor_on = amax>}
  // CHECK: epiq.reshape %{{.*}} : tensor<?x256xbf16> to tensor<?x2x128xbf16>
  // CHECK: %[[M:.*]] = epiq.reduce max %{{.*}} dims [2] keep : tensor<?x2x128xf32> to tensor<?x2x1xf32>
  // CHECK: epiq.broadcast %{{.*}} : tensor<?x2x1xf32> to tensor<?x2x128xf32>
  // CHECK: epiq.reshape %{{.*}} : tensor<?x2x128xf8E4M3FN> to tensor<?x256xf8E4M3FN>
  // CHECK: epiq.reshape %{{.*}} : tensor<?x2x1xf32> to tensor<?x2xf32>
  // CHECK: return %[[Q]]#0, %[[Q]]#1
  %eps = arith.constant dense<1.0e-10> : tensor<f32>
  %max = arith.constant dense<448.0> : tensor<f32>
  %e = epiq.broadcast %eps : tensor<f32> to tensor<?x1xf32>
  %m = epiq.broadcast %max : tensor<f32> to tensor<?x1xf32>
  %g = epiq.reshape %x : tensor<?x256xbf16> to tensor<?x128xbf16>
  %f = arith.extf %g : tensor<?x128xbf16> to tensor<?x128xf32>
  %a = math.absf %f : tensor<?x128xf32>
  %r = epiq.reduce max %a dims [1] keep : tensor<?x128xf32> to tensor<?x1xf32>
  %c = arith.maximumf %r, %e : tensor<?x1xf32>
  %s = arith.divf %c, %m : tensor<?x1xf32>
  %b = epiq.broadcast %s : tensor<?x1xf32> to tensor<?x128xf32>
  %d = arith.divf %f, %b : tensor<?x128xf32>
  %q = arith.truncf %d : tensor<?x128xf32> to tensor<?x128xf8E4M3FN>
  %qr = epiq.reshape %q : tensor<?x128xf8E4M3FN> to tensor<?x256xf8E4M3FN>
  %sr = epiq.reshape %s : tensor<?x1xf32> to tensor<?x2xf32>
  return %qr, %sr : tensor<?x256xf8E4M3FN>, tensor<?x2xf32>
}

// The scale goes out as one list of groups: the body stays as it is.
// CHECK-LABEL: @no_unflatten_result
func.func @no_unflatten_result(%x: tensor<?x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<?x1xf32>) {
  // CHECK-NEXT: %[[Q:.*]]:2 = epiq.composite "quantize" (%arg0) {format = #epiq.format<element = f8E4M3FN, granularity = group, group_size = 128>} : (tensor<?x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<?x1xf32>)
  // CHECK: epiq.reduce max %{{.*}} dims [1] keep : tensor<?x128xf32> to tensor<?x1xf32>
  // CHECK: return %[[Q]]#0, %[[Q]]#1
  %max = arith.constant dense<448.0> : tensor<f32>
  %m = epiq.broadcast %max : tensor<f32> to tensor<?x1xf32>
  %f = epiq.reshape %x : tensor<?x256xf32> to tensor<?x128xf32>
  %a = math.absf %f : tensor<?x128xf32>
  %r = epiq.reduce max %a dims [1] keep : tensor<?x128xf32> to tensor<?x1xf32>
  %s = arith.divf %r, %m : tensor<?x1xf32>
  %b = epiq.broadcast %s : tensor<?x1xf32> to tensor<?x128xf32>
  %d = arith.divf %f, %b : tensor<?x128xf32>
  %q = arith.truncf %d : tensor<?x128xf32> to tensor<?x128xf8E4M3FN>
  %qr = epiq.reshape %q : tensor<?x128xf8E4M3FN> to tensor<?x256xf8E4M3FN>
  return %qr, %s : tensor<?x256xf8E4M3FN>, tensor<?x1xf32>
}
