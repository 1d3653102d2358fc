// RUN: epiq-opt %s -split-input-file -epiq-lower-row-program | FileCheck %s --check-prefixes=CHECK,SM90
// RUN: epiq-opt %s -split-input-file -epiq-lower-row-program=target=100 | FileCheck %s --check-prefixes=CHECK,SM100

// A scale is a byte; a quotient by it a product with its inverse, which is computed for each group, not each value.
// CHECK-LABEL: tt.func public @mxfp8(
// CHECK-SAME: %{{.*}}: !tt.ptr<f32> {{.*}}, %{{.*}}: !tt.ptr<f8E4M3FN> {{.*}}, %{{.*}}: !tt.ptr<i8>
// CHECK: "tt.reduce"
// SM90-NOT: tt.elementwise_inline_asm
// SM90: arith.shrui %{{.*}} : tensor<4x1xi32>
// SM100: tt.elementwise_inline_asm "{{.*}}cvt.rp.satfinite.ue8m0x2.f32{{.*}}" {{.*}} : tensor<4x1xf32> -> tensor<4x1xi32>
// SM100: arith.maxui %{{.*}} : tensor<4x1xi32>
// CHECK-NOT: divf
// CHECK: %[[INVERSE:.*]] = arith.subi %{{.*}} : tensor<4x1xi32>
// CHECK: arith.shli %[[INVERSE]]
// CHECK: arith.mulf %{{.*}} : tensor<4x32xf32>
// CHECK: tt.store %{{.*}} : tensor<4x32x!tt.ptr<f8E4M3FN>>
%x = epiq.extern "x"() : () -> tensor<?x128xf32>
%m:2 = epiq.row_program @mxfp8 (%x) {layouts = [#epiq.layout<row_major>, #epiq.layout<row_major>]}
    : (tensor<?x128xf32>) -> (tensor<?x128xf8E4M3FN>, tensor<?x4x1xf8E8M0FNU>) {
^bb0(%in: tensor<?x128xf32>):
  %g = epiq.reshape %in : tensor<?x128xf32> to tensor<?x4x32xf32>
  %a = math.absf %g : tensor<?x4x32xf32>
  %r = epiq.reduce max %a dims [2] keep : tensor<?x4x32xf32> to tensor<?x4x1xf32>
  %s = epiq.to_ue8m0 rceil %r : tensor<?x4x1xf32> to tensor<?x4x1xf8E8M0FNU>
  %f = arith.extf %s : tensor<?x4x1xf8E8M0FNU> to tensor<?x4x1xf32>
  %b = epiq.broadcast %f : tensor<?x4x1xf32> to tensor<?x4x32xf32>
  %d = arith.divf %g, %b : tensor<?x4x32xf32>
  %c = arith.truncf %d : tensor<?x4x32xf32> to tensor<?x4x32xf8E4M3FN>
  %q = epiq.reshape %c : tensor<?x4x32xf8E4M3FN> to tensor<?x128xf8E4M3FN>
  epiq.yield %q, %s : tensor<?x128xf8E4M3FN>, tensor<?x4x1xf8E8M0FNU>
}

// -----

// Pairs are taken apart before they are converted: neighbours lie in one thread. Half as many bytes are stored.
// CHECK-LABEL: tt.func public @pack(
// CHECK: %[[PAIRS:.*]] = tt.reshape %{{.*}} : tensor<64xf32> -> tensor<32x2xf32>
// CHECK: %[[LOW:.*]], %[[HIGH:.*]] = tt.split %[[PAIRS]] : tensor<32x2xf32> -> tensor<32xf32>
// SM90: math.fma
// SM90: math.fma
// SM90: arith.trunci %{{.*}} : tensor<32xi32> to tensor<32xi8>
// SM100: tt.elementwise_inline_asm "{{.*}}cvt.rn.satfinite.e2m1x2.f32 b0, $5, $1;{{.*}}" {{.*}} %[[LOW]], %[[HIGH]] : tensor<32xf32>, tensor<32xf32> -> tensor<32xi8>
// CHECK: tt.store %{{.*}} : tensor<32x!tt.ptr<i8>>
%x = epiq.extern "x"() : () -> tensor<?x64xf32>
%m = epiq.row_program @pack (%x) {layouts = [#epiq.layout<packed_e2m1>]}
    : (tensor<?x64xf32>) -> tensor<?x32xi8> {
^bb0(%in: tensor<?x64xf32>):
  %t = arith.truncf %in : tensor<?x64xf32> to tensor<?x64xf4E2M1FN>
  %p = epiq.relayout %t to packed_e2m1 : tensor<?x64xf4E2M1FN> to tensor<?x32xi8>
  epiq.yield %p : tensor<?x32xi8>
}

// -----

// What is taken off the exponent is integer work on any target.
// CHECK-LABEL: tt.func public @floor(
// CHECK-NOT: tt.elementwise_inline_asm
// CHECK: arith.subi
// CHECK: arith.maxsi
// CHECK: arith.cmpf une
// CHECK: tt.store %{{.*}} : tensor<64x!tt.ptr<i8>>
%x = epiq.extern "x"() : () -> tensor<?x64xf32>
%m = epiq.row_program @floor (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x64xf32>) -> tensor<?x64xf8E8M0FNU> {
^bb0(%in: tensor<?x64xf32>):
  %s = epiq.to_ue8m0 floor %in less 2 : tensor<?x64xf32> to tensor<?x64xf8E8M0FNU>
  epiq.yield %s : tensor<?x64xf8E8M0FNU>
}
