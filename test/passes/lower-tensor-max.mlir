// RUN: epiq-opt %s -split-input-file -epiq-lower-row-program=block-rows=1 | FileCheck %s
// RUN: epiq-opt %s -split-input-file -epiq-lower-row-program=block-rows=4 | FileCheck %s --check-prefix=ROWS
// RUN: epiq-opt %s -split-input-file -epiq-lower-row-program=block-cols=64 | FileCheck %s --check-prefix=COLS

// Each program has a part of the maximum and one atomic on its bits. Lanes outside
// of the row hold 1 after the addition, which must not count.
// CHECK-LABEL: tt.func public @amax(%arg0: !tt.ptr<f32>
// CHECK: %[[Y:.*]] = arith.addf
// CHECK: %[[M:.*]] = math.absf %[[Y]]
// CHECK: %[[S:.*]] = arith.select %{{.*}}, %[[M]], %{{.*}} : tensor<256xi1>, tensor<256xf32>
// CHECK: %[[R:.*]] = "tt.reduce"(%[[S]]) <{axis = 0 : i32}>
// CHECK: arith.maximumf
// CHECK: %[[B:.*]] = tt.bitcast %[[R]] : f32 -> i32
// CHECK: %[[A:.*]] = arith.andi %[[B]], %{{.*}} : i32
// CHECK: %[[P:.*]] = tt.bitcast %arg1 : !tt.ptr<f32> -> !tt.ptr<i32>
// CHECK: tt.atomic_rmw umax, relaxed, gpu, %[[P]], %[[A]]
// CHECK-NOT: tt.store

// Rows that do not exist are masked as well.
// ROWS-LABEL: tt.func public @amax
// ROWS: arith.select %{{.*}} : tensor<4x256xi1>, tensor<4x256xf32>
// ROWS: tt.reshape %{{.*}} : tensor<4x256xf32> -> tensor<1024xf32>
// ROWS: tt.atomic_rmw umax

// A part of a row is a part of the maximum: no reduction spans the row.
// COLS-LABEL: tt.func public @amax
// COLS: "tt.reduce"(%{{.*}}) <{axis = 0 : i32}> ({
// COLS: (tensor<64xf32>) -> f32
// COLS: tt.atomic_rmw umax
%x = epiq.extern "x"() : () -> tensor<?x200xf32>
%m = epiq.row_program @amax (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x200xf32>) -> tensor<f32> {
^bb0(%in: tensor<?x200xf32>):
  %one = arith.constant dense<1.0> : tensor<f32>
  %b = epiq.broadcast %one : tensor<f32> to tensor<?x200xf32>
  %y = arith.addf %in, %b : tensor<?x200xf32>
  %a = math.absf %y : tensor<?x200xf32>
  %amax = epiq.reduce max %a dims [0, 1] : tensor<?x200xf32> to tensor<f32>
  epiq.yield %amax : tensor<f32>
}

// -----

// A number that all tokens share is stored with the first row.
// CHECK-LABEL: tt.func public @scale
// CHECK: %[[I:.*]] = tt.get_program_id x
// CHECK: %[[F:.*]] = arith.cmpi eq, %[[I]], %{{.*}} : i32
// CHECK: tt.store %arg3, %{{.*}}, %[[F]] : !tt.ptr<f32>

// ROWS-LABEL: tt.func public @scale
// ROWS: %[[F:.*]] = arith.cmpi eq, %{{.*}}, %{{.*}} : tensor<4x1xi32>
// ROWS: tt.store %{{.*}}, %{{.*}}, %[[F]] : tensor<4x1x!tt.ptr<f32>>

// COLS-LABEL: tt.func public @scale
// COLS-DAG: %[[I:.*]] = arith.divsi
// COLS-DAG: %[[J:.*]] = arith.remsi
// COLS: arith.cmpi eq, %[[J]]
// COLS: arith.cmpi eq, %[[I]]
// COLS: %[[F:.*]] = arith.andi
// COLS: tt.store %arg3, %{{.*}}, %[[F]] : !tt.ptr<f32>
%x = epiq.extern "x"() : () -> tensor<?x256xf32>
%m = epiq.extern "x"() : () -> tensor<f32>
%q:2 = epiq.row_program @scale (%x, %m) {layouts = [#epiq.layout<row_major>, #epiq.layout<row_major>]}
    : (tensor<?x256xf32>, tensor<f32>) -> (tensor<?x256xf32>, tensor<f32>) {
^bb0(%in: tensor<?x256xf32>, %amax: tensor<f32>):
  %s = arith.addf %amax, %amax : tensor<f32>
  %b = epiq.broadcast %s : tensor<f32> to tensor<?x256xf32>
  %y = arith.divf %in, %b : tensor<?x256xf32>
  epiq.yield %y, %s : tensor<?x256xf32>, tensor<f32>
}
