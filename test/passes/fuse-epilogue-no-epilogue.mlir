// RUN: epiq-opt %s -split-input-file -epiq-fuse-epilogue=output=0 -verify-diagnostics | FileCheck %s
// What E5, E6, E8 and E9 refuse of an epilogue on a tile; the module stays as it was.

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
