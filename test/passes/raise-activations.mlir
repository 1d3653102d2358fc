// RUN: epiq-opt %s -epiq-raise -verify-diagnostics | FileCheck %s

// What torch makes of layer_norm: the variance is one of distances, the distance is
// taken twice; weight and bias in f32.
// CHECK-LABEL: @layer_norm(
func.func @layer_norm(%arg0: tensor<4x64xbf16>, %arg1: tensor<64xbf16>, %arg2: tensor<64xbf16>) -> (tensor<4x64xbf16>) {
  // CHECK-NEXT: %[[Y:.*]] = epiq.composite "layer_norm" (%arg0, %arg1, %arg2)
  // CHECK: return %[[Y]]
  %0 = arith.extf %arg0 : tensor<4x64xbf16> to tensor<4x64xf32>
  %1 = epiq.reduce sum %0 dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %2 = arith.constant dense<64.0> : tensor<f32>
  %3 = epiq.broadcast %2 : tensor<f32> to tensor<4x1xf32>
  %4 = arith.divf %1, %3 : tensor<4x1xf32>
  %5 = epiq.broadcast %4 : tensor<4x1xf32> to tensor<4x64xf32>
  %6 = arith.subf %0, %5 : tensor<4x64xf32>
  %7 = arith.mulf %6, %6 : tensor<4x64xf32>
  %8 = epiq.reduce sum %7 dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %9 = arith.constant dense<64.0> : tensor<f32>
  %10 = epiq.broadcast %9 : tensor<f32> to tensor<4x1xf32>
  %11 = arith.divf %8, %10 : tensor<4x1xf32>
  %12 = arith.constant dense<9.999999747378752e-06> : tensor<f32>
  %13 = epiq.broadcast %12 : tensor<f32> to tensor<4x1xf32>
  %14 = arith.addf %11, %13 : tensor<4x1xf32>
  %15 = math.rsqrt %14 : tensor<4x1xf32>
  %16 = epiq.broadcast %4 : tensor<4x1xf32> to tensor<4x64xf32>
  %17 = arith.subf %0, %16 : tensor<4x64xf32>
  %18 = epiq.broadcast %15 : tensor<4x1xf32> to tensor<4x64xf32>
  %19 = arith.mulf %17, %18 : tensor<4x64xf32>
  %20 = arith.extf %arg1 : tensor<64xbf16> to tensor<64xf32>
  %21 = epiq.broadcast %20 : tensor<64xf32> to tensor<4x64xf32>
  %22 = arith.mulf %19, %21 : tensor<4x64xf32>
  %23 = arith.extf %arg2 : tensor<64xbf16> to tensor<64xf32>
  %24 = epiq.broadcast %23 : tensor<64xf32> to tensor<4x64xf32>
  %25 = arith.addf %22, %24 : tensor<4x64xf32>
  // expected-remark @+1 {{named layer_norm}}
  %26 = arith.truncf %25 : tensor<4x64xf32> to tensor<4x64xbf16>
  return %26 : tensor<4x64xbf16>
}

// Without weight and bias, in f32 from end to end.
// CHECK-LABEL: @layer_norm_alone(
func.func @layer_norm_alone(%arg0: tensor<4x64xf32>) -> (tensor<4x64xf32>) {
  // CHECK-NEXT: %[[Y:.*]] = epiq.composite "layer_norm" (%arg0)
  // CHECK: return %[[Y]]
  %0 = epiq.reduce sum %arg0 dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %1 = arith.constant dense<64.0> : tensor<f32>
  %2 = epiq.broadcast %1 : tensor<f32> to tensor<4x1xf32>
  %3 = arith.divf %0, %2 : tensor<4x1xf32>
  %4 = epiq.broadcast %3 : tensor<4x1xf32> to tensor<4x64xf32>
  %5 = arith.subf %arg0, %4 : tensor<4x64xf32>
  %6 = arith.mulf %5, %5 : tensor<4x64xf32>
  %7 = epiq.reduce sum %6 dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %8 = arith.constant dense<64.0> : tensor<f32>
  %9 = epiq.broadcast %8 : tensor<f32> to tensor<4x1xf32>
  %10 = arith.divf %7, %9 : tensor<4x1xf32>
  %11 = arith.constant dense<9.999999747378752e-06> : tensor<f32>
  %12 = epiq.broadcast %11 : tensor<f32> to tensor<4x1xf32>
  %13 = arith.addf %10, %12 : tensor<4x1xf32>
  %14 = math.rsqrt %13 : tensor<4x1xf32>
  %15 = epiq.broadcast %3 : tensor<4x1xf32> to tensor<4x64xf32>
  %16 = arith.subf %arg0, %15 : tensor<4x64xf32>
  %17 = epiq.broadcast %14 : tensor<4x1xf32> to tensor<4x64xf32>
  // expected-remark @+1 {{named layer_norm}}
  %18 = arith.mulf %16, %17 : tensor<4x64xf32>
  return %18 : tensor<4x64xf32>
}

