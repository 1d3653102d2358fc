// RUN: epiq-opt %s -split-input-file -epiq-fuse-epilogue=output=0 -verify-diagnostics | FileCheck %s
// Where E3, E4 and E7 cannot tell what a store covers; the module stays as it was.

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

// -----

// Another store may hold the columns before %start of the first group (E7).
// CHECK-LABEL: tt.func public @no_e7_lower_limit
// CHECK: epiq.row_program
tt.func public @no_e7_lower_limit(%out: !tt.ptr<f32>, %stride: i32, %start: i32) {
  %row = tt.get_program_id x : i32
  %y = arith.constant dense<1.000000e+00> : tensor<256xf32>
  %cols = tt.make_range {end = 256 : i32, start = 0 : i32} : tensor<256xi32>
  %first = tt.splat %start : i32 -> tensor<256xi32>
  %mask = arith.cmpi sge, %cols, %first : tensor<256xi32>
  %begin = arith.muli %row, %stride : i32
  %base = tt.addptr %out, %begin : !tt.ptr<f32>, i32
  %splat = tt.splat %base : !tt.ptr<f32> -> tensor<256x!tt.ptr<f32>>
  %ptrs = tt.addptr %splat, %cols : tensor<256x!tt.ptr<f32>>, tensor<256xi32>
  // expected-remark @below {{not fused: E7: the condition on columns is not that they end somewhere, so another store may hold the rest of a group}}
  tt.store %ptrs, %y, %mask : tensor<256x!tt.ptr<f32>>
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

// A descriptor that is carried by a loop may be of another tensor each time (E3).
// CHECK-LABEL: tt.func public @no_e3_carried_descriptor
// CHECK: epiq.row_program
tt.func public @no_e3_carried_descriptor(%out: !tt.ptr<f32>, %other: !tt.tensordesc<tensor<16x128xf32>>, %m: i32) {
  %y = arith.constant dense<1.000000e+00> : tensor<16x128xf32>
  %c0 = arith.constant 0 : i32
  %c1 = arith.constant 1 : i32
  %n = arith.constant 512 : i32
  %n_64 = arith.constant 512 : i64
  %one = arith.constant 1 : i64
  %desc = tt.make_tensor_descriptor %out, [%m, %n], [%n_64, %one] : !tt.ptr<f32>, !tt.tensordesc<tensor<16x128xf32>>
  %r = scf.for %i = %c0 to %m step %c1 iter_args(%d = %desc) -> (!tt.tensordesc<tensor<16x128xf32>>) : i32 {
    // expected-remark @below {{not fused: E3: the tensor behind the descriptor is not known: it is neither made in the kernel from its argument nor an argument followed by its shape and strides}}
    tt.descriptor_store %d[%i, %c0], %y : !tt.tensordesc<tensor<16x128xf32>>, tensor<16x128xf32>
    scf.yield %other : !tt.tensordesc<tensor<16x128xf32>>
  }
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
