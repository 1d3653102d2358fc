// RUN: epiq-opt %s -split-input-file -epiq-fuse-epilogue="output=0 columns=512" | FileCheck %s
// Where epiq-fuse-epilogue finds a tile: each case is a form of addresses of its own.

// A descriptor of one matrix of several: its base is rows of the output, too.
// CHECK-LABEL: tt.func public @descriptor_with_base(
// CHECK: %[[Z:.*]] = tt.get_program_id z
// CHECK-NOT: tt.descriptor_store
// CHECK: %[[Z_64:.*]] = arith.extsi %[[Z]] : i32 to i64
// CHECK: %[[FIRST:.*]] = arith.muli %{{.*}}, %[[Z_64]] : i64
// CHECK: tt.splat %[[FIRST]] : i64 -> tensor<16xi64>
// CHECK: tt.store %{{.*}} : tensor<16x4x!tt.ptr<f32>>
tt.func public @descriptor_with_base(%out: !tt.ptr<f32>, %m: i32) {
  %y = arith.constant dense<1.000000e+00> : tensor<16x512xf32>
  %c0 = arith.constant 0 : i32
  %n = arith.constant 512 : i32
  %n_64 = arith.constant 512 : i64
  %one = arith.constant 1 : i64
  %z = tt.get_program_id z : i32
  %first = arith.muli %z, %m : i32
  %start = arith.muli %first, %n : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %desc = tt.make_tensor_descriptor %base, [%m, %n], [%n_64, %one] : !tt.ptr<f32>, !tt.tensordesc<tensor<16x512xf32>>
  tt.descriptor_store %desc[%c0, %c0], %y : !tt.tensordesc<tensor<16x512xf32>>, tensor<16x512xf32>
  tt.return
}
func.func @epilogue(%y: tensor<?x512xf32>) -> tensor<?x4xf32> {
  %s = epiq.row_program @amax (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x512xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: tensor<?x512xf32>):
    %a = math.absf %x : tensor<?x512xf32>
    %g = epiq.reshape %a : tensor<?x512xf32> to tensor<?x4x128xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x4x128xf32> to tensor<?x4xf32>
    epiq.yield %m : tensor<?x4xf32>
  }
  return %s : tensor<?x4xf32>
}

// -----

// Dimensions of a descriptor in another order than in memory: heads of 128
// columns side by side in a row.
// CHECK-LABEL: tt.func public @descriptor_of_heads(
// CHECK: %[[HEAD:.*]] = tt.get_program_id x
// CHECK-NOT: tt.descriptor_store
// CHECK: %[[COL:.*]] = arith.muli %[[HEAD]], %{{.*}} : i32
// CHECK: arith.divsi %[[COL]]
// CHECK: tt.store %{{.*}} : tensor<16x1x!tt.ptr<f32>>
tt.func public @descriptor_of_heads(%out: !tt.ptr<f32>, %m: i32) {
  %y = arith.constant dense<1.000000e+00> : tensor<1x16x128xf32>
  %c0 = arith.constant 0 : i32
  %heads = arith.constant 4 : i32
  %d = arith.constant 128 : i32
  %d_64 = arith.constant 128 : i64
  %n_64 = arith.constant 512 : i64
  %one = arith.constant 1 : i64
  %head = tt.get_program_id x : i32
  %desc = tt.make_tensor_descriptor %out, [%heads, %m, %d], [%d_64, %n_64, %one] : !tt.ptr<f32>, !tt.tensordesc<tensor<1x16x128xf32>>
  tt.descriptor_store %desc[%head, %c0, %c0], %y : !tt.tensordesc<tensor<1x16x128xf32>>, tensor<1x16x128xf32>
  tt.return
}
func.func @epilogue(%y: tensor<?x512xf32>) -> tensor<?x4xf32> {
  %s = epiq.row_program @amax (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x512xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: tensor<?x512xf32>):
    %a = math.absf %x : tensor<?x512xf32>
    %g = epiq.reshape %a : tensor<?x512xf32> to tensor<?x4x128xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x4x128xf32> to tensor<?x4xf32>
    epiq.yield %m : tensor<?x4xf32>
  }
  return %s : tensor<?x4xf32>
}

// -----

