// RUN: epiq-opt %s -split-input-file -epiq-cheapen-division | FileCheck %s
// RUN: epiq-opt %s -split-input-file -epiq-cheapen-division=only-epilogues=true | FileCheck %s --check-prefix=EPILOGUE

// The values of a group share the reciprocal of its scale (D1-D5).
// CHECK-LABEL: tt.func public @shared_scale(
// CHECK-SAME: %[[B:.*]]: tensor<2x128xbf16>
// CHECK: %[[X:.*]] = arith.extf %[[B]]
// CHECK: tt.expand_dims
// CHECK: %[[S:.*]] = arith.maximumf
// CHECK-DAG: %[[R:.*]] = tt.precise_divf %{{.*}}, %[[S]] : tensor<2x1xf32>
// CHECK-DAG: %[[FINITE:.*]] = arith.select %{{.*}}, %{{.*}}, %[[S]]
// CHECK-DAG: %[[NEGATED:.*]] = arith.mulf %[[R]], %{{.*}} : tensor<2x1xf32>
// CHECK: %[[MINUS_X:.*]] = arith.mulf %[[X]], %{{.*}} : tensor<2x128xf32>
// CHECK: %[[R_WIDE:.*]] = tt.broadcast %[[R]]
// CHECK: %[[Q:.*]] = arith.mulf %[[X]], %[[R_WIDE]] : tensor<2x128xf32>
// CHECK: %[[S_WIDE:.*]] = tt.broadcast %[[FINITE]]
// CHECK: %[[N:.*]] = math.fma %[[Q]], %[[S_WIDE]], %[[MINUS_X]]
// CHECK: %[[NR_WIDE:.*]] = tt.broadcast %[[NEGATED]]
// CHECK: %[[Y:.*]] = math.fma %[[N]], %[[NR_WIDE]], %[[Q]]
// CHECK: arith.minimumf %[[Y]]
tt.func public @shared_scale(%b: tensor<2x128xbf16>, %out: tensor<2x128x!tt.ptr<f8E4M3FN>>) {
  %max = arith.constant dense<4.480000e+02> : tensor<2x128xf32>
  %c448 = arith.constant dense<4.480000e+02> : tensor<2x1xf32>
  %floor = arith.constant dense<4.35965421E-6> : tensor<2x1xf32>
  %x = arith.extf %b : tensor<2x128xbf16> to tensor<2x128xf32>
  %a = math.absf %x : tensor<2x128xf32>
  %m = "tt.reduce"(%a) <{axis = 1 : i32}> ({
  ^bb0(%l: f32, %r: f32):
    %mx = arith.maximumf %l, %r : f32
    tt.reduce.return %mx : f32
  }) : (tensor<2x128xf32>) -> tensor<2xf32>
  %e = tt.expand_dims %m {axis = 1 : i32} : tensor<2xf32> -> tensor<2x1xf32>
  %d = tt.precise_divf %e, %c448 : tensor<2x1xf32>
  %s = arith.maximumf %d, %floor : tensor<2x1xf32>
  %w = tt.broadcast %s : tensor<2x1xf32> -> tensor<2x128xf32>
  %y = tt.precise_divf %x, %w : tensor<2x128xf32>
  %c = arith.minimumf %y, %max : tensor<2x128xf32>
  %q = tt.fp_to_fp %c, rounding = rtne : tensor<2x128xf32> -> tensor<2x128xf8E4M3FN>
  tt.store %out, %q : tensor<2x128x!tt.ptr<f8E4M3FN>>
  tt.return
}

// -----

