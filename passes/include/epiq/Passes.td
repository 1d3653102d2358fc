//===- Passes.td - Every pass of epiq, with its rules ---------*- tablegen -*-===//
// A pass is declared here once: flag, rules, options. Each IR example below is
// a case in that pass's lit file under test/passes/.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_PASSES
#define EPIQ_PASSES

include "mlir/Pass/PassBase.td"

//===----------------------------------------------------------------------===//
// Graph passes (lib/Transforms)
//===----------------------------------------------------------------------===//

def Raise : Pass<"epiq-raise", "mlir::ModuleOp"> {
  let summary = "Name the sub-graphs that quantization, norms and activations are";
  let description = [{
    Moves the ops of each find, as they are, into the body of an
    `epiq.composite`, so that a name never changes bits. Splat constants are
    copied in.
    ```mlir
    %f = arith.extf %x : tensor<?x4096xbf16> to tensor<?x4096xf32>
    %b = epiq.broadcast %scale : tensor<f32> to tensor<?x4096xf32>
    %d = arith.divf %f, %b : tensor<?x4096xf32>
    %lo = arith.maximumf %d, %min : tensor<?x4096xf32>
    %hi = arith.minimumf %lo, %max : tensor<?x4096xf32>
    %q = arith.truncf %hi : tensor<?x4096xf32> to tensor<?x4096xf8E4M3FN>
    // becomes
    %q = epiq.composite "quantize" (%x, %scale)
        {format = #epiq.format<element = f8E4M3FN, granularity = tensor, static = true>}
        : (tensor<?x4096xbf16>, tensor<f32>) -> tensor<?x4096xf8E4M3FN> { ... }
    ```
    What is found:
    - `epiq.to_ue8m0`, for a byte or an f32 power of two made by shifts, masks,
      comparisons and a NaN's own case from the bits of a value that is not
      negative; `arith.truncf` to f4E2M1FN and its `epiq.relayout`, for codes
      counted by comparisons with the midpoints, two packed in a byte. Any
      spelling, if it is equal for every float that can occur: such arithmetic
      depends on a class of floats alone, and one of each class is tried.
    - `quantize`, by its cast to fp8 or e2m1, or to i8 after rounding: clamp (or
      none), 0 where the scale is 0, division by a scale or product with its
      reciprocal, the scale given or computed from amax = max |x| over a group,
      a token or the tensor, divided by the element's maximum, with a floor on
      amax or on the scale, an upper bound on amax, a power of two of it, a
      rounding to e4m3, a given number that multiplies amax and the values;
      views that split into groups and back, and the packing.
    - `rms_norm`, by its root: x * rsqrt(mean(x * x) + eps), a weight or 1 + it,
      in f32 or after a rounding.
    - `layer_norm`, by its root: (x - mean(x)) * rsqrt(mean((x - mean(x))^2) + eps),
      a weight or 1 + it, a bias.
    - `silu_mul`, by its exponential: g / (1 + exp(-g)) or g * sigmoid(g), times u.
    - `gelu_mul`, by its erf or tanh: g / 2 * (1 + erf(g / sqrt(2))), or tanh's
      approximation of it, times u.
    - `swiglu`, by its exponential: g * sigmoid(alpha * g) * (u + 1), g and u clamped.
    - `relu2`: max(x, 0) squared.
    - `epiq.relayout`, for transpose(contiguous(transpose(x))).

    Each find of the others is a remark. A cast that would be a quantization's is
    left as it is, with a remark, when
    (R1) no scale that several values share is applied before it; (R2) it is
    clamped to another range than the element's; (R3) the scale comes from
    another value's maximum, or not from one of magnitudes; (R4) the scale is
    given with more than one element; (R5) the scale is not amax over the
    element's maximum with the bounds above; (R6) amax is not over a static
    number of last dimensions that divides the row.
  }];
  let dependentDialects = ["::epiq::graph::EpiqDialect"];
}

