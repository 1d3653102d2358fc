// RUN: epiq-opt %s -split-input-file -epiq-pull-quant=operand=0 | FileCheck %s
// The documented case, and what else is pulled. Bits are compared in test/pull.

// A scale for each row, and the load of the operand in 8 bits where it was in 16.
// CHECK-LABEL: tt.func public @per_token
// CHECK-SAME: %{{[^:]*}}: !tt.ptr<f8E4M3FN>, %{{[^:]*}}: !tt.ptr<f32>, %[[STRIDE:[^:]*]]: i32, {{.*}}, %[[SCALE:[^:]*]]: !tt.ptr<f32>)
// CHECK: %[[C64:.*]] = arith.constant 64 : i32
// CHECK: %[[ROWS_APART:.*]] = arith.divsi %[[STRIDE]], %[[C64]] : i32
// CHECK: %[[S:.*]] = tt.load %{{.*}} : tensor<32x!tt.ptr<f32>>
// CHECK: %[[Y:.*]] = tt.load %{{.*}} : tensor<32x64x!tt.ptr<f8E4M3FN>>
// CHECK-NOT: arith.divf
// CHECK: tt.dot %[[Y]]
// CHECK-LABEL: func.func @quantize
// CHECK-SAME: (%{{.*}}: tensor<?x64xbf16>) -> (tensor<?x64xf8E4M3FN>, tensor<?x1xf32>)
// CHECK-SAME: epiq.arguments = array<i64: 0>, epiq.groups = array<i64: 64>
// CHECK: epiq.row_program @quantize
// CHECK: epiq.reduce max
tt.func public @per_token(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
  %rows = tt.make_range {end = 32 : i32, start = 0 : i32} : tensor<32xi32>
  %cols = tt.make_range {end = 64 : i32, start = 0 : i32} : tensor<64xi32>
  %r = tt.expand_dims %rows {axis = 1 : i32} : tensor<32xi32> -> tensor<32x1xi32>
  %strides = tt.splat %stride : i32 -> tensor<32x1xi32>
  %moved = arith.muli %r, %strides : tensor<32x1xi32>
  %c = tt.expand_dims %cols {axis = 0 : i32} : tensor<64xi32> -> tensor<1x64xi32>
  %rs = tt.broadcast %moved : tensor<32x1xi32> -> tensor<32x64xi32>
  %cs = tt.broadcast %c : tensor<1x64xi32> -> tensor<32x64xi32>
  %offsets = arith.addi %rs, %cs : tensor<32x64xi32>
  %base = tt.splat %q : !tt.ptr<bf16> -> tensor<32x64x!tt.ptr<bf16>>
  %ptrs = tt.addptr %base, %offsets : tensor<32x64x!tt.ptr<bf16>>, tensor<32x64xi32>
  %x = tt.load %ptrs : tensor<32x64x!tt.ptr<bf16>>
  %f = arith.extf %x : tensor<32x64xbf16> to tensor<32x64xf32>
  %a = math.absf %f : tensor<32x64xf32>
  %m = "tt.reduce"(%a) <{axis = 1 : i32}> ({
  ^bb0(%u: f32, %v: f32):
    %w = arith.maximumf %u, %v : f32
    tt.reduce.return %w : f32
  }) : (tensor<32x64xf32>) -> tensor<32xf32>
  %c448 = arith.constant dense<4.480000e+02> : tensor<32xf32>
  %scale = arith.divf %m, %c448 : tensor<32xf32>
  %e = tt.expand_dims %scale {axis = 1 : i32} : tensor<32xf32> -> tensor<32x1xf32>
  %b = tt.broadcast %e : tensor<32x1xf32> -> tensor<32x64xf32>
  %d = arith.divf %f, %b : tensor<32x64xf32>
  %y = tt.fp_to_fp %d, rounding = rtne : tensor<32x64xf32> -> tensor<32x64xf8E4M3FN>
  %k = arith.constant dense<1.000000e+00> : tensor<64x32xf8E4M3FN>
  %zero = arith.constant dense<0.000000e+00> : tensor<32x32xf32>
  %qk = tt.dot %y, %k, %zero : tensor<32x64xf8E4M3FN> * tensor<64x32xf8E4M3FN> -> tensor<32x32xf32>
  %wide = tt.broadcast %e : tensor<32x1xf32> -> tensor<32x32xf32>
  %s = arith.mulf %qk, %wide : tensor<32x32xf32>
  %outs = tt.splat %out : !tt.ptr<f32> -> tensor<32x32x!tt.ptr<f32>>
  tt.store %outs, %s : tensor<32x32x!tt.ptr<f32>>
  tt.return
}

