// RUN: epiq-opt %s -epiq-group -verify-diagnostics | FileCheck %s

// A sum that is stored and quantized: the example of Passes.td.
// CHECK-LABEL: @add_quantize
func.func @add_quantize(%x: tensor<?x256xbf16>, %r: tensor<?x256xbf16>, %scale: tensor<f32>) -> (tensor<?x256xf8E4M3FN>, tensor<?x256xbf16>) {
  // CHECK-NEXT: %[[P:.*]]:2 = epiq.row_program @fused_add_quantize_0 (%arg0, %arg1, %arg2) {layouts = [#epiq.layout<row_major>, #epiq.layout<row_major>]} : (tensor<?x256xbf16>, tensor<?x256xbf16>, tensor<f32>) -> (tensor<?x256xbf16>, tensor<?x256xf8E4M3FN>)
  // CHECK: %[[H:.*]] = arith.truncf
  // CHECK: %[[Q:.*]] = epiq.composite "quantize" (%[[H]], %{{.*}})
  // CHECK: epiq.yield %[[H]], %[[Q]]
  // CHECK: return %[[P]]#1, %[[P]]#0
  %a = arith.extf %x : tensor<?x256xbf16> to tensor<?x256xf32>
  %b = arith.extf %r : tensor<?x256xbf16> to tensor<?x256xf32>
  %s = arith.addf %a, %b : tensor<?x256xf32>
  %h = arith.truncf %s : tensor<?x256xf32> to tensor<?x256xbf16>
  // expected-remark @+1 {{fused: quantize(e4m3 tensor static) into add}}
  %q = epiq.composite "quantize" (%h, %scale)
      {format = #epiq.format<element = f8E4M3FN, granularity = tensor, static = true>}
      : (tensor<?x256xbf16>, tensor<f32>) -> tensor<?x256xf8E4M3FN> {
  ^bb0(%y: tensor<?x256xbf16>, %t: tensor<f32>):
    %0 = arith.extf %y : tensor<?x256xbf16> to tensor<?x256xf32>
    %1 = epiq.broadcast %t : tensor<f32> to tensor<?x256xf32>
    %2 = arith.divf %0, %1 : tensor<?x256xf32>
    %3 = arith.truncf %2 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %3 : tensor<?x256xf8E4M3FN>
  }
  return %q, %h : tensor<?x256xf8E4M3FN>, tensor<?x256xbf16>
}

// Groups of 128 in a batch flattened to tokens, behind a norm; the scale goes out
// column-major. The row is the norm's, not one group.
// CHECK-LABEL: @norm_quantize_group
func.func @norm_quantize_group(%x: tensor<2x?x256xf32>, %w: tensor<256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<?x2xf32>) {
  // CHECK-NEXT: %[[P:.*]]:2 = epiq.row_program @fused_rms_norm_quantize_1 (%arg0, %arg1) {layouts = [#epiq.layout<row_major>, #epiq.layout<column_major>]} : (tensor<2x?x256xf32>, tensor<256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<?x2xf32>)
  // CHECK: %[[Y:.*]] = epiq.composite "rms_norm"
  // CHECK: %[[R:.*]] = epiq.reshape %[[Y]]
  // CHECK: %[[Q:.*]]:2 = epiq.composite "quantize" (%[[R]])
  // CHECK: %[[C:.*]] = epiq.relayout %[[Q]]#1 to column_major
  // CHECK: epiq.yield %[[Q]]#0, %[[C]]
  // CHECK: return %[[P]]#0, %[[P]]#1
  %y = epiq.composite "rms_norm" (%x, %w) {eps = 1.0e-05 : f32}
      : (tensor<2x?x256xf32>, tensor<256xf32>) -> tensor<2x?x256xf32> {
  ^bb0(%a: tensor<2x?x256xf32>, %b: tensor<256xf32>):
    %c = arith.constant dense<1.0e-05> : tensor<f32>
    %cb = epiq.broadcast %c : tensor<f32> to tensor<2x?x1xf32>
    %0 = arith.mulf %a, %a : tensor<2x?x256xf32>
    %1 = epiq.reduce sum %0 dims [2] keep : tensor<2x?x256xf32> to tensor<2x?x1xf32>
    %2 = arith.addf %1, %cb : tensor<2x?x1xf32>
    %3 = math.rsqrt %2 : tensor<2x?x1xf32>
    %4 = epiq.broadcast %3 : tensor<2x?x1xf32> to tensor<2x?x256xf32>
    %5 = arith.mulf %a, %4 : tensor<2x?x256xf32>
    %6 = epiq.broadcast %b : tensor<256xf32> to tensor<2x?x256xf32>
    %7 = arith.mulf %5, %6 : tensor<2x?x256xf32>
    epiq.yield %7 : tensor<2x?x256xf32>
  }
  %r = epiq.reshape %y : tensor<2x?x256xf32> to tensor<?x256xf32>
  // expected-remark @+1 {{fused: quantize(e4m3 group 128) into rms_norm}}
  %q:2 = epiq.composite "quantize" (%r)
      {format = #epiq.format<element = f8E4M3FN, granularity = group, group_size = 128>}
      : (tensor<?x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<?x2xf32>) {
  ^bb0(%a: tensor<?x256xf32>):
    %max = arith.constant dense<448.0> : tensor<f32>
    %mb = epiq.broadcast %max : tensor<f32> to tensor<?x2x1xf32>
    %0 = epiq.reshape %a : tensor<?x256xf32> to tensor<?x2x128xf32>
    %1 = math.absf %0 : tensor<?x2x128xf32>
    %2 = epiq.reduce max %1 dims [2] keep : tensor<?x2x128xf32> to tensor<?x2x1xf32>
    %3 = arith.divf %2, %mb : tensor<?x2x1xf32>
    %4 = epiq.broadcast %3 : tensor<?x2x1xf32> to tensor<?x2x128xf32>
    %5 = arith.divf %0, %4 : tensor<?x2x128xf32>
    %6 = arith.truncf %5 : tensor<?x2x128xf32> to tensor<?x2x128xf8E4M3FN>
    %7 = epiq.reshape %6 : tensor<?x2x128xf8E4M3FN> to tensor<?x256xf8E4M3FN>
    %8 = epiq.reshape %3 : tensor<?x2x1xf32> to tensor<?x2xf32>
    epiq.yield %7, %8 : tensor<?x256xf8E4M3FN>, tensor<?x2xf32>
  }
  %c = epiq.relayout %q#1 to column_major : tensor<?x2xf32> to tensor<?x2xf32>
  return %q#0, %c : tensor<?x256xf8E4M3FN>, tensor<?x2xf32>
}

// Two quantizations of one value share a program; the sum is read by others, the
// widened sum stays outside and reads it.
// CHECK-LABEL: @two_quantizations
func.func @two_quantizations(%x: tensor<?x256xbf16>, %r: tensor<?x256xbf16>) -> (tensor<?x256xf8E4M3FN>, tensor<?x256xf8E4M3FN>, tensor<?x256xf32>) {
  // CHECK-NEXT: %[[P:.*]]:3 = epiq.row_program @fused_add_quantize_2 (%arg0, %arg1)
  // CHECK: epiq.yield %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x256xbf16>, tensor<?x256xf8E4M3FN>, tensor<?x256xf8E4M3FN>
  // CHECK: %[[F:.*]] = arith.extf %[[P]]#0
  // CHECK: return %[[P]]#1, %[[P]]#2, %[[F]]
  %a = arith.extf %x : tensor<?x256xbf16> to tensor<?x256xf32>
  %b = arith.extf %r : tensor<?x256xbf16> to tensor<?x256xf32>
  %s = arith.addf %a, %b : tensor<?x256xf32>
  %h = arith.truncf %s : tensor<?x256xf32> to tensor<?x256xbf16>
  %f = arith.extf %h : tensor<?x256xbf16> to tensor<?x256xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into add}}
  %q0 = arith.truncf %f : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  // expected-remark @+1 {{fused: cast(e4m3) into add}}
  %q1 = arith.truncf %f : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q0, %q1, %f : tensor<?x256xf8E4M3FN>, tensor<?x256xf8E4M3FN>, tensor<?x256xf32>
}

