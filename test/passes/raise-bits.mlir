// RUN: epiq-opt %s -epiq-raise | FileCheck %s

// The exponent, plus one where the mantissa is not zero; NaN apart: the spelling of epiq.formats.
// CHECK-LABEL: @rceil
func.func @rceil(%x: tensor<3x4xf32>) -> tensor<3x4xf8E8M0FNU> {
  // CHECK: %[[A:.*]] = math.absf
  // CHECK-NEXT: %[[B:.*]] = epiq.to_ue8m0 rceil %[[A]] : tensor<3x4xf32> to tensor<3x4xf8E8M0FNU>
  // CHECK-NEXT: return %[[B]]
  %c23 = arith.constant dense<23> : tensor<3x4xi32>
  %low = arith.constant dense<8388607> : tensor<3x4xi32>
  %c0 = arith.constant dense<0> : tensor<3x4xi32>
  %c254 = arith.constant dense<254> : tensor<3x4xi32>
  %c255 = arith.constant dense<255> : tensor<3x4xi32>
  %a = math.absf %x : tensor<3x4xf32>
  %i = arith.bitcast %a : tensor<3x4xf32> to tensor<3x4xi32>
  %e = arith.shrsi %i, %c23 : tensor<3x4xi32>
  %m = arith.andi %i, %low : tensor<3x4xi32>
  %n = arith.cmpi ne, %m, %c0 : tensor<3x4xi32>
  %u = arith.extui %n : tensor<3x4xi1> to tensor<3x4xi32>
  %s = arith.addi %e, %u : tensor<3x4xi32>
  %l = arith.maxsi %s, %c0 : tensor<3x4xi32>
  %h = arith.minsi %l, %c254 : tensor<3x4xi32>
  %nan = arith.cmpf une, %a, %a : tensor<3x4xf32>
  %b = arith.select %nan, %c255, %h : tensor<3x4xi1>, tensor<3x4xi32>
  %t = arith.trunci %b : tensor<3x4xi32> to tensor<3x4xi8>
  %r = arith.bitcast %t : tensor<3x4xi8> to tensor<3x4xf8E8M0FNU>
  return %r : tensor<3x4xf8E8M0FNU>
}

// The carry of the mantissa into the exponent, as a byte; the cast itself looks at the magnitude.
// CHECK-LABEL: @rceil_by_carry
func.func @rceil_by_carry(%x: tensor<2x4xf32>) -> tensor<2x4xi8> {
  // CHECK: %[[A:.*]] = math.absf
  // CHECK-NEXT: %[[B:.*]] = epiq.to_ue8m0 rceil %[[A]]
  // CHECK-NEXT: %[[C:.*]] = arith.bitcast %[[B]] : tensor<2x4xf8E8M0FNU> to tensor<2x4xi8>
  // CHECK-NEXT: return %[[C]]
  %c23 = arith.constant dense<23> : tensor<2x4xi32>
  %low = arith.constant dense<8388607> : tensor<2x4xi32>
  %c254 = arith.constant dense<254> : tensor<2x4xi32>
  %c255 = arith.constant dense<255> : tensor<2x4xi32>
  %a = math.absf %x : tensor<2x4xf32>
  %i = arith.bitcast %a : tensor<2x4xf32> to tensor<2x4xi32>
  %c = arith.addi %i, %low : tensor<2x4xi32>
  %e = arith.shrui %c, %c23 : tensor<2x4xi32>
  %h = arith.minui %e, %c254 : tensor<2x4xi32>
  %nan = arith.cmpf une, %x, %x : tensor<2x4xf32>
  %b = arith.select %nan, %c255, %h : tensor<2x4xi1>, tensor<2x4xi32>
  %t = arith.trunci %b : tensor<2x4xi32> to tensor<2x4xi8>
  return %t : tensor<2x4xi8>
}