// The mean of another value is subtracted before the root is applied.
// CHECK-LABEL: @no_layer_norm_other_mean(
func.func @no_layer_norm_other_mean(%arg0: tensor<4x64xf32>, %arg1: tensor<4x64xf32>) -> (tensor<4x64xf32>) {
  // CHECK-NOT: epiq.composite
  %0 = epiq.reduce sum %arg0 dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %1 = arith.constant dense<64.0> : tensor<f32>
  %2 = epiq.broadcast %1 : tensor<f32> to tensor<4x1xf32>
  %3 = arith.divf %0, %2 : tensor<4x1xf32>
  %4 = epiq.broadcast %3 : tensor<4x1xf32> to tensor<4x64xf32>
  %5 = arith.subf %arg1, %4 : tensor<4x64xf32>
  %6 = epiq.reduce sum %arg1 dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %7 = arith.constant dense<64.0> : tensor<f32>
  %8 = epiq.broadcast %7 : tensor<f32> to tensor<4x1xf32>
  %9 = arith.divf %6, %8 : tensor<4x1xf32>
  %10 = epiq.broadcast %9 : tensor<4x1xf32> to tensor<4x64xf32>
  %11 = arith.subf %arg1, %10 : tensor<4x64xf32>
  %12 = arith.mulf %11, %11 : tensor<4x64xf32>
  %13 = epiq.reduce sum %12 dims [1] keep : tensor<4x64xf32> to tensor<4x1xf32>
  %14 = arith.constant dense<64.0> : tensor<f32>
  %15 = epiq.broadcast %14 : tensor<f32> to tensor<4x1xf32>
  %16 = arith.divf %13, %15 : tensor<4x1xf32>
  %17 = arith.constant dense<9.999999747378752e-06> : tensor<f32>
  %18 = epiq.broadcast %17 : tensor<f32> to tensor<4x1xf32>
  %19 = arith.addf %16, %18 : tensor<4x1xf32>
  %20 = math.rsqrt %19 : tensor<4x1xf32>
  %21 = epiq.broadcast %20 : tensor<4x1xf32> to tensor<4x64xf32>
  %22 = arith.mulf %5, %21 : tensor<4x64xf32>
  return %22 : tensor<4x64xf32>
}

// erf, rounded before the product.
// CHECK-LABEL: @gelu_mul(
func.func @gelu_mul(%arg0: tensor<4x64xbf16>, %arg1: tensor<4x64xbf16>) -> (tensor<4x64xbf16>) {
  // CHECK-NEXT: %[[Y:.*]] = epiq.composite "gelu_mul" (%arg0, %arg1)
  // CHECK: return %[[Y]]
  %0 = arith.extf %arg0 : tensor<4x64xbf16> to tensor<4x64xf32>
  %1 = arith.constant dense<0.5> : tensor<f32>
  %2 = epiq.broadcast %1 : tensor<f32> to tensor<4x64xf32>
  %3 = arith.mulf %0, %2 : tensor<4x64xf32>
  %4 = arith.constant dense<0.7071067690849304> : tensor<f32>
  %5 = epiq.broadcast %4 : tensor<f32> to tensor<4x64xf32>
  %6 = arith.mulf %0, %5 : tensor<4x64xf32>
  %7 = math.erf %6 : tensor<4x64xf32>
  %8 = arith.constant dense<1.0> : tensor<f32>
  %9 = epiq.broadcast %8 : tensor<f32> to tensor<4x64xf32>
  %10 = arith.addf %7, %9 : tensor<4x64xf32>
  %11 = arith.mulf %3, %10 : tensor<4x64xf32>
  %12 = arith.truncf %11 : tensor<4x64xf32> to tensor<4x64xbf16>
  %13 = arith.extf %12 : tensor<4x64xbf16> to tensor<4x64xf32>
  %14 = arith.extf %arg1 : tensor<4x64xbf16> to tensor<4x64xf32>
  %15 = arith.mulf %13, %14 : tensor<4x64xf32>
  // expected-remark @+1 {{named gelu_mul}}
  %16 = arith.truncf %15 : tensor<4x64xf32> to tensor<4x64xbf16>
  return %16 : tensor<4x64xbf16>
}

