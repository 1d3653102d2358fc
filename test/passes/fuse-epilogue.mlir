// RUN: epiq-opt %s -split-input-file -epiq-fuse-epilogue="output=1 divisibility=16,16,16,1" | FileCheck %s

// One row of 128 columns a program: the cast of Passes.td. New arguments follow
// the kernel's: a pointer and the distance between rows.
// CHECK-LABEL: tt.func public @kernel(
// CHECK-SAME: %[[X:[^:]*]]: !tt.ptr<f32>, %[[OUT:[^:]*]]: !tt.ptr<f32>, %[[N:[^:]*]]: i32, %[[STRIDE:[^:]*]]: i32,
// CHECK-SAME: %[[Q:[^:]*]]: !tt.ptr<f8E4M3FN> {tt.divisibility = 16 : i32}, %[[Q_STRIDE:[^:]*]]: i64 {tt.divisibility = 16 : i32})
tt.func public @kernel(%x: !tt.ptr<f32>, %out: !tt.ptr<f32>, %n: i32, %stride: i32) {
  // CHECK: %[[ROW:.*]] = tt.get_program_id x
  %row = tt.get_program_id x : i32
  %cols = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
  %limit = tt.splat %n : i32 -> tensor<128xi32>
  %mask = arith.cmpi slt, %cols, %limit : tensor<128xi32>
  %start = arith.muli %row, %stride : i32
  %x_row = tt.addptr %x, %start : !tt.ptr<f32>, i32
  %x_splat = tt.splat %x_row : !tt.ptr<f32> -> tensor<128x!tt.ptr<f32>>
  %x_ptrs = tt.addptr %x_splat, %cols : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
  // CHECK: %[[Y:.*]] = tt.load
  %y = tt.load %x_ptrs, %mask : tensor<128x!tt.ptr<f32>>
  %row_ptr = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %splat = tt.splat %row_ptr : !tt.ptr<f32> -> tensor<128x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
  // CHECK: %[[TILE:.*]] = tt.reshape %[[Y]] : tensor<128xf32> -> tensor<1x128xf32>
  // CHECK-NOT: arith.select
  // CHECK: tt.fp_to_fp %{{.*}}, rounding = rtne
  // CHECK: arith.extsi %[[ROW]] : i32 to i64
  // CHECK: tt.splat %[[Q_STRIDE]]
  // CHECK: tt.store %{{.*}} : tensor<1x128x!tt.ptr<f8E4M3FN>>
  // CHECK-NOT: tt.store
  tt.store %ptrs, %y, %mask : tensor<128x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%x: tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  %q = epiq.row_program @cast (%x) {layouts = [#epiq.layout<row_major>]}
      : (tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  ^bb0(%a: tensor<?x256xf32>):
    %y = arith.truncf %a : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %y : tensor<?x256xf8E4M3FN>
  }
  return %q : tensor<?x256xf8E4M3FN>
}

// -----

// A tile of 16 x 256 in a loop over tiles, its maxima by group beside it: rows and
// columns come from the address, scales are column-major.
// CHECK-LABEL: tt.func public @tiles(
// CHECK-SAME: %[[S:[^:]*]]: !tt.ptr<f32> {tt.divisibility = 16 : i32}, %[[S_STRIDE:[^:]*]]: i64 {tt.divisibility = 16 : i32})
tt.func public @tiles(%x: !tt.ptr<bf16>, %out: !tt.ptr<bf16>, %m: i32, %n: i32, %stride: i32, %count: i32) {
  %c1 = arith.constant 1 : i32
  %c16 = arith.constant 16 : i32
  %c256 = arith.constant 256 : i32
  %pid = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<16x256xbf16>
  %r = tt.make_range {end = 16 : i32, start = 0 : i32} : tensor<16xi32>
  %c = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  // CHECK: scf.for %[[TILE:.*]] =
  scf.for %tile = %pid to %count step %c1 : i32 {
    // CHECK: %[[PID_M:.*]] = arith.divsi
    %pid_m = arith.divsi %tile, %n : i32
    // CHECK: %[[PID_N:.*]] = arith.remsi
    %pid_n = arith.remsi %tile, %n : i32
    %row = arith.muli %pid_m, %c16 : i32
    %col = arith.muli %pid_n, %c256 : i32
    %row_splat = tt.splat %row : i32 -> tensor<16xi32>
    %rows = arith.addi %row_splat, %r : tensor<16xi32>
    %rows_2d = tt.expand_dims %rows {axis = 1 : i32} : tensor<16xi32> -> tensor<16x1xi32>
    %stride_splat = tt.splat %stride : i32 -> tensor<16x1xi32>
    %row_offsets = arith.muli %rows_2d, %stride_splat : tensor<16x1xi32>
    %out_splat = tt.splat %out : !tt.ptr<bf16> -> tensor<16x1x!tt.ptr<bf16>>
    %row_ptrs = tt.addptr %out_splat, %row_offsets : tensor<16x1x!tt.ptr<bf16>>, tensor<16x1xi32>
    %col_splat = tt.splat %col : i32 -> tensor<256xi32>
    %cols = arith.addi %col_splat, %c : tensor<256xi32>
    %cols_2d = tt.expand_dims %cols {axis = 0 : i32} : tensor<256xi32> -> tensor<1x256xi32>
    %row_ptrs_2d = tt.broadcast %row_ptrs : tensor<16x1x!tt.ptr<bf16>> -> tensor<16x256x!tt.ptr<bf16>>
    %col_offsets = tt.broadcast %cols_2d : tensor<1x256xi32> -> tensor<16x256xi32>
    %ptrs = tt.addptr %row_ptrs_2d, %col_offsets : tensor<16x256x!tt.ptr<bf16>>, tensor<16x256xi32>
    %m_splat = tt.splat %m : i32 -> tensor<16x1xi32>
    %in_rows = arith.cmpi slt, %rows_2d, %m_splat : tensor<16x1xi32>
    %mask = tt.broadcast %in_rows : tensor<16x1xi1> -> tensor<16x256xi1>
    // CHECK: tt.reshape %{{.*}} : tensor<16x256xbf16> -> tensor<16x2x128xbf16>
    // CHECK: "tt.reduce"
    // CHECK: }) : (tensor<16x2x128xf32>) -> tensor<16x2xf32>
    // CHECK: %[[FIRST:.*]] = arith.muli %[[PID_N]], %{{.*}} : i32
    // CHECK: arith.divsi %[[FIRST]], %{{.*}} : i32
    // CHECK: tt.splat %[[S_STRIDE]] : i64 -> tensor<2xi64>
    // CHECK: tt.store %{{.*}}, %{{.*}}, %{{.*}} : tensor<16x2x!tt.ptr<f32>>
    // CHECK-NOT: tt.store
    tt.store %ptrs, %y, %mask : tensor<16x256x!tt.ptr<bf16>>
  }
  tt.return
}
func.func @epilogue(%y: tensor<?x512xbf16>) -> tensor<?x4xf32> {
  %s = epiq.row_program @amax (%y) {layouts = [#epiq.layout<column_major>]}
      : (tensor<?x512xbf16>) -> tensor<?x4xf32> {
  ^bb0(%z: tensor<?x512xbf16>):
    %x = arith.extf %z : tensor<?x512xbf16> to tensor<?x512xf32>
    %a = math.absf %x : tensor<?x512xf32>
    %g = epiq.reshape %a : tensor<?x512xf32> to tensor<?x4x128xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x4x128xf32> to tensor<?x4xf32>
    epiq.yield %m : tensor<?x4xf32>
  }
  return %s : tensor<?x4xf32>
}

// -----

// The batch's offset may be rows or columns, as the strides have it: it is taken
// apart by a division, once a tile.
// CHECK-LABEL: tt.func public @heads(
tt.func public @heads(%x: i32, %out: !tt.ptr<f32>, %stride_h: i64 {tt.divisibility = 128 : i32}, %stride_s: i64 {tt.divisibility = 128 : i32}) {
  %head = tt.get_program_id x : i32
  %head_64 = arith.extsi %head : i32 to i64
  %y = arith.constant dense<1.000000e+00> : tensor<16x128xf32>
  %start = arith.muli %head_64, %stride_h : i64
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i64
  %r = tt.make_range {end = 16 : i32, start = 0 : i32} : tensor<16xi32>
  %r_64 = arith.extsi %r : tensor<16xi32> to tensor<16xi64>
  %rows = tt.expand_dims %r_64 {axis = 1 : i32} : tensor<16xi64> -> tensor<16x1xi64>
  %stride_splat = tt.splat %stride_s : i64 -> tensor<16x1xi64>
  %offsets = arith.muli %rows, %stride_splat : tensor<16x1xi64>
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<16x1x!tt.ptr<f32>>
  %row_ptrs = tt.addptr %splat, %offsets : tensor<16x1x!tt.ptr<f32>>, tensor<16x1xi64>
  %row_ptrs_2d = tt.broadcast %row_ptrs : tensor<16x1x!tt.ptr<f32>> -> tensor<16x128x!tt.ptr<f32>>
  %c = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
  %cols = tt.expand_dims %c {axis = 0 : i32} : tensor<128xi32> -> tensor<1x128xi32>
  %cols_2d = tt.broadcast %cols : tensor<1x128xi32> -> tensor<16x128xi32>
  %ptrs = tt.addptr %row_ptrs_2d, %cols_2d : tensor<16x128x!tt.ptr<f32>>, tensor<16x128xi32>
  // CHECK: %[[REST:.*]] = arith.muli
  // CHECK: arith.divsi %[[REST]], %{{.*}} : i64
  // CHECK: arith.remsi %[[REST]], %{{.*}} : i64
  // CHECK: tt.store
  // CHECK-NOT: tt.store
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
