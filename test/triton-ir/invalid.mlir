// Malformed IR is refused with its place and both values.
// RUN: epiq-opt %s -split-input-file -verify-diagnostics

// expected-error @+1 {{address space -1 is negative}}
tt.func @f(%p: !tt.ptr<f32, -1>)

// -----

// expected-error @+1 {{a pointer to 'vector<4xf32>' is none to a ranked tensor}}
tt.func @f(%p: !tt.ptr<vector<4xf32>>)

// -----

// expected-error @+1 {{a descriptor's block is a ranked tensor, not 'f32'}}
tt.func @f(%p: !tt.tensordesc<f32>)

// -----

tt.func @f() -> i32 {
  // expected-error @+1 {{gives 0 values, but @f has 1 results}}
  tt.return
}

// -----

tt.func @f(%x: f32) -> i32 {
  // expected-error @+1 {{gives 'f32' as result 0, but @f declares 'i32'}}
  tt.return %x : f32
}

// -----

tt.func @f() {
  // expected-error @+1 {{calls @g, which is no tt.func of this module}}
  tt.call @g() : () -> ()
  tt.return
}

// -----

tt.func private @g(%x: i32)
tt.func @f(%x: f32) {
  // expected-error @+1 {{has type '(f32) -> ()', but @g has type '(i32) -> ()'}}
  tt.call @g(%x) : (f32) -> ()
  tt.return
}

// -----

tt.func @f(%x: tensor<4xf32>, %y: tensor<8xf32>) {
  // expected-error @+1 {{is elementwise, but 'tensor<4xf32>' and 'tensor<8xf32>' differ in shape}}
  %0 = tt.extern_elementwise %x, %y {libname = "", libpath = "", pure = true, symbol = "f"} : (tensor<4xf32>, tensor<8xf32>) -> tensor<4xf32>
  tt.return
}

// -----

tt.func @f(%x: i32) {
  // expected-error @+1 {{packed_element 0 is not positive}}
  %0 = tt.elementwise_inline_asm "" {constraints = "=r,r", packed_element = 0 : i32, pure = true} %x : i32 -> i32
  tt.return
}

// -----

tt.func @f(%x: i32) {
  // expected-error @+1 {{has no result}}
  "tt.elementwise_inline_asm"(%x) <{asm_string = "", constraints = "r", packed_element = 1 : i32, pure = true}> : (i32) -> ()
  tt.return
}

// -----

tt.func @f(%x: i32) {
  // expected-error @+1 {{isSigned has 2 entries for 1 values}}
  tt.print "x" {hex = false, isSigned = array<i32: 0, 1>} : %x : i32
  tt.return
}

// -----

tt.func @f() {
  // expected-error @+1 {{gives a 1-D tensor of i32, not 'tensor<4xi64>'}}
  %0 = tt.make_range {end = 4 : i32, start = 0 : i32} : tensor<4xi64>
  tt.return
}

// -----

tt.func @f() {
  // expected-error @+1 {{from 1 to 4 has 3 values, but the result is 'tensor<4xi32>'}}
  %0 = tt.make_range {end = 4 : i32, start = 1 : i32} : tensor<4xi32>
  tt.return
}

// -----

tt.func @f(%x: tensor<2xi1>) {
  // expected-error @+1 {{takes a tensor of 1 element, not of 2}}
  %0 = tt.unsplat %x : tensor<2xi1>
  tt.return
}

// -----

tt.func @f(%x: tensor<4xf32>) {
  // expected-error @+1 {{axis 2 is not in [0, 1]}}
  %0 = tt.expand_dims %x {axis = 2 : i32} : tensor<4xf32> -> tensor<4x1xf32>
  tt.return
}

// -----

tt.func @f(%x: tensor<4xf32>) {
  // expected-error @+1 {{of 'tensor<4xf32>' at axis 0 does not give 'tensor<4x1xf32>'}}
  %0 = tt.expand_dims %x {axis = 0 : i32} : tensor<4xf32> -> tensor<4x1xf32>
  tt.return
}

// -----

tt.func @f(%x: tensor<4xf32>) {
  // expected-error @+1 {{keeps the rank: 'tensor<4xf32>' does not give 'tensor<4x4xf32>'}}
  %0 = tt.broadcast %x : tensor<4xf32> -> tensor<4x4xf32>
  tt.return
}

// -----

tt.func @f(%x: tensor<4x2xf32>) {
  // expected-error @+1 {{changes dimension 1 of size 2, which is not 1, to 4}}
  %0 = tt.broadcast %x : tensor<4x2xf32> -> tensor<4x4xf32>
  tt.return
}

// -----

