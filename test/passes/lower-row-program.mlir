// RUN: epiq-opt %s -split-input-file -epiq-lower-row-program | FileCheck %s
// RUN: epiq-opt %s -split-input-file -epiq-lower-row-program=block-rows=4 | FileCheck %s --check-prefix=ROWS

// Reduced dimensions stay with size 1, so that reshapes leave no trace; one row
// has no dimension of its own, and what is one number per row is a scalar.
// CHECK-LABEL: tt.func public @group_amax(
// CHECK-SAME: %[[X:.*]]: !tt.ptr<f32> {tt.divisibility = 16 : i32}, %[[M:.*]]: !tt.ptr<f32> {tt.divisibility = 16 : i32},
// CHECK-SAME: %[[NUM:.*]]: i32, %[[STRIDE:.*]]: i64 {tt.divisibility = 16 : i32}) attributes {noinline = false}
// CHECK: %[[PID:.*]] = tt.get_program_id x
// CHECK: %[[ROW:.*]] = arith.extsi %[[PID]] : i32 to i64
// CHECK: %[[START:.*]] = arith.muli %[[ROW]], %[[STRIDE]] : i64
// CHECK: tt.addptr %[[X]], %[[START]] : !tt.ptr<f32>, i64
// CHECK: %[[V:.*]] = tt.load %{{[^,]*}} : tensor<2x128x!tt.ptr<f32>>
// CHECK: %[[A:.*]] = math.absf %[[V]] : tensor<2x128xf32>
// CHECK: %[[R:.*]] = "tt.reduce"(%[[A]]) <{axis = 1 : i32}>
// CHECK: arith.maximumf
// CHECK: %[[E:.*]] = tt.expand_dims %[[R]] {axis = 1 : i32} : tensor<2xf32> -> tensor<2x1xf32>
// CHECK: tt.store %{{.*}}, %[[E]] : tensor<2x1x!tt.ptr<f32>>
// CHECK-NEXT: tt.return

// Several rows of a program are masked, and their offsets are wide.
// ROWS-LABEL: tt.func public @group_amax(
// ROWS: arith.extsi %{{.*}} : tensor<4x1x1xi32> to tensor<4x1x1xi64>
// ROWS: arith.cmpi slt
// ROWS: tt.load %{{.*}}, %{{.*}}, %{{.*}} : tensor<4x2x128x!tt.ptr<f32>>
// ROWS: "tt.reduce"(%{{.*}}) <{axis = 2 : i32}>
// ROWS: tt.store %{{.*}}, %{{.*}}, %{{.*}} : tensor<4x2x1x!tt.ptr<f32>>
%x = epiq.extern "x"() : () -> tensor<?x256xf32>
%m = epiq.row_program @group_amax (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x256xf32>) -> tensor<?x2xf32> {
^bb0(%in: tensor<?x256xf32>):
  %a = math.absf %in : tensor<?x256xf32>
  %g = epiq.reshape %a : tensor<?x256xf32> to tensor<?x2x128xf32>
  %amax = epiq.reduce max %g dims [2] : tensor<?x2x128xf32> to tensor<?x2xf32>
  epiq.yield %amax : tensor<?x2xf32>
}

// -----

// A sum over a padded row: the lanes past its end are 0 from the load on.
// Division and square root are the correctly rounded ones, casts stay.
// CHECK-LABEL: tt.func public @root_mean_square(
// CHECK: %[[MASK:.*]] = arith.cmpi slt, %{{.*}}, %{{.*}} : tensor<64xi32>
// CHECK: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : tensor<64xbf16>
// CHECK: %[[V:.*]] = tt.load %{{.*}}, %[[MASK]], %[[ZERO]]
// CHECK: %[[W:.*]] = arith.extf %[[V]] : tensor<64xbf16> to tensor<64xf32>
// CHECK: %[[SQ:.*]] = arith.mulf %[[W]], %[[W]]
// CHECK: %[[SUM:.*]] = "tt.reduce"(%[[SQ]]) <{axis = 0 : i32}>
// CHECK: }) : (tensor<64xf32>) -> f32
// CHECK: %[[N:.*]] = arith.constant 4.800000e+01 : f32
// CHECK: %[[MEAN:.*]] = tt.precise_divf %[[SUM]], %[[N]] : f32
// CHECK: %[[ROOT:.*]] = tt.precise_sqrt %[[MEAN]] : f32
// CHECK: %[[ROUND:.*]] = arith.truncf %[[ROOT]] : f32 to bf16
// CHECK: %[[WIDE:.*]] = arith.extf %[[ROUND]] : bf16 to f32
// CHECK: tt.store %{{.*}}, %[[WIDE]] : !tt.ptr<f32>
%x = epiq.extern "x"() : () -> tensor<?x48xbf16>
%m = epiq.row_program @root_mean_square (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x48xbf16>) -> tensor<?x1xf32> {
^bb0(%in: tensor<?x48xbf16>):
  %wide = arith.extf %in : tensor<?x48xbf16> to tensor<?x48xf32>
  %sq = arith.mulf %wide, %wide : tensor<?x48xf32>
  %sum = epiq.reduce sum %sq dims [1] keep : tensor<?x48xf32> to tensor<?x1xf32>
  %c = arith.constant dense<48.0> : tensor<f32>
  %n = epiq.broadcast %c : tensor<f32> to tensor<?x1xf32>
  %mean = arith.divf %sum, %n : tensor<?x1xf32>
  %root = math.sqrt %mean : tensor<?x1xf32>
  %rounded = arith.truncf %root : tensor<?x1xf32> to tensor<?x1xbf16>
  %again = arith.extf %rounded : tensor<?x1xbf16> to tensor<?x1xf32>
  epiq.yield %again : tensor<?x1xf32>
}

