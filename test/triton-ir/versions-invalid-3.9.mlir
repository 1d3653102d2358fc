// RUN: epiq-opt %s -split-input-file -epiq-convert-triton-version=to=3.9 -verify-diagnostics

tt.func @no_v4_make(%p: !tt.ptr<f32>, %n: i64, %i: i32) {
  // expected-error @+1 {{V4: Triton 3.9 has no block pointers}}
  %0 = tt.make_tensor_ptr %p, [%n], [%n], [%i] {order = array<i32: 0>} : !tt.ptr<tensor<8xf32>>
  tt.return
}

// -----

tt.func @no_v4_load(%p: !tt.ptr<tensor<8xf32>>) {
  // expected-error @+1 {{V4: Triton 3.9 has no block pointers}}
  %0 = tt.load %p : !tt.ptr<tensor<8xf32>>
  tt.return
}
