// Loads, stores, atomics and descriptors whose types disagree.
// RUN: epiq-opt %s -split-input-file -verify-diagnostics

tt.func @f(%p: i32) {
  // expected-error @+1 {{needs a pointer, not 'i32'}}
  %0 = tt.load %p : i32
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>) {
  // expected-error @+1 {{takes 2 to 3 operands, not 1}}
  tt.store %p : !tt.ptr<i32>
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>) {
  // expected-error @+1 {{unknown cacheModifier 'zz'}}
  %0 = tt.load %p cacheModifier = zz : !tt.ptr<i32>
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>) {
  // expected-error @+1 {{unknown evictionPolicy 'zz'}}
  %0 = tt.load %p evictionPolicy = zz : !tt.ptr<i32>
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>) {
  // expected-error @+1 {{from '!tt.ptr<i32>' gives 'i32', not 'f32'}}
  %0 = "tt.load"(%p) <{operandSegmentSizes = array<i32: 1, 0, 0>}> : (!tt.ptr<i32>) -> f32
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>, %m: i1, %x: f32) {
  // expected-error @+1 {{other is 'f32', but needs 'i32'}}
  %0 = "tt.load"(%p, %m, %x) <{operandSegmentSizes = array<i32: 1, 1, 1>}> : (!tt.ptr<i32>, i1, f32) -> i32
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>, %x: i32) {
  // expected-error @+1 {{has other without a mask}}
  %0 = "tt.load"(%p, %x) <{operandSegmentSizes = array<i32: 1, 0, 1>}> : (!tt.ptr<i32>, i32) -> i32
  tt.return
}

// -----

