//===- GraphDialect.td - The epiq dialect: a torch graph ------*- tablegen -*-===//

#ifndef EPIQ_GRAPH_DIALECT
#define EPIQ_GRAPH_DIALECT

include "mlir/IR/OpBase.td"

def Epiq_Dialect : Dialect {
  let name = "epiq";
  let cppNamespace = "::epiq::graph";
  let summary = "A functional torch graph, and the programs carved out of it";
  let description = [{
    Elementwise work is upstream `arith` and `math` on ranked tensors. This
    dialect adds what they lack: broadcasting, reductions, views and layouts,
    each an op of its own, so that no op broadcasts, promotes or rounds
    implicitly; a node that nothing is known about (`epiq.extern`); and two
    kinds of region: a named sub-graph (`epiq.composite`) and a kernel to be
    (`epiq.row_program`). All values are tensors with value semantics.

    The name of the torch node that an op computes is its location:
    `loc("add_3"(...))`. Helper ops of that node have `loc("add_3.aux"(...))`.
  }];
  let useDefaultAttributePrinterParser = 1;
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}

#endif // EPIQ_GRAPH_DIALECT