// Two quantizations of a graph input share a program, too, though neither has a
// producer.
// CHECK-LABEL: @siblings
func.func @siblings(%x: tensor<?x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<?x256xf8E4M3FN>) {
  // CHECK-NEXT: %[[P:.*]]:2 = epiq.row_program @quantize_3 (%arg0)
  // CHECK-NOT: epiq.row_program
  // expected-remark @+1 {{not fused: cast(e4m3): F5: its input is an input of the graph}}
  %q0 = arith.truncf %x : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  // expected-remark @+1 {{not fused: cast(e4m3): F5: its input is an input of the graph}}
  %q1 = arith.truncf %x : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q0, %q1 : tensor<?x256xf8E4M3FN>, tensor<?x256xf8E4M3FN>
}

// Halves of one tensor are read in place; the reciprocal of the scale, narrower
// than a row, is computed in the same program.
// CHECK-LABEL: @slices_and_narrow_consumer
func.func @slices_and_narrow_consumer(%x: tensor<?x512xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<?x1xf32>) {
  // CHECK-NEXT: %[[P:.*]]:2 = epiq.row_program @fused_mul_quantize_4 (%arg0)
  // CHECK: epiq.slice %{{.*}} dim 1 from 0 to 256
  // CHECK: epiq.slice %{{.*}} dim 1 from 256 to 512
  // CHECK: epiq.composite "quantize"
  // CHECK: %[[I:.*]] = arith.divf %{{.*}}, %{{.*}}#1
  // CHECK-NEXT: epiq.yield %{{.*}}, %[[I]]
  // CHECK: return %[[P]]#0, %[[P]]#1
  %one = arith.constant dense<1.0> : tensor<f32>
  %ones = epiq.broadcast %one : tensor<f32> to tensor<?x1xf32>
  %g = epiq.slice %x dim 1 from 0 to 256 : tensor<?x512xf32> to tensor<?x256xf32>
  %u = epiq.slice %x dim 1 from 256 to 512 : tensor<?x512xf32> to tensor<?x256xf32>
  %y = arith.mulf %g, %u : tensor<?x256xf32>
  // expected-remark @+1 {{fused: quantize(e4m3 token) into mul}}
  %q:2 = epiq.composite "quantize" (%y)
      {format = #epiq.format<element = f8E4M3FN, granularity = token>}
      : (tensor<?x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<?x1xf32>) {
  ^bb0(%a: tensor<?x256xf32>):
    %0 = math.absf %a : tensor<?x256xf32>
    %1 = epiq.reduce max %0 dims [1] keep : tensor<?x256xf32> to tensor<?x1xf32>
    %2 = epiq.broadcast %1 : tensor<?x1xf32> to tensor<?x256xf32>
    %3 = arith.divf %a, %2 : tensor<?x256xf32>
    %4 = arith.truncf %3 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %4, %1 : tensor<?x256xf8E4M3FN>, tensor<?x1xf32>
  }
  %i = arith.divf %ones, %q#1 : tensor<?x1xf32>
  return %q#0, %i : tensor<?x256xf8E4M3FN>, tensor<?x1xf32>
}

// A torch node joins with all of its helper ops or not at all: the sum's widened
// operand is transposed (F3), so the whole node stays outside.
// CHECK-LABEL: @whole_nodes
func.func @whole_nodes(%x: tensor<?x256xbf16>, %r: tensor<256x?xf32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK: %[[S:.*]] = arith.addf
  // CHECK-NEXT: epiq.row_program @quantize_5 (%[[S]])
  %a = arith.extf %x : tensor<?x256xbf16> to tensor<?x256xf32> loc("add.aux")
  %t = epiq.transpose %r perm [1, 0] : tensor<256x?xf32> to tensor<?x256xf32> loc("add.aux")
  %s = arith.addf %a, %t : tensor<?x256xf32> loc("add")
  // expected-remark @+1 {{not fused: cast(e4m3): F3: epiq.transpose moves the tokens or the row of tensor<256x?xf32>}}
  %q = arith.truncf %s : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q : tensor<?x256xf8E4M3FN>
}

// A sum over tokens has an order (F1).
// CHECK-LABEL: @no_group_f1_sum
func.func @no_group_f1_sum(%x: tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK-NOT: epiq.row_program
  // expected-remark @+1 {{not fused: quantize(e4m3 tensor): F1: epiq.reduce sum of tensor<?x256xf32> combines several tokens}}
  %q = epiq.composite "quantize" (%x)
      {format = #epiq.format<element = f8E4M3FN, granularity = tensor>}
      : (tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  ^bb0(%a: tensor<?x256xf32>):
    %0 = math.absf %a : tensor<?x256xf32>
    %1 = epiq.reduce sum %0 dims [0, 1] : tensor<?x256xf32> to tensor<f32>
    %2 = epiq.broadcast %1 : tensor<f32> to tensor<?x256xf32>
    %3 = arith.divf %a, %2 : tensor<?x256xf32>
    %4 = arith.truncf %3 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %4 : tensor<?x256xf8E4M3FN>
  }
  return %q : tensor<?x256xf8E4M3FN>
}

// The scale of the whole tensor needs all tokens first (F9): epiq-split-amax has
// to come before.
// CHECK-LABEL: @no_group_f9
func.func @no_group_f9(%x: tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK-NOT: epiq.row_program
  // expected-remark @+1 {{not fused: quantize(e4m3 tensor): F9: the same program would read the maximum of all tokens, a tensor<f32>}}
  %q = epiq.composite "quantize" (%x)
      {format = #epiq.format<element = f8E4M3FN, granularity = tensor>}
      : (tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  ^bb0(%a: tensor<?x256xf32>):
    %0 = math.absf %a : tensor<?x256xf32>
    %1 = epiq.reduce max %0 dims [0, 1] : tensor<?x256xf32> to tensor<f32>
    %2 = epiq.broadcast %1 : tensor<f32> to tensor<?x256xf32>
    %3 = arith.divf %a, %2 : tensor<?x256xf32>
    %4 = arith.truncf %3 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %4 : tensor<?x256xf8E4M3FN>
  }
  return %q : tensor<?x256xf8E4M3FN>
}

// A matrix product is no row op (F2): the cast is a program of its own.
// CHECK-LABEL: @no_group_f2_extern
func.func @no_group_f2_extern(%a: tensor<?x64xf32>, %b: tensor<64x256xf32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK: %[[C:.*]] = epiq.extern "aten.mm.default"
  // CHECK-NEXT: epiq.row_program @quantize_6 (%[[C]])
  %c = epiq.extern "aten.mm.default"(%a, %b) : (tensor<?x64xf32>, tensor<64x256xf32>) -> tensor<?x256xf32>
  // expected-remark @+1 {{not fused: cast(e4m3): F2: aten.mm.default is not a row op}}
  %q = arith.truncf %c : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q : tensor<?x256xf8E4M3FN>
}

// A transpose moves tokens into the row (F3).
// CHECK-LABEL: @no_group_f3_transpose
func.func @no_group_f3_transpose(%x: tensor<256x?xf32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK: %[[T:.*]] = epiq.transpose
  // CHECK-NEXT: epiq.row_program @quantize_7 (%[[T]])
  %t = epiq.transpose %x perm [1, 0] : tensor<256x?xf32> to tensor<?x256xf32>
  // expected-remark @+1 {{not fused: cast(e4m3): F3: epiq.transpose moves the tokens or the row of tensor<256x?xf32>}}
  %q = arith.truncf %t : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q : tensor<?x256xf8E4M3FN>
}

// A value for each batch, repeated along the sequence (F3).
// CHECK-LABEL: @no_group_f3_broadcast
func.func @no_group_f3_broadcast(%x: tensor<4x1x256xf32>) -> tensor<4x?x256xf8E4M3FN> {
  // CHECK: %[[B:.*]] = epiq.broadcast
  // CHECK-NEXT: epiq.row_program @quantize_8 (%[[B]])
  %b = epiq.broadcast %x : tensor<4x1x256xf32> to tensor<4x?x256xf32>
  // expected-remark @+1 {{not fused: cast(e4m3): F3: epiq.broadcast repeats tensor<4x1x256xf32> along some of the tokens of tensor<4x?x256xf32>}}
  %q = arith.truncf %b : tensor<4x?x256xf32> to tensor<4x?x256xf8E4M3FN>
  return %q : tensor<4x?x256xf8E4M3FN>
}

// Rows of 256 are no whole dimensions of rows of 96 (F3).
// CHECK-LABEL: @no_group_f3_reshape
func.func @no_group_f3_reshape(%x: tensor<?x96xf32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK: %[[R:.*]] = epiq.reshape
  // CHECK-NEXT: epiq.row_program @quantize_9 (%[[R]])
  %a = math.absf %x : tensor<?x96xf32>
  %r = epiq.reshape %a : tensor<?x96xf32> to tensor<?x256xf32>
  // expected-remark @+1 {{not fused: cast(e4m3): F3: the row of tensor<?x256xf32> is not a run of whole dimensions of tensor<?x96xf32>}}
  %q = arith.truncf %r : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q : tensor<?x256xf8E4M3FN>
}

// One factor a token, computed from rows of another width (F3).
// CHECK-LABEL: @no_group_f3_width
func.func @no_group_f3_width(%x: tensor<?x256xf32>, %y: tensor<?x512xf32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK: %[[M:.*]] = epiq.reduce
  // CHECK-NEXT: epiq.row_program @fused_mul_quantize_10 (%[[M]], %arg0)
  %m = epiq.reduce max %y dims [1] keep : tensor<?x512xf32> to tensor<?x1xf32>
  %b = epiq.broadcast %m : tensor<?x1xf32> to tensor<?x256xf32>
  %p = arith.mulf %x, %b : tensor<?x256xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into mul}}
  %q = arith.truncf %p : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q : tensor<?x256xf8E4M3FN>
}

// A node reads the sum and feeds the second quantization: the sum, in the
// first program, stays out of the second (F4).
// CHECK-LABEL: @no_group_f4_feedback
func.func @no_group_f4_feedback(%x: tensor<?x256xf32>, %r: tensor<?x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<?x256xf8E4M3FN>) {
  // CHECK: %[[P:.*]]:2 = epiq.row_program @fused_add_quantize_11 (%arg0, %arg1)
  // CHECK: %[[A:.*]] = epiq.extern "aten.cumsum.default"(%[[P]]#1)
  // CHECK: epiq.row_program @fused_add_quantize_12 (%[[P]]#0, %[[A]])
  %h = arith.addf %x, %r : tensor<?x256xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into add}}
  %q0 = arith.truncf %h : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  %a = epiq.extern "aten.cumsum.default"(%q0) : (tensor<?x256xf8E4M3FN>) -> tensor<?x256xf32>
  %i = arith.addf %h, %a : tensor<?x256xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into add}}
  %q1 = arith.truncf %i : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q0, %q1 : tensor<?x256xf8E4M3FN>, tensor<?x256xf8E4M3FN>
}