tt.func @f(%p: tensor<4x!tt.ptr<i32>>, %m: i1) {
  // expected-error @+1 {{mask is 'i1', but needs 'tensor<4xi1>'}}
  %0 = "tt.load"(%p, %m) <{operandSegmentSizes = array<i32: 1, 1, 0>}> : (tensor<4x!tt.ptr<i32>>, i1) -> tensor<4xi32>
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>) {
  // expected-error @+1 {{has boundaryCheck, but '!tt.ptr<i32>' is no block pointer}}
  %0 = tt.load %p {boundaryCheck = array<i32: 0>} : !tt.ptr<i32>
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<tensor<4xi32>>, %m: tensor<4xi1>) {
  // expected-error @+1 {{has a mask, but '!tt.ptr<tensor<4xi32>>' is a block pointer}}
  %0 = tt.load %p, %m : !tt.ptr<tensor<4xi32>>
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<tensor<4xi32>>) {
  // expected-error @+1 {{boundaryCheck of dimension 1 of 'tensor<4xi32>'}}
  %0 = tt.load %p {boundaryCheck = array<i32: 1>} : !tt.ptr<tensor<4xi32>>
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>) {
  // expected-error @+1 {{has both cachePolicy and cache or evict}}
  %0 = "tt.load"(%p) <{cache = 2 : i32, cachePolicy = #tt.cache_policy<cache_modifier = ca, eviction_policy = evict_normal>, operandSegmentSizes = array<i32: 1, 0, 0>}> : (!tt.ptr<i32>) -> i32
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>, %x: f32) {
  // expected-error @+1 {{to '!tt.ptr<i32>' takes 'i32', not 'f32'}}
  "tt.store"(%p, %x) : (!tt.ptr<i32>, f32) -> ()
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<f32>, %n: i64, %i: i32) {
  // expected-error @+1 {{has 1 sizes and 2 order entries for a block of rank 1}}
  %0 = tt.make_tensor_ptr %p, [%n], [%n], [%i] {order = array<i32: 1, 0>} : !tt.ptr<tensor<4xf32>>
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<tensor<4xf32>>, %i: i32) {
  // expected-error @+1 {{has 2 offsets for a block of rank 1}}
  %0 = tt.advance %p, [%i, %i] : !tt.ptr<tensor<4xf32>>
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>, %x: f32) {
  // expected-error @+1 {{on '!tt.ptr<i32>' takes 'i32', not 'f32'}}
  %0 = tt.atomic_rmw fadd, relaxed, gpu, %p, %x : (!tt.ptr<i32>, f32) -> f32
  tt.return
}

// -----

tt.func @f(%p: tensor<4x!tt.ptr<i32>>, %x: tensor<4xi32>, %m: i1) {
  // expected-error @+1 {{mask is 'i1', but needs 'tensor<4xi1>'}}
  %0 = tt.atomic_rmw add, relaxed, gpu, %p, %x, %m : (tensor<4x!tt.ptr<i32>>, tensor<4xi32>, i1) -> tensor<4xi32>
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>, %x: i32) {
  // expected-error @+1 {{of 'i32' gives it back, not 'f32'}}
  %0 = tt.atomic_rmw add, relaxed, gpu, %p, %x : (!tt.ptr<i32>, i32) -> f32
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>, %x: i32) {
  // expected-error @+1 {{'fadd' does not take 'i32'}}
  %0 = tt.atomic_rmw fadd, relaxed, gpu, %p, %x : (!tt.ptr<i32>, i32) -> i32
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>, %x: i32, %y: f32) {
  // expected-error @+1 {{compares 'f32', stores 'i32' and gives 'i32', which should be one type}}
  %0 = tt.atomic_cas relaxed, gpu, %p, %y, %x : (!tt.ptr<i32>, f32, i32) -> i32
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>) {
  // expected-error @+1 {{is relaxed or acquire, not release}}
  %0 = tt.atomic_load release, gpu, %p : (!tt.ptr<i32>) -> i32
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>, %x: i32) {
  // expected-error @+1 {{is relaxed or release, not acq_rel}}
  tt.atomic_store acq_rel, gpu, %p, %x : !tt.ptr<i32>
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<i32>, %x: i64) {
  // expected-error @+1 {{on '!tt.ptr<i32>' takes 'i32', not 'i64'}}
  %0 = tt.atomic_poll acquire, gpu, %p, %x : !tt.ptr<i32>, i64 -> i1
  tt.return
}

// -----

tt.func @f(%d: !tt.tensordesc<tensor<4x8xf32>>, %i: i32) {
  // expected-error @+1 {{moves blocks of 'tensor<4x8xf32>', not 'tensor<4x4xf32>'}}
  %0 = tt.descriptor_load %d[%i, %i] : !tt.tensordesc<tensor<4x8xf32>> -> tensor<4x4xf32>
  tt.return
}

// -----

tt.func @f(%d: !tt.tensordesc<tensor<4x8xf32>>, %i: i32, %x: tensor<4x8xf32>) {
  // expected-error @+1 {{has 1 indices for a block of rank 2}}
  tt.descriptor_store %d[%i], %x : !tt.tensordesc<tensor<4x8xf32>>, tensor<4x8xf32>
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<f32>, %n: i32, %s: i64) {
  // expected-error @+1 {{has 1 sizes for a block of rank 2}}
  %0 = tt.make_tensor_descriptor %p, [%n], [%s] : !tt.ptr<f32>, !tt.tensordesc<tensor<4x8xf32>>
  tt.return
}

// -----

tt.func @f(%p: !tt.ptr<f32>, %n: i32, %s: i64) {
  // expected-error @+1 {{base points to 'f32', but the block holds 'f16'}}
  %0 = tt.make_tensor_descriptor %p, [%n], [%s] : !tt.ptr<f32>, !tt.tensordesc<tensor<4xf16>>
  tt.return
}

// -----

tt.func @f(%d: !tt.tensordesc<tensor<4x8xf32>>, %i: i32) {
  // expected-error @+1 {{has both cachePolicy and cache or evict}}
  %0 = "tt.descriptor_load"(%d, %i, %i) <{evict = 3 : i32, cachePolicy = #tt.cache_policy<cache_modifier = ca, eviction_policy = evict_normal>}> : (!tt.tensordesc<tensor<4x8xf32>>, i32, i32) -> tensor<4x8xf32>
  tt.return
}

// -----

tt.func @f(%d: !tt.tensordesc<tensor<4x8xf32>>, %x: tensor<16xi32>, %i: i32) {
  // expected-error @+1 {{needs a block of one row, not 'tensor<4x8xf32>'}}
  %0 = tt.descriptor_gather %d[%x, %i] : (!tt.tensordesc<tensor<4x8xf32>>, tensor<16xi32>, i32) -> tensor<16x8xf32>
  tt.return
}

// -----

tt.func @f(%d: !tt.tensordesc<tensor<1x8xf32>>, %x: tensor<4x4xi32>, %i: i32) {
  // expected-error @+1 {{needs 1-D row offsets, not 'tensor<4x4xi32>'}}
  %0 = tt.descriptor_gather %d[%x, %i] : (!tt.tensordesc<tensor<1x8xf32>>, tensor<4x4xi32>, i32) -> tensor<16x8xf32>
  tt.return
}

// -----

tt.func @f(%d: !tt.tensordesc<tensor<1x8xf32>>, %x: tensor<16xi32>, %i: i32, %y: tensor<8x8xf32>) {
  // expected-error @+1 {{moves 16 rows of 'tensor<1x8xf32>', not 'tensor<8x8xf32>'}}
  tt.descriptor_scatter %d[%x, %i], %y : !tt.tensordesc<tensor<1x8xf32>>, tensor<16xi32>, i32, tensor<8x8xf32>
  tt.return
}
