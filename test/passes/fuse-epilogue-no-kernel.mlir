// RUN: epiq-opt %s -split-input-file -epiq-fuse-epilogue=output=0 -verify-diagnostics | FileCheck %s
// What E1 and E2 refuse of a kernel; the module stays as it was.

// A second function may be called with the output's pointer (E1).
// CHECK-LABEL: tt.func public @no_e1_two_functions
// CHECK: epiq.row_program
tt.func public @no_e1_two_functions(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %start = arith.muli %row, %stride : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<256x!tt.ptr<f32>>, tensor<256xi32>

  tt.store %ptrs, %y : tensor<256x!tt.ptr<f32>>
  tt.return
}
// expected-remark @below {{not fused: E1: the module has a second function, @other}}
tt.func private @other() {
  tt.return
}
func.func @epilogue(%y: tensor<?x512xf32>) -> tensor<?x4xf32> {
  %r = epiq.row_program @amax (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x512xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: tensor<?x512xf32>):
    %a = math.absf %x : tensor<?x512xf32>
    %g = epiq.reshape %a : tensor<?x512xf32> to tensor<?x4x128xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x4x128xf32> to tensor<?x4xf32>
    epiq.yield %m : tensor<?x4xf32>
  }
  return %r : tensor<?x4xf32>
}

// -----

// Only a pointer or a descriptor can be stored to (E1).
// CHECK-LABEL: tt.func public @no_e1_scalar
// CHECK: epiq.row_program
// expected-remark @below {{not fused: E1: argument 0 is neither a pointer nor a tensor descriptor}}
tt.func public @no_e1_scalar(%stride: i32, %out: !tt.ptr<f32>) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %start = arith.muli %row, %stride : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<256x!tt.ptr<f32>>, tensor<256xi32>

  tt.store %ptrs, %y : tensor<256x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%y: tensor<?x512xf32>) -> tensor<?x4xf32> {
  %r = epiq.row_program @amax (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x512xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: tensor<?x512xf32>):
    %a = math.absf %x : tensor<?x512xf32>
    %g = epiq.reshape %a : tensor<?x512xf32> to tensor<?x4x128xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x4x128xf32> to tensor<?x4xf32>
    epiq.yield %m : tensor<?x4xf32>
  }
  return %r : tensor<?x4xf32>
}

// -----

// Nothing is ever stored to the output (E2).
// CHECK-LABEL: tt.func public @no_e2_no_store
// CHECK: epiq.row_program
// expected-remark @below {{not fused: E2: the kernel never stores to argument 0}}
tt.func public @no_e2_no_store(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>

  tt.return
}
func.func @epilogue(%y: tensor<?x512xf32>) -> tensor<?x4xf32> {
  %r = epiq.row_program @amax (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x512xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: tensor<?x512xf32>):
    %a = math.absf %x : tensor<?x512xf32>
    %g = epiq.reshape %a : tensor<?x512xf32> to tensor<?x4x128xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x4x128xf32> to tensor<?x4xf32>
    epiq.yield %m : tensor<?x4xf32>
  }
  return %r : tensor<?x4xf32>
}

// -----

// What is read back would be the unquantized value (E2).
// CHECK-LABEL: tt.func public @no_e2_read_back
// CHECK: epiq.row_program
tt.func public @no_e2_read_back(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %start = arith.muli %row, %stride : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
  // expected-remark @below {{not fused: E2: the kernel reads the output back}}
  %old = tt.load %ptrs : tensor<256x!tt.ptr<f32>>
  %new = arith.addf %old, %y : tensor<256xf32>
  tt.store %ptrs, %new : tensor<256x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%y: tensor<?x512xf32>) -> tensor<?x4xf32> {
  %r = epiq.row_program @amax (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x512xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: tensor<?x512xf32>):
    %a = math.absf %x : tensor<?x512xf32>
    %g = epiq.reshape %a : tensor<?x512xf32> to tensor<?x4x128xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x4x128xf32> to tensor<?x4xf32>
    epiq.yield %m : tensor<?x4xf32>
  }
  return %r : tensor<?x4xf32>
}

// -----

// Split-K: no program holds the final value (E2).
// CHECK-LABEL: tt.func public @no_e2_split_k
// CHECK: epiq.row_program
tt.func public @no_e2_split_k(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %start = arith.muli %row, %stride : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
  // expected-remark @below {{not fused: E2: the output is combined in memory by tt.atomic_rmw, so no program holds its final values}}
  %old = tt.atomic_rmw fadd, acq_rel, gpu, %ptrs, %y : (tensor<256x!tt.ptr<f32>>, tensor<256xf32>) -> tensor<256xf32>
  tt.return
}
func.func @epilogue(%y: tensor<?x512xf32>) -> tensor<?x4xf32> {
  %r = epiq.row_program @amax (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x512xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: tensor<?x512xf32>):
    %a = math.absf %x : tensor<?x512xf32>
    %g = epiq.reshape %a : tensor<?x512xf32> to tensor<?x4x128xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x4x128xf32> to tensor<?x4xf32>
    epiq.yield %m : tensor<?x4xf32>
  }
  return %r : tensor<?x4xf32>
}

// -----

// Where a choice of pointers leads is not followed (E2).
// CHECK-LABEL: tt.func public @no_e2_choice
// CHECK: epiq.row_program
tt.func public @no_e2_choice(%out: !tt.ptr<f32>, %other: !tt.ptr<f32>, %which: i1, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %start = arith.muli %row, %stride : i32
  // expected-remark @below {{not fused: E2: the output's pointer goes into arith.select, beyond which it is not followed}}
  %chosen = arith.select %which, %out, %other : !tt.ptr<f32>
  %base = tt.addptr %chosen, %start : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
  tt.store %ptrs, %y : tensor<256x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%y: tensor<?x512xf32>) -> tensor<?x4xf32> {
  %r = epiq.row_program @amax (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x512xf32>) -> tensor<?x4xf32> {
  ^bb0(%x: tensor<?x512xf32>):
    %a = math.absf %x : tensor<?x512xf32>
    %g = epiq.reshape %a : tensor<?x512xf32> to tensor<?x4x128xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x4x128xf32> to tensor<?x4xf32>
    epiq.yield %m : tensor<?x4xf32>
  }
  return %r : tensor<?x4xf32>
}
