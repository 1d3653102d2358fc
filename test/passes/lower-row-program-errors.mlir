// RUN: epiq-opt %s -split-input-file -epiq-lower-row-program -verify-diagnostics
// RUN: not epiq-opt %s -split-input-file -epiq-lower-row-program=block-rows=3 2>&1 | FileCheck %s --check-prefix=THREE
// RUN: not epiq-opt %s -split-input-file -epiq-lower-row-program=block-cols=32 2>&1 | FileCheck %s --check-prefix=COLS
// RUN: not epiq-opt %s -split-input-file -epiq-lower-row-program=block-cols=192 2>&1 | FileCheck %s --check-prefix=ODD
// RUN: not epiq-opt %s -split-input-file -epiq-lower-row-program=chunk-cols=32 2>&1 | FileCheck %s --check-prefix=CHUNK
// RUN: not epiq-opt %s -split-input-file -epiq-lower-row-program=chunk-cols=192 2>&1 | FileCheck %s --check-prefix=ODD-CHUNK
// RUN: not epiq-opt %s -split-input-file -epiq-lower-row-program=chunk-cols=1 2>&1 | FileCheck %s --check-prefix=MANY
// RUN: not epiq-opt %s -split-input-file -epiq-lower-row-program="block-cols=128 chunk-cols=64" 2>&1 | FileCheck %s --check-prefix=BOTH
// RUN: not epiq-opt %s -split-input-file -epiq-lower-row-program=chunk-cols=-64 2>&1 | FileCheck %s --check-prefix=NEGATIVE

// THREE: L7: block-rows 3 is not a power of two
// COLS: L7: block-cols 32 is not a multiple of the column unit 64
// COLS: L7: block-cols 32 cuts a row of 32 that a reduction spans
// ODD: L7: block-cols 192 is not the column unit 64 times a power of two
// CHUNK: L7: chunk-cols 32 is not a multiple of the column unit 64
// ODD-CHUNK: L7: chunk-cols 192 is not the column unit 64 times a power of two
// MANY: L7: chunk-cols 1 splits a row of 32 into more than 16 chunks
// BOTH: L7: chunk-cols 64 splits a row that block-cols 128 cuts
// NEGATIVE: L7: chunk-cols -64 is negative
%x = epiq.extern "x"() : () -> tensor<?x256xf32>
%m = epiq.row_program @groups (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x256xf32>) -> tensor<?x4xf32> {
^bb0(%in: tensor<?x256xf32>):
  %g = epiq.reshape %in : tensor<?x256xf32> to tensor<?x4x64xf32>
  %amax = epiq.reduce max %g dims [2] : tensor<?x4x64xf32> to tensor<?x4xf32>
  epiq.yield %amax : tensor<?x4xf32>
}

// -----

%x = epiq.extern "x"() : () -> tensor<?x32xf32>
%m = epiq.row_program @whole (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x32xf32>) -> tensor<?x1xf32> {
^bb0(%in: tensor<?x32xf32>):
  %amax = epiq.reduce max %in dims [1] keep : tensor<?x32xf32> to tensor<?x1xf32>
  epiq.yield %amax : tensor<?x1xf32>
}

// -----

// What all tokens share is no result of a row program.
%x = epiq.extern "x"() : () -> tensor<16x32xf32>
// expected-error @+1 {{L1: tensor<32xf32> is not one row for each token of tensor<16x32xf32>}}
%m = epiq.row_program @no_l1_shared (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<16x32xf32>) -> tensor<32xf32> {
^bb0(%in: tensor<16x32xf32>):
  %c = arith.constant dense<1.0> : tensor<32xf32>
  epiq.yield %c : tensor<32xf32>
}

// -----

%x = epiq.extern "x"() : () -> tensor<0x32xf32>
// expected-error @+1 {{L1: tensor<0x32xf32> has no tokens}}
%m = epiq.row_program @no_l1_tokens (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<0x32xf32>) -> tensor<0x32xf32> {
^bb0(%in: tensor<0x32xf32>):
  %a = math.exp %in : tensor<0x32xf32>
  epiq.yield %a : tensor<0x32xf32>
}