// OCP's floor takes the exponent of the largest element off. Inf is one less than the largest scale then, NaN too
// without a test for it: not the cast, which has 255.
// CHECK-LABEL: @no_floor_without_nan
func.func @no_floor_without_nan(%x: tensor<2x4xf32>) -> tensor<2x4xi8> {
  // CHECK-NOT: epiq.to_ue8m0
  // CHECK: return
  %c23 = arith.constant dense<23> : tensor<2x4xi32>
  %c2 = arith.constant dense<2> : tensor<2x4xi32>
  %c0 = arith.constant dense<0> : tensor<2x4xi32>
  %a = math.absf %x : tensor<2x4xf32>
  %i = arith.bitcast %a : tensor<2x4xf32> to tensor<2x4xi32>
  %e = arith.shrsi %i, %c23 : tensor<2x4xi32>
  %s = arith.subi %e, %c2 : tensor<2x4xi32>
  %l = arith.maxsi %s, %c0 : tensor<2x4xi32>
  %t = arith.trunci %l : tensor<2x4xi32> to tensor<2x4xi8>
  return %t : tensor<2x4xi8>
}

// The f32 number itself: exact for normal numbers, which a floor on the value makes all of them, but Inf stays
// Inf and is 2^127 as a scale.
// CHECK-LABEL: @no_power_of_inf
func.func @no_power_of_inf(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  // CHECK-NOT: epiq.to_ue8m0
  // CHECK: return
  %c23 = arith.constant dense<23> : tensor<2x4xi32>
  %low = arith.constant dense<8388607> : tensor<2x4xi32>
  %tiny = arith.constant dense<1.0e-4> : tensor<2x4xf32>
  %a = math.absf %x : tensor<2x4xf32>
  %f = arith.maximumf %a, %tiny : tensor<2x4xf32>
  %i = arith.bitcast %f : tensor<2x4xf32> to tensor<2x4xi32>
  %c = arith.addi %i, %low : tensor<2x4xi32>
  %e = arith.shrui %c, %c23 : tensor<2x4xi32>
  %s = arith.shli %e, %c23 : tensor<2x4xi32>
  %r = arith.bitcast %s : tensor<2x4xi32> to tensor<2x4xf32>
  return %r : tensor<2x4xf32>
}

// The same with the exponent clamped to 254 and NaN kept is the value of the scale.
// CHECK-LABEL: @power
func.func @power(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  // CHECK: %[[B:.*]] = epiq.to_ue8m0 rceil
  // CHECK-NEXT: %[[F:.*]] = arith.extf %[[B]] : tensor<2x4xf8E8M0FNU> to tensor<2x4xf32>
  // CHECK-NEXT: return %[[F]]
  %c23 = arith.constant dense<23> : tensor<2x4xi32>
  %low = arith.constant dense<8388607> : tensor<2x4xi32>
  %c254 = arith.constant dense<254> : tensor<2x4xi32>
  %qnan = arith.constant dense<0x7fc00000> : tensor<2x4xi32>
  %tiny = arith.constant dense<1.0e-4> : tensor<2x4xf32>
  %a = math.absf %x : tensor<2x4xf32>
  %f = arith.maximumf %a, %tiny : tensor<2x4xf32>
  %i = arith.bitcast %f : tensor<2x4xf32> to tensor<2x4xi32>
  %c = arith.addi %i, %low : tensor<2x4xi32>
  %e = arith.shrui %c, %c23 : tensor<2x4xi32>
  %h = arith.minui %e, %c254 : tensor<2x4xi32>
  %s = arith.shli %h, %c23 : tensor<2x4xi32>
  %nan = arith.cmpf une, %f, %f : tensor<2x4xf32>
  %b = arith.select %nan, %qnan, %s : tensor<2x4xi1>, tensor<2x4xi32>
  %r = arith.bitcast %b : tensor<2x4xi32> to tensor<2x4xf32>
  return %r : tensor<2x4xf32>
}

// A value that may be negative has a sign among its bits.
// CHECK-LABEL: @no_signed
func.func @no_signed(%x: tensor<2x4xf32>) -> tensor<2x4xi8> {
  // CHECK-NOT: epiq.to_ue8m0
  // CHECK: return
  %c23 = arith.constant dense<23> : tensor<2x4xi32>
  %c254 = arith.constant dense<254> : tensor<2x4xi32>
  %c255 = arith.constant dense<255> : tensor<2x4xi32>
  %i = arith.bitcast %x : tensor<2x4xf32> to tensor<2x4xi32>
  %e = arith.shrsi %i, %c23 : tensor<2x4xi32>
  %h = arith.minsi %e, %c254 : tensor<2x4xi32>
  %nan = arith.cmpf une, %x, %x : tensor<2x4xf32>
  %b = arith.select %nan, %c255, %h : tensor<2x4xi1>, tensor<2x4xi32>
  %t = arith.trunci %b : tensor<2x4xi32> to tensor<2x4xi8>
  return %t : tensor<2x4xi8>
}

