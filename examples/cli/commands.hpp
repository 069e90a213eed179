// The commands, one file each. Data flow: main.cpp -> run_segment (segment.cpp), run_encode (encode.cpp), run_volume (volume.cpp), run_everything (everything.cpp), run_info (info.cpp), run_metrics (metrics.cpp), run_evaluate (evaluate.cpp).
// Each either finishes with all its files written or throws Failure (or Cancelled) with none (evaluate keeps its journal, and continues).
#pragma once
#include "options.hpp"

namespace sampan::cli {

void run_segment(const Options& o);
void run_encode(const Options& o);
void run_volume(const Options& o);
void run_everything(const Options& o);
void run_info(const Options& o);
void run_metrics(const Options& o);
void run_evaluate(const Options& o);

}  // namespace sampan::cli
