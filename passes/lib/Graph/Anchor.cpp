//===- Anchor.cpp - Keeps this library from being empty -------------------===//

namespace epiq::detail {

void anchorGraph() {}

} // namespace epiq::detail
