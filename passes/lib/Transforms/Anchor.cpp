//===- Anchor.cpp - Keeps this library from being empty -------------------===//

namespace epiq::detail {

void anchorTransforms() {}

} // namespace epiq::detail
