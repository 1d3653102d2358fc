// RUN: epiq-opt %s -epiq-raise -epiq-group -mlir-print-debuginfo -mlir-print-local-scope 2>/dev/null | FileCheck %s

// As imported: a residual sum, torch's rms_norm and epiq.quantize in groups of 128
// with column-major scales, any number of tokens, become one program. Its results
// carry the names of torch's nodes.
// CHECK-LABEL: func.func @graph
// CHECK-NOT: arith
// CHECK: %[[P:.*]]:3 = epiq.row_program @fused_add_rms_norm_quantize_0 (%arg0, %arg1, %arg2) {layouts = [#epiq.layout<row_major>, #epiq.layout<row_major>, #epiq.layout<column_major>]} : (tensor<?x512xbf16>, tensor<?x512xbf16>, tensor<512xbf16>) -> (tensor<?x512xbf16>, tensor<?x512xf8E4M3FN>, tensor<?x4xf32>)
// CHECK: %[[H:.*]] = arith.truncf %{{.*}} : tensor<?x512xf32> to tensor<?x512xbf16> loc("add"(
// CHECK: %[[Y:.*]] = epiq.composite "rms_norm" (%[[H]], %{{.*}})
// CHECK: %[[Q:.*]]:2 = epiq.composite "quantize" (%[[Y]])
// CHECK: %[[C:.*]] = epiq.relayout %[[Q]]#1 to column_major : tensor<?x4xf32> to tensor<?x4xf32> loc("permute_1"(
// CHECK: epiq.yield %[[H]], %[[Q]]#0, %[[C]]
// CHECK: return %[[P]]#1, %[[P]]#2, %[[P]]#0
func.func @graph(%arg0: tensor<?x512xbf16> loc("arg0_1"), %arg1: tensor<?x512xbf16> loc("arg1_1"), %arg2: tensor<512xbf16> loc("arg2_1")) -> (tensor<?x512xf8E4M3FN>, tensor<?x4xf32>, tensor<?x512xbf16>) {
  %0 = arith.extf %arg0 : tensor<?x512xbf16> to tensor<?x512xf32> loc("add.aux"("model.py":36:0))
  %1 = arith.extf %arg1 : tensor<?x512xbf16> to tensor<?x512xf32> loc("add.aux"("model.py":36:0))
  %2 = arith.addf %0, %1 : tensor<?x512xf32> loc("add.aux"("model.py":36:0))
  %3 = arith.truncf %2 : tensor<?x512xf32> to tensor<?x512xbf16> loc("add"("model.py":36:0))
  %4 = arith.extf %3 : tensor<?x512xbf16> to tensor<?x512xf32> loc("convert_element_type"("model.py":37:0))
  %5 = arith.mulf %4, %4 : tensor<?x512xf32> loc("pow_1"("model.py":37:0))
  %6 = epiq.reduce sum %5 dims [1] keep : tensor<?x512xf32> to tensor<?x1xf32> loc("mean.aux"("model.py":37:0))
  %7 = arith.constant dense<512.0> : tensor<f32> loc("mean.aux"("model.py":37:0))
  %8 = epiq.broadcast %7 : tensor<f32> to tensor<?x1xf32> loc("mean.aux"("model.py":37:0))
  %9 = arith.divf %6, %8 : tensor<?x1xf32> loc("mean"("model.py":37:0))
  %10 = arith.constant dense<9.999999747378752e-06> : tensor<f32> loc("add_1.aux"("model.py":37:0))
  %11 = epiq.broadcast %10 : tensor<f32> to tensor<?x1xf32> loc("add_1.aux"("model.py":37:0))
  %12 = arith.addf %9, %11 : tensor<?x1xf32> loc("add_1"("model.py":37:0))
  %13 = math.rsqrt %12 : tensor<?x1xf32> loc("rsqrt"("model.py":37:0))
  %14 = epiq.broadcast %13 : tensor<?x1xf32> to tensor<?x512xf32> loc("mul.aux"("model.py":37:0))
  %15 = arith.mulf %4, %14 : tensor<?x512xf32> loc("mul"("model.py":37:0))
  %16 = arith.extf %arg2 : tensor<512xbf16> to tensor<512xf32> loc("mul_1.aux"("model.py":37:0))
  %17 = epiq.broadcast %16 : tensor<512xf32> to tensor<?x512xf32> loc("mul_1.aux"("model.py":37:0))
  %18 = arith.mulf %15, %17 : tensor<?x512xf32> loc("mul_1"("model.py":37:0))
  %19 = arith.truncf %18 : tensor<?x512xf32> to tensor<?x512xbf16> loc("convert_element_type_1"("model.py":37:0))
  %20 = arith.extf %19 : tensor<?x512xbf16> to tensor<?x512xf32> loc("convert_element_type_2"("model.py":37:0))
  %21 = epiq.reshape %20 : tensor<?x512xf32> to tensor<?x4x128xf32> loc("view"("model.py":37:0))
  %22 = math.absf %21 : tensor<?x4x128xf32> loc("abs_1"("model.py":37:0))
  %23 = epiq.reduce max %22 dims [2] keep : tensor<?x4x128xf32> to tensor<?x4x1xf32> loc("amax"("model.py":37:0))
  %24 = arith.constant dense<448.0> : tensor<f32> loc("full"("model.py":37:0))
  %25 = epiq.broadcast %24 : tensor<f32> to tensor<?x4x1xf32> loc("div.aux"("model.py":37:0))
  %26 = arith.divf %23, %25 : tensor<?x4x1xf32> loc("div"("model.py":37:0))
  %27 = arith.constant dense<4.359654212748865e-06> : tensor<f32> loc("clamp_min.aux"("model.py":37:0))
  %28 = epiq.broadcast %27 : tensor<f32> to tensor<?x4x1xf32> loc("clamp_min.aux"("model.py":37:0))
  %29 = arith.maximumf %26, %28 : tensor<?x4x1xf32> loc("clamp_min"("model.py":37:0))
  %30 = epiq.broadcast %29 : tensor<?x4x1xf32> to tensor<?x4x128xf32> loc("div_1.aux"("model.py":37:0))
  %31 = arith.divf %21, %30 : tensor<?x4x128xf32> loc("div_1"("model.py":37:0))
  %32 = arith.constant dense<-448.0> : tensor<f32> loc("clamp_min_1.aux"("model.py":37:0))
  %33 = epiq.broadcast %32 : tensor<f32> to tensor<?x4x128xf32> loc("clamp_min_1.aux"("model.py":37:0))
  %34 = arith.maximumf %31, %33 : tensor<?x4x128xf32> loc("clamp_min_1"("model.py":37:0))
  %35 = arith.constant dense<448.0> : tensor<f32> loc("clamp_max.aux"("model.py":37:0))
  %36 = epiq.broadcast %35 : tensor<f32> to tensor<?x4x128xf32> loc("clamp_max.aux"("model.py":37:0))
  %37 = arith.minimumf %34, %36 : tensor<?x4x128xf32> loc("clamp_max"("model.py":37:0))
  %38 = arith.truncf %37 : tensor<?x4x128xf32> to tensor<?x4x128xf8E4M3FN> loc("convert_element_type_3"("model.py":37:0))
  %39 = epiq.reshape %38 : tensor<?x4x128xf8E4M3FN> to tensor<?x512xf8E4M3FN> loc("view_1"("model.py":37:0))
  %40 = epiq.reshape %29 : tensor<?x4x1xf32> to tensor<?x4xf32> loc("squeeze"("model.py":37:0))
  %41 = epiq.transpose %40 perm [1, 0] : tensor<?x4xf32> to tensor<4x?xf32> loc("permute"("model.py":37:0))
  %42 = epiq.contiguous %41 : tensor<4x?xf32> loc("clone"("model.py":37:0))
  %43 = epiq.transpose %42 perm [1, 0] : tensor<4x?xf32> to tensor<?x4xf32> loc("permute_1"("model.py":37:0))
  return %39, %43, %3 : tensor<?x512xf8E4M3FN>, tensor<?x4xf32>, tensor<?x512xbf16>
}
