// RUN: epiq-opt %s -split-input-file -epiq-fuse-epilogue=output=0 -verify-diagnostics | FileCheck %s
// What each rule of epiq-fuse-epilogue refuses; the module stays as it was.

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

// -----

// Columns that are a stride apart are rows of one column (E5).
// CHECK-LABEL: tt.func public @no_e5_strided_columns
// CHECK: epiq.row_program
tt.func public @no_e5_strided_columns(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %far = tt.splat %stride : i32 -> tensor<256xi32>
  %offsets = arith.muli %cols, %far : tensor<256xi32>
  %splat = tt.splat %out : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %offsets : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
  // expected-remark @below {{not fused: E5: the tile is one column, since no stride of it is the constant 1, and holds no group of 128}}
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

// So are columns out of order (E5).
// CHECK-LABEL: tt.func public @no_e5_permuted_columns
// CHECK: epiq.row_program
tt.func public @no_e5_permuted_columns(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %seven = arith.constant dense<7> : tensor<256xi32>
  %offsets = arith.xori %cols, %seven : tensor<256xi32>
  %splat = tt.splat %out : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %offsets : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
  // expected-remark @below {{not fused: E5: the tile is one column, since no stride of it is the constant 1, and holds no group of 128}}
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

// A scalar store is no tile (E3).
// CHECK-LABEL: tt.func public @no_e3_scalar
// CHECK: epiq.row_program
tt.func public @no_e3_scalar(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %one = arith.constant 1.000000e+00 : f32
  // expected-remark @below {{not fused: E3: the kernel stores single elements or block pointers, not tiles of addresses}}
  tt.store %out, %one : !tt.ptr<f32>
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

// The loop over K stores partial sums (E4).
// CHECK-LABEL: tt.func public @no_e4_loop
// CHECK: epiq.row_program
tt.func public @no_e4_loop(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %start = arith.muli %row, %stride : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
  %c0 = arith.constant 0 : i32
  %c1 = arith.constant 1 : i32
  scf.for %k = %c0 to %stride step %c1 : i32 {
  // expected-remark @below {{not fused: E4: each iteration of a loop around the store writes the same elements}}
    tt.store %ptrs, %y : tensor<256x!tt.ptr<f32>>
  }
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

// A loop whose tiles overlap (E4).
// CHECK-LABEL: tt.func public @no_e4_overlap
// CHECK: epiq.row_program
tt.func public @no_e4_overlap(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %start = arith.muli %row, %stride : i32
  %c0 = arith.constant 0 : i32
  %c128 = arith.constant 128 : i32
  scf.for %k = %c0 to %stride step %c128 : i32 {
    %first = arith.addi %start, %k : i32
    %base = tt.addptr %out, %first : !tt.ptr<f32>, i32
    %splat = tt.splat %base : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
    %ptrs = tt.addptr %splat, %cols : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
  // expected-remark @below {{not fused: E4: a loop moves the tile by 128 columns, fewer than its 256}}
    tt.store %ptrs, %y : tensor<256x!tt.ptr<f32>>
  }
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

// Two stores to the same place (E4).
// CHECK-LABEL: tt.func public @no_e4_twice
// CHECK: epiq.row_program
tt.func public @no_e4_twice(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %start = arith.muli %row, %stride : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
  tt.store %ptrs, %y : tensor<256x!tt.ptr<f32>>
  // expected-remark @below {{not fused: E4: two stores of the kernel may write one element}}
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

// A group of 128 needs two tiles of 64 (E5).
// CHECK-LABEL: tt.func public @no_e5_narrow
// CHECK: epiq.row_program
tt.func public @no_e5_narrow(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<64xf32>
  %cols = tt.make_range {end = 64 : i32, start = 0 : i32} : tensor<64xi32>
  %start = arith.muli %row, %stride : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<64x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<64x!tt.ptr<f32>>, tensor<64xi32>
  // expected-remark @below {{not fused: E5: a tile of 64 columns does not hold whole groups of 128}}
  tt.store %ptrs, %y : tensor<64x!tt.ptr<f32>>
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

// A tile that may start anywhere (E5).
// CHECK-LABEL: tt.func public @no_e5_shifted
// CHECK: epiq.row_program
tt.func public @no_e5_shifted(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %start = arith.muli %row, %stride : i32
  %col = tt.get_program_id y : i32
  %c16 = arith.constant 16 : i32
  %shift = arith.muli %col, %c16 : i32
  %first = arith.addi %start, %shift : i32
  %base = tt.addptr %out, %first : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
  // expected-remark @below {{not fused: E5: the tile's first column is only known to be a multiple of 16, which may be inside a group of 128}}
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

// A maximum over the row, of which a tile has a part (E6).
// CHECK-LABEL: tt.func public @no_e6_part_of_row
// CHECK: epiq.row_program
tt.func public @no_e6_part_of_row(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %start = arith.muli %row, %stride : i32
  %col = tt.get_program_id y : i32
  %c256 = arith.constant 256 : i32
  %shift = arith.muli %col, %c256 : i32
  %first = arith.addi %start, %shift : i32
  %base = tt.addptr %out, %first : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
  // expected-remark @below {{not fused: E6: the epilogue combines a whole row, and the tile does not start at column 0 of one}}
  tt.store %ptrs, %y : tensor<256x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%y: tensor<?x256xf32>) -> tensor<?x1xf32> {
  %r = epiq.row_program @amax (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x256xf32>) -> tensor<?x1xf32> {
  ^bb0(%x: tensor<?x256xf32>):
    %m = epiq.reduce max %x dims [1] keep : tensor<?x256xf32> to tensor<?x1xf32>
    epiq.yield %m : tensor<?x1xf32>
  }
  return %r : tensor<?x1xf32>
}

// -----

// A maximum over rows of 256, but the tile has 512 columns (E6).
// CHECK-LABEL: tt.func public @no_e6_wider
// CHECK: epiq.row_program
tt.func public @no_e6_wider(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<512xf32>
  %cols = tt.make_range {end = 512 : i32, start = 0 : i32} : tensor<512xi32>
  %start = arith.muli %row, %stride : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<512x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<512x!tt.ptr<f32>>, tensor<512xi32>
  // expected-remark @below {{not fused: E6: the epilogue combines a whole row, and the tile has 512 columns, a row of 256 needs 256}}
  tt.store %ptrs, %y : tensor<512x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%y: tensor<?x256xf32>) -> tensor<?x1xf32> {
  %r = epiq.row_program @amax (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x256xf32>) -> tensor<?x1xf32> {
  ^bb0(%x: tensor<?x256xf32>):
    %m = epiq.reduce max %x dims [1] keep : tensor<?x256xf32> to tensor<?x1xf32>
    epiq.yield %m : tensor<?x1xf32>
  }
  return %r : tensor<?x1xf32>
}

// -----

// A mask that mixes columns with anything else cannot be asked about groups (E7).
// CHECK-LABEL: tt.func public @no_e7_opaque
// CHECK: epiq.row_program
tt.func public @no_e7_opaque(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %start = arith.muli %row, %stride : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
  %seven = arith.constant dense<7> : tensor<256xi32>
  %odd = arith.andi %cols, %seven : tensor<256xi32>
  %mask = arith.trunci %odd : tensor<256xi32> to tensor<256xi1>
  // expected-remark @below {{not fused: E7: the condition on columns is no comparison, so it cannot be asked about groups}}
  tt.store %ptrs, %y, %mask : tensor<256x!tt.ptr<f32>>
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

// The epilogue reads what was rounded to bf16, the kernel stores f32 (E8).
// CHECK-LABEL: tt.func public @no_e8_type
// CHECK: epiq.row_program
tt.func public @no_e8_type(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %start = arith.muli %row, %stride : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
  // expected-remark @below {{not fused: E8: the kernel stores f32, the epilogue reads bf16}}
  tt.store %ptrs, %y : tensor<256x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%y: tensor<?x512xbf16>) -> tensor<?x4xf32> {
  %r = epiq.row_program @amax (%y) {layouts = [#epiq.layout<row_major>]} : (tensor<?x512xbf16>) -> tensor<?x4xf32> {
  ^bb0(%z: tensor<?x512xbf16>):
    %x = arith.extf %z : tensor<?x512xbf16> to tensor<?x512xf32>
    %a = math.absf %x : tensor<?x512xf32>
    %g = epiq.reshape %a : tensor<?x512xf32> to tensor<?x4x128xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x4x128xf32> to tensor<?x4xf32>
    epiq.yield %m : tensor<?x4xf32>
  }
  return %r : tensor<?x4xf32>
}

// -----

// Without rows, a value for each column has no place (E9).
// CHECK-LABEL: tt.func public @no_e9_flat_bias
// CHECK: epiq.row_program
tt.func public @no_e9_flat_bias(%out: !tt.ptr<f32>, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %c256 = arith.constant 256 : i32
  %start = arith.muli %row, %c256 : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
  // expected-remark @below {{not fused: E9: the kernel does not say where a row begins, but an input of the epilogue has a value for each row or column}}
  tt.store %ptrs, %y : tensor<256x!tt.ptr<f32>>
  tt.return
}
func.func @epilogue(%y: tensor<?x512xf32>, %bias: tensor<512xf32>) -> tensor<?x512xf32> {
  %r = epiq.row_program @add (%y, %bias) {layouts = [#epiq.layout<row_major>]}
      : (tensor<?x512xf32>, tensor<512xf32>) -> tensor<?x512xf32> {
  ^bb0(%x: tensor<?x512xf32>, %v: tensor<512xf32>):
    %b = epiq.broadcast %v : tensor<512xf32> to tensor<?x512xf32>
    %s = arith.addf %x, %b : tensor<?x512xf32>
    epiq.yield %s : tensor<?x512xf32>
  }
  return %r : tensor<?x512xf32>
}

// -----

// A pointer that a loop moves on by less than the tile (E4).
// CHECK-LABEL: tt.func public @no_e4_carried
// CHECK: epiq.row_program
tt.func public @no_e4_carried(%out: !tt.ptr<f32>, %count: i32, %stride: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %start = arith.muli %row, %stride : i32
  %base = tt.addptr %out, %start : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
  %c0 = arith.constant 0 : i32
  %c1 = arith.constant 1 : i32
  %c128 = arith.constant dense<128> : tensor<256xi32>
  %end = scf.for %i = %c0 to %count step %c1 iter_args(%p = %ptrs) -> (tensor<256x!tt.ptr<f32>>) : i32 {
    // expected-remark @below {{not fused: E4: a loop moves the tile by 128 columns, fewer than its 256}}
    tt.store %p, %y : tensor<256x!tt.ptr<f32>>
    %next = tt.addptr %p, %c128 : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
    scf.yield %next : tensor<256x!tt.ptr<f32>>
  }
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

// Two batches whose rows lie at no multiple of one stride that the kernel knows (E3).
// CHECK-LABEL: tt.func public @no_e3_batches
// CHECK: epiq.row_program
tt.func public @no_e3_batches(%out: !tt.ptr<f32>, %batch_stride: i32, %stride: i32) {
  %y = arith.constant dense<1.000000e+00> : tensor<2x4x128xf32>
  %b = tt.make_range {end = 2 : i32, start = 0 : i32} : tensor<2xi32>
  %r = tt.make_range {end = 4 : i32, start = 0 : i32} : tensor<4xi32>
  %c = tt.make_range {end = 128 : i32, start = 0 : i32} : tensor<128xi32>
  %batch_stride_splat = tt.splat %batch_stride : i32 -> tensor<2xi32>
  %bo = arith.muli %b, %batch_stride_splat : tensor<2xi32>
  %stride_splat = tt.splat %stride : i32 -> tensor<4xi32>
  %ro = arith.muli %r, %stride_splat : tensor<4xi32>
  %b1 = tt.expand_dims %bo {axis = 1 : i32} : tensor<2xi32> -> tensor<2x1xi32>
  %b2 = tt.expand_dims %b1 {axis = 2 : i32} : tensor<2x1xi32> -> tensor<2x1x1xi32>
  %b3 = tt.broadcast %b2 : tensor<2x1x1xi32> -> tensor<2x4x128xi32>
  %r1 = tt.expand_dims %ro {axis = 0 : i32} : tensor<4xi32> -> tensor<1x4xi32>
  %r2 = tt.expand_dims %r1 {axis = 2 : i32} : tensor<1x4xi32> -> tensor<1x4x1xi32>
  %r3 = tt.broadcast %r2 : tensor<1x4x1xi32> -> tensor<2x4x128xi32>
  %c1 = tt.expand_dims %c {axis = 0 : i32} : tensor<128xi32> -> tensor<1x128xi32>
  %c2 = tt.expand_dims %c1 {axis = 0 : i32} : tensor<1x128xi32> -> tensor<1x1x128xi32>
  %c3 = tt.broadcast %c2 : tensor<1x1x128xi32> -> tensor<2x4x128xi32>
  %br = arith.addi %b3, %r3 : tensor<2x4x128xi32>
  %offsets = arith.addi %br, %c3 : tensor<2x4x128xi32>
  %splat = tt.splat %out : !tt.ptr<f32> -> tensor<2x4x128x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %offsets : tensor<2x4x128x!tt.ptr<f32>>, tensor<2x4x128xi32>
  // expected-remark @below {{not fused: E3: the rows of the tile do not lie at multiples of one stride}}
  tt.store %ptrs, %y : tensor<2x4x128x!tt.ptr<f32>>
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
