// bench_end_to_end: what a person waits for: start of the process `sampan segment` until the mask is on disk; 512x512 PNG in, one box, mask PNG out.
//   bench_end_to_end --threads 1,2            bench_end_to_end --model lite_medsam.safetensors
// Data flow: a random or given model, an image made here -> the command line beside this program (or --sampan PATH) -> wall time, peak memory of that process.
// FLOP: encoder plus one box. Files are in the page cache (the first runs are warm-up); a cold disk would measure the disk.
// Error: the mask file against the mask of the same build in this process: the share of pixels that differ must be 0.
#include "harness.hpp"
#include "networks.hpp"
#include "process.hpp"

#include <sampan/image/codec_stb.hpp>
#include <sampan/image/mask_codec.hpp>
#include <sampan/sampan.hpp>

#include "support/hashgen.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <memory>

namespace {
using namespace bench;

constexpr int kSide = 512;
constexpr sampan::Box kBox{130, 150, 380, 370};

struct Input {
  std::vector<std::uint8_t> pixels = sampan::test::phantom_gray(kSide, kSide);
  sampan::ImageView view{pixels.data(), {kSide, kSide, 1}};
  TemporaryFile file{".png"};
  Input() {
    std::vector<std::uint8_t> png;
    take(sampan::encode_png(view, png));
    auto out = take(sampan::AtomicFile::create(file.path()));
    take(out.write(sampan::Bytes(png)));
    take(out.commit());
  }
};

sampan::Model load(const std::string& path, const std::string& isa, int threads) {
  sampan::LoadOptions o;
  o.isa = isa, o.threads = threads;
  return take(sampan::Model::try_load(path, o));
}

/// Share of pixels in which the file's mask differs from this process's mask.
Accuracy compare(const std::string& mask_file, const std::string& weights, const std::string& isa, int threads, const Input& input) {
  const auto image = take(sampan::load_image(mask_file));
  sampan::Session s(load(weights, isa, threads));
  take(s.try_set_image(input.view));
  sampan::Prompt p;
  p.box = kBox;
  const auto want = take(s.try_predict(p)).mask();
  Accuracy a{kNaN, "the mask in this process", {}};
  const auto got = image.view();
  if (got.size.width != want.width || got.size.height != want.height || got.size.channels != 1) {
    a.wrong = "the mask file has another size than the image";
    return a;
  }
  std::size_t differ = 0;
  for (std::int64_t y = 0; y < want.height; ++y)
    for (std::int64_t x = 0; x < want.width; ++x) differ += (got.row(y)[x] != 0) != (want.data[std::size_t(y * want.width + x)] != 0);
  a.relative_l2 = double(differ) / double(want.data.size());
  if (differ) a.wrong = std::to_string(differ) + " pixels differ from the mask in this process";
  return a;
}

/// Peak memory as the command line itself reports it: what the system says of a child counts this program's size as well.
double peak_mib(std::vector<std::string> args) {
  const TemporaryFile report("-report.json");
  args.push_back("--json");
  if (run_process(args, report.path()).exit_code != 0) die(args[0] + " segment --json failed");
  std::ifstream in(report.path());
  return nlohmann::json::parse(in).at("peak_memory_mib").get<double>();
}

void run_model(Harness& h, const std::string& name, const std::string& weights, const std::string& program) {
  const auto input = std::make_shared<const Input>();
  std::vector<Case> group;
  for (const auto& isa : h.isas())
    for (const int threads : h.threads()) {
      const auto mask = std::make_shared<const TemporaryFile>("-mask.png");
      const std::string box = std::to_string(int(kBox.x0)) + "," + std::to_string(int(kBox.y0)) + "," + std::to_string(int(kBox.x1)) + "," + std::to_string(int(kBox.y1));
      const std::vector<std::string> args{program, "segment", input->file.path(), "--model", weights, "--box", box, "-o", mask->path(), "--isa", isa, "--threads", std::to_string(threads), "--quiet"};
      const auto run = [=] {
        const ProcessResult r = run_process(args);
        if (r.exit_code != 0) die(program + " segment ended with code " + std::to_string(r.exit_code));
        return r.wall_ms;
      };
      Row row;
      row.name = name + ", start to mask", row.isa = isa, row.threads = threads;
      const auto info = load(weights, isa, threads).info();
      row.flop = info.encode_flop + info.decode_flop;
      row.bytes = double(std::filesystem::file_size(weights));
      row.extra = {{"peak_mib", peak_mib(args)}};
      group.push_back({std::move(row), run, [=] { return compare(mask->path(), weights, isa, threads, *input); }});
    }
  h.run(std::move(group));
}

}  // namespace

int main(int argc, char** argv) {
  Harness h(argc, argv, "the whole command line: process start to mask on disk", {{"--model", "FILE", "weights written by sampan-convert, instead of random networks"}, {"--sampan", "PATH", "the program (default: beside this one)"}});
  const std::string program = h.option("--sampan", (std::filesystem::absolute(std::filesystem::read_symlink("/proc/self/exe")).parent_path() / "sampan").string());
  if (!std::filesystem::exists(program)) die("no program " + program + "; build it or name it with --sampan");
  if (const auto file = h.option("--model"); !file.empty()) {
    run_model(h, file.substr(file.find_last_of('/') + 1), file, program);
  } else {
    for (const auto& name : h.shapes({"lite_medsam"})) {
      const TemporaryFile weights(".safetensors");
      write_network(weights.path(), network_contract(name));
      run_model(h, name, weights.path(), program);
    }
  }
  return h.report();
}