// The second scale is computed from the first quantization of the same value, so
// the value's program must end before it (F4).
// CHECK-LABEL: @no_group_f4_scale
func.func @no_group_f4_scale(%x: tensor<?x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<?x256xf8E4M3FN>) {
  // CHECK: %[[P:.*]]:2 = epiq.row_program @fused_abs_quantize_13 (%arg0)
  // CHECK: %[[S:.*]] = epiq.extern "aten.sum.default"(%[[P]]#1)
  // CHECK: epiq.row_program @quantize_14 (%[[P]]#0, %[[S]])
  %h = math.absf %x : tensor<?x256xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into abs}}
  %q0 = arith.truncf %h : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  %s = epiq.extern "aten.sum.default"(%q0) : (tensor<?x256xf8E4M3FN>) -> tensor<f32>
  // expected-remark @+1 {{not fused: quantize(e4m3 tensor static): F4: another node reads a value of the program and feeds one back}}
  %q1 = epiq.composite "quantize" (%h, %s)
      {format = #epiq.format<element = f8E4M3FN, granularity = tensor, static = true>}
      : (tensor<?x256xf32>, tensor<f32>) -> tensor<?x256xf8E4M3FN> {
  ^bb0(%y: tensor<?x256xf32>, %t: tensor<f32>):
    %1 = epiq.broadcast %t : tensor<f32> to tensor<?x256xf32>
    %2 = arith.divf %y, %1 : tensor<?x256xf32>
    %3 = arith.truncf %2 : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
    epiq.yield %3 : tensor<?x256xf8E4M3FN>
  }
  return %q0, %q1 : tensor<?x256xf8E4M3FN>, tensor<?x256xf8E4M3FN>
}