// tanh, in f32.
// CHECK-LABEL: @gelu_mul_tanh(
func.func @gelu_mul_tanh(%arg0: tensor<4x64xf32>, %arg1: tensor<4x64xf32>) -> (tensor<4x64xf32>) {
  // CHECK-NEXT: %[[Y:.*]] = epiq.composite "gelu_mul" (%arg0, %arg1)
  // CHECK: return %[[Y]]
  %0 = arith.mulf %arg0, %arg0 : tensor<4x64xf32>
  %1 = arith.mulf %0, %arg0 : tensor<4x64xf32>
  %2 = arith.constant dense<0.044714998453855515> : tensor<f32>
  %3 = epiq.broadcast %2 : tensor<f32> to tensor<4x64xf32>
  %4 = arith.mulf %1, %3 : tensor<4x64xf32>
  %5 = arith.addf %arg0, %4 : tensor<4x64xf32>
  %6 = arith.constant dense<0.7978845834732056> : tensor<f32>
  %7 = epiq.broadcast %6 : tensor<f32> to tensor<4x64xf32>
  %8 = arith.mulf %5, %7 : tensor<4x64xf32>
  %9 = arith.constant dense<0.5> : tensor<f32>
  %10 = epiq.broadcast %9 : tensor<f32> to tensor<4x64xf32>
  %11 = arith.mulf %arg0, %10 : tensor<4x64xf32>
  %12 = math.tanh %8 : tensor<4x64xf32>
  %13 = arith.constant dense<1.0> : tensor<f32>
  %14 = epiq.broadcast %13 : tensor<f32> to tensor<4x64xf32>
  %15 = arith.addf %12, %14 : tensor<4x64xf32>
  %16 = arith.mulf %11, %15 : tensor<4x64xf32>
  // expected-remark @+1 {{named gelu_mul}}
  %17 = arith.mulf %16, %arg1 : tensor<4x64xf32>
  return %17 : tensor<4x64xf32>
}

// Not multiplied: half of 1 + erf is scaled by the gate.
// CHECK-LABEL: @gelu(
func.func @gelu(%arg0: tensor<4x64xf32>) -> (tensor<4x64xf32>) {
  // CHECK-NEXT: %[[Y:.*]] = epiq.composite "gelu" (%arg0)
  // CHECK: return %[[Y]]
  %0 = arith.constant dense<0.7071067690849304> : tensor<f32>
  %1 = epiq.broadcast %0 : tensor<f32> to tensor<4x64xf32>
  %2 = arith.mulf %arg0, %1 : tensor<4x64xf32>
  %3 = math.erf %2 : tensor<4x64xf32>
  %4 = arith.constant dense<1.0> : tensor<f32>
  %5 = epiq.broadcast %4 : tensor<f32> to tensor<4x64xf32>
  %6 = arith.addf %3, %5 : tensor<4x64xf32>
  %7 = arith.constant dense<0.5> : tensor<f32>
  %8 = epiq.broadcast %7 : tensor<f32> to tensor<4x64xf32>
  %9 = arith.mulf %6, %8 : tensor<4x64xf32>
  // expected-remark @+1 {{named gelu}}
  %10 = arith.mulf %arg0, %9 : tensor<4x64xf32>
  return %10 : tensor<4x64xf32>
}

