// RUN: epiq-opt %s -split-input-file -epiq-pull-quant=operand=0 -verify-diagnostics | FileCheck %s
// What rules Q6 to Q9 of epiq-pull-quant refuse; the module stays as it was.

// Columns are `stride` apart, which may be anything (Q6).
// CHECK-LABEL: @no_q6_strided_columns
// CHECK-NOT: func.func
tt.func public @no_q6_strided_columns(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
  %rows = tt.make_range {end = 32 : i32, start = 0 : i32} : tensor<32xi32>
  %cols = tt.make_range {end = 64 : i32, start = 0 : i32} : tensor<64xi32>
  %r = tt.expand_dims %rows {axis = 1 : i32} : tensor<32xi32> -> tensor<32x1xi32>
  %strides = tt.splat %stride : i32 -> tensor<32x1xi32>
  %moved = arith.muli %r, %strides : tensor<32x1xi32>
  %c = tt.expand_dims %cols {axis = 0 : i32} : tensor<64xi32> -> tensor<1x64xi32>
  %strides2 = tt.splat %n : i32 -> tensor<1x64xi32>
  %c2 = arith.muli %c, %strides2 : tensor<1x64xi32>
  %rs = tt.broadcast %moved : tensor<32x1xi32> -> tensor<32x64xi32>
  %cs = tt.broadcast %c2 : tensor<1x64xi32> -> tensor<32x64xi32>
  %offsets = arith.addi %rs, %cs : tensor<32x64xi32>
  %base = tt.splat %q : !tt.ptr<bf16> -> tensor<32x64x!tt.ptr<bf16>>
  %ptrs = tt.addptr %base, %offsets : tensor<32x64x!tt.ptr<bf16>>, tensor<32x64xi32>
  // expected-remark @below {{not pulled: Q6: no dimension of the tile is contiguous in memory: a stride of 1 must be a constant of the kernel}}
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

// The row's width is an argument (Q7).
// CHECK-LABEL: @no_q7_columns_cut_off
// CHECK-NOT: func.func
tt.func public @no_q7_columns_cut_off(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
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
  %limit = tt.splat %n : i32 -> tensor<1x64xi32>
  %inside = arith.cmpi slt, %c, %limit : tensor<1x64xi32>
  %mask = tt.broadcast %inside : tensor<1x64xi1> -> tensor<32x64xi1>
  %other = arith.constant dense<0.000000e+00> : tensor<32x64xbf16>
  // expected-remark @below {{not pulled: Q7: the mask cuts columns off at no constant, so that the width of a row is not known}}
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

// Which columns are read depends on the row (Q7).
// CHECK-LABEL: @no_q7_triangle
// CHECK-NOT: func.func
tt.func public @no_q7_triangle(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
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
  %r64 = tt.broadcast %r : tensor<32x1xi32> -> tensor<32x64xi32>
  %mask = arith.cmpi sle, %cs, %r64 : tensor<32x64xi32>
  // expected-remark @below {{not pulled: Q7: the mask is no conjunction of conditions on rows and conditions on columns}}
  %x = tt.load %ptrs, %mask : tensor<32x64x!tt.ptr<bf16>>
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

// Rows beyond the mask hold an argument, and become nobody knows what (Q7).
// CHECK-LABEL: @no_q7_unknown_lanes
// CHECK-NOT: func.func
tt.func public @no_q7_unknown_lanes(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
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
  %half = arith.truncf %f0 : f32 to bf16
  %other = tt.splat %half : bf16 -> tensor<32x64xbf16>
  // expected-remark @below {{not pulled: Q7: what lanes beyond the mask become cannot be told}}
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

// The rows are quantized with a scale here, without one there (Q8).
// CHECK-LABEL: @no_q8_in_two_ways
// CHECK-NOT: func.func
tt.func public @no_q8_in_two_ways(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
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
  // expected-remark @below {{not pulled: Q8: what is loaded here is quantized in another way than elsewhere}}
  %x2 = tt.load %ptrs : tensor<32x64x!tt.ptr<bf16>>
  %f2 = arith.extf %x2 : tensor<32x64xbf16> to tensor<32x64xf32>
  %y2 = tt.fp_to_fp %f2, rounding = rtne : tensor<32x64xf32> -> tensor<32x64xf8E4M3FN>
  %k = arith.constant dense<1.000000e+00> : tensor<64x32xf8E4M3FN>
  %zero = arith.constant dense<0.000000e+00> : tensor<32x32xf32>
  %qk = tt.dot %y, %k, %zero : tensor<32x64xf8E4M3FN> * tensor<64x32xf8E4M3FN> -> tensor<32x32xf32>
  %qk2 = tt.dot %y2, %k, %qk : tensor<32x64xf8E4M3FN> * tensor<64x32xf8E4M3FN> -> tensor<32x32xf32>
  %wide = tt.broadcast %e : tensor<32x1xf32> -> tensor<32x32xf32>
  %s = arith.mulf %qk2, %wide : tensor<32x32xf32>
  %outs = tt.splat %out : !tt.ptr<f32> -> tensor<32x32x!tt.ptr<f32>>
  tt.store %outs, %s : tensor<32x32x!tt.ptr<f32>>
  tt.return
}

// -----

// The order of a sum shows in its bits (Q9).
// CHECK-LABEL: @no_q9_sum
// CHECK-NOT: func.func
tt.func public @no_q9_sum(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
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
  // expected-remark @below {{not pulled: Q9: the reduction is no maximum or minimum, so that its order shows}}
  %m = "tt.reduce"(%a) <{axis = 1 : i32}> ({
  ^bb0(%u: f32, %v: f32):
    %w = arith.addf %u, %v : f32
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

// Tiles start in the middle of a row of the one before (Q9).
// CHECK-LABEL: @no_q9_overlapping_groups
// CHECK-NOT: func.func
tt.func public @no_q9_overlapping_groups(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
  %rows = tt.make_range {end = 32 : i32, start = 0 : i32} : tensor<32xi32>
  %cols = tt.make_range {end = 64 : i32, start = 0 : i32} : tensor<64xi32>
  %r = tt.expand_dims %rows {axis = 1 : i32} : tensor<32xi32> -> tensor<32x1xi32>
  %strides = tt.splat %stride : i32 -> tensor<32x1xi32>
  %moved = arith.muli %r, %strides : tensor<32x1xi32>
  %c = tt.expand_dims %cols {axis = 0 : i32} : tensor<64xi32> -> tensor<1x64xi32>
  %rs = tt.broadcast %moved : tensor<32x1xi32> -> tensor<32x64xi32>
  %cs = tt.broadcast %c : tensor<1x64xi32> -> tensor<32x64xi32>
  %offsets = arith.addi %rs, %cs : tensor<32x64xi32>
  %pid = tt.get_program_id x : i32
  %c32 = arith.constant 32 : i32
  %first = arith.muli %pid, %c32 : i32
  %start = tt.addptr %q, %first : !tt.ptr<bf16>, i32
  %base = tt.splat %start : !tt.ptr<bf16> -> tensor<32x64x!tt.ptr<bf16>>
  %ptrs = tt.addptr %base, %offsets : tensor<32x64x!tt.ptr<bf16>>, tensor<32x64xi32>
  // expected-remark @below {{not pulled: Q9: the tile is moved by 32 elements, which is no multiple of the 64 that share a scale}}
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

// Inline assembly may be anything (Q9).
// CHECK-LABEL: @no_q9_asm
// CHECK-NOT: func.func
tt.func public @no_q9_asm(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
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
  // expected-remark @below {{not pulled: Q9: tt.elementwise_inline_asm cannot be part of a row program}}
  %d2 = tt.elementwise_inline_asm "cvt.rni.f32.f32 $0, $1;" {constraints = "=r,r", packed_element = 1 : i32, pure = true} %d : tensor<32x64xf32> -> tensor<32x64xf32>
  %y = tt.fp_to_fp %d2, rounding = rtne : tensor<32x64xf32> -> tensor<32x64xf8E4M3FN>
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

// One scale for rows that may lie apart (Q9).
// CHECK-LABEL: @no_q9_rows_apart
// CHECK-NOT: func.func
tt.func public @no_q9_rows_apart(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
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
  // expected-remark @below {{not pulled: Q9: one scale for a tile of several rows, which are not known to lie 64 apart}}
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

// -----

// Rows of the last tile may be missing from what shares a scale (Q7).
// CHECK-LABEL: @no_q7_part_of_a_block
// CHECK-NOT: func.func
tt.func public @no_q7_part_of_a_block(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
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
  %limit = tt.splat %n : i32 -> tensor<32x1xi32>
  %inside = arith.cmpi slt, %r, %limit : tensor<32x1xi32>
  %mask = tt.broadcast %inside : tensor<32x1xi1> -> tensor<32x64xi1>
  %other = arith.constant dense<0.000000e+00> : tensor<32x64xbf16>
  // expected-remark @below {{not pulled: Q7: the mask may leave out some of the rows that share a scale}}
  %x = tt.load %ptrs, %mask, %other : tensor<32x64x!tt.ptr<bf16>>
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