// The value comes from outside (F5): a program of its own.
// CHECK-LABEL: @no_group_f5_input
func.func @no_group_f5_input(%x: tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK-NEXT: epiq.row_program @quantize_15 (%arg0)
  // expected-remark @+1 {{not fused: cast(e4m3): F5: its input is an input of the graph}}
  %q = arith.truncf %x : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q : tensor<?x256xf8E4M3FN>
}

// The width of the row is not known (F6).
// CHECK-LABEL: @no_group_f6_dynamic
func.func @no_group_f6_dynamic(%x: tensor<4x?xf32>) -> tensor<4x?xf8E4M3FN> {
  // CHECK-NOT: epiq.row_program
  // expected-remark @+1 {{not fused: cast(e4m3): F6: the row of tensor<4x?xf8E4M3FN> has no static width}}
  %q = arith.truncf %x : tensor<4x?xf32> to tensor<4x?xf8E4M3FN>
  return %q : tensor<4x?xf8E4M3FN>
}

// A row that one program cannot hold (F6).
// CHECK-LABEL: @no_group_f6_wide
func.func @no_group_f6_wide(%x: tensor<4x65537xf32>) -> tensor<4x65537xf8E4M3FN> {
  // CHECK-NOT: epiq.row_program
  // expected-remark @+1 {{not fused: cast(e4m3): F6: a row of 65537 elements is wider than 65536}}
  %q = arith.truncf %x : tensor<4x65537xf32> to tensor<4x65537xf8E4M3FN>
  return %q : tensor<4x65537xf8E4M3FN>
}

