// RUN: epiq-opt %s -split-input-file --triton-version=3.6 | FileCheck %s --check-prefixes=BOTH,OLD
// RUN: epiq-opt %s -split-input-file --triton-version=3.9 | FileCheck %s --check-prefixes=BOTH,NEW
// RUN: epiq-opt %s -split-input-file | FileCheck %s --check-prefix=SAME

// The spelling of 3.6 is kept unless asked otherwise.
// BOTH-LABEL: @policies_of_36
// SAME-LABEL: @policies_of_36
tt.func @policies_of_36(%p: !tt.ptr<f32>, %d: !tt.tensordesc<tensor<4x8xf32>>, %i: i32) {
  // OLD: tt.load %{{.*}} cacheModifier = ca evictionPolicy = evict_first {isVolatile = true} : !tt.ptr<f32>
  // NEW: tt.load %{{.*}} {cachePolicy = #tt.cache_policy<cache_modifier = ca, eviction_policy = evict_first>, isVolatile = true} : !tt.ptr<f32>
  // SAME: tt.load %{{.*}} cacheModifier = ca evictionPolicy = evict_first {isVolatile = true} : !tt.ptr<f32>
  %a = tt.load %p evictionPolicy = evict_first cacheModifier = ca {isVolatile = true} : !tt.ptr<f32>
  // OLD: tt.store %{{.*}}, %{{.*}} evictionPolicy = evict_last : !tt.ptr<f32>
  // NEW: tt.store %{{.*}}, %{{.*}} {cachePolicy = #tt.cache_policy<cache_modifier = none, eviction_policy = evict_last>} : !tt.ptr<f32>
  tt.store %p, %a evictionPolicy = evict_last : !tt.ptr<f32>
  // OLD: tt.descriptor_load %{{.*}}[%{{.*}}, %{{.*}}] cacheModifier = cg : !tt.tensordesc<tensor<4x8xf32>> -> tensor<4x8xf32>
  // NEW: tt.descriptor_load %{{.*}}[%{{.*}}, %{{.*}}] {cachePolicy = #tt.cache_policy<cache_modifier = cg, eviction_policy = evict_normal>} : !tt.tensordesc<4x8xf32> -> tensor<4x8xf32>
  %b = tt.descriptor_load %d[%i, %i] cacheModifier = cg : !tt.tensordesc<tensor<4x8xf32>> -> tensor<4x8xf32>
  // OLD: gpu.barrier
  // NEW: ttg.barrier all
  // SAME: gpu.barrier
  gpu.barrier
  tt.return
}

// -----

// And so is that of 3.9; its generic form is read as well.
// BOTH-LABEL: @policies_of_39
// SAME-LABEL: @policies_of_39
tt.func @policies_of_39(%p: !tt.ptr<f32>, %d: !tt.tensordesc<4x8xsi32>, %x: f32) {
  // OLD: tt.load %{{.*}} cacheModifier = cv : !tt.ptr<f32>
  // NEW: tt.load %{{.*}} {cachePolicy = #tt.cache_policy<cache_modifier = cv, eviction_policy = evict_normal>} : !tt.ptr<f32>
  // SAME: tt.load %{{.*}} {cachePolicy = #tt.cache_policy<cache_modifier = cv, eviction_policy = evict_normal>} : !tt.ptr<f32>
  %a = tt.load %p {cachePolicy = #tt.cache_policy<cache_modifier = cv, eviction_policy = evict_normal>} : !tt.ptr<f32>
  // OLD: tt.load %{{.*}} cacheModifier = ca evictionPolicy = evict_last : !tt.ptr<f32>
  // NEW: tt.load %{{.*}} {cachePolicy = #tt.cache_policy<cache_modifier = ca, eviction_policy = evict_last>} : !tt.ptr<f32>
  %b = "tt.load"(%p) <{cachePolicy = #tt.cache_policy<cache_modifier = ca, eviction_policy = evict_last>, operandSegmentSizes = array<i32: 1, 0, 0>}> : (!tt.ptr<f32>) -> f32
  // A policy that asks for nothing is not written.
  // BOTH: tt.load %{{[^ ]*}} : !tt.ptr<f32>
  %c = tt.load %p {cachePolicy = #tt.cache_policy<cache_modifier = none, eviction_policy = evict_normal>} : !tt.ptr<f32>
  // OLD: gpu.barrier
  // NEW: ttg.barrier local|global_read
  ttg.barrier local|global_read
  // OLD: tt.elementwise_inline_asm "griddepcontrol.wait; // dummy $0" {constraints = "=r", packed_element = 1 : i32, pure = false} -> i32
  // NEW: tt.grid_dependency_wait
  tt.grid_dependency_wait
  // OLD: tt.elementwise_inline_asm "griddepcontrol.launch_dependents; // dummy $0"
  // NEW: tt.grid_dependency_launch_dependents
  tt.grid_dependency_launch_dependents
  // OLD: arith.divf
  // NEW: tt.approx_divf
  %e = tt.approx_divf %x, %x : f32
  tt.return
}