// -----

// Rows beyond the mask get what the kernel made of zeros: 0 / 0, NaN.
// CHECK-LABEL: tt.func public @masked_rows
// CHECK: %[[NAN:.*]] = arith.constant 0.000000e+00 : f32
// CHECK: %[[OTHER:.*]] = tt.splat %[[NAN]] : f32 -> tensor<32xf32>
// CHECK: tt.load %{{.*}}, %{{.*}}, %[[OTHER]] : tensor<32x!tt.ptr<f32>>
// CHECK: arith.constant dense<0x7F> : tensor<32x64xf8E4M3FN>
tt.func public @masked_rows(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
  %rows = tt.make_range {end = 32 : i32, start = 0 : i32} : tensor<32xi32>
  %cols = tt.make_range {end = 64 : i32, start = 0 : i32} : tensor<64xi32>
  %r = tt.expand_dims %rows {axis = 1 : i32} : tensor<32xi32> -> tensor<32x1xi32>
  %strides = tt.splat %stride : i32 -> tensor<32x1xi32>
  %moved = arith.muli %r, %strides : tensor<32x1xi32>
  %c = tt.expand_dims %cols {axis = 0 : i32} : tensor<64xi32> -> tensor<1x64xi32>
  %rs = tt.broadcast %moved : tensor<32x1xi32> -> tensor<32x64xi32>
  %cs = tt.broadcast %c : tensor<1x64xi32> -> tensor<32x64xi32>
  %offsets = arith.addi %rs, %cs : tensor<32x64xi32>
  %base = tt.splat %q : !tt.ptr<bf16> -> tensor<32x64x!tt.ptr<bf16>>
  %ptrs = tt.addptr %base, %offsets : tensor<32x64x!tt.ptr<bf16>>, tensor<32x64xi32>
  %limit = tt.splat %n : i32 -> tensor<32x1xi32>
  %inside = arith.cmpi slt, %r, %limit : tensor<32x1xi32>
  %mask = tt.broadcast %inside : tensor<32x1xi1> -> tensor<32x64xi1>
  %other = arith.constant dense<0.000000e+00> : tensor<32x64xbf16>
  %x = tt.load %ptrs, %mask, %other : tensor<32x64x!tt.ptr<bf16>>
  %f = arith.extf %x : tensor<32x64xbf16> to tensor<32x64xf32>
  %a = math.absf %f : tensor<32x64xf32>
  %m = "tt.reduce"(%a) <{axis = 1 : i32}> ({
  ^bb0(%u: f32, %v: f32):
    %w = arith.maximumf %u, %v : f32
    tt.reduce.return %w : f32
  }) : (tensor<32x64xf32>) -> tensor<32xf32>
  %c448 = arith.constant dense<4.480000e+02> : tensor<32xf32>
  %scale = arith.divf %m, %c448 : tensor<32xf32>
  %e = tt.expand_dims %scale {axis = 1 : i32} : tensor<32xf32> -> tensor<32x1xf32>
  %b = tt.broadcast %e : tensor<32x1xf32> -> tensor<32x64xf32>
  %d = arith.divf %f, %b : tensor<32x64xf32>
  %y = tt.fp_to_fp %d, rounding = rtne : tensor<32x64xf32> -> tensor<32x64xf8E4M3FN>
  %k = arith.constant dense<1.000000e+00> : tensor<64x32xf8E4M3FN>
  %zero = arith.constant dense<0.000000e+00> : tensor<32x32xf32>
  %qk = tt.dot %y, %k, %zero : tensor<32x64xf8E4M3FN> * tensor<64x32xf8E4M3FN> -> tensor<32x32xf32>
  %wide = tt.broadcast %e : tensor<32x1xf32> -> tensor<32x32xf32>
  %s = arith.mulf %qk, %wide : tensor<32x32xf32>
  %outs = tt.splat %out : !tt.ptr<f32> -> tensor<32x32x!tt.ptr<f32>>
  tt.store %outs, %s : tensor<32x32x!tt.ptr<f32>>
  tt.return
}