// Half of a value that is computed in the same program.
// CHECK-LABEL: @half_of_computed
func.func @half_of_computed(%x: tensor<?x512xf32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK-NEXT: epiq.row_program @fused_abs_quantize_16 (%arg0)
  %a = math.absf %x : tensor<?x512xf32>
  %h = epiq.slice %a dim 1 from 0 to 256 : tensor<?x512xf32> to tensor<?x256xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into abs}}
  %q = arith.truncf %h : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q : tensor<?x256xf8E4M3FN>
}

// Half of each head is read where it lies.
// CHECK-LABEL: @half_of_each_head
func.func @half_of_each_head(%x: tensor<?x4x128xf32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK-NEXT: epiq.row_program @fused_abs_quantize_17 (%arg0)
  %h = epiq.slice %x dim 2 from 0 to 64 : tensor<?x4x128xf32> to tensor<?x4x64xf32>
  %r = epiq.reshape %h : tensor<?x4x64xf32> to tensor<?x256xf32>
  %a = math.absf %r : tensor<?x256xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into abs}}
  %q = arith.truncf %a : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q : tensor<?x256xf8E4M3FN>
}

// Every second element, as the halves of an interleaved pair.
// CHECK-LABEL: @interleaved
func.func @interleaved(%x: tensor<?x512xf32>) -> tensor<?x256xf8E4M3FN> {
  // CHECK-NEXT: epiq.row_program @fused_mul_quantize_18 (%arg0)
  %p = epiq.reshape %x : tensor<?x512xf32> to tensor<?x256x2xf32>
  %g2 = epiq.slice %p dim 2 from 0 to 1 : tensor<?x256x2xf32> to tensor<?x256x1xf32>
  %g = epiq.reshape %g2 : tensor<?x256x1xf32> to tensor<?x256xf32>
  %u2 = epiq.slice %p dim 2 from 1 to 2 : tensor<?x256x2xf32> to tensor<?x256x1xf32>
  %u = epiq.reshape %u2 : tensor<?x256x1xf32> to tensor<?x256xf32>
  %a = arith.mulf %g, %u : tensor<?x256xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into mul}}
  %q = arith.truncf %a : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q : tensor<?x256xf8E4M3FN>
}