// erf of the whole gate.
// CHECK-LABEL: @no_gelu_other_argument(
func.func @no_gelu_other_argument(%arg0: tensor<4x64xf32>) -> (tensor<4x64xf32>) {
  // CHECK-NOT: epiq.composite
  %0 = arith.constant dense<0.5> : tensor<f32>
  %1 = epiq.broadcast %0 : tensor<f32> to tensor<4x64xf32>
  %2 = arith.mulf %arg0, %1 : tensor<4x64xf32>
  %3 = math.erf %arg0 : tensor<4x64xf32>
  %4 = arith.constant dense<1.0> : tensor<f32>
  %5 = epiq.broadcast %4 : tensor<f32> to tensor<4x64xf32>
  %6 = arith.addf %3, %5 : tensor<4x64xf32>
  %7 = arith.mulf %2, %6 : tensor<4x64xf32>
  return %7 : tensor<4x64xf32>
}

// Each step is rounded to bf16.
// CHECK-LABEL: @swiglu(
func.func @swiglu(%arg0: tensor<4x64xbf16>, %arg1: tensor<4x64xbf16>) -> (tensor<4x64xbf16>) {
  // CHECK-NEXT: %[[Y:.*]] = epiq.composite "swiglu" (%arg0, %arg1)
  // CHECK: return %[[Y]]
  %0 = arith.extf %arg0 : tensor<4x64xbf16> to tensor<4x64xf32>
  %1 = arith.constant dense<7.0> : tensor<f32>
  %2 = epiq.broadcast %1 : tensor<f32> to tensor<4x64xf32>
  %3 = arith.minimumf %0, %2 : tensor<4x64xf32>
  %4 = arith.truncf %3 : tensor<4x64xf32> to tensor<4x64xbf16>
  %5 = arith.extf %arg1 : tensor<4x64xbf16> to tensor<4x64xf32>
  %6 = arith.constant dense<-7.0> : tensor<f32>
  %7 = epiq.broadcast %6 : tensor<f32> to tensor<4x64xf32>
  %8 = arith.maximumf %5, %7 : tensor<4x64xf32>
  %9 = arith.constant dense<7.0> : tensor<f32>
  %10 = epiq.broadcast %9 : tensor<f32> to tensor<4x64xf32>
  %11 = arith.minimumf %8, %10 : tensor<4x64xf32>
  %12 = arith.truncf %11 : tensor<4x64xf32> to tensor<4x64xbf16>
  %13 = arith.extf %4 : tensor<4x64xbf16> to tensor<4x64xf32>
  %14 = arith.constant dense<1.7020000219345093> : tensor<f32>
  %15 = epiq.broadcast %14 : tensor<f32> to tensor<4x64xf32>
  %16 = arith.mulf %13, %15 : tensor<4x64xf32>
  %17 = arith.truncf %16 : tensor<4x64xf32> to tensor<4x64xbf16>
  %18 = arith.extf %17 : tensor<4x64xbf16> to tensor<4x64xf32>
  %19 = arith.constant dense<1.0> : tensor<f32>
  %20 = epiq.broadcast %19 : tensor<f32> to tensor<4x64xf32>
  %21 = arith.constant dense<1.0> : tensor<f32>
  %22 = epiq.broadcast %21 : tensor<f32> to tensor<4x64xf32>
  %23 = arith.negf %18 : tensor<4x64xf32>
  %24 = math.exp %23 : tensor<4x64xf32>
  %25 = arith.addf %22, %24 : tensor<4x64xf32>
  %26 = arith.divf %20, %25 : tensor<4x64xf32>
  %27 = arith.truncf %26 : tensor<4x64xf32> to tensor<4x64xbf16>
  %28 = arith.extf %4 : tensor<4x64xbf16> to tensor<4x64xf32>
  %29 = arith.extf %27 : tensor<4x64xbf16> to tensor<4x64xf32>
  %30 = arith.mulf %28, %29 : tensor<4x64xf32>
  %31 = arith.truncf %30 : tensor<4x64xf32> to tensor<4x64xbf16>
  %32 = arith.extf %12 : tensor<4x64xbf16> to tensor<4x64xf32>
  %33 = arith.constant dense<1.0> : tensor<f32>
  %34 = epiq.broadcast %33 : tensor<f32> to tensor<4x64xf32>
  %35 = arith.addf %32, %34 : tensor<4x64xf32>
  %36 = arith.truncf %35 : tensor<4x64xf32> to tensor<4x64xbf16>
  %37 = arith.extf %31 : tensor<4x64xbf16> to tensor<4x64xf32>
  %38 = arith.extf %36 : tensor<4x64xbf16> to tensor<4x64xf32>
  %39 = arith.mulf %37, %38 : tensor<4x64xf32>
  // expected-remark @+1 {{named swiglu}}
  %40 = arith.truncf %39 : tensor<4x64xf32> to tensor<4x64xbf16>
  return %40 : tensor<4x64xbf16>
}