// -----

// A scalar that is folded in becomes an input of the program, argument 4.
// CHECK-LABEL: tt.func public @scalar_argument
// CHECK-LABEL: func.func @quantize
// CHECK-SAME: tensor<?x64xbf16>, %{{.*}}: tensor<f32>
// CHECK-SAME: epiq.arguments = array<i64: 0, 4>
tt.func public @scalar_argument(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
  %rows = tt.make_range {end = 32 : i32, start = 0 : i32} : tensor<32xi32>
  %cols = tt.make_range {end = 64 : i32, start = 0 : i32} : tensor<64xi32>
  %r = tt.expand_dims %rows {axis = 1 : i32} : tensor<32xi32> -> tensor<32x1xi32>
  %strides = tt.splat %stride : i32 -> tensor<32x1xi32>
  %moved = arith.muli %r, %strides : tensor<32x1xi32>
  %c = tt.expand_dims %cols {axis = 0 : i32} : tensor<64xi32> -> tensor<1x64xi32>
  %rs = tt.broadcast %moved : tensor<32x1xi32> -> tensor<32x64xi32>
  %cs = tt.broadcast %c : tensor<1x64xi32> -> tensor<32x64xi32>
  %offsets = arith.addi %rs, %cs : tensor<32x64xi32>
  %base = tt.splat %q : !tt.ptr<bf16> -> tensor<32x64x!tt.ptr<bf16>>
  %ptrs = tt.addptr %base, %offsets : tensor<32x64x!tt.ptr<bf16>>, tensor<32x64xi32>
  %x = tt.load %ptrs : tensor<32x64x!tt.ptr<bf16>>
  %f = arith.extf %x : tensor<32x64xbf16> to tensor<32x64xf32>
  %factors = tt.splat %f0 : f32 -> tensor<32x64xf32>
  %scaled = arith.mulf %f, %factors : tensor<32x64xf32>
  %a = math.absf %scaled : tensor<32x64xf32>
  %m = "tt.reduce"(%a) <{axis = 1 : i32}> ({
  ^bb0(%u: f32, %v: f32):
    %w = arith.maximumf %u, %v : f32
    tt.reduce.return %w : f32
  }) : (tensor<32x64xf32>) -> tensor<32xf32>
  %c448 = arith.constant dense<4.480000e+02> : tensor<32xf32>
  %scale = arith.divf %m, %c448 : tensor<32xf32>
  %e = tt.expand_dims %scale {axis = 1 : i32} : tensor<32xf32> -> tensor<32x1xf32>
  %b = tt.broadcast %e : tensor<32x1xf32> -> tensor<32x64xf32>
  %d = arith.divf %f, %b : tensor<32x64xf32>
  %y = tt.fp_to_fp %d, rounding = rtne : tensor<32x64xf32> -> tensor<32x64xf8E4M3FN>
  %k = arith.constant dense<1.000000e+00> : tensor<64x32xf8E4M3FN>
  %zero = arith.constant dense<0.000000e+00> : tensor<32x32xf32>
  %qk = tt.dot %y, %k, %zero : tensor<32x64xf8E4M3FN> * tensor<64x32xf8E4M3FN> -> tensor<32x32xf32>
  %wide = tt.broadcast %e : tensor<32x1xf32> -> tensor<32x32xf32>
  %s = arith.mulf %qk, %wide : tensor<32x32xf32>
  %outs = tt.splat %out : !tt.ptr<f32> -> tensor<32x32x!tt.ptr<f32>>
  tt.store %outs, %s : tensor<32x32x!tt.ptr<f32>>
  tt.return
}

