// Volumetric networks, the public header: declarations (session_3d.hpp) and, header-only, definitions. Include this one.
#pragma once
#include <sampan/predict/session_3d.hpp>

#if !defined(SAMPAN_COMPILED) || defined(SAMPAN_IMPLEMENTATION)
#  include <sampan/impl/session_3d.ipp>
#endif
