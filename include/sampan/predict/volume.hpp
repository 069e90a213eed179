// Volumes, the public header: declarations (volume_session.hpp) and, header-only, definitions. Include this one.
#pragma once
#include <sampan/predict/volume_session.hpp>

#if !defined(SAMPAN_COMPILED) || defined(SAMPAN_IMPLEMENTATION)
#  include <sampan/impl/volume.ipp>
#endif
