// RUN: epiq-opt %s -split-input-file -epiq-convert-triton-version=to=3.6 -verify-diagnostics

tt.func @no_v1_load(%p: !tt.ptr<i32>) {
  // expected-error @+1 {{V1: Triton 3.6 has no such op}}
  %0 = tt.atomic_load relaxed, gpu, %p : (!tt.ptr<i32>) -> i32
  tt.return
}

// -----

tt.func @no_v1_store(%p: !tt.ptr<i32>, %x: i32) {
  // expected-error @+1 {{V1: Triton 3.6 has no such op}}
  tt.atomic_store release, gpu, %p, %x : !tt.ptr<i32>
  tt.return
}

// -----

tt.func @no_v1_poll(%p: !tt.ptr<i32>, %x: i32) {
  // expected-error @+1 {{V1: Triton 3.6 has no such op}}
  %0 = tt.atomic_poll acquire, gpu, %p, %x : !tt.ptr<i32>, i32 -> i1
  tt.return
}

// -----

tt.func @no_v2(%p: !tt.ptr<i32>, %x: i32) {
  // expected-error @+1 {{V2: Triton 3.6 has no ignore_cta}}
  tt.store %p, %x {ignore_cta} : !tt.ptr<i32>
  tt.return
}

// -----

tt.func @no_v3(%p: !tt.ptr<i32>) {
  // expected-error @+1 {{V3: Triton 3.6 cannot express the cache policy}}
  %0 = tt.load %p {cachePolicy = "of one target"} : !tt.ptr<i32>
  tt.return
}
