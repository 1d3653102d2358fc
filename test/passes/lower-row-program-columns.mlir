// RUN: epiq-opt %s "-epiq-lower-row-program=block-rows=4 block-cols=256" | FileCheck %s

// Programs are counted along a row first: number 5 of rows cut in three has columns 512 to 767 of rows 4 to 7.
// CHECK-LABEL: tt.func public @half
// CHECK: %[[PID:.*]] = tt.get_program_id x
// CHECK: %[[BLOCK:.*]] = arith.divsi %[[PID]], %c3_i32
// CHECK: arith.muli %[[BLOCK]], %c4_i32
// CHECK: %[[COLUMN:.*]] = arith.remsi %[[PID]], %c3_i32
// CHECK-NOT: tt.get_program_id y
func.func @f(%x: tensor<?x768xf32>) -> tensor<?x768xbf16> {
  %y = epiq.row_program @half (%x) {layouts = [#epiq.layout<row_major>]}
      : (tensor<?x768xf32>) -> tensor<?x768xbf16> {
  ^bb0(%a: tensor<?x768xf32>):
    %b = arith.truncf %a : tensor<?x768xf32> to tensor<?x768xbf16>
    epiq.yield %b : tensor<?x768xbf16>
  }
  return %y : tensor<?x768xbf16>
}