def SplitAmax : Pass<"epiq-split-amax", "mlir::ModuleOp"> {
  let summary = "Take the amax of a tensor out of its quantization";
  let description = [{
    A scale for the whole tensor is known when all of it has been computed, so
    such a quantization takes two programs. Its amax can be computed with the
    values, in the program that produces them; the other program reads both.
    ```mlir
    %q:2 = epiq.composite "quantize" (%x)
        {format = #epiq.format<element = f8E4M3FN, granularity = tensor>} ...
    // becomes
    %amax = epiq.composite "amax" (%x) : (tensor<?x256xf32>) -> tensor<f32> {
    ^bb0(%a: tensor<?x256xf32>):
      %0 = math.absf %a : tensor<?x256xf32>
      %1 = epiq.reduce max %0 dims [0, 1] : tensor<?x256xf32> to tensor<f32>
      epiq.yield %1 : tensor<f32>
    }
    %q:2 = epiq.composite "quantize" (%x, %amax)
        {format = #epiq.format<element = f8E4M3FN, granularity = tensor>} ...
    ```
    An amax is the maximum, in f32, of the magnitudes of all elements. It is
    named when (A1) a `quantize` of granularity `tensor` that is not static
    computes it, and then it moves out; or (A2) a `quantize` reads it or a number
    that is computed from it, such as NVFP4's global scale. Equal ones of several
    quantizations become one.
  }];
  let dependentDialects = ["::epiq::graph::EpiqDialect"];
}

def Group : Pass<"epiq-group", "mlir::ModuleOp"> {
  let summary = "Gather each quantization and what produces its input in one row program";
  let description = [{
    A program works on whole rows: the leading dimensions of its values count
    tokens, the others are the row of one token.
    ```mlir
    %a = arith.extf %x : tensor<?x256xbf16> to tensor<?x256xf32>
    %b = arith.extf %r : tensor<?x256xbf16> to tensor<?x256xf32>
    %s = arith.addf %a, %b : tensor<?x256xf32>
    %h = arith.truncf %s : tensor<?x256xf32> to tensor<?x256xbf16>
    %q = epiq.composite "quantize" (%h, %scale) ...
    return %q, %h : tensor<?x256xf8E4M3FN>, tensor<?x256xbf16>
    // becomes
    %p:2 = epiq.row_program @fused_add_quantize_0 (%x, %r, %scale)
        {layouts = [#epiq.layout<row_major>, #epiq.layout<row_major>]} ... {
      // the five ops
      epiq.yield %h, %q : tensor<?x256xbf16>, tensor<?x256xf8E4M3FN>
    }
    ```
    Each quantization, named or a bare cast to fp8, starts a group, and so does
    each amax of a tensor that one reads, and each store of rows by index, such
    as that of keys and values to a paged cache. Its producers
    join, nearest first, then layouts of its results and arithmetic on values
    narrower than a row. Quantizations with a producer or a row of input in
    common share a group. Values that others use become results; a cast or view
    of one stays outside and reads it.

    Joining always pays in bytes: a producer's inputs are read once either way,
    and its result is not read back. A widening cast or view joins as a copy.

    An op does not join when (F1) it combines several tokens, unless it is the
    maximum over all elements, in f32, of what is never negative; (F2) it is not a
    row op; (F3) its tokens or its row differ from the group's: transposed,
    broadcast along tokens, torn by a reshape; (F4) a node
    outside would read a value of the program and feed one back; (F5) there is
    none, the value is an input of the graph; (F6) its row has no static width
    or is wider than `max-row-width`; (F7) it would take a slice of a value that
    all tokens share, or put such values together; (F8) its layout is that of a
    matrix, in several batches; (F9) it would read what the program takes over all
    tokens; (F10) operations of its kind are kept out by `keep-out`. A group that breaks
    a rule L1-L8 of `epiq-lower-row-program` is grown again, and what would break
    one does not join.

    Each quantization is reported by one remark, `fused: quantize(e4m3 group 128)
    into rms_norm + add` or `not fused: quantize(e4m3 group 128): F2: ...`; one that
    did not fuse is a program of its own where the rules allow it. `fused:
    quantize(e4m3 tensor) amax into rms_norm` says that amax is computed with the
    values, which a second program quantizes; `fused: cast(e4m3) into mul; not
    further: L7: ...` that the group would have been larger but for that rule.
  }];
  let options = [
    Option<"fuse", "fuse", "bool", /*default=*/"true",
           "Make groups; false makes each composite a program of its own">,
    Option<"maxRowWidth", "max-row-width", "int64_t", /*default=*/"65536",
           "The widest row that a program holds, in elements (F6)">,
    ListOption<"keepOut", "keep-out", "std::string",
               "Kinds of composites that join no group (F10)">];
  let dependentDialects = ["::epiq::graph::EpiqDialect"];
}