// A token's scale is a scalar, its amax taken over a reshaped row, with the
// floor under amax and before the widening (D1-D5).
// CHECK-LABEL: tt.func public @scalar_scale(
// CHECK: %[[R:.*]] = tt.precise_divf %{{.*}}, %{{.*}} : f32
// CHECK: tt.splat %[[R]] : f32 -> tensor<2x128xf32>
// CHECK: math.fma
// CHECK: math.fma
// CHECK-NOT: tt.precise_divf
tt.func public @scalar_scale(%b: tensor<2x128xbf16>, %out: tensor<2x128x!tt.ptr<f8E5M2>>) {
  %factor = arith.constant 1.74386154E-5 : f32
  %floor = arith.constant 1.000000e-10 : f32
  %x = arith.extf %b : tensor<2x128xbf16> to tensor<2x128xf32>
  %a = math.absf %b : tensor<2x128xbf16>
  %flat = tt.reshape %a : tensor<2x128xbf16> -> tensor<256xbf16>
  %m = "tt.reduce"(%flat) <{axis = 0 : i32}> ({
  ^bb0(%l: bf16, %r: bf16):
    %mx = arith.maximumf %l, %r : bf16
    tt.reduce.return %mx : bf16
  }) : (tensor<256xbf16>) -> bf16
  %wide = arith.extf %m : bf16 to f32
  %floored = arith.maximumf %wide, %floor : f32
  %s = arith.mulf %floored, %factor : f32
  %w = tt.splat %s : f32 -> tensor<2x128xf32>
  %y = tt.precise_divf %x, %w : tensor<2x128xf32>
  %q = tt.fp_to_fp %y, rounding = rtne : tensor<2x128xf32> -> tensor<2x128xf8E5M2>
  tt.store %out, %q : tensor<2x128x!tt.ptr<f8E5M2>>
  tt.return
}

// -----

// The division of silu is as inexact as its exponential (D6).
// CHECK-LABEL: tt.func public @silu(
// CHECK: arith.divf
// CHECK-NOT: tt.precise_divf
tt.func public @silu(%g: tensor<128xf32>) -> tensor<128xf32> {
  %zero = arith.constant dense<0.0> : tensor<128xf32>
  %one = arith.constant dense<1.0> : tensor<128xf32>
  %n = arith.subf %zero, %g : tensor<128xf32>
  %e = math.exp %n : tensor<128xf32>
  %d = arith.addf %e, %one : tensor<128xf32>
  %y = tt.precise_divf %g, %d : tensor<128xf32>
  tt.return %y : tensor<128xf32>
}

// -----

// Each value has a divisor of its own (D1), and no exponential is in it (D6).
// CHECK-LABEL: tt.func public @no_d1_own_divisor(
// CHECK: tt.precise_divf %{{.*}}, %{{.*}} : tensor<128xf32>
// CHECK-NOT: math.fma
tt.func public @no_d1_own_divisor(%b: tensor<128xbf16>, %s: tensor<128xf32>) -> tensor<128xf8E4M3FN> {
  %x = arith.extf %b : tensor<128xbf16> to tensor<128xf32>
  %y = tt.precise_divf %x, %s : tensor<128xf32>
  %q = tt.fp_to_fp %y, rounding = rtne : tensor<128xf32> -> tensor<128xf8E4M3FN>
  tt.return %q : tensor<128xf8E4M3FN>
}

// -----

// Without a floor the scale may be so small that its reciprocal is infinite (D2).
// CHECK-LABEL: tt.func public @no_d2_no_floor(
// CHECK: tt.precise_divf %{{.*}}, %{{.*}} : tensor<128xf32>
// CHECK-NOT: math.fma
tt.func public @no_d2_no_floor(%b: tensor<128xbf16>) -> tensor<128xf8E4M3FN> {
  %c448 = arith.constant 4.480000e+02 : f32
  %x = arith.extf %b : tensor<128xbf16> to tensor<128xf32>
  %a = math.absf %x : tensor<128xf32>
  %m = "tt.reduce"(%a) <{axis = 0 : i32}> ({
  ^bb0(%l: f32, %r: f32):
    %mx = arith.maximumf %l, %r : f32
    tt.reduce.return %mx : f32
  }) : (tensor<128xf32>) -> f32
  %s = tt.precise_divf %m, %c448 : f32
  %w = tt.splat %s : f32 -> tensor<128xf32>
  %y = tt.precise_divf %x, %w : tensor<128xf32>
  %q = tt.fp_to_fp %y, rounding = rtne : tensor<128xf32> -> tensor<128xf8E4M3FN>
  tt.return %q : tensor<128xf8E4M3FN>
}

// -----