// The gate is not clamped.
// CHECK-LABEL: @no_swiglu_unclamped(
func.func @no_swiglu_unclamped(%arg0: tensor<4x64xf32>, %arg1: tensor<4x64xf32>) -> (tensor<4x64xf32>) {
  // CHECK-NOT: epiq.composite
  %0 = arith.constant dense<1.7020000219345093> : tensor<f32>
  %1 = epiq.broadcast %0 : tensor<f32> to tensor<4x64xf32>
  %2 = arith.mulf %arg0, %1 : tensor<4x64xf32>
  %3 = arith.constant dense<1.0> : tensor<f32>
  %4 = epiq.broadcast %3 : tensor<f32> to tensor<4x64xf32>
  %5 = arith.constant dense<1.0> : tensor<f32>
  %6 = epiq.broadcast %5 : tensor<f32> to tensor<4x64xf32>
  %7 = arith.negf %2 : tensor<4x64xf32>
  %8 = math.exp %7 : tensor<4x64xf32>
  %9 = arith.addf %6, %8 : tensor<4x64xf32>
  %10 = arith.divf %4, %9 : tensor<4x64xf32>
  %11 = arith.mulf %arg0, %10 : tensor<4x64xf32>
  %12 = arith.constant dense<-7.0> : tensor<f32>
  %13 = epiq.broadcast %12 : tensor<f32> to tensor<4x64xf32>
  %14 = arith.maximumf %arg1, %13 : tensor<4x64xf32>
  %15 = arith.constant dense<7.0> : tensor<f32>
  %16 = epiq.broadcast %15 : tensor<f32> to tensor<4x64xf32>
  %17 = arith.minimumf %14, %16 : tensor<4x64xf32>
  %18 = arith.constant dense<1.0> : tensor<f32>
  %19 = epiq.broadcast %18 : tensor<f32> to tensor<4x64xf32>
  %20 = arith.addf %17, %19 : tensor<4x64xf32>
  %21 = arith.mulf %11, %20 : tensor<4x64xf32>
  return %21 : tensor<4x64xf32>
}

// Rounded before the square.
// CHECK-LABEL: @relu2(
func.func @relu2(%arg0: tensor<4x64xbf16>) -> (tensor<4x64xbf16>) {
  // CHECK-NEXT: %[[Y:.*]] = epiq.composite "relu2" (%arg0)
  // CHECK: return %[[Y]]
  %0 = arith.extf %arg0 : tensor<4x64xbf16> to tensor<4x64xf32>
  %1 = arith.constant dense<0.0> : tensor<f32>
  %2 = epiq.broadcast %1 : tensor<f32> to tensor<4x64xf32>
  %3 = arith.maximumf %0, %2 : tensor<4x64xf32>
  %4 = arith.truncf %3 : tensor<4x64xf32> to tensor<4x64xbf16>
  %5 = arith.extf %4 : tensor<4x64xbf16> to tensor<4x64xf32>
  %6 = arith.mulf %5, %5 : tensor<4x64xf32>
  // expected-remark @+1 {{named relu2}}
  %7 = arith.truncf %6 : tensor<4x64xf32> to tensor<4x64xbf16>
  return %7 : tensor<4x64xbf16>
}

// The maximum is one with 1.
// CHECK-LABEL: @no_relu2_above_one(
func.func @no_relu2_above_one(%arg0: tensor<4x64xf32>) -> (tensor<4x64xf32>) {
  // CHECK-NOT: epiq.composite
  %0 = arith.constant dense<1.0> : tensor<f32>
  %1 = epiq.broadcast %0 : tensor<f32> to tensor<4x64xf32>
  %2 = arith.maximumf %arg0, %1 : tensor<4x64xf32>
  %3 = arith.mulf %2, %2 : tensor<4x64xf32>
  return %3 : tensor<4x64xf32>
}