//===----------------------------------------------------------------------===//
// Row programs (lib/Analysis, lib/Conversion)
//===----------------------------------------------------------------------===//

def AnnotateRows : Pass<"epiq-annotate-rows", "mlir::ModuleOp"> {
  let summary = "Attach to each row program the facts that a caller needs";
  let description = [{
    | attribute | meaning |
    |---|---|
    | `row_width` | elements of the widest value's row |
    | `column_unit` | the columns of a tile must be a multiple of this many; 0: no row is cut |
    | `full_row` | a reduction spans the row, so that a program holds all of it |
    | `num_rows` | product of the static token dimensions |
    | `input_row_like` | for each input, whether it has token dimensions |
    | `output_shared` | for each result, whether all tokens share it; missing: none |
    | `output_zeroed` | for each result, whether its memory must hold 0 before the run; missing: none |
    | `output_buffer` | for each result, the input in whose memory it is stored by index, or -1; missing: none |
    | `input_indexed` | for each input of which rows are read or stored by index, the elements of one; 0 for others; missing: none |
    | `segment_widths` | the row widths of the segments, in order; missing: there is one |

    A program that breaks a rule of `epiq-lower-row-program` which does not
    depend on the schedule is dissolved: its ops go back to where it stood, and
    a remark says `not fused:` and the rule.
  }];
  let statistics = [
    Statistic<"numDissolved", "num-dissolved", "Number of programs dissolved">];
}

