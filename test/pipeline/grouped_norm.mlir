// RUN: epiq-opt %s -o /dev/null

// A grouped graph as the passes leave it: add, norm-like scaling and a quantization in one program, twice.
func.func @graph(%arg0: tensor<4x16x512xbf16> loc("arg0_1"), %arg1: tensor<512xbf16> loc("arg1_1"))
    -> (tensor<64x512xf8E4M3FN>, tensor<64x4xf32>, tensor<64x512xf8E4M3FN>, tensor<64x4xf32>) {
  %q, %s = epiq.row_program @fused_mul_quantize_0 (%arg0, %arg1)
      {layouts = [#epiq.layout<row_major>, #epiq.layout<column_major>], row_width = 512 : i64, full_row = true,
       input_row_like = [true, false], num_rows = 64 : i64}
      : (tensor<4x16x512xbf16>, tensor<512xbf16>) -> (tensor<64x512xf8E4M3FN>, tensor<64x4xf32>) {
  ^bb0(%x: tensor<4x16x512xbf16>, %w: tensor<512xbf16>):
    %a0 = arith.extf %x : tensor<4x16x512xbf16> to tensor<4x16x512xf32> loc("add.aux")
    %a1 = arith.addf %a0, %a0 : tensor<4x16x512xf32> loc("add"("model.py":12:3))
    %a2 = arith.truncf %a1 : tensor<4x16x512xf32> to tensor<4x16x512xbf16> loc("add"("model.py":12:3))
    %v = epiq.reshape %a2 : tensor<4x16x512xbf16> to tensor<64x512xbf16> loc("view")
    %wb = epiq.broadcast %w : tensor<512xbf16> to tensor<64x512xbf16> loc("mul.aux")
    %w0 = arith.extf %wb : tensor<64x512xbf16> to tensor<64x512xf32> loc("mul.aux")
    %v0 = arith.extf %v : tensor<64x512xbf16> to tensor<64x512xf32> loc("mul.aux")
    %m = arith.mulf %w0, %v0 : tensor<64x512xf32> loc("mul")
    %qq, %ss = epiq.composite "quantize" (%m) : (tensor<64x512xf32>) -> (tensor<64x512xf8E4M3FN>, tensor<64x4xf32>) {
    ^bb0(%b: tensor<64x512xf32>):
      %q1 = arith.truncf %b : tensor<64x512xf32> to tensor<64x512xf8E4M3FN> loc("_to_copy_3")
      %g = epiq.reshape %b : tensor<64x512xf32> to tensor<64x4x128xf32> loc("view_1")
      %r = epiq.reduce max %g dims [2] : tensor<64x4x128xf32> to tensor<64x4xf32> loc("amax")
      epiq.yield %q1, %r : tensor<64x512xf8E4M3FN>, tensor<64x4xf32>
    } loc("_to_copy_3")
    %sc = epiq.relayout %ss to column_major : tensor<64x4xf32> to tensor<64x4xf32> loc("t_1")
    epiq.yield %qq, %sc : tensor<64x512xf8E4M3FN>, tensor<64x4xf32>
  } loc("_to_copy_3")
  %q2, %s2 = epiq.row_program @fused_mul_quantize_1 (%arg0, %arg1)
      {layouts = [#epiq.layout<row_major>, #epiq.layout<column_major>], row_width = 512 : i64, full_row = true,
       input_row_like = [true, false], num_rows = 64 : i64}
      : (tensor<4x16x512xbf16>, tensor<512xbf16>) -> (tensor<64x512xf8E4M3FN>, tensor<64x4xf32>) {
  ^bb0(%x: tensor<4x16x512xbf16>, %w: tensor<512xbf16>):
    %a0 = arith.extf %x : tensor<4x16x512xbf16> to tensor<4x16x512xf32> loc("add_9.aux")
    %a1 = arith.addf %a0, %a0 : tensor<4x16x512xf32> loc("add_9"("model.py":40:3))
    %a2 = arith.truncf %a1 : tensor<4x16x512xf32> to tensor<4x16x512xbf16> loc("add_9"("model.py":40:3))
    %v = epiq.reshape %a2 : tensor<4x16x512xbf16> to tensor<64x512xbf16> loc("view_9")
    %wb = epiq.broadcast %w : tensor<512xbf16> to tensor<64x512xbf16> loc("mul_9.aux")
    %w0 = arith.extf %wb : tensor<64x512xbf16> to tensor<64x512xf32> loc("mul_9.aux")
    %v0 = arith.extf %v : tensor<64x512xbf16> to tensor<64x512xf32> loc("mul_9.aux")
    %m = arith.mulf %w0, %v0 : tensor<64x512xf32> loc("mul_9")
    %qq, %ss = epiq.composite "quantize" (%m) : (tensor<64x512xf32>) -> (tensor<64x512xf8E4M3FN>, tensor<64x4xf32>) {
    ^bb0(%b: tensor<64x512xf32>):
      %q1 = arith.truncf %b : tensor<64x512xf32> to tensor<64x512xf8E4M3FN> loc("_to_copy_9")
      %g = epiq.reshape %b : tensor<64x512xf32> to tensor<64x4x128xf32> loc("view_19")
      %r = epiq.reduce max %g dims [2] : tensor<64x4x128xf32> to tensor<64x4xf32> loc("amax_9")
      epiq.yield %q1, %r : tensor<64x512xf8E4M3FN>, tensor<64x4xf32>
    } loc("_to_copy_9")
    %sc = epiq.relayout %ss to column_major : tensor<64x4xf32> to tensor<64x4xf32> loc("t_9")
    epiq.yield %qq, %sc : tensor<64x512xf8E4M3FN>, tensor<64x4xf32>
  } loc("_to_copy_9")
  return %q, %s, %q2, %s2 : tensor<64x512xf8E4M3FN>, tensor<64x4xf32>, tensor<64x512xf8E4M3FN>, tensor<64x4xf32>
}
