// RUN: epiq-opt %s -split-input-file -verify-diagnostics

func.func @broadcast_rank(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{cannot broadcast 'tensor<?x4xf32>' to the smaller rank of 'tensor<4xf32>'}}
  %0 = epiq.broadcast %x : tensor<?x4xf32> to tensor<4xf32>
  return
}

// -----

func.func @broadcast_size(%x: tensor<2x4xf32>) {
  // expected-error @+1 {{dimension 0 of 'tensor<2x4xf32>' is neither 1 nor that of 'tensor<3x4xf32>'}}
  %0 = epiq.broadcast %x : tensor<2x4xf32> to tensor<3x4xf32>
  return
}

// -----

func.func @broadcast_type(%x: tensor<1x4xf32>) {
  // expected-error @+1 {{requires the same element type for all operands and results}}
  %0 = epiq.broadcast %x : tensor<1x4xf32> to tensor<3x4xbf16>
  return
}

// -----

func.func @reshape_static(%x: tensor<2x4xf32>) {
  // expected-error @+1 {{'tensor<2x4xf32>' and 'tensor<3x3xf32>' differ in their number of elements}}
  %0 = epiq.reshape %x : tensor<2x4xf32> to tensor<3x3xf32>
  return
}

// -----

func.func @reshape_dynamic(%x: tensor<10x4xf32>) {
  // expected-error @+1 {{'tensor<10x4xf32>' and 'tensor<?x3xf32>' differ in their number of elements}}
  %0 = epiq.reshape %x : tensor<10x4xf32> to tensor<?x3xf32>
  return
}

// -----

func.func @slice_dim(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{dim 2 is not a dimension of 'tensor<?x4xf32>'}}
  %0 = epiq.slice %x dim 2 from 0 to 1 : tensor<?x4xf32> to tensor<?x1xf32>
  return
}

// -----

func.func @slice_order(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{range from 3 to 1 is not ascending}}
  %0 = epiq.slice %x dim 1 from 3 to 1 : tensor<?x4xf32> to tensor<?x2xf32>
  return
}

// -----

func.func @slice_end(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{range to 5 leaves dimension 1 of 'tensor<?x4xf32>'}}
  %0 = epiq.slice %x dim 1 from 1 to 5 : tensor<?x4xf32> to tensor<?x4xf32>
  return
}

// -----

func.func @slice_shape(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{result should be 'tensor<?x2xf32>', got 'tensor<?x3xf32>'}}
  %0 = epiq.slice %x dim 1 from 0 to 2 : tensor<?x4xf32> to tensor<?x3xf32>
  return
}

// -----

func.func @transpose_twice(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{perm names dimension 1 twice or beyond 'tensor<?x4xf32>'}}
  %0 = epiq.transpose %x perm [1, 1] : tensor<?x4xf32> to tensor<4x4xf32>
  return
}

// -----

func.func @transpose_short(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{perm has 1 entries for rank 2}}
  %0 = epiq.transpose %x perm [1] : tensor<?x4xf32> to tensor<4xf32>
  return
}

// -----

func.func @relayout_rank(%x: tensor<4xf32>) {
  // expected-error @+1 {{column_major is a layout of a tensor of two dimensions or more, got 'tensor<4xf32>'}}
  %0 = epiq.relayout %x to column_major : tensor<4xf32> to tensor<4xf32>
  return
}

// -----

func.func @relayout_name(%x: tensor<4x4xf32>) {
  // expected-error @+1 {{unknown layout `diagonal`}}
  %0 = epiq.relayout %x to diagonal : tensor<4x4xf32> to tensor<4x4xf32>
  return
}

// -----

func.func @reduce_name(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{unknown reduction `median`}}
  %0 = epiq.reduce median %x dims [1] : tensor<?x4xf32> to tensor<?xf32>
  return
}

// -----

func.func @reduce_dim(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{dims name dimension 2 twice or beyond 'tensor<?x4xf32>'}}
  %0 = epiq.reduce max %x dims [2] : tensor<?x4xf32> to tensor<?xf32>
  return
}

// -----

func.func @reduce_keep(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{result should be 'tensor<?x1xf32>', got 'tensor<?xf32>'}}
  %0 = epiq.reduce max %x dims [1] keep : tensor<?x4xf32> to tensor<?xf32>
  return
}

// -----

func.func @composite_arguments(%x: tensor<4xf32>) {
  // expected-error @+1 {{has 1 operands and 0 block arguments}}
  epiq.composite "empty" (%x) : (tensor<4xf32>) -> () {
    epiq.yield
  }
  return
}

// -----

func.func @composite_yield(%x: tensor<4xf32>) {
  // expected-error @+1 {{yielded values 0 should be 'tensor<4xbf16>', got 'tensor<4xf32>'}}
  %0 = epiq.composite "cast" (%x) : (tensor<4xf32>) -> tensor<4xbf16> {
  ^bb0(%a: tensor<4xf32>):
    epiq.yield %a : tensor<4xf32>
  }
  return
}

// -----

func.func @composite_extern(%x: tensor<4xf32>) {
  // expected-error @+1 {{body holds primitive ops only, got epiq.extern}}
  %0 = epiq.composite "opaque" (%x) : (tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%a: tensor<4xf32>):
    %b = epiq.extern "aten.sin.default"(%a) : (tensor<4xf32>) -> tensor<4xf32>
    epiq.yield %b : tensor<4xf32>
  }
  return
}

