// The home of the precompiled header; see Precompiled.h.
