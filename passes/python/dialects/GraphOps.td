#ifndef EPIQ_PYTHON_GRAPH_OPS
#define EPIQ_PYTHON_GRAPH_OPS

include "epiq/Graph/GraphOps.td"

#endif // EPIQ_PYTHON_GRAPH_OPS