// -----

%x = epiq.extern "x"() : () -> tensor<?x32xf32>
// expected-error @+1 {{L1: reshape from tensor<?x32xf32> to tensor<?xf32> keeps no dimension of tokens}}
%m = epiq.row_program @no_l1_flat (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x32xf32>) -> tensor<?xf32> {
^bb0(%in: tensor<?x32xf32>):
  %e = math.exp %in : tensor<?x32xf32>
  %y = epiq.reshape %e : tensor<?x32xf32> to tensor<?xf32>
  epiq.yield %y : tensor<?xf32>
}

// -----

// 48 is seen as 3 x 16 and as 8 x 6: the cuts 16 and 6 do not divide one another.
%x = epiq.extern "x"() : () -> tensor<?x48xf32>
// expected-error @+1 {{L2: a row of 48 is split at 6 and at 16, which have no common factorization}}
%m:2 = epiq.row_program @no_l2 (%x) {layouts = [#epiq.layout<row_major>, #epiq.layout<row_major>]}
    : (tensor<?x48xf32>) -> (tensor<?x3xf32>, tensor<?x8xf32>) {
^bb0(%in: tensor<?x48xf32>):
  %a = epiq.reshape %in : tensor<?x48xf32> to tensor<?x3x16xf32>
  %b = epiq.reshape %in : tensor<?x48xf32> to tensor<?x8x6xf32>
  %c = epiq.reduce max %a dims [2] : tensor<?x3x16xf32> to tensor<?x3xf32>
  %d = epiq.reduce max %b dims [2] : tensor<?x8x6xf32> to tensor<?x8xf32>
  epiq.yield %c, %d : tensor<?x3xf32>, tensor<?x8xf32>
}

// -----

%x = epiq.extern "x"() : () -> tensor<?x48xf32>
// expected-error @+1 {{L3: math.cbrt cannot be part of a row program}}
%m = epiq.row_program @no_l3_op (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x48xf32>) -> tensor<?x48xf32> {
^bb0(%in: tensor<?x48xf32>):
  %a = math.cbrt %in : tensor<?x48xf32>
  epiq.yield %a : tensor<?x48xf32>
}

// -----

// 20 of 48 elements are no run that the row could be taken apart by.
%x = epiq.extern "x"() : () -> tensor<?x48xf32>
// expected-error @+1 {{L2: tensor<?x20xf32> is a part of tensor<?x48xf32> that has no common factorization with it}}
%m = epiq.row_program @no_l2_slice (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x48xf32>) -> tensor<?x20xf32> {
^bb0(%in: tensor<?x48xf32>):
  %a = math.exp %in : tensor<?x48xf32>
  %b = epiq.slice %a dim 1 from 0 to 20 : tensor<?x48xf32> to tensor<?x20xf32>
  epiq.yield %b : tensor<?x20xf32>
}

// -----

// Each of 32 pairs would be a tile of its own.
%x = epiq.extern "x"() : () -> tensor<?x64xf32>
// expected-error @+1 {{L9: slices and concatenations take a row of 64 apart into 32 tiles, more than 16}}
%m = epiq.row_program @no_l9_tiles (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x64xf32>) -> tensor<?x2xf32> {
^bb0(%in: tensor<?x64xf32>):
  %a = math.exp %in : tensor<?x64xf32>
  %b = epiq.slice %a dim 1 from 2 to 4 : tensor<?x64xf32> to tensor<?x2xf32>
  epiq.yield %b : tensor<?x2xf32>
}

// -----

// The sum of a concatenation would be added up in another order than the whole.
%x = epiq.extern "x"() : () -> tensor<?x64xf32>
// expected-error @+1 {{L9: epiq.reduce sum over epiq.concat of computed values, tensor<?x64xf32>}}
%m = epiq.row_program @no_l9_sum (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x64xf32>) -> tensor<?xf32> {
^bb0(%in: tensor<?x64xf32>):
  %a = math.exp %in : tensor<?x64xf32>
  %b = epiq.slice %a dim 1 from 0 to 32 : tensor<?x64xf32> to tensor<?x32xf32>
  %c = epiq.slice %a dim 1 from 32 to 64 : tensor<?x64xf32> to tensor<?x32xf32>
  %d = epiq.concat %c, %b dim 1 : tensor<?x32xf32>, tensor<?x32xf32> to tensor<?x64xf32>
  %e = epiq.reduce sum %d dims [1] : tensor<?x64xf32> to tensor<?xf32>
  epiq.yield %e : tensor<?xf32>
}

// -----

// The memory that rows are stored in is read as well.
%x = epiq.extern "x"() : () -> tensor<?x64xf32>
%i = epiq.extern "i"() : () -> tensor<?xi64>
%c = epiq.extern "c"() : () -> tensor<16x64xf32>
// expected-error @+1 {{L10: the program stores rows in tensor<16x64xf32> and reads it, or stores there twice}}
%m:2 = epiq.row_program @no_l10_read (%x, %i, %c) {layouts = [#epiq.layout<row_major>, #epiq.layout<row_major>]}
    : (tensor<?x64xf32>, tensor<?xi64>, tensor<16x64xf32>) -> (tensor<16x64xf32>, tensor<?x64xf32>) {
^bb0(%in: tensor<?x64xf32>, %index: tensor<?xi64>, %cache: tensor<16x64xf32>):
  %a = epiq.scatter_rows %in into %cache[%index] : tensor<?x64xf32> into tensor<16x64xf32>[tensor<?xi64>]
  %b = epiq.gather_rows %cache[%index] : tensor<16x64xf32>[tensor<?xi64>] to tensor<?x64xf32>
  epiq.yield %a, %b : tensor<16x64xf32>, tensor<?x64xf32>
}

// -----

// A table that the program computes would have to be known to all of it first.
%x = epiq.extern "x"() : () -> tensor<?x64xf32>
%i = epiq.extern "i"() : () -> tensor<?xi64>
%c = epiq.extern "c"() : () -> tensor<16x64xf32>
// expected-error @+1 {{L10: tensor<16x64xf32> is no input, or its rows are not at static distances}}
%m = epiq.row_program @no_l10_computed (%x, %i, %c) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x64xf32>, tensor<?xi64>, tensor<16x64xf32>) -> tensor<?x64xf32> {
^bb0(%in: tensor<?x64xf32>, %index: tensor<?xi64>, %table: tensor<16x64xf32>):
  %a = math.exp %table : tensor<16x64xf32>
  %b = epiq.gather_rows %a[%index] : tensor<16x64xf32>[tensor<?xi64>] to tensor<?x64xf32>
  %d = arith.addf %in, %b : tensor<?x64xf32>
  epiq.yield %d : tensor<?x64xf32>
}

// -----

%x = epiq.extern "x"() : () -> tensor<16x2xf32>
// expected-error @+1 {{L3: a constant of type tensor<2xf32> is not a splat}}
%m = epiq.row_program @no_l3_constant (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<16x2xf32>) -> tensor<16x2xf32> {
^bb0(%in: tensor<16x2xf32>):
  %c = arith.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %b = epiq.broadcast %c : tensor<2xf32> to tensor<16x2xf32>
  %a = arith.addf %in, %b : tensor<16x2xf32>
  epiq.yield %a : tensor<16x2xf32>
}

// -----

// A table by position, shared by the sequences of a batch.
%x = epiq.extern "x"() : () -> tensor<4x?x32xf32>
%t = epiq.extern "x"() : () -> tensor<?x32xf32>
// expected-error @+1 {{L4: tensor<?x32xf32> broadcast to tensor<4x?x32xf32> differs along some token dimensions only}}
%m = epiq.row_program @no_l4 (%x, %t) {layouts = [#epiq.layout<row_major>]}
    : (tensor<4x?x32xf32>, tensor<?x32xf32>) -> tensor<4x?x32xf32> {
^bb0(%in: tensor<4x?x32xf32>, %table: tensor<?x32xf32>):
  %b = epiq.broadcast %table : tensor<?x32xf32> to tensor<4x?x32xf32>
  %a = arith.addf %in, %b : tensor<4x?x32xf32>
  epiq.yield %a : tensor<4x?x32xf32>
}

// -----

%x = epiq.extern "x"() : () -> tensor<4x?x32xf32>
// expected-error @+1 {{L5: column_major result tensor<4x?x32xf32> is not a matrix of tokens by row}}
%m = epiq.row_program @no_l5 (%x) {layouts = [#epiq.layout<column_major>]}
    : (tensor<4x?x32xf32>) -> tensor<4x?x32xf32> {
^bb0(%in: tensor<4x?x32xf32>):
  %a = math.exp %in : tensor<4x?x32xf32>
  epiq.yield %a : tensor<4x?x32xf32>
}

// -----

%x = epiq.extern "x"() : () -> tensor<?x32xf8E4M3FNUZ>
// expected-error @+1 {{L6: Triton has no values of type tensor<?x32xf8E4M3FNUZ>}}
%m = epiq.row_program @no_l6_type (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x32xf8E4M3FNUZ>) -> tensor<?x32xf32> {
^bb0(%in: tensor<?x32xf8E4M3FNUZ>):
  %a = arith.extf %in : tensor<?x32xf8E4M3FNUZ> to tensor<?x32xf32>
  epiq.yield %a : tensor<?x32xf32>
}

// -----

// A power of two is read as f32; there is no sum of two of them.
%x = epiq.extern "x"() : () -> tensor<?x32xf8E8M0FNU>
// expected-error @+1 {{L6: arith.addf from f8E8M0FNU to f8E8M0FNU has no counterpart in Triton}}
%m = epiq.row_program @no_l6_scale (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x32xf8E8M0FNU>) -> tensor<?x32xf8E8M0FNU> {
^bb0(%in: tensor<?x32xf8E8M0FNU>):
  %a = arith.addf %in, %in : tensor<?x32xf8E8M0FNU>
  epiq.yield %a : tensor<?x32xf8E8M0FNU>
}

// -----

// Values of e2m1 are only packed.
%x = epiq.extern "x"() : () -> tensor<?x32xf32>
// expected-error @+1 {{L6: arith.extf of f4E2M1FN, which is only packed}}
%m = epiq.row_program @no_l6_element (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x32xf32>) -> tensor<?x32xf32> {
^bb0(%in: tensor<?x32xf32>):
  %a = arith.truncf %in : tensor<?x32xf32> to tensor<?x32xf4E2M1FN>
  %b = arith.extf %a : tensor<?x32xf4E2M1FN> to tensor<?x32xf32>
  epiq.yield %b : tensor<?x32xf32>
}

// -----

// Groups of 3 tear the pair that elements 2 and 3 are.
%x = epiq.extern "x"() : () -> tensor<?x6xf32>
// expected-error @+1 {{L6: pairs of tensor<?x6xf4E2M1FN> are torn by other shapes of the row}}
%m:2 = epiq.row_program @no_l6_pairs (%x) {layouts = [#epiq.layout<packed_e2m1>, #epiq.layout<row_major>]}
    : (tensor<?x6xf32>) -> (tensor<?x3xi8>, tensor<?x2xf32>) {
^bb0(%in: tensor<?x6xf32>):
  %g = epiq.reshape %in : tensor<?x6xf32> to tensor<?x2x3xf32>
  %s = epiq.reduce max %g dims [2] : tensor<?x2x3xf32> to tensor<?x2xf32>
  %a = arith.truncf %in : tensor<?x6xf32> to tensor<?x6xf4E2M1FN>
  %p = epiq.relayout %a to packed_e2m1 : tensor<?x6xf4E2M1FN> to tensor<?x3xi8>
  epiq.yield %p, %s : tensor<?x3xi8>, tensor<?x2xf32>
}

// -----

// The hardware saturates where torch gives an infinity.
%x = epiq.extern "x"() : () -> tensor<?x32xf32>
// expected-error @+1 {{L6: cast to f8E5M2 of values that are not clamped to +-57344}}
%m = epiq.row_program @no_l6_cast (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x32xf32>) -> tensor<?x32xf8E5M2> {
^bb0(%in: tensor<?x32xf32>):
  %a = arith.truncf %in : tensor<?x32xf32> to tensor<?x32xf8E5M2>
  epiq.yield %a : tensor<?x32xf8E5M2>
}

// -----

%x = epiq.extern "x"() : () -> tensor<?x32xbf16>
// expected-error @+1 {{L6: arith.divf rounds in f32 or f64, not in bf16}}
%m = epiq.row_program @no_l6_division (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x32xbf16>) -> tensor<?x32xbf16> {
^bb0(%in: tensor<?x32xbf16>):
  %a = arith.divf %in, %in : tensor<?x32xbf16>
  epiq.yield %a : tensor<?x32xbf16>
}

// -----

%x = epiq.extern "x"() : () -> tensor<?x32xbf16>
// expected-error @+1 {{L6: arith.addf on f8E4M3FN has no counterpart in Triton}}
%m = epiq.row_program @no_l6_arithmetic (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x32xbf16>) -> tensor<?x32xf8E4M3FN> {
^bb0(%in: tensor<?x32xbf16>):
  %a = arith.truncf %in : tensor<?x32xbf16> to tensor<?x32xf8E4M3FN>
  %b = arith.addf %a, %a : tensor<?x32xf8E4M3FN>
  epiq.yield %b : tensor<?x32xf8E4M3FN>
}

// -----

%x = epiq.extern "x"() : () -> tensor<?x40960xf32>
// expected-error @+1 {{L7: a reduction spans a row of 40960, more than the 32768 of one tile}}
%m = epiq.row_program @no_l7_wide (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x40960xf32>) -> tensor<?x1xf32> {
^bb0(%in: tensor<?x40960xf32>):
  %a = epiq.reduce max %in dims [1] keep : tensor<?x40960xf32> to tensor<?x1xf32>
  epiq.yield %a : tensor<?x1xf32>
}

// -----

// What is taken over all tokens is known when every program has run.
%x = epiq.extern "x"() : () -> tensor<?x32xf32>
// expected-error @+1 {{L8: arith.addf reads the maximum of all tokens}}
%m = epiq.row_program @no_l8 (%x) {layouts = [#epiq.layout<row_major>]}
    : (tensor<?x32xf32>) -> tensor<f32> {
^bb0(%in: tensor<?x32xf32>):
  %a = math.absf %in : tensor<?x32xf32>
  %m = epiq.reduce max %a dims [0, 1] : tensor<?x32xf32> to tensor<f32>
  %b = arith.addf %m, %m : tensor<f32>
  epiq.yield %b : tensor<f32>
}

// -----

// expected-error @+1 {{expected one epiq.row_program, found 0}}
module {
}

// -----

%x = epiq.extern "x"() : () -> tensor<4x?x32xi8>
// expected-error @+1 {{L5: packed_ue8m0 result tensor<4x?x32xi8> is not a matrix of tokens by row}}
%m = epiq.row_program @no_l5_packed (%x) {layouts = [#epiq.layout<packed_ue8m0>]}
    : (tensor<4x?x32xi8>) -> tensor<4x?x8xi32> {
^bb0(%in: tensor<4x?x32xi8>):
  %l = epiq.relayout %in to packed_ue8m0 : tensor<4x?x32xi8> to tensor<4x?x8xi32>
  epiq.yield %l : tensor<4x?x8xi32>
}