def LowerRowProgram : Pass<"epiq-lower-row-program", "mlir::ModuleOp"> {
  let summary = "Turn the module's one row program into a Triton kernel";
  let description = [{
    The module becomes one public `tt.func`. Its arguments: a pointer for each
    input, a pointer for each output, the number of rows (i32), then the row
    stride in elements (i64) of each input that has token dimensions. The grid is
    ceil(rows / block-rows) times ceil(width / block-cols), or that alone, in x;
    programs are counted along a row first, since those that run at the same time
    should read memory that lies together.
    With several segments, a row of the grid has the programs of each in turn.
    Where a result is swizzled_128x4, the rows are rounded up to a multiple of
    128 first, and those beyond the last write the zeros that pad it.

    The dimensions of every value are split into token dimensions, whose product
    is the number of rows, and row dimensions. The row is factored so that each
    row dimension is a run of factors: 4096 that is also seen as 32 x 128 has
    the factors 32 and 128. A tile has one dimension for the rows (when there
    are several) and one for each factor, padded to a power of two; reduced
    dimensions stay, with size 1, so that reshapes cost nothing. A row is one
    tile or, along its outermost factor, several equal chunks, each a tile: 7168
    is 7 chunks of 1024, and nothing is padded. A reduction over the chunks adds
    them up from the first to the last, lane by lane, and then reduces one tile,
    so that the order of a sum depends on the chunk's size only.
    ```mlir
    %a = math.absf %x : tensor<?x256xf32>
    %g = epiq.reshape %a : tensor<?x256xf32> to tensor<?x2x128xf32>
    %m = epiq.reduce max %g dims [2] : tensor<?x2x128xf32> to tensor<?x2xf32>
    // becomes
    %x = tt.load %pointers : tensor<2x128x!tt.ptr<f32>>
    %a = math.absf %x : tensor<2x128xf32>
    %m = "tt.reduce"(%a) <{axis = 1 : i32}> ({ ... }) : (tensor<2x128xf32>) -> tensor<2xf32>
    %e = tt.expand_dims %m {axis = 1 : i32} : tensor<2xf32> -> tensor<2x1xf32>
    ```
    Padded lanes hold the neutral element before a reduction, and no cast is
    folded: each rounding of the graph is one of the kernel. A maximum over all
    tokens is a result that each program combines its part with, by one atomic;
    its memory holds 0 before. What all tokens share is stored with the first row.

    Slices and concatenations of computed values, such as those of a rotary
    embedding, take factors apart: a value that varies along such a factor is one
    tile for each of its elements, each loaded and stored where it lies, so that
    nothing moves between threads. A sum takes its operand as it lies, so that
    its order stays what it is without them.
    ```mlir
    %lo = epiq.slice %x dim 1 from 0 to 64 : tensor<?x128xf32> to tensor<?x64xf32>
    %hi = epiq.slice %x dim 1 from 64 to 128 : tensor<?x128xf32> to tensor<?x64xf32>
    %n = arith.negf %hi : tensor<?x64xf32>
    %y = epiq.concat %n, %lo dim 1 : tensor<?x64xf32>, tensor<?x64xf32> to tensor<?x128xf32>
    // becomes
    %hi = tt.load %hi_pointers : tensor<64x!tt.ptr<f32>>
    %lo = tt.load %lo_pointers : tensor<64x!tt.ptr<f32>>
    %n = arith.mulf %hi, %minus_one : tensor<64xf32>
    tt.store %y_pointers_0, %n : tensor<64x!tt.ptr<f32>>
    tt.store %y_pointers_1, %lo : tensor<64x!tt.ptr<f32>>
    ```
    Results that share no row are segments: each has a row of its own width, and
    the programs are dealt out among them.

    Rows of a table are loaded by `epiq.gather_rows` from where its index says,
    and `epiq.scatter_rows` stores rows in its buffer, an input: the pointer of
    that result is the buffer's.

    Legal when
    (L1) each result, and each input that is not shared by all tokens, is one
    row for each token; a result may also be a number that all tokens share;
    (L2) the row has a factorization that serves all values;
    (L3) the body has elementwise ops that Triton computes as torch does,
    broadcasts, reductions, reshapes, slices, concatenations and rows by index;
    layout ops only in pairs or as `epiq.relayout`; constants are splats;
    (L4) no value differs along some of the token dimensions only;
    (L5) a result whose layout is not row by row (column_major, tma_aligned,
    packed_ue8m0, swizzled_128x4) is a matrix of tokens by row, and one in
    packed_e2m1 has an even number of neighbours;
    (L6) Triton has the element types and the casts between them;
    (L7) the tile fits: a reduction spans at most 32768 elements, `block-rows`
    is a power of two, `block-cols` and `chunk-cols` are the column unit times a
    power of two and not both given, `block-cols` is 0 when a reduction spans the
    row, and a row has at most 16 chunks;
    (L8) no op reads what is taken over all tokens;
    (L9) slices and concatenations take a row apart into at most 16 tiles, and
    no sum is over a concatenation;
    (L10) the memory of rows by index is an input, the index has one row for each
    token, and memory that is stored to is not read and has one such store.
  }];
  let options = [
    Option<"blockRows", "block-rows", "int64_t", /*default=*/"1",
           "Rows of one Triton program, a power of two">,
    Option<"blockCols", "block-cols", "int64_t", /*default=*/"0",
           "Columns of one Triton program, 0 for the whole row">,
    Option<"chunkCols", "chunk-cols", "int64_t", /*default=*/"0",
           "Columns of one tile where a program holds the whole row; 0: the row "
           "if it is a power of two or its odd part exceeds 9, else a divisor">,
    Option<"numWarps", "num-warps", "int64_t", /*default=*/"8",
           "Warps of one Triton program">,
    Option<"target", "target", "int64_t", /*default=*/"90",
           "The architecture, 90 or 100: casts that it has instructions for use them">];
  let dependentDialects = ["::epiq::tt::TritonDialect", "::mlir::scf::SCFDialect"];
}

//===----------------------------------------------------------------------===//
// Epilogues (lib/Analysis/TileStore*, lib/Transforms/FuseEpilogue*)
//===----------------------------------------------------------------------===//

