//===- Anchor.cpp - Keeps this library from being empty -------------------===//

namespace epiq::detail {

void anchorConversion() {}

} // namespace epiq::detail