// A column-major matrix for each batch (F8): the copy stays outside.
// CHECK-LABEL: @no_group_f8_batches
func.func @no_group_f8_batches(%x: tensor<2x?x256xf32>) -> tensor<2x?x256xf8E4M3FN> {
  // CHECK: %[[Q:.*]] = epiq.row_program @fused_abs_quantize_19 (%arg0) {layouts = [#epiq.layout<row_major>]}
  // CHECK: epiq.relayout %[[Q]] to column_major
  %a = math.absf %x : tensor<2x?x256xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into abs}}
  %q = arith.truncf %a : tensor<2x?x256xf32> to tensor<2x?x256xf8E4M3FN>
  %c = epiq.relayout %q to column_major : tensor<2x?x256xf8E4M3FN> to tensor<2x?x256xf8E4M3FN>
  return %c : tensor<2x?x256xf8E4M3FN>
}

// The clamp that Triton's cast to e5m2 needs is missing (L6): it spoils no group
// of others.
// CHECK-LABEL: @no_group_l6_cast
func.func @no_group_l6_cast(%x: tensor<?x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<?x256xf8E5M2>) {
  // CHECK: %[[P:.*]]:2 = epiq.row_program @fused_abs_quantize_20 (%arg0)
  // CHECK: arith.truncf %[[P]]#0 : tensor<?x256xf32> to tensor<?x256xf8E5M2>
  %a = math.absf %x : tensor<?x256xf32>
  // expected-remark @+1 {{not fused: cast(e5m2): L6: cast to f8E5M2 of values that are not clamped}}
  %q0 = arith.truncf %a : tensor<?x256xf32> to tensor<?x256xf8E5M2>
  // expected-remark @+1 {{fused: cast(e4m3) into abs}}
  %q1 = arith.truncf %a : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q1, %q0 : tensor<?x256xf8E4M3FN>, tensor<?x256xf8E5M2>
}

