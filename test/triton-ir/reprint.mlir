// The files of 3.9 keep its spelling, and take that of 3.6 on request.
// RUN: epiq-opt %S/ir/3.9.0/matmul_desc.nodebug.ttir | FileCheck %s --check-prefix=NEW
// RUN: epiq-opt %S/ir/3.9.0/matmul_desc.nodebug.ttir --triton-version=3.6 | FileCheck %s --check-prefix=OLD
// RUN: epiq-opt %S/ir/3.6.0/matmul_desc.nodebug.ttir --triton-version=3.9 | FileCheck %s --check-prefix=NEW
// NEW: !tt.tensordesc<128x64xbf16>
// OLD: !tt.tensordesc<tensor<128x64xbf16>>
