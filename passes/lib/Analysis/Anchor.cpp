//===- Anchor.cpp - Keeps this library from being empty -------------------===//

namespace epiq::detail {

void anchorAnalysis() {}

} // namespace epiq::detail