// Rows from the last to the first: row m - 1 - i, not -i.
// CHECK-LABEL: tt.func public @reversed_rows(
// CHECK-SAME: %[[OUT:[^:]*]]: !tt.ptr<f32>, %[[LAST:[^:]*]]: i32
// CHECK: %[[LAST_64:.*]] = arith.extsi %[[LAST]] : i32 to i64
// CHECK: tt.splat %[[LAST_64]] : i64 -> tensor<16xi64>
// CHECK: arith.constant -1 : i64
// CHECK: tt.store %{{.*}} : tensor<16x1x!tt.ptr<f32>>
tt.func public @reversed_rows(%out: !tt.ptr<f32>, %last: i32, %stride: i32) {
  %y = arith.constant dense<1.000000e+00> : tensor<16x128xf32>
  %r = tt.make_range {end = 16 : i32, start = 0 : i32} : tensor<16xi32>
  %last_splat = tt.splat %last : i32 -> tensor<16xi32>
  %rows = arith.subi %last_splat, %r : tensor<16xi32>
  %rows_2d = tt.expand_dims %rows {axis = 1 : i32} : tensor<16xi32> -> tensor<16x1xi32>
  %stride_splat = tt.splat %stride : i32 -> tensor<16x1xi32>
  %offsets = arith.muli %rows_2d, %stride_splat : tensor<16x1xi32>
  %splat = tt.splat %out : !tt.ptr<f32> -> tensor<16x1x!tt.ptr<f32>>
  %row_ptrs = tt.addptr %splat, %offsets : tensor<16x1x!tt.ptr<f32>>, tensor<16x1xi32>
  %row_ptrs_2d = tt.broadcast %row_ptrs : tensor<16x1x!tt.ptr<f32>> -> tensor<16x128x!tt.ptr<f32>>
  %c = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
  %cols = tt.expand_dims %c {axis = 0 : i32} : tensor<128xi32> -> tensor<1x128xi32>
  %cols_2d = tt.broadcast %cols : tensor<1x128xi32> -> tensor<16x128xi32>
  %ptrs = tt.addptr %row_ptrs_2d, %cols_2d : tensor<16x128x!tt.ptr<f32>>, tensor<16x128xi32>
  tt.store %ptrs, %y : tensor<16x128x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%y: tensor<?x512xf32>) -> tensor<?x4xf32> {
  %s = epiq.row_program @amax (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x512xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: tensor<?x512xf32>):
    %a = math.absf %x : tensor<?x512xf32>
    %g = epiq.reshape %a : tensor<?x512xf32> to tensor<?x4x128xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x4x128xf32> to tensor<?x4xf32>
    epiq.yield %m : tensor<?x4xf32>
  }
  return %s : tensor<?x4xf32>
}

// -----

// What is at least a row away is no column, though nothing else says so: the
// batch's offset is divided by the stride.
// CHECK-LABEL: tt.func public @batches(
// CHECK: %[[BATCH:.*]] = tt.get_program_id x
// CHECK: %[[REST:.*]] = arith.muli
// CHECK: arith.divsi %[[REST]]
// CHECK: arith.remsi %[[REST]]
// CHECK: tt.store
tt.func public @batches(%out: !tt.ptr<f32>, %stride: i32 {tt.divisibility = 128 : i32}) {
  %y = arith.constant dense<1.000000e+00> : tensor<16x128xf32>
  %c8192 = arith.constant 8192 : i32
  %batch = tt.get_program_id x : i32
  %start = arith.muli %batch, %c8192 : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %r = tt.make_range {end = 16 : i32, start = 0 : i32} : tensor<16xi32>
  %rows_2d = tt.expand_dims %r {axis = 1 : i32} : tensor<16xi32> -> tensor<16x1xi32>
  %stride_splat = tt.splat %stride : i32 -> tensor<16x1xi32>
  %offsets = arith.muli %rows_2d, %stride_splat : tensor<16x1xi32>
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<16x1x!tt.ptr<f32>>
  %row_ptrs = tt.addptr %splat, %offsets : tensor<16x1x!tt.ptr<f32>>, tensor<16x1xi32>
  %row_ptrs_2d = tt.broadcast %row_ptrs : tensor<16x1x!tt.ptr<f32>> -> tensor<16x128x!tt.ptr<f32>>
  %c = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
  %cols = tt.expand_dims %c {axis = 0 : i32} : tensor<128xi32> -> tensor<1x128xi32>
  %cols_2d = tt.broadcast %cols : tensor<1x128xi32> -> tensor<16x128xi32>
  %ptrs = tt.addptr %row_ptrs_2d, %cols_2d : tensor<16x128x!tt.ptr<f32>>, tensor<16x128xi32>
  tt.store %ptrs, %y : tensor<16x128x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%y: tensor<?x512xf32>) -> tensor<?x4xf32> {
  %s = epiq.row_program @amax (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x512xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: tensor<?x512xf32>):
    %a = math.absf %x : tensor<?x512xf32>
    %g = epiq.reshape %a : tensor<?x512xf32> to tensor<?x4x128xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x4x128xf32> to tensor<?x4xf32>
    epiq.yield %m : tensor<?x4xf32>
  }
  return %s : tensor<?x4xf32>
}

