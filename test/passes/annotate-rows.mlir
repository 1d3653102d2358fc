// RUN: epiq-opt %s -epiq-annotate-rows -verify-diagnostics | FileCheck %s

// The tokens of [2, ?, 256] are 2 * ?, also where heads are split off or merged;
// the weight is shared by all of them.
// CHECK-LABEL: @norm_and_groups
// CHECK: epiq.row_program @norm (%{{.*}}) {column_unit = 64 : i64, full_row = true, input_row_like = [true, false],
// CHECK-SAME: num_rows = 2 : i64, row_width = 256 : i64}
func.func @norm_and_groups(%x: tensor<2x?x256xf32>, %w: tensor<256xf32>) -> tensor<2x?x4xf32> {
  %m = epiq.row_program @norm (%x, %w) {layouts = [#epiq.layout<row_major>]}
      : (tensor<2x?x256xf32>, tensor<256xf32>) -> tensor<2x?x4xf32> {
  ^bb0(%in: tensor<2x?x256xf32>, %weight: tensor<256xf32>):
    %s = epiq.reduce sum %in dims [2] keep : tensor<2x?x256xf32> to tensor<2x?x1xf32>
    %b = epiq.broadcast %s : tensor<2x?x1xf32> to tensor<2x?x256xf32>
    %c = epiq.broadcast %weight : tensor<256xf32> to tensor<2x?x256xf32>
    %y = arith.mulf %in, %b : tensor<2x?x256xf32>
    %z = arith.mulf %y, %c : tensor<2x?x256xf32>
    %g = epiq.reshape %z : tensor<2x?x256xf32> to tensor<2x?x4x64xf32>
    %r = epiq.reduce max %g dims [3] : tensor<2x?x4x64xf32> to tensor<2x?x4xf32>
    epiq.yield %r : tensor<2x?x4xf32>
  }
  return %m : tensor<2x?x4xf32>
}

// Groups let the columns be cut, and the row is that of the result, not that of
// an input of which halves are read.
// CHECK-LABEL: @groups
// CHECK: epiq.row_program @halves (%{{.*}}) {column_unit = 64 : i64, full_row = false, input_row_like = [true],
// CHECK-SAME: num_rows = 1 : i64, row_width = 256 : i64}
func.func @groups(%x: tensor<?x512xf32>) -> tensor<?x4xf32> {
  %m = epiq.row_program @halves (%x) {layouts = [#epiq.layout<column_major>]}
      : (tensor<?x512xf32>) -> tensor<?x4xf32> {
  ^bb0(%in: tensor<?x512xf32>):
    %a = epiq.slice %in dim 1 from 0 to 256 : tensor<?x512xf32> to tensor<?x256xf32>
    %b = epiq.slice %in dim 1 from 256 to 512 : tensor<?x512xf32> to tensor<?x256xf32>
    %y = arith.mulf %a, %b : tensor<?x256xf32>
    %g = epiq.reshape %y : tensor<?x256xf32> to tensor<?x4x64xf32>
    %r = epiq.reduce max %g dims [2] : tensor<?x4x64xf32> to tensor<?x4xf32>
    epiq.yield %r : tensor<?x4xf32>
  }
  return %m : tensor<?x4xf32>
}

// The rows of heads are rows of their own as long as nothing joins them.
// CHECK-LABEL: @heads
// CHECK: epiq.row_program @heads (%{{.*}}) {column_unit = 1 : i64, full_row = true,
// CHECK-SAME: num_rows = 8 : i64, row_width = 64 : i64}
func.func @heads(%x: tensor<?x8x64xf32>) -> tensor<?x8x1xf32> {
  %m = epiq.row_program @heads (%x) {layouts = [#epiq.layout<row_major>]}
      : (tensor<?x8x64xf32>) -> tensor<?x8x1xf32> {
  ^bb0(%in: tensor<?x8x64xf32>):
    %r = epiq.reduce max %in dims [2] keep : tensor<?x8x64xf32> to tensor<?x8x1xf32>
    epiq.yield %r : tensor<?x8x1xf32>
  }
  return %m : tensor<?x8x1xf32>
}

// One token is a token, and a weight that is given its shape is not.
// CHECK-LABEL: @one_token
// CHECK: epiq.row_program @one (%{{.*}}) {column_unit = 1 : i64, full_row = true, input_row_like = [true, false],
// CHECK-SAME: num_rows = 1 : i64, row_width = 64 : i64}
func.func @one_token(%x: tensor<1x64xf32>, %w: tensor<64xf32>) -> tensor<1x64xf32> {
  %m = epiq.row_program @one (%x, %w) {layouts = [#epiq.layout<row_major>]}
      : (tensor<1x64xf32>, tensor<64xf32>) -> tensor<1x64xf32> {
  ^bb0(%in: tensor<1x64xf32>, %weight: tensor<64xf32>):
    %r = epiq.reduce max %in dims [1] keep : tensor<1x64xf32> to tensor<1x1xf32>
    %b = epiq.broadcast %r : tensor<1x1xf32> to tensor<1x64xf32>
    %c = epiq.broadcast %weight : tensor<64xf32> to tensor<1x64xf32>
    %y = arith.mulf %b, %c : tensor<1x64xf32>
    %z = arith.mulf %in, %y : tensor<1x64xf32>
    epiq.yield %z : tensor<1x64xf32>
  }
  return %m : tensor<1x64xf32>
}

// Sequences of a batch of one: a shared value may keep the rank of the others.
// CHECK-LABEL: @batch_of_one
// CHECK: epiq.row_program @batch (%{{.*}}) {column_unit = 1 : i64, full_row = false, input_row_like = [true, false],
// CHECK-SAME: num_rows = 16 : i64, row_width = 64 : i64}
func.func @batch_of_one(%x: tensor<1x16x64xf32>, %w: tensor<1x1x64xf32>) -> tensor<1x16x64xf32> {
  %m = epiq.row_program @batch (%x, %w) {layouts = [#epiq.layout<row_major>]}
      : (tensor<1x16x64xf32>, tensor<1x1x64xf32>) -> tensor<1x16x64xf32> {
  ^bb0(%in: tensor<1x16x64xf32>, %weight: tensor<1x1x64xf32>):
    %c = epiq.broadcast %weight : tensor<1x1x64xf32> to tensor<1x16x64xf32>
    %z = arith.mulf %in, %c : tensor<1x16x64xf32>
    epiq.yield %z : tensor<1x16x64xf32>
  }
  return %m : tensor<1x16x64xf32>
}

// A maximum over all tokens starts at 0, and does not span a row.
// CHECK-LABEL: @amax
// CHECK: epiq.row_program @amax (%{{.*}}) {column_unit = 1 : i64, full_row = false, input_row_like = [true],
// CHECK-SAME: num_rows = 6 : i64, output_shared = [false, true], output_zeroed = [false, true], row_width = 64 : i64}
func.func @amax(%x: tensor<2x3x64xf32>) -> (tensor<2x3x64xf32>, tensor<f32>) {
  %m:2 = epiq.row_program @amax (%x) {layouts = [#epiq.layout<row_major>, #epiq.layout<row_major>]}
      : (tensor<2x3x64xf32>) -> (tensor<2x3x64xf32>, tensor<f32>) {
  ^bb0(%in: tensor<2x3x64xf32>):
    %a = math.absf %in : tensor<2x3x64xf32>
    %r = epiq.reduce max %a dims [0, 1, 2] : tensor<2x3x64xf32> to tensor<f32>
    epiq.yield %a, %r : tensor<2x3x64xf32>, tensor<f32>
  }
  return %m#0, %m#1 : tensor<2x3x64xf32>, tensor<f32>
}

// A program that the lowering would refuse (L3) goes back into the graph.
// CHECK-LABEL: @no_l3_cbrt
// CHECK-NEXT: %[[T:.*]] = math.cbrt
// CHECK-NEXT: return %[[T]]
func.func @no_l3_cbrt(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // expected-remark @+1 {{not fused: L3: math.cbrt cannot be part of a row program}}
  %m = epiq.row_program @cbrt (%x) {layouts = [#epiq.layout<row_major>]}
      : (tensor<?x64xf32>) -> tensor<?x64xf32> {
  ^bb0(%in: tensor<?x64xf32>):
    %t = math.cbrt %in : tensor<?x64xf32>
    epiq.yield %t : tensor<?x64xf32>
  }
  return %m : tensor<?x64xf32>
}
