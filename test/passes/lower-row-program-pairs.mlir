// RUN: epiq-opt %s -split-input-file -epiq-lower-row-program | FileCheck %s
// RUN: epiq-opt %s -split-input-file -epiq-lower-row-program=block-cols=128 | FileCheck %s --check-prefix=CUT

// The two halves of interleaved pairs: one load of the row as it lies, taken
// apart in registers.
// CHECK-LABEL: tt.func public @interleaved(
// CHECK: %[[ROW:.*]] = tt.load %{{[^,]*}} : tensor<512x!tt.ptr<bf16>>
// CHECK: %[[PAIRS:.*]] = tt.reshape %[[ROW]] : tensor<512xbf16> -> tensor<256x2xbf16>
// CHECK: %[[GATE:.*]], %[[UP:.*]] = tt.split %[[PAIRS]] : tensor<256x2xbf16> -> tensor<256xbf16>
// CHECK-NOT: tt.load
// CHECK: arith.extf %[[GATE]]
// CHECK: arith.extf %[[UP]]

// A program's part of the row is 128 pairs.
// CUT-LABEL: tt.func public @interleaved(
// CUT: tt.load %{{[^,]*}} : tensor<256x!tt.ptr<bf16>>
// CUT: tt.reshape %{{.*}} : tensor<256xbf16> -> tensor<128x2xbf16>
// CUT: tt.store %{{.*}} : tensor<128x!tt.ptr<f32>>
%x = epiq.extern "x"() : () -> tensor<?x512xbf16>
%m = epiq.row_program @interleaved (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x512xbf16>) -> tensor<?x256xf32> {
^bb0(%in: tensor<?x512xbf16>):
  %p = epiq.reshape %in : tensor<?x512xbf16> to tensor<?x256x2xbf16>
  %g1 = epiq.slice %p dim 2 from 0 to 1 : tensor<?x256x2xbf16> to tensor<?x256x1xbf16>
  %g = epiq.reshape %g1 : tensor<?x256x1xbf16> to tensor<?x256xbf16>
  %u1 = epiq.slice %p dim 2 from 1 to 2 : tensor<?x256x2xbf16> to tensor<?x256x1xbf16>
  %u = epiq.reshape %u1 : tensor<?x256x1xbf16> to tensor<?x256xbf16>
  %gf = arith.extf %g : tensor<?x256xbf16> to tensor<?x256xf32>
  %uf = arith.extf %u : tensor<?x256xbf16> to tensor<?x256xf32>
  %y = arith.mulf %gf, %uf : tensor<?x256xf32>
  epiq.yield %y : tensor<?x256xf32>
}

// -----

// Every fourth element is no half of pairs: each is loaded alone.
// CHECK-LABEL: tt.func public @no_pairs(
// CHECK: tt.load %{{[^,]*}} : tensor<128x!tt.ptr<bf16>>
// CHECK-NOT: tt.split
// CUT-LABEL: tt.func public @no_pairs(
%x = epiq.extern "x"() : () -> tensor<?x512xbf16>
%m = epiq.row_program @no_pairs (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x512xbf16>) -> tensor<?x128xf32> {
^bb0(%in: tensor<?x512xbf16>):
  %p = epiq.reshape %in : tensor<?x512xbf16> to tensor<?x128x4xbf16>
  %g1 = epiq.slice %p dim 2 from 2 to 3 : tensor<?x128x4xbf16> to tensor<?x128x1xbf16>
  %g = epiq.reshape %g1 : tensor<?x128x1xbf16> to tensor<?x128xbf16>
  %gf = arith.extf %g : tensor<?x128xbf16> to tensor<?x128xf32>
  epiq.yield %gf : tensor<?x128xf32>
}