// -----

func.func @composite_terminator(%x: tensor<4xf32>) {
  // expected-error @+1 {{body should end in epiq.yield, got math.exp}}
  %0 = epiq.composite "exp" (%x) : (tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%a: tensor<4xf32>):
    %b = math.exp %a : tensor<4xf32>
  }
  return
}

// -----

func.func @program_extern(%x: tensor<4xf32>) {
  // expected-error @+1 {{body holds row ops and composites, got epiq.extern}}
  %0 = epiq.row_program @opaque (%x) {layouts = [#epiq.layout<row_major>]} : (tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%a: tensor<4xf32>):
    %b = epiq.extern "aten.sin.default"(%a) : (tensor<4xf32>) -> tensor<4xf32>
    epiq.yield %b : tensor<4xf32>
  }
  return
}

// -----

func.func @program_layouts(%x: tensor<4xf32>) {
  // expected-error @+1 {{has 0 layouts for 1 results}}
  %0 = epiq.row_program @copy (%x) {layouts = []} : (tensor<4xf32>) -> tensor<4xf32> {
  ^bb0(%a: tensor<4xf32>):
    epiq.yield %a : tensor<4xf32>
  }
  return
}

// -----

// expected-error @+1 {{a format needs `element` and `granularity`}}
func.func private @format_required() attributes {a = #epiq.format<element = f8E4M3FN>}

// -----

// expected-error @+1 {{unknown field `colour` of a format}}
func.func private @format_field() attributes {a = #epiq.format<colour = f8E4M3FN>}

// -----

// expected-error @+1 {{unknown granularity `row`}}
func.func private @format_granularity() attributes {a = #epiq.format<element = f8E4M3FN, granularity = row>}

// -----

// expected-error @+1 {{expected true or false, got `maybe`}}
func.func private @format_bool() attributes {a = #epiq.format<element = f8E4M3FN, granularity = token, static = maybe>}

// -----

// expected-error @+1 {{group_size 0 is not positive}}
func.func private @format_group() attributes {a = #epiq.format<element = f8E4M3FN, granularity = group>}

// -----

// expected-error @+1 {{group_size 64 needs granularity = group, got token}}
func.func private @format_ungrouped() attributes {a = #epiq.format<element = f8E4M3FN, granularity = token, group_size = 64>}

// -----

// expected-error @+1 {{floor of a format is finite and not negative}}
func.func private @format_floor() attributes {a = #epiq.format<element = f8E4M3FN, granularity = token, floor = -1.0>}

// -----

// expected-error @+1 {{upper_bound of a format is finite and not negative}}
func.func private @format_bound() attributes {a = #epiq.format<element = f8E4M3FN, granularity = token, upper_bound = -1.0>}

// -----

// expected-error @+1 {{a static scale has neither floor nor upper_bound}}
func.func private @format_static() attributes {a = #epiq.format<element = f8E4M3FN, granularity = tensor, static = true, floor = 1.0>}

// -----

// expected-error @+1 {{element of a format is a float or an integer, got 'index'}}
func.func private @format_element() attributes {a = #epiq.format<element = index, granularity = token>}

// -----

// expected-error @+1 {{scale_dtype of a format is a float or an integer, got 'index'}}
func.func private @format_scale() attributes {a = #epiq.format<element = i8, scale_dtype = index, granularity = token>}

// -----

func.func @relayout_bytes(%x: tensor<4x8xf32>) {
  // expected-error @+1 {{swizzled_128x4 is a layout of a matrix of bytes with rows of a static width, got 'tensor<4x8xf32>'}}
  %0 = epiq.relayout %x to swizzled_128x4 : tensor<4x8xf32> to tensor<1024xf32>
  return
}

// -----

func.func @relayout_dynamic_row(%x: tensor<4x?xi8>) {
  // expected-error @+1 {{packed_ue8m0 is a layout of bytes in rows of a static width, got 'tensor<4x?xi8>'}}
  %0 = epiq.relayout %x to packed_ue8m0 : tensor<4x?xi8> to tensor<4x?xi32>
  return
}

// -----

func.func @relayout_odd(%x: tensor<4x7xf4E2M1FN>) {
  // expected-error @+1 {{packed_e2m1 is a layout of f4E2M1FN in rows of a static even width, got 'tensor<4x7xf4E2M1FN>'}}
  %0 = epiq.relayout %x to packed_e2m1 : tensor<4x7xf4E2M1FN> to tensor<4x3xi8>
  return
}

// -----

func.func @relayout_memory(%x: tensor<?x5xi8>) {
  // expected-error @+1 {{result should be 'tensor<?x2xi32>', got 'tensor<?x1xi32>'}}
  %0 = epiq.relayout %x to packed_ue8m0 : tensor<?x5xi8> to tensor<?x1xi32>
  return
}

// -----

func.func @to_ue8m0_rounding(%x: tensor<?x5xf32>) {
  // expected-error @+1 {{rounding of a power of two is rceil or floor}}
  %0 = epiq.to_ue8m0 none %x : tensor<?x5xf32> to tensor<?x5xf8E8M0FNU>
  return
}

// -----

func.func @to_ue8m0_less(%x: tensor<?x5xf32>) {
  // expected-error @+1 {{less -1 is negative}}
  %0 = epiq.to_ue8m0 floor %x less -1 : tensor<?x5xf32> to tensor<?x5xf8E8M0FNU>
  return
}
