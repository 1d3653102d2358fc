//===- RowSegments.h - The independent parts of a row program ---*- C++ -*-===//
// Results that share no more than inputs and what is narrow, such as the angles
// of all heads, are computed apart: each has a row of its own width, and the
// programs of the launch grid are dealt out among them.
//===----------------------------------------------------------------------===//

#ifndef EPIQ_ANALYSIS_ROWSEGMENTS_H
#define EPIQ_ANALYSIS_ROWSEGMENTS_H

#include "epiq/Analysis/RowShape.h"

#include <vector>

namespace epiq {

// `program` is normalized and stands nowhere; its inputs and results are those
// of the whole program with these numbers.
struct RowSegment {
  mlir::OwningOpRef<graph::RowProgramOp> program;
  RowShape shape;
  llvm::SmallVector<unsigned> inputs;
  llvm::SmallVector<unsigned> results;
};

// All that a launch of a row program depends on.
struct RowPlan {
  std::vector<RowSegment> segments;
  // For each input, its token dimensions (0 when all tokens share it, and for
  // memory that is read or written by index) and the elements of the rest.
  llvm::SmallVector<std::pair<unsigned, int64_t>> inputs;
  // For each input of which rows are read or written by index, the elements of
  // one; 0 for others.
  llvm::SmallVector<int64_t> indexedRows;
  // For each result the input in whose memory it is stored, or -1.
  llvm::SmallVector<int64_t> buffers;
  // Elements of the widest row, and what the columns of a tile must be a
  // multiple of: 0 where the segments agree on none.
  int64_t width = 1;
  int64_t columnUnit = 1;
  bool fullRow = false;
  int64_t staticRows = 1;
};

// Normalizes `program`, takes it apart and analyses its segments. On failure
// `reason` says why, rule first.
mlir::FailureOr<RowPlan> planRows(graph::RowProgramOp program,
                                  std::string &reason);

} // namespace epiq

#endif // EPIQ_ANALYSIS_ROWSEGMENTS_H