// A rounding of what the program computes is one of its results, and so is a
// widened scale: neither needs a kernel of its own.
// CHECK-LABEL: @results_as_they_are_used
func.func @results_as_they_are_used(%x: tensor<?x256xf32>) -> (tensor<?x256xf8E4M3FN>, tensor<?x256xbf16>, tensor<?x1xf32>) {
  // CHECK-NEXT: %[[P:.*]]:3 = epiq.row_program @fused_exp_div_quantize_{{[0-9]+}} (%arg0)
  // CHECK-SAME: -> (tensor<?x256xbf16>, tensor<?x1xf32>, tensor<?x256xf8E4M3FN>)
  // CHECK: return %[[P]]#2, %[[P]]#0, %[[P]]#1
  %e = math.exp %x : tensor<?x256xf32>
  %r = arith.truncf %e : tensor<?x256xf32> to tensor<?x256xbf16>
  %m = epiq.reduce max %e dims [1] keep : tensor<?x256xf32> to tensor<?x1xf32>
  %s = arith.truncf %m : tensor<?x1xf32> to tensor<?x1xbf16>
  %w = arith.extf %s : tensor<?x1xbf16> to tensor<?x1xf32>
  %b = epiq.broadcast %w : tensor<?x1xf32> to tensor<?x256xf32>
  %d = arith.divf %e, %b : tensor<?x256xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into div + exp}}
  %q = arith.truncf %d : tensor<?x256xf32> to tensor<?x256xf8E4M3FN>
  return %q, %r, %w : tensor<?x256xf8E4M3FN>, tensor<?x256xbf16>, tensor<?x1xf32>
}