// Adding half a step rounds the mantissa to the nearest: another function, of more than its being zero.
// CHECK-LABEL: @no_nearest
func.func @no_nearest(%x: tensor<2x4xf32>) -> tensor<2x4xi8> {
  // CHECK-NOT: epiq.to_ue8m0
  // CHECK: return
  %c23 = arith.constant dense<23> : tensor<2x4xi32>
  %half = arith.constant dense<4194304> : tensor<2x4xi32>
  %a = math.absf %x : tensor<2x4xf32>
  %i = arith.bitcast %a : tensor<2x4xf32> to tensor<2x4xi32>
  %c = arith.addi %i, %half : tensor<2x4xi32>
  %e = arith.shrui %c, %c23 : tensor<2x4xi32>
  %t = arith.trunci %e : tensor<2x4xi32> to tensor<2x4xi8>
  return %t : tensor<2x4xi8>
}

// Seven comparisons, the sign, two codes a byte; the view of the bytes becomes one of the values.
// CHECK-LABEL: @e2m1
func.func @e2m1(%x: tensor<3x2x4xf32>) -> tensor<3x4xi8> {
  // CHECK: %[[T:.*]] = arith.truncf %arg0 : tensor<3x2x4xf32> to tensor<3x2x4xf4E2M1FN>
  // CHECK-NEXT: %[[R:.*]] = epiq.reshape %[[T]] : tensor<3x2x4xf4E2M1FN> to tensor<3x8xf4E2M1FN>
  // CHECK-NEXT: %[[P:.*]] = epiq.relayout %[[R]] to packed_e2m1 : tensor<3x8xf4E2M1FN> to tensor<3x4xi8>
  // CHECK-NEXT: return %[[P]]
  %m0 = arith.constant dense<0.25> : tensor<3x2x4xf32>
  %m1 = arith.constant dense<0.75> : tensor<3x2x4xf32>
  %m2 = arith.constant dense<1.25> : tensor<3x2x4xf32>
  %m3 = arith.constant dense<1.75> : tensor<3x2x4xf32>
  %m4 = arith.constant dense<2.5> : tensor<3x2x4xf32>
  %m5 = arith.constant dense<3.5> : tensor<3x2x4xf32>
  %m6 = arith.constant dense<5.0> : tensor<3x2x4xf32>
  %zero = arith.constant dense<0> : tensor<3x2x4xi32>
  %three = arith.constant dense<3> : tensor<3x2x4xi32>
  %seven = arith.constant dense<7> : tensor<3x2x4xi32>
  %four = arith.constant dense<4> : tensor<3x2x2xi32>
  %a = math.absf %x : tensor<3x2x4xf32>
  %c0 = arith.cmpf ogt, %a, %m0 : tensor<3x2x4xf32>
  %c1 = arith.cmpf oge, %a, %m1 : tensor<3x2x4xf32>
  %c2 = arith.cmpf ogt, %a, %m2 : tensor<3x2x4xf32>
  %c3 = arith.cmpf oge, %a, %m3 : tensor<3x2x4xf32>
  %c4 = arith.cmpf ogt, %a, %m4 : tensor<3x2x4xf32>
  %c5 = arith.cmpf oge, %a, %m5 : tensor<3x2x4xf32>
  %c6 = arith.cmpf ogt, %a, %m6 : tensor<3x2x4xf32>
  %i0 = arith.extui %c0 : tensor<3x2x4xi1> to tensor<3x2x4xi32>
  %i1 = arith.extui %c1 : tensor<3x2x4xi1> to tensor<3x2x4xi32>
  %i2 = arith.extui %c2 : tensor<3x2x4xi1> to tensor<3x2x4xi32>
  %i3 = arith.extui %c3 : tensor<3x2x4xi1> to tensor<3x2x4xi32>
  %i4 = arith.extui %c4 : tensor<3x2x4xi1> to tensor<3x2x4xi32>
  %i5 = arith.extui %c5 : tensor<3x2x4xi1> to tensor<3x2x4xi32>
  %i6 = arith.extui %c6 : tensor<3x2x4xi1> to tensor<3x2x4xi32>
  %s1 = arith.addi %i0, %i1 : tensor<3x2x4xi32>
  %s2 = arith.addi %s1, %i2 : tensor<3x2x4xi32>
  %s3 = arith.addi %s2, %i3 : tensor<3x2x4xi32>
  %s4 = arith.addi %s3, %i4 : tensor<3x2x4xi32>
  %s5 = arith.addi %s4, %i5 : tensor<3x2x4xi32>
  %s6 = arith.addi %s5, %i6 : tensor<3x2x4xi32>
  %bits = arith.bitcast %x : tensor<3x2x4xf32> to tensor<3x2x4xi32>
  %neg = arith.cmpi slt, %bits, %zero : tensor<3x2x4xi32>
  %n = arith.extui %neg : tensor<3x2x4xi1> to tensor<3x2x4xi32>
  %sign = arith.shli %n, %three : tensor<3x2x4xi32>
  %signed = arith.ori %s6, %sign : tensor<3x2x4xi32>
  %nan = arith.cmpf une, %x, %x : tensor<3x2x4xf32>
  %codes = arith.select %nan, %seven, %signed : tensor<3x2x4xi1>, tensor<3x2x4xi32>
  %pairs = epiq.reshape %codes : tensor<3x2x4xi32> to tensor<3x2x2x2xi32>
  %l0 = epiq.slice %pairs dim 3 from 0 to 1 : tensor<3x2x2x2xi32> to tensor<3x2x2x1xi32>
  %low = epiq.reshape %l0 : tensor<3x2x2x1xi32> to tensor<3x2x2xi32>
  %h0 = epiq.slice %pairs dim 3 from 1 to 2 : tensor<3x2x2x2xi32> to tensor<3x2x2x1xi32>
  %high = epiq.reshape %h0 : tensor<3x2x2x1xi32> to tensor<3x2x2xi32>
  %up = arith.shli %high, %four : tensor<3x2x2xi32>
  %both = arith.ori %low, %up : tensor<3x2x2xi32>
  %bytes = arith.trunci %both : tensor<3x2x2xi32> to tensor<3x2x2xi8>
  %flat = epiq.reshape %bytes : tensor<3x2x2xi8> to tensor<3x4xi8>
  return %flat : tensor<3x4xi8>
}