def FuseEpilogue : Pass<"epiq-fuse-epilogue", "mlir::ModuleOp"> {
  let summary = "Move a row program into the kernel that produces its first input";
  let description = [{
    The module holds a kernel, one public `tt.func`, and an epilogue, one
    `epiq.row_program` in a `func.func`. At each store of the kernel to its
    argument number `output`, the epilogue is computed on the tile that is
    stored, as stored (rounded to the output's element type), and its results
    are stored beside it or, without `keep-output`, instead of it.
    ```mlir
    tt.func public @kernel(%x: !tt.ptr<f32>, %out: !tt.ptr<f32>, %n: i32, %stride: i32) {
      ...
      %ptrs = tt.addptr %row_ptr, %cols : tensor<128x!tt.ptr<f32>>, tensor<128xi32>
      tt.store %ptrs, %y, %mask : tensor<128x!tt.ptr<f32>>
      tt.return
    }
    func.func @epilogue(%x: tensor<?x256xf32>) -> tensor<?x256xf8E4M3FN> {
      %q = epiq.row_program @cast (%x) {layouts = [#epiq.layout<row_major>]} ...
    // becomes
    tt.func public @kernel(%x: !tt.ptr<f32>, %out: !tt.ptr<f32>, %n: i32, %stride: i32,
                           %q: !tt.ptr<f8E4M3FN>, %q_stride: i64) {
      ...
      %cast = tt.fp_to_fp %y, rounding = rtne : tensor<128xf32> -> tensor<128xf8E4M3FN>
      tt.store %q_ptrs, %q_row, %q_mask : tensor<1x128x!tt.ptr<f8E4M3FN>>
      tt.return
    }
    ```
    The row of an epilogue stands for a row of the output: where no reduction
    spans it, its width is only an example (a multiple of the period of the
    epilogue, that is of its groups), and the kernel may store rows of any
    length. Where one does, the width is the length of the rows.

    New arguments follow those of the kernel: for each input of the epilogue but
    the outputs, a pointer and, if it has rows, the distance between them in
    elements (i64); then for each result a pointer and one distance (i64): between
    rows if they lie one after the other, between blocks of 128 rows if it is
    `swizzled_128x4`, and else between columns, of words if it is `packed_ue8m0`.
    What pads a layout is not stored. The maximum of a result over all tokens is
    a pointer alone, to an f32 that starts at 0. `divisibility` gives each new
    argument its `tt.divisibility`, in that order (1 or missing: none).

    With several outputs, as in `output=1,2`, the first inputs of the epilogue are
    theirs, in order: gate and up, say, which a kernel stores to two tensors.

    Legal when
    - (E1) the kernel is one public function that calls no other, and each
      `output` is an argument of it, a pointer or a tensor descriptor;
    - (E2) the kernel only stores to it: nothing reads it back, combines in
      memory (atomics, split-K), or takes its pointer where it cannot be followed;
    - (E3) the rows and columns that each store covers can be recovered from its
      address: rows lie at multiples of one stride, columns next to each other.
      `columns`, if given, is the length of a row, and tells both apart;
    - (E4) no element is stored twice: the tile moves with every loop around the
      store, and two stores are apart, by place or by mask, or in different
      branches;
    - (E5) no group straddles two tiles: the columns of the tile, and its first
      column, are multiples of the epilogue's period;
    - (E6) a reduction that spans the row has it in one tile: the tile starts at
      column 0 and has as many columns as the row;
    - (E7) the mask of a store is a conjunction of conditions on rows and on
      columns; where columns are reduced, these say up to which column the row
      goes. Elements beyond count as zeros in reductions;
    - (E8) the epilogue's first inputs have the element types that are stored, and
      the epilogue reads them whole;
    - (E9) the epilogue's results and other inputs can be addressed by tiles;
    - (E10) with several outputs, the stores to them come in sets: one to each,
      in one block, of the same rows and columns under the same mask.

    An argument of the kernel with `epiq.value` belongs to a tensor descriptor and
    has that value.
  }];
  let options = [
    ListOption<"outputs", "output", "int64_t",
               "The kernel's arguments that the epilogue reads, one for each of "
               "its first inputs">,
    Option<"keepOutput", "keep-output", "bool", /*default=*/"false",
           "Keep the stores to them">,
    Option<"columns", "columns", "int64_t", /*default=*/"0",
           "The length of the outputs' rows, 0 where it is not known">,
    ListOption<"divisibility", "divisibility", "int64_t",
               "What divides each new argument">,
    Option<"target", "target", "int64_t", /*default=*/"90",
           "The architecture, whose casts to small types differ">];
  let dependentDialects = ["::epiq::tt::TritonDialect"];
}

//===----------------------------------------------------------------------===//
// Quantized operands (lib/Analysis/TileLoad*, lib/Transforms/PullQuant*)
//===----------------------------------------------------------------------===//

def PullQuant : Pass<"epiq-pull-quant", "mlir::ModuleOp"> {
  let summary = "Move the quantization of an operand out of the kernel that reads it";
  let description = [{
    An attention kernel that takes Q in bf16 and quantizes it before the first
    dot does work that depends on Q alone, and does it again in each program that
    reads the same rows. The pass takes it out: the kernel's argument number
    `operand` becomes the quantized operand, scales become new arguments, and the
    quantization becomes a function with a row program, which can be an epilogue
    of whatever makes the operand.
    ```mlir
    tt.func public @kernel(%q: !tt.ptr<bf16>, ...) {
      %x = tt.load %ptrs : tensor<64x128x!tt.ptr<bf16>>
      %f = arith.extf %x : tensor<64x128xbf16> to tensor<64x128xf32>
      %a = math.absf %f : tensor<64x128xf32>
      %m = "tt.reduce"(%a) <{axis = 1 : i32}> ({ ... maximumf ... }) : (tensor<64x128xf32>) -> tensor<64xf32>
      %s = arith.divf %m, %c448 : tensor<64xf32>
      ...
      %y = tt.fp_to_fp %d, rounding = rtne : tensor<64x128xf32> -> tensor<64x128xf8E4M3FN>
      %qk = tt.dot %y, %k, %zero : ...
    // becomes
    tt.func public @kernel(%q: !tt.ptr<f8E4M3FN>, ..., %scale: !tt.ptr<f32>) {
      %s = tt.load %scale_ptrs : tensor<64x!tt.ptr<f32>>
      %y = tt.load %ptrs : tensor<64x128x!tt.ptr<f8E4M3FN>>
      %qk = tt.dot %y, %k, %zero : ...
    func.func @quantize(%x: tensor<?x128xbf16>) -> (tensor<?x128xf8E4M3FN>, tensor<?x1xf32>)
        attributes {epiq.arguments = array<i64: 0>, epiq.groups = array<i64: 128>}
    ```
    The quantized operand lies as the operand did: the kernel's strides now are
    its. A scale is of `group` neighbouring elements, and the one of the element
    that is `o` elements from the first one lies `o / group` elements from the
    first scale; strides must be multiples of `group`. `epiq.arguments` gives the
    kernel's arguments that the function's are: the operand first, then scalars
    and pointers to one. `epiq.groups` gives the group of each scale.

    The pulled quantization computes what the kernel did: casts to fp8 saturate,
    and a maximum that drops NaN still does. Triton's `arith.divf` is a division
    within 2 ulp on a GPU; a row program divides exactly.

    Legal when
    - (Q1) the kernel is one public function that calls no other, and argument
      `operand` is a pointer or a tensor descriptor;
    - (Q2) the kernel only loads it, through pointers that can be followed;
    - (Q3) of each load it makes one tile of 8-bit values that a dot takes;
    - (Q4) these read nothing but the operand, constants, and scalars that are
      arguments or the first element of one;
    - (Q5) nothing else needs the operand unquantized;
    - (Q6) the tile that is loaded has rows of columns that lie next to each
      other, and its address is a sum;
    - (Q7) the mask of the load is a conjunction of conditions on rows and on
      columns, cuts columns off at a constant, and what the kernel makes of lanes
      beyond it is known; scalars that are arguments are finite;
    - (Q8) every load of the operand is quantized in the same way;
    - (Q9) the quantization is a row program: elementwise ops, maxima and minima
      along columns; a scale is of a run of columns, and its place can be had
      from the address of the tile.
  }];
  let options = [
    Option<"operand", "operand", "int64_t", /*default=*/"0",
           "The kernel's argument that is quantized">,
    ListOption<"divisibility", "divisibility", "int64_t",
               "What divides the address of each scale">];
  let dependentDialects = [
    "::epiq::tt::TritonDialect", "::epiq::graph::EpiqDialect",
    "::mlir::func::FuncDialect", "::mlir::arith::ArithDialect",
    "::mlir::math::MathDialect"];
}

//===----------------------------------------------------------------------===//
// Triton's releases
//===----------------------------------------------------------------------===//

def ConvertTritonVersion : Pass<"epiq-convert-triton-version", "mlir::ModuleOp"> {
  let summary = "Use only ops that one release of Triton has";
  let description = [{
    Where releases spell the same thing differently the printer is told which to
    write; this pass replaces the ops that a release lacks:
    ```mlir
    ttg.barrier all            // 3.9
    gpu.barrier                // 3.6
    tt.grid_dependency_wait    // 3.9
    %0 = tt.elementwise_inline_asm "griddepcontrol.wait; // dummy $0" {...} -> i32
    ```
    and refuses, naming the op, what has no counterpart: (V1) atomic loads, atomic
    stores and polls, (V2) `ignore_cta` and (V3) cache policies of one target in
    3.6; (V4) block pointers in 3.9.
  }];
  let dependentDialects = ["mlir::gpu::GPUDialect", "mlir::arith::ArithDialect",
                           "::epiq::tt::TritonDialect", "::epiq::ttg::TritonGPUDialect"];
  let options = [
    Option<"to", "to", "std::string", /*default=*/"\"3.6\"", "The release: 3.6 or 3.9">];
}

//===----------------------------------------------------------------------===//
// Kernels that epiq made (lib/Transforms)
//===----------------------------------------------------------------------===//

def CheapenDivision : Pass<"epiq-cheapen-division", "mlir::ModuleOp"> {
  let summary = "Divide no more exactly than the result can show";
  let description = [{
    An IEEE division is a dozen instructions and a branch, and a quantization
    has one for each value. The values of a group share their divisor, so one
    division makes its reciprocal, and a multiplication and a residual step give
    each quotient:
    ```mlir
    %d = tt.broadcast %s : tensor<2x1xf32> -> tensor<2x128xf32>
    %y = tt.precise_divf %x, %d : tensor<2x128xf32>
    // becomes
    %r = tt.precise_divf %one, %s : tensor<2x1xf32>
    %q = arith.mulf %x, %r_wide : tensor<2x128xf32>
    %n = math.fma %q, %s_wide, %minus_x : tensor<2x128xf32>
    %y = math.fma %n, %minus_r_wide, %q : tensor<2x128xf32>
    ```
    The fp8 value is the same bit for bit (a test goes through every dividend
    and tie that could tell them apart). Legal when (D1) the divisor is an f32
    repeated for several quotients; (D2) what is finite of it lies in 2^-80 to
    2^126; (D3) it is at least a fixed part of the magnitude of the dividend, as
    amax / 448 is, so that no quotient overflows; (D4) the dividend is a widened
    bf16 or f16; (D5) the quotient is only clamped and cast to fp8.

    Where (D6) the divisor is made of an exponential, as in silu, its error is
    that of `ex2.approx`, 2 ulp, and the division becomes `arith.divf`, which has
    the same. Only for divisions that epiq wrote: in a user's kernel, precise
    means it. `only-epilogues` leaves all alone but those that
    `epiq-fuse-epilogue` marks `epiq.epilogue`; the mark goes either way.
  }];
  let options = [
    Option<"onlyEpilogues", "only-epilogues", "bool", /*default=*/"false",
           "Only divisions marked `epiq.epilogue`">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}

#endif // EPIQ_PASSES