// -----

// A mask over all elements of the output ends with a row.
// CHECK-LABEL: tt.func public @mask_of_elements(
// CHECK-SAME: %[[OUT:[^:]*]]: !tt.ptr<f32>, %[[COUNT:[^:]*]]: i32
// CHECK: %[[LIMIT:.*]] = tt.splat %[[COUNT]] : i32 -> tensor<16xi32>
// CHECK: arith.cmpi slt, %{{.*}}, %[[LIMIT]] : tensor<16xi32>
// CHECK: tt.store %{{.*}}, %{{.*}}, %{{.*}} : tensor<16x4x!tt.ptr<f32>>
tt.func public @mask_of_elements(%out: !tt.ptr<f32>, %count: i32 {tt.divisibility = 512 : i32}) {
  %y = arith.constant dense<1.000000e+00> : tensor<16x512xf32>
  %r = tt.make_range {end = 16 : i32, start = 0 : i32} : tensor<16xi32>
  %rows = tt.expand_dims %r {axis = 1 : i32} : tensor<16xi32> -> tensor<16x1xi32>
  %n = arith.constant dense<512> : tensor<16x1xi32>
  %firsts = arith.muli %rows, %n : tensor<16x1xi32>
  %firsts_2d = tt.broadcast %firsts : tensor<16x1xi32> -> tensor<16x512xi32>
  %c = tt.make_range {end = 512 : i32, start = 0 : i32} : tensor<512xi32>
  %cols = tt.expand_dims %c {axis = 0 : i32} : tensor<512xi32> -> tensor<1x512xi32>
  %cols_2d = tt.broadcast %cols : tensor<1x512xi32> -> tensor<16x512xi32>
  %at = arith.addi %firsts_2d, %cols_2d : tensor<16x512xi32>
  %limit = tt.splat %count : i32 -> tensor<16x512xi32>
  %mask = arith.cmpi slt, %at, %limit : tensor<16x512xi32>
  %splat = tt.splat %out : !tt.ptr<f32> -> tensor<16x512x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %at : tensor<16x512x!tt.ptr<f32>>, tensor<16x512xi32>
  tt.store %ptrs, %y, %mask : tensor<16x512x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%y: tensor<?x512xf32>) -> tensor<?x4xf32> {
  %s = epiq.row_program @amax (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x512xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: tensor<?x512xf32>):
    %a = math.absf %x : tensor<?x512xf32>
    %g = epiq.reshape %a : tensor<?x512xf32> to tensor<?x4x128xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x4x128xf32> to tensor<?x4xf32>
    epiq.yield %m : tensor<?x4xf32>
  }
  return %s : tensor<?x4xf32>
}

// -----

// Two halves of a row, apart by the mask of the first one.
// CHECK-LABEL: tt.func public @halves(
// CHECK-COUNT-2: tt.store
// CHECK-NOT: tt.store
tt.func public @halves(%out: !tt.ptr<f32>, %stride: i32) {
  %y = arith.constant dense<1.000000e+00> : tensor<128xf32>
  %row = tt.get_program_id x : i32
  %start = arith.muli %row, %stride : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %c = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
  %half_splat = arith.constant dense<96> : tensor<128xi32>
  %mask = arith.cmpi slt, %c, %half_splat : tensor<128xi32>
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<128x!tt.ptr<f32>>
  %first = tt.addptr %splat, %c : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
  tt.store %first, %y, %mask : tensor<128x!tt.ptr<f32>>
  %second = tt.addptr %first, %half_splat : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
  tt.store %second, %y, %mask : tensor<128x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%y: tensor<?x512xf32>) -> tensor<?x512xf32> {
  %s = epiq.row_program @neg (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x512xf32>) -> tensor<?x512xf32> {
  ^bb0(%x: tensor<?x512xf32>):
    %n = arith.negf %x : tensor<?x512xf32>
    epiq.yield %n : tensor<?x512xf32>
  }
  return %s : tensor<?x512xf32>
}
