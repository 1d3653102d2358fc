// RUN: epiq-opt %s -split-input-file -epiq-fuse-epilogue="output=0,1" -verify-diagnostics | FileCheck %s
// An epilogue of two outputs: gate and up, which a kernel stores side by side.

// Each of the two has its own stride; the product is stored once, behind both.
// CHECK-LABEL: tt.func public @gate_and_up(
// CHECK-DAG: %[[GATE:.*]] = arith.constant dense<1.000000e+00> : tensor<128xf32>
// CHECK-DAG: %[[UP:.*]] = arith.constant dense<2.000000e+00> : tensor<128xf32>
// CHECK: %[[G:.*]] = tt.reshape %[[GATE]]
// CHECK: %[[U:.*]] = tt.reshape %[[UP]]
// CHECK: arith.mulf %{{.*}}, %{{.*}} : tensor<128xf32>
// CHECK: tt.store %{{.*}} : tensor<1x128x!tt.ptr<f32>>
// CHECK-NOT: tt.store
tt.func public @gate_and_up(%gate: !tt.ptr<f32>, %up: !tt.ptr<f32>, %n: i32, %stride: i32, %stride_up: i32) {
  %row = tt.get_program_id x : i32
  %g = arith.constant dense<1.000000e+00> : tensor<128xf32>
  %u = arith.constant dense<2.000000e+00> : tensor<128xf32>
  %cols = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
  %limit = tt.splat %n : i32 -> tensor<128xi32>
  %mask = arith.cmpi slt, %cols, %limit : tensor<128xi32>
  %g_start = arith.muli %row, %stride : i32
  %g_row = tt.addptr %gate, %g_start : !tt.ptr<f32>, i32
  %g_splat = tt.splat %g_row : !tt.ptr<f32> -> tensor<128x!tt.ptr<f32>>
  %g_ptrs = tt.addptr %g_splat, %cols : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
  // expected-remark @below {{fused: @mul into @gate_and_up, tile 1 x 128, rows 1 * argument 3 apart}}
  tt.store %g_ptrs, %g, %mask : tensor<128x!tt.ptr<f32>>
  %u_start = arith.muli %row, %stride_up : i32
  %u_row = tt.addptr %up, %u_start : !tt.ptr<f32>, i32
  %u_splat = tt.splat %u_row : !tt.ptr<f32> -> tensor<128x!tt.ptr<f32>>
  %u_ptrs = tt.addptr %u_splat, %cols : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
  // expected-remark @below {{fused: @mul into @gate_and_up, tile 1 x 128, rows 1 * argument 4 apart}}
  tt.store %u_ptrs, %u, %mask : tensor<128x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%x: tensor<?x256xf32>, %y: tensor<?x256xf32>) -> tensor<?x256xf32> {
  %r = epiq.row_program @mul (%x, %y) {layouts = [#epiq.layout<row_major>]}
      : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xf32> {
  ^bb0(%a: tensor<?x256xf32>, %b: tensor<?x256xf32>):
    %m = arith.mulf %a, %b : tensor<?x256xf32>
    epiq.yield %m : tensor<?x256xf32>
  }
  return %r : tensor<?x256xf32>
}

// -----

// Columns of up that the mask leaves out are there of gate (E10).
// CHECK-LABEL: tt.func public @no_e10_mask
// CHECK: epiq.row_program
tt.func public @no_e10_mask(%gate: !tt.ptr<f32>, %up: !tt.ptr<f32>, %n: i32, %stride: i32, %stride_up: i32) {
  %row = tt.get_program_id x : i32
  %g = arith.constant dense<1.000000e+00> : tensor<128xf32>
  %u = arith.constant dense<2.000000e+00> : tensor<128xf32>
  %cols = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
  %limit = tt.splat %n : i32 -> tensor<128xi32>
  %mask = arith.cmpi slt, %cols, %limit : tensor<128xi32>
  %g_start = arith.muli %row, %stride : i32
  %g_row = tt.addptr %gate, %g_start : !tt.ptr<f32>, i32
  %g_splat = tt.splat %g_row : !tt.ptr<f32> -> tensor<128x!tt.ptr<f32>>
  %g_ptrs = tt.addptr %g_splat, %cols : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
  tt.store %g_ptrs, %g, %mask : tensor<128x!tt.ptr<f32>>
  %u_start = arith.muli %row, %stride_up : i32
  %u_row = tt.addptr %up, %u_start : !tt.ptr<f32>, i32
  %u_splat = tt.splat %u_row : !tt.ptr<f32> -> tensor<128x!tt.ptr<f32>>
  %u_ptrs = tt.addptr %u_splat, %cols : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
  // expected-remark @below {{not fused: E10: no store to the first output beside this one covers the same rows and columns}}
  tt.store %u_ptrs, %u : tensor<128x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%x: tensor<?x256xf32>, %y: tensor<?x256xf32>) -> tensor<?x256xf32> {
  %r = epiq.row_program @mul (%x, %y) {layouts = [#epiq.layout<row_major>]}
      : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xf32> {
  ^bb0(%a: tensor<?x256xf32>, %b: tensor<?x256xf32>):
    %m = arith.mulf %a, %b : tensor<?x256xf32>
    epiq.yield %m : tensor<?x256xf32>
  }
  return %r : tensor<?x256xf32>
}

// -----

// So are the rows of another tile (E10).
// CHECK-LABEL: tt.func public @no_e10_rows
// CHECK: epiq.row_program
tt.func public @no_e10_rows(%gate: !tt.ptr<f32>, %up: !tt.ptr<f32>, %n: i32, %stride: i32, %stride_up: i32) {
  %row = tt.get_program_id x : i32
  %g = arith.constant dense<1.000000e+00> : tensor<128xf32>
  %u = arith.constant dense<2.000000e+00> : tensor<128xf32>
  %cols = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
  %limit = tt.splat %n : i32 -> tensor<128xi32>
  %mask = arith.cmpi slt, %cols, %limit : tensor<128xi32>
  %g_start = arith.muli %row, %stride : i32
  %g_row = tt.addptr %gate, %g_start : !tt.ptr<f32>, i32
  %g_splat = tt.splat %g_row : !tt.ptr<f32> -> tensor<128x!tt.ptr<f32>>
  %g_ptrs = tt.addptr %g_splat, %cols : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
  tt.store %g_ptrs, %g, %mask : tensor<128x!tt.ptr<f32>>
  %u_start = arith.muli %row, %stride_up : i32
  %u_row = tt.addptr %up, %u_start : !tt.ptr<f32>, i32
  %u_splat = tt.splat %u_row : !tt.ptr<f32> -> tensor<128x!tt.ptr<f32>>
  %next = tt.splat %stride_up : i32 -> tensor<128xi32>
  %below = arith.addi %next, %cols : tensor<128xi32>
  %u_ptrs = tt.addptr %u_splat, %below : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
  // expected-remark @below {{not fused: E10: no store to the first output beside this one covers the same rows and columns}}
  tt.store %u_ptrs, %u, %mask : tensor<128x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%x: tensor<?x256xf32>, %y: tensor<?x256xf32>) -> tensor<?x256xf32> {
  %r = epiq.row_program @mul (%x, %y) {layouts = [#epiq.layout<row_major>]}
      : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xf32> {
  ^bb0(%a: tensor<?x256xf32>, %b: tensor<?x256xf32>):
    %m = arith.mulf %a, %b : tensor<?x256xf32>
    epiq.yield %m : tensor<?x256xf32>
  }
  return %r : tensor<?x256xf32>
}

// -----

// A tile of gate without one of up (E10).
// CHECK-LABEL: tt.func public @no_e10_alone
// CHECK: epiq.row_program
tt.func public @no_e10_alone(%gate: !tt.ptr<f32>, %up: !tt.ptr<f32>, %n: i32, %stride: i32, %stride_up: i32) {
  %row = tt.get_program_id x : i32
  %g = arith.constant dense<1.000000e+00> : tensor<128xf32>
  %u = arith.constant dense<2.000000e+00> : tensor<128xf32>
  %cols = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
  %limit = tt.splat %n : i32 -> tensor<128xi32>
  %mask = arith.cmpi slt, %cols, %limit : tensor<128xi32>
  %g_start = arith.muli %row, %stride : i32
  %g_row = tt.addptr %gate, %g_start : !tt.ptr<f32>, i32
  %g_splat = tt.splat %g_row : !tt.ptr<f32> -> tensor<128x!tt.ptr<f32>>
  %g_ptrs = tt.addptr %g_splat, %cols : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
  tt.store %g_ptrs, %g, %mask : tensor<128x!tt.ptr<f32>>
  %u_start = arith.muli %row, %stride_up : i32
  %u_row = tt.addptr %up, %u_start : !tt.ptr<f32>, i32
  %u_splat = tt.splat %u_row : !tt.ptr<f32> -> tensor<128x!tt.ptr<f32>>
  %u_ptrs = tt.addptr %u_splat, %cols : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
  tt.store %u_ptrs, %u, %mask : tensor<128x!tt.ptr<f32>>
  %width = arith.constant dense<128> : tensor<128xi32>
  %right = tt.addptr %g_ptrs, %width : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
  // expected-remark @below {{not fused: E10: no store to output number 1 beside this one covers the same rows and columns}}
  tt.store %right, %g : tensor<128x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%x: tensor<?x256xf32>, %y: tensor<?x256xf32>) -> tensor<?x256xf32> {
  %r = epiq.row_program @mul (%x, %y) {layouts = [#epiq.layout<row_major>]}
      : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xf32> {
  ^bb0(%a: tensor<?x256xf32>, %b: tensor<?x256xf32>):
    %m = arith.mulf %a, %b : tensor<?x256xf32>
    epiq.yield %m : tensor<?x256xf32>
  }
  return %r : tensor<?x256xf32>
}

// -----

// Branches: only one of both tiles is there (E10).
// CHECK-LABEL: tt.func public @no_e10_branch
// CHECK: epiq.row_program
tt.func public @no_e10_branch(%gate: !tt.ptr<f32>, %up: !tt.ptr<f32>, %n: i32, %stride: i32, %stride_up: i32) {
  %row = tt.get_program_id x : i32
  %g = arith.constant dense<1.000000e+00> : tensor<128xf32>
  %u = arith.constant dense<2.000000e+00> : tensor<128xf32>
  %cols = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
  %limit = tt.splat %n : i32 -> tensor<128xi32>
  %mask = arith.cmpi slt, %cols, %limit : tensor<128xi32>
  %g_start = arith.muli %row, %stride : i32
  %g_row = tt.addptr %gate, %g_start : !tt.ptr<f32>, i32
  %g_splat = tt.splat %g_row : !tt.ptr<f32> -> tensor<128x!tt.ptr<f32>>
  %g_ptrs = tt.addptr %g_splat, %cols : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
  tt.store %g_ptrs, %g, %mask : tensor<128x!tt.ptr<f32>>
  %u_start = arith.muli %row, %stride_up : i32
  %u_row = tt.addptr %up, %u_start : !tt.ptr<f32>, i32
  %u_splat = tt.splat %u_row : !tt.ptr<f32> -> tensor<128x!tt.ptr<f32>>
  %u_ptrs = tt.addptr %u_splat, %cols : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
  %c0 = arith.constant 0 : i32
  %first = arith.cmpi eq, %row, %c0 : i32
  scf.if %first {
    // expected-remark @below {{not fused: E10: no store to the first output beside this one covers the same rows and columns}}
    tt.store %u_ptrs, %u, %mask : tensor<128x!tt.ptr<f32>>
  }
  tt.return
}
func.func @epilogue(%x: tensor<?x256xf32>, %y: tensor<?x256xf32>) -> tensor<?x256xf32> {
  %r = epiq.row_program @mul (%x, %y) {layouts = [#epiq.layout<row_major>]}
      : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xf32> {
  ^bb0(%a: tensor<?x256xf32>, %b: tensor<?x256xf32>):
    %m = arith.mulf %a, %b : tensor<?x256xf32>
    epiq.yield %m : tensor<?x256xf32>
  }
  return %r : tensor<?x256xf32>
}
