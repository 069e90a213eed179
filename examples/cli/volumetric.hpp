// Which kind of network a model file holds, and reading a volumetric one. Data flow: Options -> here -> volume.cpp, info.cpp.
#pragma once
#include "engine.hpp"

#include <sampan/predict/model_3d.hpp>
#include <sampan/weights/open.hpp>

namespace sampan::cli {

/// Whether the file holds a volumetric network; false as well for files that cannot be read: reading the model says why.
inline bool takes_volumes(const std::string& model) {
  const auto file = weights::open_model(model);
  return file.ok() && weights::is_volume((*file)->contract.network.encoder);
}

inline Model3d read_model_3d(const Options& o, Times& t) {
  const double start = now_ms();
  Model3d model = must(Model3d::try_load(o.model, o.load), Source::model);
  t.load += now_ms() - start;
  stop_if_interrupted();
  return model;
}

}  // namespace sampan::cli
