// RUN: epiq-opt %s -split-input-file -epiq-pull-quant=operand=0 -verify-diagnostics | FileCheck %s
// What rules Q1 to Q5 of epiq-pull-quant refuse; the module stays as it was.

// A second function may be called with the operand (Q1).
// CHECK-LABEL: @no_q1_two_functions
// CHECK-NOT: func.func
tt.func public @no_q1_two_functions(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
  tt.return
}
// expected-remark @below {{not pulled: Q1: the module has a second function, @other}}
tt.func private @other() {
  tt.return
}

// -----

// Only a pointer or a descriptor can be loaded from (Q1).
// CHECK-LABEL: @no_q1_number
// CHECK-NOT: func.func
// expected-remark @below {{not pulled: Q1: argument 0 is neither a pointer nor a tensor descriptor}}
tt.func public @no_q1_number(%n: i32) {
  tt.return
}

// -----

// What is written may be read before or after (Q2).
// CHECK-LABEL: @no_q2_stored
// CHECK-NOT: func.func
tt.func public @no_q2_stored(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
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
  %zeros = arith.constant dense<0.000000e+00> : tensor<32x64xbf16>
  // expected-remark @below {{not pulled: Q2: the operand's pointer goes into tt.store, which does not only load}}
  tt.store %ptrs, %zeros : tensor<32x64x!tt.ptr<bf16>>
  tt.return
}

// -----

// Nothing is quantized of an operand that is not read (Q2).
// CHECK-LABEL: @no_q2_never_loaded
// CHECK-NOT: func.func
// expected-remark @below {{not pulled: Q2: the kernel never loads argument 0}}
tt.func public @no_q2_never_loaded(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
  tt.return
}

// -----

// A dot in bf16 (Q3).
// CHECK-LABEL: @no_q3_not_quantized
// CHECK-NOT: func.func
tt.func public @no_q3_not_quantized(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
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
  // expected-remark @below {{not pulled: Q3: the kernel makes no 8-bit values of what it loads here}}
  %x = tt.load %ptrs : tensor<32x64x!tt.ptr<bf16>>
  %k = arith.constant dense<1.000000e+00> : tensor<64x32xbf16>
  %zero = arith.constant dense<0.000000e+00> : tensor<32x32xf32>
  %s = tt.dot %x, %k, %zero : tensor<32x64xbf16> * tensor<64x32xbf16> -> tensor<32x32xf32>
  %outs = tt.splat %out : !tt.ptr<f32> -> tensor<32x32x!tt.ptr<f32>>
  tt.store %outs, %s : tensor<32x32x!tt.ptr<f32>>
  tt.return
}

// -----

// Values and what their rounding leaves, as tiles of their own (Q3).
// CHECK-LABEL: @no_q3_two_tiles
// CHECK-NOT: func.func
tt.func public @no_q3_two_tiles(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
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
  %back = tt.fp_to_fp %y : tensor<32x64xf8E4M3FN> -> tensor<32x64xf32>
  %rest = arith.subf %d, %back : tensor<32x64xf32>
  // expected-remark @below {{not pulled: Q3: a second tile of 8-bit values is made of the operand}}
  %y2 = tt.fp_to_fp %rest, rounding = rtne : tensor<32x64xf32> -> tensor<32x64xf8E4M3FN>
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

// RoPE's angles differ along rows, and are no part of the operand (Q4).
// CHECK-LABEL: @no_q4_positions
// CHECK-NOT: func.func
tt.func public @no_q4_positions(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
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
  %angle = arith.sitofp %rs : tensor<32x64xi32> to tensor<32x64xf32>
  // expected-remark @below {{not pulled: Q4: what becomes 8 bits also reads arith.sitofp, not only the operand and scalars}}
  %turned = arith.mulf %f, %angle : tensor<32x64xf32>
  %a = math.absf %turned : tensor<32x64xf32>
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

// What a softmax makes of scores is of both operands (Q4).
// CHECK-LABEL: @no_q4_probabilities
// CHECK-NOT: func.func
tt.func public @no_q4_probabilities(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %n: i32, %f0: f32) {
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
  %k = arith.constant dense<1.000000e+00> : tensor<64x32xbf16>
  %zero = arith.constant dense<0.000000e+00> : tensor<32x32xf32>
  // expected-remark @below {{not pulled: Q4: what becomes 8 bits goes through tt.dot, so it is not made of the operand alone}}
  %qk = tt.dot %x, %k, %zero : tensor<32x64xbf16> * tensor<64x32xbf16> -> tensor<32x32xf32>
  %p = math.exp2 %qk : tensor<32x32xf32>
  %y = tt.fp_to_fp %p, rounding = rtne : tensor<32x32xf32> -> tensor<32x32xf8E4M3FN>
  %v = arith.constant dense<1.000000e+00> : tensor<32x32xf8E4M3FN>
  %s = tt.dot %y, %v, %zero : tensor<32x32xf8E4M3FN> * tensor<32x32xf8E4M3FN> -> tensor<32x32xf32>
  %outs = tt.splat %out : !tt.ptr<f32> -> tensor<32x32x!tt.ptr<f32>>
  tt.store %outs, %s : tensor<32x32x!tt.ptr<f32>>
  tt.return
}

// -----

// The operand is stored as it came, too (Q5).
// CHECK-LABEL: @no_q5_also_unquantized
// CHECK-NOT: func.func
tt.func public @no_q5_also_unquantized(%q: !tt.ptr<bf16>, %out: !tt.ptr<f32>, %stride: i32, %copy: !tt.ptr<bf16>) {
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
  %copies = tt.splat %copy : !tt.ptr<bf16> -> tensor<32x64x!tt.ptr<bf16>>
  // expected-remark @below {{not pulled: Q5: the operand is used unquantized too, so that it would be read twice}}
  tt.store %copies, %x : tensor<32x64x!tt.ptr<bf16>>
  tt.return
}