// The high nibble first is another packing, and a midpoint of its own other codes.
// CHECK-LABEL: @no_e2m1
func.func @no_e2m1(%x: tensor<2x4xf32>) -> tensor<2x2xi8> {
  // CHECK-NOT: f4E2M1FN
  // CHECK: return
  %m0 = arith.constant dense<0.5> : tensor<2x4xf32>
  %four = arith.constant dense<4> : tensor<2x2xi32>
  %c0 = arith.cmpf ogt, %x, %m0 : tensor<2x4xf32>
  %codes = arith.extui %c0 : tensor<2x4xi1> to tensor<2x4xi32>
  %pairs = epiq.reshape %codes : tensor<2x4xi32> to tensor<2x2x2xi32>
  %l0 = epiq.slice %pairs dim 2 from 0 to 1 : tensor<2x2x2xi32> to tensor<2x2x1xi32>
  %low = epiq.reshape %l0 : tensor<2x2x1xi32> to tensor<2x2xi32>
  %h0 = epiq.slice %pairs dim 2 from 1 to 2 : tensor<2x2x2xi32> to tensor<2x2x1xi32>
  %high = epiq.reshape %h0 : tensor<2x2x1xi32> to tensor<2x2xi32>
  %up = arith.shli %low, %four : tensor<2x2xi32>
  %both = arith.ori %high, %up : tensor<2x2xi32>
  %bytes = arith.trunci %both : tensor<2x2xi32> to tensor<2x2xi8>
  return %bytes : tensor<2x2xi8>
}
