// RUN: epiq-opt %s -epiq-group -verify-diagnostics | FileCheck %s

// Stores of rows by index start groups; those that share rows of input share a program.
// CHECK-LABEL: @store_of_computed
func.func @store_of_computed(%x: tensor<?x64xf32>, %i: tensor<?xi64>, %cache: tensor<16x64xf8E4M3FN>) -> tensor<16x64xf8E4M3FN> {
  // CHECK-NEXT: epiq.row_program @fused_exp_quantize_0 (%arg0, %arg2, %arg1)
  // CHECK: epiq.scatter_rows
  %y = math.exp %x : tensor<?x64xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into exp}}
  %q = arith.truncf %y : tensor<?x64xf32> to tensor<?x64xf8E4M3FN>
  // expected-remark @+1 {{fused: write(e4m3 rows by index) into exp}}
  %s = epiq.scatter_rows %q into %cache[%i] : tensor<?x64xf8E4M3FN> into tensor<16x64xf8E4M3FN>[tensor<?xi64>]
  return %s : tensor<16x64xf8E4M3FN>
}

// Nothing is computed before: what is saved is that the quantized rows are never in memory of their own.
// CHECK-LABEL: @store_of_quantized_input
func.func @store_of_quantized_input(%x: tensor<?x64xf32>, %i: tensor<?xi64>, %cache: tensor<16x64xf8E4M3FN>) -> tensor<16x64xf8E4M3FN> {
  // CHECK-NEXT: epiq.row_program
  // expected-remark @+1 {{fused: cast(e4m3) into the write of its rows}}
  %q = arith.truncf %x : tensor<?x64xf32> to tensor<?x64xf8E4M3FN>
  // expected-remark @+1 {{fused: write(e4m3 rows by index) into the launch}}
  %s = epiq.scatter_rows %q into %cache[%i] : tensor<?x64xf8E4M3FN> into tensor<16x64xf8E4M3FN>[tensor<?xi64>]
  return %s : tensor<16x64xf8E4M3FN>
}

// Results of several widths are segments of one program; what is as wide as the narrowest of them is named.
// CHECK-LABEL: @several_widths
func.func @several_widths(%x: tensor<?x192xf32>, %i: tensor<?xi64>, %cache: tensor<16x64xf32>) -> (tensor<?x128xf8E4M3FN>, tensor<16x64xf32>) {
  // CHECK-NEXT: epiq.row_program @fused_exp_abs_quantize_2
  %a = epiq.slice %x dim 1 from 0 to 128 : tensor<?x192xf32> to tensor<?x128xf32>
  %b = epiq.slice %x dim 1 from 128 to 192 : tensor<?x192xf32> to tensor<?x64xf32>
  %e = math.exp %a : tensor<?x128xf32>
  %f = math.absf %b : tensor<?x64xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into abs + exp}}
  %q = arith.truncf %e : tensor<?x128xf32> to tensor<?x128xf8E4M3FN>
  // expected-remark @+1 {{fused: write(f32 rows by index) into abs + exp}}
  %s = epiq.scatter_rows %f into %cache[%i] : tensor<?x64xf32> into tensor<16x64xf32>[tensor<?xi64>]
  return %q, %s : tensor<?x128xf8E4M3FN>, tensor<16x64xf32>
}

// Rows of a table, one for each token, are read in the program.
// CHECK-LABEL: @rows_of_a_table
func.func @rows_of_a_table(%x: tensor<?x64xf32>, %i: tensor<?xi64>, %table: tensor<16x64xf32>) -> tensor<?x64xf8E4M3FN> {
  // CHECK-NEXT: epiq.row_program
  // CHECK: epiq.gather_rows
  %t = epiq.gather_rows %table[%i] : tensor<16x64xf32>[tensor<?xi64>] to tensor<?x64xf32>
  %y = arith.mulf %x, %t : tensor<?x64xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into mul}}
  %q = arith.truncf %y : tensor<?x64xf32> to tensor<?x64xf8E4M3FN>
  return %q : tensor<?x64xf8E4M3FN>
}

// A table that is computed has rows of other tokens: it stays outside (L10).
// CHECK-LABEL: @no_computed_table_l10
func.func @no_computed_table_l10(%x: tensor<?x64xf32>, %i: tensor<?xi64>, %table: tensor<16x64xf32>) -> tensor<?x64xf8E4M3FN> {
  // CHECK-NEXT: math.exp
  // CHECK-NEXT: epiq.row_program
  %e = math.exp %table : tensor<16x64xf32>
  %t = epiq.gather_rows %e[%i] : tensor<16x64xf32>[tensor<?xi64>] to tensor<?x64xf32>
  %y = arith.mulf %x, %t : tensor<?x64xf32>
  // expected-remark @+1 {{fused: cast(e4m3) into mul}}
  %q = arith.truncf %y : tensor<?x64xf32> to tensor<?x64xf8E4M3FN>
  return %q : tensor<?x64xf8E4M3FN>
}

// Tensors one below the other are other tokens (F3).
// CHECK-LABEL: @no_concat_of_tokens_f3
func.func @no_concat_of_tokens_f3(%x: tensor<4x64xf32>, %z: tensor<4x64xf32>) -> tensor<8x64xf8E4M3FN> {
  // CHECK-NEXT: epiq.concat
  %c = epiq.concat %x, %z dim 0 : tensor<4x64xf32>, tensor<4x64xf32> to tensor<8x64xf32>
  // expected-remark @+1 {{not fused: cast(e4m3): F3: epiq.concat puts tokens of}}
  %q = arith.truncf %c : tensor<8x64xf32> to tensor<8x64xf8E4M3FN>
  return %q : tensor<8x64xf8E4M3FN>
}
