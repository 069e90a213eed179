// sampan encode: image and model to an embedding file, so that prompts can come later. Data flow: Options -> Session::set_image -> save_embedding; --trace, --json beside it.
#include "commands.hpp"
#include "report.hpp"

namespace sampan::cli {

void run_encode(const Options& o) {
  OutputPlan plan;
  plan.input(o.image);
  plan.input(o.model);
  plan.output("-o", o.output);
  if (o.trace) plan.output("--trace", o.trace->path);

  Times t;
  const Image image = read_image(o, t);
  const Model model = read_model(o, t);
  Session session(model);
  Trace trace(o.trace ? o.trace->names : std::vector<std::string>());
  if (o.trace) session.set_trace(&trace);
  for (int n = 0; n < o.repeat; ++n) encode_image(session, image, o, n, t);

  const double start = now_ms();
  OutputFiles files;
  if (o.trace) write_trace(*o.trace, trace, files);
  stop_if_interrupted();
  must(session.try_save_embedding(o.output), Source::file);
  files.commit();
  t.write = now_ms() - start;
  if (o.json) print(run_report(o, model, t, Report::array()));
}

}  // namespace sampan::cli
