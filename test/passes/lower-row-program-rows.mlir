// RUN: epiq-opt %s -split-input-file -epiq-lower-row-program | FileCheck %s

// A rotation of halves: each is loaded and stored where it lies, nothing moves between threads.
// CHECK-LABEL: tt.func public @rotated(
// CHECK: %[[LO:.*]] = tt.load %{{.*}} : tensor<1x1x64x!tt.ptr<f32>>
// CHECK: %[[HI:.*]] = tt.load %{{.*}} : tensor<1x1x64x!tt.ptr<f32>>
// CHECK: %[[A:.*]] = math.exp %[[LO]]
// CHECK: %[[B:.*]] = math.exp %[[HI]]
// CHECK: %[[C:.*]] = math.absf %[[B]]
// CHECK: tt.store %{{.*}}, %[[C]] :
// CHECK: tt.store %{{.*}}, %[[A]] :
// CHECK-NOT: tt.store
%x = epiq.extern "x"() : () -> tensor<?x128xf32>
%m = epiq.row_program @rotated (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x128xf32>) -> tensor<?x128xf32> {
^bb0(%in: tensor<?x128xf32>):
  %a = math.exp %in : tensor<?x128xf32>
  %lo = epiq.slice %a dim 1 from 0 to 64 : tensor<?x128xf32> to tensor<?x64xf32>
  %hi = epiq.slice %a dim 1 from 64 to 128 : tensor<?x128xf32> to tensor<?x64xf32>
  %n = math.absf %hi : tensor<?x64xf32>
  %y = epiq.concat %n, %lo dim 1 : tensor<?x64xf32>, tensor<?x64xf32> to tensor<?x128xf32>
  epiq.yield %y : tensor<?x128xf32>
}

// -----

// Rows of a table are loaded from where the index says.
// CHECK-LABEL: tt.func public @gathered(
// CHECK: %[[I:.*]] = tt.load %{{.*}} : !tt.ptr<i64>
// CHECK: %[[C64:.*]] = arith.constant 64 : i64
// CHECK: %[[OFFSET:.*]] = arith.muli %[[I]], %[[C64]]
// CHECK: %[[ROW:.*]] = tt.addptr %arg2, %[[OFFSET]]
// CHECK: tt.splat %[[ROW]]
// CHECK: tt.load
%x = epiq.extern "x"() : () -> tensor<?x64xf32>
%i = epiq.extern "i"() : () -> tensor<?xi64>
%t = epiq.extern "t"() : () -> tensor<16x64xf32>
%m = epiq.row_program @gathered (%x, %i, %t) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x64xf32>, tensor<?xi64>, tensor<16x64xf32>) -> tensor<?x64xf32> {
^bb0(%in: tensor<?x64xf32>, %index: tensor<?xi64>, %table: tensor<16x64xf32>):
  %r = epiq.gather_rows %table[%index] : tensor<16x64xf32>[tensor<?xi64>] to tensor<?x64xf32>
  %y = arith.addf %in, %r : tensor<?x64xf32>
  epiq.yield %y : tensor<?x64xf32>
}

// -----

// Rows are stored where the index says, those whose index is negative nowhere.
// CHECK-LABEL: tt.func public @scattered(
// CHECK: %[[I:.*]] = tt.load %{{.*}} : !tt.ptr<i32>
// CHECK: %[[WIDE:.*]] = arith.extsi %[[I]] : i32 to i64
// CHECK: %[[STORED:.*]] = arith.cmpi sge, %[[WIDE]],
// CHECK: tt.addptr %arg3,
// CHECK: %[[MASK:.*]] = tt.splat %[[STORED]] : i1 -> tensor<64xi1>
// CHECK: tt.store %{{.*}}, %{{.*}}, %[[MASK]] :
%x = epiq.extern "x"() : () -> tensor<?x64xf32>
%i = epiq.extern "i"() : () -> tensor<?xi32>
%c = epiq.extern "c"() : () -> tensor<16x64xf32>
%m = epiq.row_program @scattered (%x, %i, %c) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x64xf32>, tensor<?xi32>, tensor<16x64xf32>) -> tensor<16x64xf32> {
^bb0(%in: tensor<?x64xf32>, %index: tensor<?xi32>, %cache: tensor<16x64xf32>):
  %y = math.exp %in : tensor<?x64xf32>
  %s = epiq.scatter_rows %y into %cache[%index] : tensor<?x64xf32> into tensor<16x64xf32>[tensor<?xi32>]
  epiq.yield %s : tensor<16x64xf32>
}

// -----

// Results of several widths: programs are dealt out among them, two a row of the grid.
// CHECK-LABEL: tt.func public @segments(
// CHECK: %[[TWO:.*]] = arith.constant 2 : i32
// CHECK: %[[ID:.*]] = tt.get_program_id x
// CHECK: %[[COLUMN:.*]] = arith.remsi %[[ID]], %[[TWO]]
// CHECK: scf.if
// CHECK: arith.divsi %[[ID]], %[[TWO]]
// CHECK: tt.store %{{.*}} : tensor<64x!tt.ptr<f32>>
// CHECK: } else {
// CHECK: tt.store %{{.*}} : tensor<128x!tt.ptr<f32>>
%x = epiq.extern "x"() : () -> tensor<?x64xf32>
%z = epiq.extern "z"() : () -> tensor<?x128xf32>
%m:2 = epiq.row_program @segments (%x, %z) {layouts = [#epiq.layout<row_major>, #epiq.layout<row_major>]}
    : (tensor<?x64xf32>, tensor<?x128xf32>) -> (tensor<?x64xf32>, tensor<?x128xf32>) {
^bb0(%in: tensor<?x64xf32>, %other: tensor<?x128xf32>):
  %y = math.exp %in : tensor<?x64xf32>
  %w = math.absf %other : tensor<?x128xf32>
  epiq.yield %y, %w : tensor<?x64xf32>, tensor<?x128xf32>
}