// -----

// A padded lane that may hold anything gets the neutral element.
// CHECK-LABEL: tt.func public @no_zero_padding(
// CHECK: %[[MASK:.*]] = arith.cmpi slt
// CHECK: %[[E:.*]] = math.exp
// CHECK: %[[INF:.*]] = arith.constant dense<0x7F800000> : tensor<64xf32>
// CHECK: %[[S:.*]] = arith.select %[[MASK]], %[[E]], %[[INF]]
// CHECK: "tt.reduce"(%[[S]])
// CHECK: arith.minimumf
%x = epiq.extern "x"() : () -> tensor<?x48xf32>
%m = epiq.row_program @no_zero_padding (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x48xf32>) -> tensor<?x1xf32> {
^bb0(%in: tensor<?x48xf32>):
  %e = math.exp %in : tensor<?x48xf32>
  %least = epiq.reduce min %e dims [1] keep : tensor<?x48xf32> to tensor<?x1xf32>
  epiq.yield %least : tensor<?x1xf32>
}

// -----

// Halves of one input are two loads of the same row, 128 elements apart; the
// column-major scale of group g and row m goes to g * rows + m.
// CHECK-LABEL: tt.func public @halves(
// CHECK-SAME: %[[X:[^:]*]]: !tt.ptr<bf16>
// CHECK-SAME: %[[S:[^:]*]]: !tt.ptr<bf16>
// CHECK-SAME: %[[NUM:[^:]*]]: i32
// CHECK: tt.load %{{[^,]*}} : tensor<4x32x!tt.ptr<bf16>>
// CHECK: arith.constant 128 : i64
// CHECK: tt.load %{{[^,]*}} : tensor<4x32x!tt.ptr<bf16>>
// CHECK: %[[WIDE:.*]] = arith.extsi %[[NUM]] : i32 to i64
// CHECK: tt.splat %[[WIDE]] : i64 -> tensor<4x1xi64>
// CHECK: tt.store %{{.*}}, %{{.*}} : tensor<4x1x!tt.ptr<bf16>>
%x = epiq.extern "x"() : () -> tensor<?x256xbf16>
%m = epiq.row_program @halves (%x) {layouts = [#epiq.layout<column_major>]}
    : (tensor<?x256xbf16>) -> tensor<?x4xbf16> {
^bb0(%in: tensor<?x256xbf16>):
  %a = epiq.slice %in dim 1 from 0 to 128 : tensor<?x256xbf16> to tensor<?x128xbf16>
  %b = epiq.slice %in dim 1 from 128 to 256 : tensor<?x256xbf16> to tensor<?x128xbf16>
  %c = arith.maximumf %a, %b : tensor<?x128xbf16>
  %g = epiq.reshape %c : tensor<?x128xbf16> to tensor<?x4x32xbf16>
  %amax = epiq.reduce max %g dims [2] : tensor<?x4x32xbf16> to tensor<?x4xbf16>
  %l = epiq.relayout %amax to column_major : tensor<?x4xbf16> to tensor<?x4xbf16>
  epiq.yield %l : tensor<?x4xbf16>
}

// -----

// Composites are only names; fp8 beside bf16
// is stored 8 bytes at a time, so that a thread keeps the elements it loaded.
// CHECK-LABEL: tt.func public @clamped(
// CHECK-SAME: !tt.ptr<bf16> {tt.divisibility = 16 : i32}, %{{[^:]*}}: !tt.ptr<f8E4M3FN> {tt.divisibility = 8 : i32}
// CHECK: %[[MIN:.*]] = arith.minimumf
// CHECK-NEXT: tt.fp_to_fp %[[MIN]], rounding = rtne : tensor<64xf32> -> tensor<64xf8E4M3FN>
%x = epiq.extern "x"() : () -> tensor<?x64xbf16>
%m = epiq.row_program @clamped (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x64xbf16>) -> tensor<?x64xf8E4M3FN> {
^bb0(%in: tensor<?x64xbf16>):
  %q = epiq.composite "quantize" (%in) : (tensor<?x64xbf16>) -> tensor<?x64xf8E4M3FN> {
  ^bb0(%a: tensor<?x64xbf16>):
    %wide = arith.extf %a : tensor<?x64xbf16> to tensor<?x64xf32>
    %c = arith.constant dense<-448.0> : tensor<f32>
    %d = arith.constant dense<448.0> : tensor<f32>
    %low = epiq.broadcast %c : tensor<f32> to tensor<?x64xf32>
    %high = epiq.broadcast %d : tensor<f32> to tensor<?x64xf32>
    %max = arith.maximumf %wide, %low : tensor<?x64xf32>
    %min = arith.minimumf %max, %high : tensor<?x64xf32>
    %y = arith.truncf %min : tensor<?x64xf32> to tensor<?x64xf8E4M3FN>
    epiq.yield %y : tensor<?x64xf8E4M3FN>
  }
  epiq.yield %q : tensor<?x64xf8E4M3FN>
}

// -----

// 384 is 3 chunks of 128, without a mask: all are loaded first, squares are
// added up lane by lane from the first to the last, and one tile is reduced.
// What is one number per row is there once, and each chunk has its result.
// CHECK-LABEL: tt.func public @chunks(
// CHECK-SAME: %[[X:[^:]*]]: !tt.ptr<f32>
// CHECK-NOT: arith.cmpi
// CHECK: %[[A:.*]] = tt.load %{{[^,]*}} : tensor<128x!tt.ptr<f32>>
// CHECK: arith.constant 128 : i64
// CHECK: %[[B:.*]] = tt.load %{{[^,]*}} : tensor<128x!tt.ptr<f32>>
// CHECK: arith.constant 256 : i64
// CHECK: %[[C:.*]] = tt.load %{{[^,]*}} : tensor<128x!tt.ptr<f32>>
// CHECK: %[[AA:.*]] = arith.mulf %[[A]], %[[A]]
// CHECK: %[[BB:.*]] = arith.mulf %[[B]], %[[B]]
// CHECK: %[[CC:.*]] = arith.mulf %[[C]], %[[C]]
// CHECK: %[[AB:.*]] = arith.addf %[[AA]], %[[BB]]
// CHECK: %[[ABC:.*]] = arith.addf %[[AB]], %[[CC]]
// CHECK: %[[SUM:.*]] = "tt.reduce"(%[[ABC]]) <{axis = 0 : i32}>
// CHECK: %[[SUMS:.*]] = tt.splat %[[SUM]] : f32 -> tensor<128xf32>
// CHECK: %[[YA:.*]] = arith.mulf %[[A]], %[[SUMS]]
// CHECK: %[[YB:.*]] = arith.mulf %[[B]], %[[SUMS]]
// CHECK: %[[YC:.*]] = arith.mulf %[[C]], %[[SUMS]]
// CHECK: tt.store %{{.*}}, %[[YA]] : tensor<128x!tt.ptr<f32>>
// CHECK: tt.store %{{.*}}, %[[YB]] : tensor<128x!tt.ptr<f32>>
// CHECK: tt.store %{{.*}}, %[[YC]] : tensor<128x!tt.ptr<f32>>
%x = epiq.extern "x"() : () -> tensor<?x384xf32>
%m = epiq.row_program @chunks (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x384xf32>) -> tensor<?x384xf32> {
^bb0(%in: tensor<?x384xf32>):
  %sq = arith.mulf %in, %in : tensor<?x384xf32>
  %sum = epiq.reduce sum %sq dims [1] keep : tensor<?x384xf32> to tensor<?x1xf32>
  %sums = epiq.broadcast %sum : tensor<?x1xf32> to tensor<?x384xf32>
  %y = arith.mulf %in, %sums : tensor<?x384xf32>
  epiq.yield %y : tensor<?x384xf32>
}

// -----

// Groups are reduced in their chunk; a chunk of column-major scales starts
// after those before it: chunk 1 at group 2, which is 2 * rows.
// CHECK-LABEL: tt.func public @chunks_of_groups(
// CHECK: "tt.reduce"(%{{.*}}) <{axis = 1 : i32}>
// CHECK: "tt.reduce"(%{{.*}}) <{axis = 1 : i32}>
// CHECK: "tt.reduce"(%{{.*}}) <{axis = 1 : i32}>
// CHECK-NOT: "tt.reduce"
// CHECK: %[[WIDE:.*]] = arith.extsi %{{.*}} : i32 to i64
// CHECK: tt.store %{{.*}}, %{{.*}} : tensor<2x1x!tt.ptr<f32>>
// CHECK: arith.muli %{{.*}}, %[[WIDE]] : i64
// CHECK: tt.store %{{.*}}, %{{.*}} : tensor<2x1x!tt.ptr<f32>>
%x = epiq.extern "x"() : () -> tensor<?x384xf32>
%m = epiq.row_program @chunks_of_groups (%x) {layouts = [#epiq.layout<column_major>]}
    : (tensor<?x384xf32>) -> tensor<?x6xf32> {
^bb0(%in: tensor<?x384xf32>):
  %g = epiq.reshape %in : tensor<?x384xf32> to tensor<?x6x64xf32>
  %amax = epiq.reduce max %g dims [2] : tensor<?x6x64xf32> to tensor<?x6xf32>
  %l = epiq.relayout %amax to column_major : tensor<?x6xf32> to tensor<?x6xf32>
  epiq.yield %l : tensor<?x6xf32>
}