tt.func @f(%x: tensor<4xf32>) {
  // expected-error @+1 {{of 4 elements gives 8}}
  %0 = tt.reshape %x : tensor<4xf32> -> tensor<2x4xf32>
  tt.return
}

// -----

tt.func @f(%x: tensor<4x2xf32>) {
  // expected-error @+1 {{order has 1 entries, but the source has rank 2}}
  %0 = tt.trans %x {order = array<i32: 0>} : tensor<4x2xf32> -> tensor<2x4xf32>
  tt.return
}

// -----

tt.func @f(%x: tensor<4x2xf32>) {
  // expected-error @+1 {{order is no permutation of 2 dimensions: entry 1}}
  %0 = tt.trans %x {order = array<i32: 1, 1>} : tensor<4x2xf32> -> tensor<2x4xf32>
  tt.return
}

// -----

tt.func @f(%x: tensor<4x2xf32>) {
  // expected-error @+1 {{of 'tensor<4x2xf32>' does not give 'tensor<4x2xf32>'}}
  %0 = tt.trans %x {order = array<i32: 1, 0>} : tensor<4x2xf32> -> tensor<4x2xf32>
  tt.return
}

// -----

tt.func @f(%x: tensor<4xf32>) {
  // expected-error @+1 {{of two 'tensor<4xf32>' does not give 'tensor<4xf32>'}}
  %0 = tt.cat %x, %x : tensor<4xf32> -> tensor<4xf32>
  tt.return
}

// -----

tt.func @f(%x: tensor<4xf32>) {
  // expected-error @+1 {{of two 'tensor<4xf32>' does not give 'tensor<2x4xf32>'}}
  %0 = tt.join %x, %x : tensor<4xf32> -> tensor<2x4xf32>
  tt.return
}

// -----

tt.func @f(%x: tensor<2x4xf32>) {
  // expected-error @+1 {{takes a last dimension of size 2, not 'tensor<2x4xf32>'}}
  %0, %1 = tt.split %x : tensor<2x4xf32> -> tensor<2xf32>
  tt.return
}

// -----

tt.func @f(%x: tensor<4x2xf32>) {
  // expected-error @+1 {{of 'tensor<4x2xf32>' does not give 'tensor<4xf16>'}}
  %0, %1 = tt.split %x : tensor<4x2xf32> -> tensor<4xf16>
  tt.return
}

// -----

tt.func @f(%x: tensor<4xf32>, %i: tensor<4x4xi32>) {
  // expected-error @+1 {{indices 'tensor<4x4xi32>' and source 'tensor<4xf32>' differ in rank}}
  %0 = tt.gather %x[%i] {axis = 0 : i32} : (tensor<4xf32>, tensor<4x4xi32>) -> tensor<4x4xf32>
  tt.return
}

// -----

tt.func @f(%x: tensor<4xf32>, %i: tensor<4xi32>) {
  // expected-error @+1 {{axis 1 is not in [0, 1)}}
  %0 = tt.gather %x[%i] {axis = 1 : i32} : (tensor<4xf32>, tensor<4xi32>) -> tensor<4xf32>
  tt.return
}

// -----

tt.func @f(%x: tensor<4xf32>, %i: tensor<4xi32>) {
  // expected-error @+1 {{of 'tensor<4xf32>' at 'tensor<4xi32>' does not give 'tensor<8xf32>'}}
  %0 = tt.gather %x[%i] {axis = 0 : i32} : (tensor<4xf32>, tensor<4xi32>) -> tensor<8xf32>
  tt.return
}

// -----

tt.func @f(%x: tensor<4x4xf32>, %i: tensor<4x8xi32>) {
  // expected-error @+1 {{indices have size 8 in dimension 1, the source 4}}
  %0 = tt.gather %x[%i] {axis = 0 : i32} : (tensor<4x4xf32>, tensor<4x8xi32>) -> tensor<4x8xf32>
  tt.return
}

// -----

tt.func @f(%x: f32) {
  // expected-error @+1 {{keeps the bits: 'f32' does not give 'i64'}}
  %0 = tt.bitcast %x : f32 -> i64
  tt.return
}

// -----

tt.func @f(%x: i64) {
  // expected-error @+1 {{casts pointers to pointers only: 'i64' does not give '!tt.ptr<f32>'}}
  %0 = tt.bitcast %x : i64 -> !tt.ptr<f32>
  tt.return
}

// -----

tt.func @f(%x: f32) {
  // expected-error @+1 {{from 'f32' to 'f16' loses bits and needs a rounding}}
  %0 = tt.fp_to_fp %x : f32 -> f16
  tt.return
}

// -----

tt.func @f() {
  // expected-error @+1 {{unknown memory 'everything'}}
  ttg.barrier everything
  tt.return
}
