// RUN: epiq-opt %s -split-input-file -epiq-lower-row-program | FileCheck %s

// Columns are as far apart as there are rows, rounded up to a multiple of 4.
// CHECK-LABEL: tt.func public @tma_aligned(
// CHECK-SAME: %[[NUM:[^:]*]]: i32
// CHECK: %[[ROWS:.*]] = arith.extsi %[[NUM]] : i32 to i64
// CHECK: %[[UP:.*]] = arith.addi %[[ROWS]], %{{.*}} : i64
// CHECK: %[[FOURS:.*]] = arith.divsi %[[UP]], %{{.*}} : i64
// CHECK: %[[STRIDE:.*]] = arith.muli %[[FOURS]], %{{.*}} : i64
// CHECK: tt.splat %[[STRIDE]] : i64 -> tensor<4x1xi64>
// CHECK: tt.store %{{.*}}, %{{.*}} : tensor<4x1x!tt.ptr<f32>>
%x = epiq.extern "x"() : () -> tensor<?x128xf32>
%m = epiq.row_program @tma_aligned (%x) {layouts = [#epiq.layout<tma_aligned>]}
    : (tensor<?x128xf32>) -> tensor<?x4xf32> {
^bb0(%in: tensor<?x128xf32>):
  %g = epiq.reshape %in : tensor<?x128xf32> to tensor<?x4x32xf32>
  %amax = epiq.reduce max %g dims [2] : tensor<?x4x32xf32> to tensor<?x4xf32>
  %l = epiq.relayout %amax to tma_aligned : tensor<?x4xf32> to tensor<?x4xf32>
  epiq.yield %l : tensor<?x4xf32>
}

// -----

// Group g is byte g % 4 of a word; lanes 5 to 7 write the zeros behind the last
// of five groups.
// CHECK-LABEL: tt.func public @packed(
// CHECK-DAG: arith.constant dense<5> : tensor<8x1xi32>
// CHECK-DAG: arith.constant dense<8> : tensor<8x1xi32>
// CHECK: arith.select %{{.*}} : tensor<8x1xi1>, tensor<8x1xi8>
// CHECK: arith.divsi %[[G:.*]], %{{.*}} : tensor<8x1xi32>
// CHECK: arith.remsi %[[G]], %{{.*}} : tensor<8x1xi32>
// CHECK: tt.store %{{.*}}, %{{.*}}, %{{.*}} : tensor<8x1x!tt.ptr<i8>>
// CHECK-NOT: tt.store
%x = epiq.extern "x"() : () -> tensor<?x80xi8>
%m = epiq.row_program @packed (%x) {layouts = [#epiq.layout<packed_ue8m0>]}
    : (tensor<?x80xi8>) -> tensor<?x2xi32> {
^bb0(%in: tensor<?x80xi8>):
  %g = epiq.reshape %in : tensor<?x80xi8> to tensor<?x5x16xi8>
  %amax = epiq.reduce max %g dims [2] : tensor<?x5x16xi8> to tensor<?x5xi8>
  %l = epiq.relayout %amax to packed_ue8m0 : tensor<?x5xi8> to tensor<?x2xi32>
  epiq.yield %l : tensor<?x2xi32>
}

// -----

// Programs beyond the last row load nothing and store zeros: loads have a mask,
// the store has none. The row is two chunks of one group each: columns 2 and 3
// have no lanes, and get stores of their own.
// CHECK-LABEL: tt.func public @swizzled(
// CHECK-SAME: %[[NUM:[^:]*]]: i32
// CHECK: %[[ROW:.*]] = tt.get_program_id x
// CHECK: arith.cmpi slt, %[[ROW]], %[[NUM]] : i32
// CHECK: tt.load %{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}} : tensor<1x128x!tt.ptr<i8>>
// CHECK: arith.divsi %[[ROW]]
// CHECK: arith.remsi %[[ROW]]
// CHECK: arith.select
// CHECK: tt.store %{{[^,]*}}, %{{[^,]*}} : !tt.ptr<i8>
// CHECK: arith.select
// CHECK: tt.store %{{[^,]*}}, %{{[^,]*}} : !tt.ptr<i8>
// CHECK: tt.store %{{[^,]*}}, %{{[^,]*}} : !tt.ptr<i8>
// CHECK: tt.store %{{[^,]*}}, %{{[^,]*}} : !tt.ptr<i8>
// CHECK-NOT: tt.store
%x = epiq.extern "x"() : () -> tensor<?x384xi8>
%m = epiq.row_program @swizzled (%x) {layouts = [#epiq.layout<swizzled_128x4>]}
    : (tensor<?x384xi8>) -> tensor<?xi8> {
^bb0(%in: tensor<?x384xi8>):
  %g = epiq.reshape %in : tensor<?x384xi8> to tensor<?x3x128xi8>
  %amax = epiq.reduce max %g dims [2] : tensor<?x3x128xi8> to tensor<?x3xi8>
  %l = epiq.relayout %amax to swizzled_128x4 : tensor<?x3xi8> to tensor<?xi8>
  epiq.yield %l : tensor<?xi8>
}

// -----

// A layout without padding needs no mask where one program has one row.
// CHECK-LABEL: tt.func public @no_padding(
// CHECK-NOT: arith.cmpi
// CHECK: tt.return
%x = epiq.extern "x"() : () -> tensor<?x128xf32>
%m = epiq.row_program @no_padding (%x) {layouts = [#epiq.layout<tma_aligned>]}
    : (tensor<?x128xf32>) -> tensor<?x4xf32> {
^bb0(%in: tensor<?x128xf32>):
  %g = epiq.reshape %in : tensor<?x128xf32> to tensor<?x4x32xf32>
  %amax = epiq.reduce max %g dims [2] : tensor<?x4x32xf32> to tensor<?x4xf32>
  %l = epiq.relayout %amax to tma_aligned : tensor<?x4xf32> to tensor<?x4xf32>
  epiq.yield %l : tensor<?x4xf32>
}