// The scale is bounded, but says nothing of the magnitude of the dividend (D3).
// CHECK-LABEL: tt.func public @no_d3_given_scale(
// CHECK: tt.precise_divf %{{.*}}, %{{.*}} : tensor<128xf32>
// CHECK-NOT: math.fma
tt.func public @no_d3_given_scale(%b: tensor<128xbf16>, %given: f32) -> tensor<128xf8E4M3FN> {
  %floor = arith.constant 1.000000e-10 : f32
  %quarter = arith.constant 2.500000e-01 : f32
  %small = arith.mulf %given, %quarter : f32
  %s = arith.maximumf %small, %floor : f32
  %w = tt.splat %s : f32 -> tensor<128xf32>
  %x = arith.extf %b : tensor<128xbf16> to tensor<128xf32>
  %y = tt.precise_divf %x, %w : tensor<128xf32>
  %q = tt.fp_to_fp %y, rounding = rtne : tensor<128xf32> -> tensor<128xf8E4M3FN>
  tt.return %q : tensor<128xf8E4M3FN>
}

// -----

// An f32 dividend has quotients that one step does not round right (D4).
// CHECK-LABEL: tt.func public @no_d4_f32_dividend(
// CHECK: tt.precise_divf %{{.*}}, %{{.*}} : tensor<128xf32>
// CHECK-NOT: math.fma
tt.func public @no_d4_f32_dividend(%x: tensor<128xf32>) -> tensor<128xf8E4M3FN> {
  %c448 = arith.constant 4.480000e+02 : f32
  %floor = arith.constant 1.000000e-10 : f32
  %a = math.absf %x : tensor<128xf32>
  %m = "tt.reduce"(%a) <{axis = 0 : i32}> ({
  ^bb0(%l: f32, %r: f32):
    %mx = arith.maximumf %l, %r : f32
    tt.reduce.return %mx : f32
  }) : (tensor<128xf32>) -> f32
  %d = tt.precise_divf %m, %c448 : f32
  %s = arith.maximumf %d, %floor : f32
  %w = tt.splat %s : f32 -> tensor<128xf32>
  %y = tt.precise_divf %x, %w : tensor<128xf32>
  %q = tt.fp_to_fp %y, rounding = rtne : tensor<128xf32> -> tensor<128xf8E4M3FN>
  tt.return %q : tensor<128xf8E4M3FN>
}

// -----

// The quotient itself is returned, so all of its bits show (D5).
// CHECK-LABEL: tt.func public @no_d5_quotient_used(
// CHECK: tt.precise_divf %{{.*}}, %{{.*}} : tensor<128xf32>
// CHECK-NOT: math.fma
tt.func public @no_d5_quotient_used(%b: tensor<128xbf16>) -> tensor<128xf32> {
  %c448 = arith.constant 4.480000e+02 : f32
  %floor = arith.constant 1.000000e-10 : f32
  %x = arith.extf %b : tensor<128xbf16> to tensor<128xf32>
  %a = math.absf %x : tensor<128xf32>
  %m = "tt.reduce"(%a) <{axis = 0 : i32}> ({
  ^bb0(%l: f32, %r: f32):
    %mx = arith.maximumf %l, %r : f32
    tt.reduce.return %mx : f32
  }) : (tensor<128xf32>) -> f32
  %d = tt.precise_divf %m, %c448 : f32
  %s = arith.maximumf %d, %floor : f32
  %w = tt.splat %s : f32 -> tensor<128xf32>
  %y = tt.precise_divf %x, %w : tensor<128xf32>
  tt.return %y : tensor<128xf32>
}

// -----

// `only-epilogues` leaves a user's division alone and takes the mark off.
// EPILOGUE-LABEL: tt.func public @only_marked(
// EPILOGUE: arith.divf
// EPILOGUE: tt.precise_divf %{{.*}}, %{{.*}} : tensor<128xf32>
// EPILOGUE-NOT: epiq.epilogue
tt.func public @only_marked(%x: tensor<128xf32>, %out: tensor<128x!tt.ptr<f32>>) {
  %one = arith.constant dense<1.000000e+00> : tensor<128xf32>
  %e = math.exp %x : tensor<128xf32>
  %s = arith.addf %e, %one : tensor<128xf32>
  %epilogues = tt.precise_divf %x, %s {epiq.epilogue} : tensor<128xf32>
  %users = tt.precise_divf %epilogues, %s : tensor<128xf32>
  tt.store %out, %users : tensor<128x!tt.ptr<f32>>
  tt.return
}
