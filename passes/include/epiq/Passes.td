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

//===----------------------------------------------------------------------===//
// Row programs (lib/Analysis, lib/Conversion)
//===----------------------------------------------------------------------===//

def AnnotateRows : Pass<"epiq-annotate-rows", "mlir::ModuleOp"> {
  let summary = "Attach to each row program the facts that a caller needs";
  let description = [{
    | attribute | meaning |
    |---|---|
    | `row_width` | elements of the widest value's row |
    | `column_unit` | the columns of a tile must be a multiple of this many |
    | `full_row` | a reduction spans the row, so that a tile holds all of it |
    | `num_rows` | product of the static token dimensions |
    | `input_row_like` | for each input, whether it has token dimensions |

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
    ceil(rows / block-rows) by ceil(width / block-cols), or by 1.

    The dimensions of every value are split into token dimensions, whose product
    is the number of rows, and row dimensions. The row is factored so that each
    row dimension is a run of factors: 4096 that is also seen as 32 x 128 has
    the factors 32 and 128. A tile has one dimension for the rows (when there
    are several) and one for each factor, padded to a power of two; reduced
    dimensions stay, with size 1, so that reshapes cost nothing.
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
    folded: each rounding of the graph is one of the kernel.

    Legal when
    (L1) each result, and each input that is not shared by all tokens, is one
    row for each token;
    (L2) the row has a factorization that serves all values;
    (L3) the body has elementwise ops that Triton computes as torch does,
    broadcasts, reductions, reshapes, and slices of inputs; layout ops only in
    pairs or as `epiq.relayout`; constants are splats;
    (L4) no value differs along some of the token dimensions only;
    (L5) a column-major result is a matrix of tokens by row;
    (L6) Triton has the element types and the casts between them;
    (L7) the tile fits: a reduction spans at most 16384 elements, `block-rows`
    is a power of two, `block-cols` is the column unit times a power of two, and
    0 when a reduction spans the row.
  }];
  let options = [
    Option<"blockRows", "block-rows", "int64_t", /*default=*/"1",
           "Rows of one Triton program, a power of two">,
    Option<"blockCols", "block-cols", "int64_t", /*default=*/"0",
           "Columns of one Triton program, 0 for the whole row">,
    Option<"numWarps", "num-warps", "int64_t", /*default=*/"8",
           "Warps of one Triton program">];
  let dependentDialects = ["::epiq::tt::TritonDialect"];
}

#endif // EPIQ_PASSES
