// RUN: epiq-opt %s -split-input-file -epiq-fuse-epilogue="output=0" | FileCheck %s
// Results in layouts other than rows or columns, and the maximum of all values.

// Group g is byte g % 4 of a word: columns of words are a distance apart.
// CHECK-LABEL: tt.func public @packed(
// CHECK-SAME: %[[S:[^:]*]]: !tt.ptr<i8>, %[[DISTANCE:[^:]*]]: i64)
// CHECK: %[[WORD:.*]] = arith.divsi %[[G:.*]], %{{.*}} : tensor<4xi32>
// CHECK: %[[FAR:.*]] = tt.splat %[[DISTANCE]] : i64 -> tensor<4xi64>
// CHECK: arith.muli %{{.*}}, %[[FAR]]
// CHECK: arith.remsi %[[G]], %{{.*}} : tensor<4xi32>
// CHECK: tt.store %{{.*}} : tensor<16x4x!tt.ptr<i8>>
tt.func public @packed(%out: !tt.ptr<f32>, %m: i32, %stride: i32) {
  %y = arith.constant dense<1.000000e+00> : tensor<16x128xf32>
  %r = tt.make_range {end = 16 : i32, start = 0 : i32} : tensor<16xi32>
  %rows = tt.expand_dims %r {axis = 1 : i32} : tensor<16xi32> -> tensor<16x1xi32>
  %stride_splat = tt.splat %stride : i32 -> tensor<16x1xi32>
  %offsets = arith.muli %rows, %stride_splat : tensor<16x1xi32>
  %splat = tt.splat %out : !tt.ptr<f32> -> tensor<16x1x!tt.ptr<f32>>
  %row_ptrs = tt.addptr %splat, %offsets : tensor<16x1x!tt.ptr<f32>>, tensor<16x1xi32>
  %row_ptrs_2d = tt.broadcast %row_ptrs : tensor<16x1x!tt.ptr<f32>> -> tensor<16x128x!tt.ptr<f32>>
  %c = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
  %cols = tt.expand_dims %c {axis = 0 : i32} : tensor<128xi32> -> tensor<1x128xi32>
  %cols_2d = tt.broadcast %cols : tensor<1x128xi32> -> tensor<16x128xi32>
  %ptrs = tt.addptr %row_ptrs_2d, %cols_2d : tensor<16x128x!tt.ptr<f32>>, tensor<16x128xi32>
  %limit = tt.splat %m : i32 -> tensor<16x1xi32>
  %in_rows = arith.cmpi slt, %rows, %limit : tensor<16x1xi32>
  %mask = tt.broadcast %in_rows : tensor<16x1xi1> -> tensor<16x128xi1>
  tt.store %ptrs, %y, %mask : tensor<16x128x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%y: tensor<?x256xf32>) -> tensor<?x2xi32> {
  %s = epiq.row_program @scales (%y) {layouts = [#epiq.layout<packed_ue8m0>]} : (tensor<?x256xf32>) -> tensor<?x2xi32> {
  ^bb0(%x: tensor<?x256xf32>):
    %g = epiq.reshape %x : tensor<?x256xf32> to tensor<?x8x32xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x8x32xf32> to tensor<?x8xf32>
    %b = arith.fptosi %m : tensor<?x8xf32> to tensor<?x8xi8>
    %l = epiq.relayout %b to packed_ue8m0 : tensor<?x8xi8> to tensor<?x2xi32>
    epiq.yield %l : tensor<?x2xi32>
  }
  return %s : tensor<?x2xi32>
}

// -----

// Blocks of 128 rows are a distance apart; within one a row is three terms.
// CHECK-LABEL: tt.func public @swizzled(
// CHECK-SAME: %[[S:[^:]*]]: !tt.ptr<i8>, %[[DISTANCE:[^:]*]]: i64)
// CHECK: arith.divsi %[[ROW:.*]], %{{.*}} : tensor<16x1xi64>
// CHECK: tt.splat %[[DISTANCE]] : i64 -> tensor<16x1xi64>
// CHECK: arith.remsi %[[ROW]], %{{.*}} : tensor<16x1xi64>
// CHECK: tt.store %{{.*}} : tensor<16x4x!tt.ptr<i8>>
tt.func public @swizzled(%out: !tt.ptr<f32>, %m: i32, %stride: i32) {
  %y = arith.constant dense<1.000000e+00> : tensor<16x128xf32>
  %r = tt.make_range {end = 16 : i32, start = 0 : i32} : tensor<16xi32>
  %rows = tt.expand_dims %r {axis = 1 : i32} : tensor<16xi32> -> tensor<16x1xi32>
  %stride_splat = tt.splat %stride : i32 -> tensor<16x1xi32>
  %offsets = arith.muli %rows, %stride_splat : tensor<16x1xi32>
  %splat = tt.splat %out : !tt.ptr<f32> -> tensor<16x1x!tt.ptr<f32>>
  %row_ptrs = tt.addptr %splat, %offsets : tensor<16x1x!tt.ptr<f32>>, tensor<16x1xi32>
  %row_ptrs_2d = tt.broadcast %row_ptrs : tensor<16x1x!tt.ptr<f32>> -> tensor<16x128x!tt.ptr<f32>>
  %c = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
  %cols = tt.expand_dims %c {axis = 0 : i32} : tensor<128xi32> -> tensor<1x128xi32>
  %cols_2d = tt.broadcast %cols : tensor<1x128xi32> -> tensor<16x128xi32>
  %ptrs = tt.addptr %row_ptrs_2d, %cols_2d : tensor<16x128x!tt.ptr<f32>>, tensor<16x128xi32>
  %limit = tt.splat %m : i32 -> tensor<16x1xi32>
  %in_rows = arith.cmpi slt, %rows, %limit : tensor<16x1xi32>
  %mask = tt.broadcast %in_rows : tensor<16x1xi1> -> tensor<16x128xi1>
  tt.store %ptrs, %y, %mask : tensor<16x128x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%y: tensor<?x256xf32>) -> tensor<?xi8> {
  %s = epiq.row_program @scales (%y) {layouts = [#epiq.layout<swizzled_128x4>]} : (tensor<?x256xf32>) -> tensor<?xi8> {
  ^bb0(%x: tensor<?x256xf32>):
    %g = epiq.reshape %x : tensor<?x256xf32> to tensor<?x8x32xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x8x32xf32> to tensor<?x8xf32>
    %b = arith.fptosi %m : tensor<?x8xf32> to tensor<?x8xi8>
    %l = epiq.relayout %b to swizzled_128x4 : tensor<?x8xi8> to tensor<?xi8>
    epiq.yield %l : tensor<?xi8>
  }
  return %s : tensor<?xi8>
}

// -----

// Two values a byte: half as many columns are stored.
// CHECK-LABEL: tt.func public @nibbles(
// CHECK-SAME: %[[Q:[^:]*]]: !tt.ptr<i8>, %[[DISTANCE:[^:]*]]: i64)
// CHECK: tt.store %{{.*}} : tensor<16x64x!tt.ptr<i8>>
tt.func public @nibbles(%out: !tt.ptr<f32>, %m: i32, %stride: i32) {
  %y = arith.constant dense<1.000000e+00> : tensor<16x128xf32>
  %r = tt.make_range {end = 16 : i32, start = 0 : i32} : tensor<16xi32>
  %rows = tt.expand_dims %r {axis = 1 : i32} : tensor<16xi32> -> tensor<16x1xi32>
  %stride_splat = tt.splat %stride : i32 -> tensor<16x1xi32>
  %offsets = arith.muli %rows, %stride_splat : tensor<16x1xi32>
  %splat = tt.splat %out : !tt.ptr<f32> -> tensor<16x1x!tt.ptr<f32>>
  %row_ptrs = tt.addptr %splat, %offsets : tensor<16x1x!tt.ptr<f32>>, tensor<16x1xi32>
  %row_ptrs_2d = tt.broadcast %row_ptrs : tensor<16x1x!tt.ptr<f32>> -> tensor<16x128x!tt.ptr<f32>>
  %c = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
  %cols = tt.expand_dims %c {axis = 0 : i32} : tensor<128xi32> -> tensor<1x128xi32>
  %cols_2d = tt.broadcast %cols : tensor<1x128xi32> -> tensor<16x128xi32>
  %ptrs = tt.addptr %row_ptrs_2d, %cols_2d : tensor<16x128x!tt.ptr<f32>>, tensor<16x128xi32>
  %limit = tt.splat %m : i32 -> tensor<16x1xi32>
  %in_rows = arith.cmpi slt, %rows, %limit : tensor<16x1xi32>
  %mask = tt.broadcast %in_rows : tensor<16x1xi1> -> tensor<16x128xi1>
  tt.store %ptrs, %y, %mask : tensor<16x128x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%y: tensor<?x256xf32>) -> tensor<?x128xi8> {
  %s = epiq.row_program @cast (%y) {layouts = [#epiq.layout<packed_e2m1>]} : (tensor<?x256xf32>) -> tensor<?x128xi8> {
  ^bb0(%x: tensor<?x256xf32>):
    %g = epiq.reshape %x : tensor<?x256xf32> to tensor<?x8x32xf32>
    %t = arith.truncf %g : tensor<?x8x32xf32> to tensor<?x8x32xf4E2M1FN>
    %q = epiq.reshape %t : tensor<?x8x32xf4E2M1FN> to tensor<?x256xf4E2M1FN>
    %l = epiq.relayout %q to packed_e2m1 : tensor<?x256xf4E2M1FN> to tensor<?x128xi8>
    epiq.yield %l : tensor<?x128xi8>
  }
  return %s : tensor<?x128xi8>
}

// -----

// The maximum over all tokens: rows beyond the last count as 0, and each program
// combines its tile with what the others found.
// CHECK-LABEL: tt.func public @largest(
// CHECK-SAME: %[[M:[^:]*]]: i32, %{{[^:]*}}: i32, %[[AMAX:[^:]*]]: !tt.ptr<f32>)
// CHECK: %[[THERE:.*]] = arith.cmpi slt
// CHECK: arith.select %{{.*}} : tensor<16x128xi1>, tensor<16x128xf32>
// CHECK: "tt.reduce"
// CHECK: tt.atomic_rmw umax, relaxed, gpu, %{{.*}} : (!tt.ptr<i32>, i32) -> i32
// CHECK-NOT: tt.store
tt.func public @largest(%out: !tt.ptr<f32>, %m: i32, %stride: i32) {
  %y = arith.constant dense<1.000000e+00> : tensor<16x128xf32>
  %r = tt.make_range {end = 16 : i32, start = 0 : i32} : tensor<16xi32>
  %rows = tt.expand_dims %r {axis = 1 : i32} : tensor<16xi32> -> tensor<16x1xi32>
  %stride_splat = tt.splat %stride : i32 -> tensor<16x1xi32>
  %offsets = arith.muli %rows, %stride_splat : tensor<16x1xi32>
  %splat = tt.splat %out : !tt.ptr<f32> -> tensor<16x1x!tt.ptr<f32>>
  %row_ptrs = tt.addptr %splat, %offsets : tensor<16x1x!tt.ptr<f32>>, tensor<16x1xi32>
  %row_ptrs_2d = tt.broadcast %row_ptrs : tensor<16x1x!tt.ptr<f32>> -> tensor<16x128x!tt.ptr<f32>>
  %c = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
  %cols = tt.expand_dims %c {axis = 0 : i32} : tensor<128xi32> -> tensor<1x128xi32>
  %cols_2d = tt.broadcast %cols : tensor<1x128xi32> -> tensor<16x128xi32>
  %ptrs = tt.addptr %row_ptrs_2d, %cols_2d : tensor<16x128x!tt.ptr<f32>>, tensor<16x128xi32>
  %limit = tt.splat %m : i32 -> tensor<16x1xi32>
  %in_rows = arith.cmpi slt, %rows, %limit : tensor<16x1xi32>
  %mask = tt.broadcast %in_rows : tensor<16x1xi1> -> tensor<16x128xi1>
  tt.store %ptrs, %y, %mask : tensor<16x128x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%y: tensor<?x256xf32>) -> tensor<f32> {
  %s = epiq.row_program @amax (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x256xf32>) -> tensor<f32> {
  ^bb0(%x: tensor<?x256xf32>):
    %a = math.absf %x : tensor<?x256xf32>
    %m = epiq.reduce max %a dims [0, 1] : tensor<?x256xf32> to tensor<f32>
    epiq.yield %m : tensor<f32>
  }
  return %s : tensor<f32>
}