// -----

// One scale for a tile whose rows lie next to each other: the tile is a row of the program.
// CHECK-LABEL: tt.func public @block
// CHECK: %[[S:.*]] = tt.load %{{.*}} : !tt.ptr<f32>
// CHECK: tt.splat %[[S]]
// CHECK-LABEL: func.func @quantize
// CHECK-SAME: tensor<?x2048xbf16>) -> (tensor<?x2048xf8E4M3FN>, tensor<?x1xf32>)
// CHECK-SAME: epiq.groups = array<i64: 2048>, epiq.rows = 32
tt.func public @block(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
  %rows = tt.make_range {end = 32 : i32, start = 0 : i32} : tensor<32xi32>
  %cols = tt.make_range {end = 64 : i32, start = 0 : i32} : tensor<64xi32>
  %r = tt.expand_dims %rows {axis = 1 : i32} : tensor<32xi32> -> tensor<32x1xi32>
  %strides = arith.constant dense<64> : tensor<32x1xi32>
  %moved = arith.muli %r, %strides : tensor<32x1xi32>
  %c = tt.expand_dims %cols {axis = 0 : i32} : tensor<64xi32> -> tensor<1x64xi32>
  %rs = tt.broadcast %moved : tensor<32x1xi32> -> tensor<32x64xi32>
  %cs = tt.broadcast %c : tensor<1x64xi32> -> tensor<32x64xi32>
  %offsets = arith.addi %rs, %cs : tensor<32x64xi32>
  %base = tt.splat %q : !tt.ptr<bf16> -> tensor<32x64x!tt.ptr<bf16>>
  %ptrs = tt.addptr %base, %offsets : tensor<32x64x!tt.ptr<bf16>>, tensor<32x64xi32>
  %x = tt.load %ptrs : tensor<32x64x!tt.ptr<bf16>>
  %f = arith.extf %x : tensor<32x64xbf16> to tensor<32x64xf32>
  %a = math.absf %f : tensor<32x64xf32>
  %m = "tt.reduce"(%a) <{axis = 1 : i32}> ({
  ^bb0(%u: f32, %v: f32):
    %w = arith.maximumf %u, %v : f32
    tt.reduce.return %w : f32
  }) : (tensor<32x64xf32>) -> tensor<32xf32>
  %mm = "tt.reduce"(%m) <{axis = 0 : i32}> ({
  ^bb0(%u: f32, %v: f32):
    %w = arith.maximumf %u, %v : f32
    tt.reduce.return %w : f32
  }) : (tensor<32xf32>) -> f32
  %c448 = arith.constant 4.480000e+02 : f32
  %scale = arith.divf %mm, %c448 : f32
  %b = tt.splat %scale : f32 -> tensor<32x64xf32>
  %d = arith.divf %f, %b : tensor<32x64xf32>
  %y = tt.fp_to_fp %d, rounding = rtne : tensor<32x64xf32> -> tensor<32x64xf8E4M3FN>
  %k = arith.constant dense<1.000000e+00> : tensor<64x32xf8E4M3FN>
  %zero = arith.constant dense<0.000000e+00> : tensor<32x32xf32>
  %qk = tt.dot %y, %k, %zero : tensor<32x64xf8E4M3FN> * tensor<64x32xf8E4M3FN> -> tensor<32x32xf32>
  %wide = tt.splat %scale : f32 -> tensor<32x32xf32>
  %s = arith.mulf %qk, %wide : tensor<32x32xf32>
  %outs = tt.splat %out : !tt.ptr<f32> -> tensor<32x32x!tt.ptr<f32>>
  tt.store %outs, %s : tensor<32x32x!tt.ptr<f32>>
  tt.return
}
