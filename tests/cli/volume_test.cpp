// sampan volume as a user runs it: 48 orders of axes give one anatomy, npz cases, DICOM in and out, prompts of every kind, tidying, memory, cancelling and going on, refusals.
// Models are tiny and random; that the rule is right is the business of tests/predict/volume_test.cpp.
#include "cli/program.hpp"

#include "examples/medical/dicom_seg.hpp"
#include "examples/medical/npz.hpp"
#include "examples/medical/read_volume.hpp"
#include "support/dicom_files.hpp"

#include <sampan/predict/volume.hpp>
#include <sampan/sampan.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>

using namespace sampan;
using namespace sampan::test;
using Document = nlohmann::json;
namespace md = sampan::medical;

namespace {

constexpr std::int64_t kR = 40, kA = 36, kS = 14;  // cells to the right, anterior, superior

/// Grey value of an anatomical cell: a bright ball in noise.
int cell(std::int64_t r, std::int64_t a, std::int64_t s) {
  const std::int64_t d = (r - 18) * (r - 18) + (a - 20) * (a - 20) + 6 * (s - 7) * (s - 7);
  return int((r * 7 + a * 13 + s * 29) % 31) + (d < 110 ? 190 : 40);
}
/// A NIfTI file of it: voxel axis c along anatomical axis order[c], against it where bit c of `flips` is set; oblique by a small turn about z.
std::string body(const std::size_t* order, unsigned flips, VoxelType type = VoxelType::i16) {
  const std::int64_t sides[3] = {kR, kA, kS};
  const double steps[3] = {0.8, 0.9, 2.5}, c = 0.9950041652780258, s = 0.09983341664682815;  // cos and sin of 0.1
  NiftiBuilder b = nifti_of(type);
  std::int64_t n[3] = {};
  for (std::size_t i = 0; i < 3; ++i) {
    n[i] = sides[order[i]];
    const double step = flips >> i & 1u ? -steps[order[i]] : steps[order[i]];
    double v[3] = {};
    v[order[i]] = step;
    b.srow.m[0][i] = c * v[0] - s * v[1], b.srow.m[1][i] = s * v[0] + c * v[1], b.srow.m[2][i] = v[2];
  }
  b.srow.m[0][3] = -31.5, b.srow.m[1][3] = 12.25, b.srow.m[2][3] = 80;
  b.dim = {3, n[0], n[1], n[2], 1, 1, 1, 1};
  b.sform_code = 2;
  std::string voxels;
  for (std::int64_t k = 0; k < n[2]; ++k)
    for (std::int64_t j = 0; j < n[1]; ++j)
      for (std::int64_t i = 0; i < n[0]; ++i) {
        const std::int64_t ijk[3] = {i, j, k};
        std::int64_t at[3] = {};
        for (std::size_t a = 0; a < 3; ++a) at[order[a]] = flips >> a & 1u ? n[a] - 1 - ijk[a] : ijk[a];
        voxels += md::with_voxel_type(type, [&](auto t) { return le(static_cast<decltype(t)>(cell(at[0], at[1], at[2]))); });
      }
  return b.file(voxels);
}
const std::size_t kStraight[3] = {0, 1, 2};

const Folder& folder() {
  static const Folder f;
  static const bool made = [] {
    f.model("box.safetensors", tiny_lite_medsam());
    f.model("sam.safetensors", tiny_sam({.image = 64}));
    f.model("med3d.safetensors", tiny_med3d());
    write_text(f / "a.nii", body(kStraight, 0));
    write_text(f / "u8.nii.gz", gzip(body(kStraight, 0, VoxelType::u8)));
    return true;
  }();
  REQUIRE(made);
  return f;
}
md::LabelMap labels(const fs::path& path) {
  auto v = md::read_volume(path.string());
  REQUIRE_MESSAGE(v, v.error().message());
  auto l = md::to_labels(*v);
  REQUIRE_MESSAGE(l, l.error().message());
  return std::move(*l);
}
/// Labels in anatomical order, whatever the order of the file.
std::vector<std::uint16_t> anatomy(const md::LabelMap& l) {
  const md::SlicePlan p = md::slice_plan(l.grid, md::Plane::axial);
  std::vector<std::uint16_t> out;
  for (std::int64_t n = 0; n < p.size[2]; ++n)
    for (std::int64_t y = 0; y < p.size[1]; ++y)
      for (std::int64_t x = 0; x < p.size[0]; ++x) out.push_back(l.voxels[std::size_t(p.index(x, y, n))]);
  return out;
}
Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
Words volume(const Words& more, const std::string& in = "a.nii", const std::string& model = "box.safetensors") { return Words{"volume", in, "--model", model, "--threads", "1"} + more; }
/// What dciodvfy (Debian: dicom3tools) holds against a DICOM file, line by line; nothing if it is not installed.
std::optional<std::vector<std::string>> iod_errors(const fs::path& path) {
  std::FILE* pipe = popen(("dciodvfy '" + path.string() + "' 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string text;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) text += char(c);
  const int status = pclose(pipe);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return std::nullopt;
  std::vector<std::string> errors;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    // Empty patient and study data are what is meant; a DICOMDIR cannot be built from them.
    if (line.rfind("Error", 0) == 0 || (line.rfind("Warning", 0) == 0 && line.find("DICOMDIR") == std::string::npos)) errors.push_back(line);
  }
  CHECK_MESSAGE(text.find("Segmentation") != std::string::npos, text);  // it says what it took the file for
  return errors;
}
/// A CT scan of `slices` slices in files of their own, with everything about a patient that must stay behind.
void write_scan(const fs::path& folder, int slices, const std::string& more = {}) {
  fs::create_directories(folder);
  for (int n = 0; n < slices; ++n) {
    DicomImage i;
    i.rows = kA, i.columns = kR;
    i.position = cat("-10\\5\\", md::detail::real_text(2.5 * n));
    i.instance = cat("1.2.3.", n + 1), i.number = cat(n);
    i.stored = 16, i.high = 15, i.sign = 1, i.intercept = "-100", i.slope = "1";
    i.before_pixels = more;
    i.pixels.clear();
    for (std::int64_t y = 0; y < kA; ++y)
      for (std::int64_t x = 0; x < kR; ++x) i.pixels += le(static_cast<std::int16_t>(cell(x, y, n + 4)));
    write_text(folder / cat("im", n), dicom_file(kExplicit, DicomBytes().add(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.2").bytes() + i.data_set()));
  }
}
const Words kFull = {"--recipe", "full"};
const Words kBox = {"--box", "8,10,3,28,30,11"};

}  // namespace

TEST_CASE("volume: 48 orders of axes, one anatomy; the affine and its codes come back bit by bit") {
  const Folder& f = folder();
  f.ok(volume(kFull + kBox + Words{"-o", "straight.nii.gz", "--provenance", "none"}));
  const auto expected = anatomy(labels(f / "straight.nii.gz"));
  const auto voxels = std::count(expected.begin(), expected.end(), 1);
  CHECK(voxels > 50);
  CHECK(voxels < std::ptrdiff_t(expected.size()) / 2);
  constexpr std::size_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
  const std::int64_t low[3] = {8, 10, 3}, high[3] = {28, 30, 11}, sides[3] = {kR, kA, kS};
  for (const auto& order : orders)
    for (unsigned flips = 0; flips < 8; ++flips) {
      CAPTURE(flips);
      const std::string file = body(order, flips);
      write_text(f / "turned.nii", file);
      std::string a, b;
      for (std::size_t c = 0; c < 3; ++c) {
        const std::size_t w = order[c];
        const bool against = flips >> c & 1u;
        a += cat(against ? sides[w] - 1 - high[w] : low[w], ",");
        b += cat(against ? sides[w] - 1 - low[w] : high[w], c < 2 ? "," : "");
      }
      f.ok(volume(kFull + Words{"--box", a + b, "-o", "turned.out.nii", "--provenance", "none"}, "turned.nii"));
      CHECK(anatomy(labels(f / "turned.out.nii")) == expected);
      const std::string out = read_text(f / "turned.out.nii");
      CHECK(out.substr(40, 8) == file.substr(40, 8));      // dimensions
      CHECK(out.substr(76, 16) == file.substr(76, 16));    // qfac and voxel sizes
      CHECK(out.substr(252, 76) == file.substr(252, 76));  // codes, quaternion, offsets, sform
    }
}

TEST_CASE("volume: the three planes, fused, and every output format agree with the session") {
  const Folder& f = folder();
  const Model model = Model::load((f / "box.safetensors").string(), {.threads = 1});
  const auto scan = md::read_volume((f / "a.nii").string());
  REQUIRE(scan);
  std::vector<std::vector<std::uint16_t>> each;
  for (const md::Plane plane : {md::Plane::axial, md::Plane::coronal, md::Plane::sagittal}) {
    const md::SlicePlan p = md::slice_plan(scan->grid, plane);
    auto reader = md::SliceReader::make(*scan, p, md::GreyRange{40, 220});  // the extremes: 40 + 0 and 190 + 30
    REQUIRE(reader);
    VolumeSession s = VolumeSession::open(model, {reader->size(), p.size[2], [](void* u, std::int64_t z, std::uint8_t* out) -> Status { static_cast<md::SliceReader*>(u)->read(z, out); return {}; }, &*reader});
    const md::Vec3 a = md::to_slice(p, {8, 10, 3}), b = md::to_slice(p, {28, 30, 11});
    s.set_box(1, {std::min(a[0], b[0]), std::min(a[1], b[1]), std::max(a[0], b[0]), std::max(a[1], b[1]), std::int64_t(std::min(a[2], b[2])), std::int64_t(std::max(a[2], b[2]))});
    s.propagate();
    std::vector<std::uint16_t> map(md::voxel_count(scan->grid.size), 0);
    std::vector<std::uint8_t> mask(std::size_t(p.size[0] * p.size[1]));
    for (std::int64_t z = 0; z < p.size[2]; ++z)
      if (s.mask(1, z, mask)) md::put_slice(map, p, z, mask.data(), 1);
    each.push_back(map);
    f.ok(volume(kFull + kBox + Words{"--plane", md::to_string(plane), "-o", "plane.nrrd"}));
    CHECK(labels(f / "plane.nrrd").voxels == map);
  }
  f.ok(volume(kFull + kBox + Words{"--plane", "fused", "-o", "fused.nii"}));
  const auto fused = labels(f / "fused.nii").voxels;
  bool same = true;
  for (std::size_t i = 0; i < fused.size(); ++i) same = same && fused[i] == (each[0][i] + each[1][i] + each[2][i] >= 2);
  CHECK(same);
  f.ok(volume(kFull + kBox + Words{"-o", "p.npz"}));
  const auto file = MappedFile::open((f / "p.npz").string());
  const auto zip = tools::ZipArchive::open(file->bytes(), "p");
  const auto member = zip->read(*zip->find("segs.npy"));
  const auto segs = md::parse_npy(member->bytes, "segs");
  REQUIRE(segs);
  CHECK(segs->shape == std::vector<std::int64_t>{kS, kA, kR});
  bool equal = true;
  for (std::size_t i = 0; i < segs->count; ++i) equal = equal && segs->at(i) == each[0][i];
  CHECK(equal);
}

TEST_CASE("volume: --label-names go into NRRD, provenance and report") {
  const Folder& f = folder();
  write_text(f / "names.json", R"({"labels": {"1": {"name": "liver", "colour": [255, 0, 51]}}})");
  const auto j = Document::parse(f.ok(volume(kFull + kBox + Words{"--label-names", "names.json", "-o", "named.nrrd", "--json"})).out);
  CHECK((j["objects"][0]["name"] == "liver" && j["objects"][0]["colour"] == Document::array({255, 0, 51})));
  const std::string header = read_text(f / "named.nrrd").substr(0, 4000);
  for (const char* line : {"Segment0_Name:=liver\n", "Segment0_Color:=1 0 0.2\n"}) CHECK_MESSAGE(header.find(line) != std::string::npos, header);
  CHECK(Document::parse(read_text(f / "named.nrrd.json"))["objects"][0]["name"] == "liver");
}

TEST_CASE("volume: prompts in voxels, millimetres of both spaces, CSV and lines mean the same object") {
  const Folder& f = folder();
  f.ok(volume(kFull + kBox + Words{"-o", "straight.nii"}));
  const auto expected = labels(f / "straight.nii").voxels;
  const auto grid = md::read_volume((f / "a.nii").string())->grid;
  write_text(f / "p.csv", "label,name,x0,y0,z0,x1,y1,z1\r\n1,liver,8,10,3,28,30,11\r\n");
  write_text(f / "p.json", R"({"objects": [{"label": 1, "name": "liver", "boxes": [[8,10,3,28,30,11]]}]})");
  for (const char* file : {"p.csv", "p.json"}) {
    f.ok(volume(kFull + Words{"--prompts", file, "-o", "o.nii"}));
    CHECK(labels(f / "o.nii").voxels == expected);
  }
  // Points are single positions, so millimetres of an oblique grid hit their voxels exactly.
  const md::Vec3 voxel{18, 20, 7}, ras = grid.affine.apply(voxel);
  const auto text = [&](const char* space, double sign) { return cat(R"({"units": "mm", "space": ")", space, R"(", "objects": [{"label": 4, "points": [[)", md::detail::real_text(sign * ras[0]), ",", md::detail::real_text(sign * ras[1]), ",", md::detail::real_text(ras[2]), ",1]]}]}"); };
  write_text(f / "ras.json", text("RAS", 1));
  write_text(f / "lps.json", text("LPS", -1));
  write_text(f / "vox.json", R"({"objects": [{"label": 4, "points": [[18,20,7,1]]}]})");
  std::vector<std::vector<std::uint16_t>> three;
  for (const char* file : {"ras.json", "lps.json", "vox.json"}) {
    f.ok(volume(kFull + Words{"--prompts", file, "-o", "o.nii"}, "a.nii", "sam.safetensors"));
    three.push_back(labels(f / "o.nii").voxels);
  }
  CHECK(std::count(three[2].begin(), three[2].end(), 4) > 0);
  CHECK(three[0] == three[2]);
  CHECK(three[1] == three[2]);
  // A line in one slice is the box of the circle over it: ends (13,20) and (23,20), steps 0.8 and 0.9, so 5 voxels of x and 40/9 of y around (18,20).
  write_text(f / "line.json", R"({"objects": [{"lines": [[13,20,7,23,20,7]]}]})");
  write_text(f / "flat.json", R"({"objects": [{"boxes": [[13,15.555555555555555,7,23,24.444444444444443,7]]}]})");
  f.ok(volume(kFull + Words{"--prompts", "line.json", "-o", "line.nii"}));
  f.ok(volume(kFull + Words{"--prompts", "flat.json", "-o", "flat.nii"}));
  CHECK(labels(f / "line.nii").voxels == labels(f / "flat.nii").voxels);
}

TEST_CASE("volume: a challenge's case in, segs out, beside nothing") {
  const Folder& f = folder();
  fs::copy_file(volume_fixture("cvpr24_3D.npz"), f / "3D_case.npz", fs::copy_options::overwrite_existing);
  const auto before = f.files();
  f.ok(volume({"-o", "segs.npz", "--provenance", "none"}, "3D_case.npz"));
  auto after = f.files();
  after.erase("segs.npz");
  CHECK(after == before);
  const auto c = MappedFile::open((f / "segs.npz").string());
  const auto zip = tools::ZipArchive::open(c->bytes(), "s");
  const auto member = zip->read(*zip->find("segs.npy"));
  const auto segs = md::parse_npy(member->bytes, "segs");
  REQUIRE(segs);
  CHECK(segs->shape == std::vector<std::int64_t>{3, 4, 5});
  fs::copy_file(volume_fixture("2D_cvpr24.npz"), f / "2D_case.npz", fs::copy_options::overwrite_existing);
  f.ok(volume({"-o", "flat.npz", "--provenance", "none"}, "2D_case.npz"));
  const auto d = MappedFile::open((f / "flat.npz").string());
  const auto flat = tools::ZipArchive::open(d->bytes(), "s");
  CHECK(md::parse_npy(flat->read(*flat->find("segs.npy"))->bytes, "s")->shape == std::vector<std::int64_t>{4, 5});
}

TEST_CASE("volume: DICOM in, label maps and segmentations out, and nobody's name") {
  const Folder& f = folder();
  fs::create_directories(f / "scan/deep");
  for (int n = 0; n < 6; ++n) {
    DicomImage i;
    i.rows = kA, i.columns = kR;
    i.position = cat("-10\\5\\", md::detail::real_text(2.5 * n));
    i.instance = cat("1.2.3.", n + 1), i.number = cat(50 - n);
    i.stored = 16, i.high = 15, i.sign = 1, i.intercept = "-100", i.slope = "1";
    i.pixels.clear();
    for (std::int64_t y = 0; y < kA; ++y)
      for (std::int64_t x = 0; x < kR; ++x) i.pixels += le(static_cast<std::int16_t>(cell(x, y, n + 4)));
    write_text(f / cat("scan/", n % 2 ? "deep/" : "", "im", 9 - n), i.file());
  }
  f.ok(volume({"--box", "8,10,1,28,30,4", "-o", "d.nii.gz", "--json"}, "scan"));  // CT: soft tissue by itself
  const Document made = Document::parse(read_text(f / "d.nii.gz.json"));
  CHECK(made["recipe"]["name"] == "ct soft-tissue");
  CHECK(made["scan"]["modality"] == "CT");
  CHECK(made["scan"]["size"] == Document::array({kR, kA, 6}));
  CHECK(made["prompts"][0]["boxes"][0]["voxel"][0] == Document::array({8, 10, 1}));
  CHECK(made["prompts"][0]["boxes"][0]["mm"][0] == Document::array({10 - 8 * 0.5, -5 - 10 * 0.75, 2.5}));
  for (const char* secret : {"Doe", "Jane", "scan/", "im9", "1.2.3", "d.nii"}) CHECK_MESSAGE(read_text(f / "d.nii.gz.json").find(secret) == std::string::npos, secret);
  const auto map = labels(f / "d.nii.gz");
  const auto count = std::count(map.voxels.begin(), map.voxels.end(), 1);
  CHECK(made["objects"][0]["voxels"] == count);
  CHECK(made["objects"][0]["ml"].get<double>() == doctest::Approx(double(count) * 0.5 * 0.75 * 2.5 / 1000));
  f.ok(volume({"--box", "8,10,1,28,30,4", "-o", "d.dcm", "--provenance", "none"}, "scan"));
  CHECK(read_text(f / "d.dcm").find("Doe") == std::string::npos);
  const std::string seg = read_text(f / "d.dcm");
  const auto parsed = md::parse_dicom(as_bytes(seg), "d");
  REQUIRE_MESSAGE(parsed, parsed.error().message());
  std::int64_t bits = 0;
  for (const std::uint8_t b : parsed->pixels) bits += std::popcount(b);
  CHECK(bits == count);
  f.ok(volume({"--box", "8,10,1,28,30,4", "-o", "d.dcm", "--keep-patient", "--provenance", "none"}, "scan"));
  CHECK(read_text(f / "d.dcm").find("Doe^Jane") != std::string::npos);
  fs::remove(f / "scan/deep/im6");
  const Ran gap = f.run(volume({"--box", "8,10,1,28,30,3", "-o", "d.nii"}, "scan"));
  CHECK(gap.code == 3);
  CHECK(gap.err.find("1 slices are missing (1 between 5.00 and 10.00 mm") != std::string::npos);
  f.ok(volume({"--box", "8,10,1,28,30,3", "-o", "d.nii", "--fill-gaps"}, "scan"));
  CHECK(labels(f / "d.nii").grid.size[2] == 6);
}

TEST_CASE("volume: a segmentation of several objects is what dciodvfy knows as one") {
  const Folder& f = folder();
  write_scan(f / "valid", 4);
  write_text(f / "two.json", R"({"objects": [{"label": 1, "name": "Liver", "boxes": [[8,10,0,28,30,3]]}, {"label": 7, "name": "Tumour, left", "boxes": [[12,12,1,36,34,2]]}]})");
  for (const Words& more : {Words{}, Words{"--keep-patient"}}) {
    f.ok(volume(Words{"--prompts", "two.json", "-o", "valid.dcm", "--provenance", "none"} + more, "valid"));
    const auto errors = iod_errors(f / "valid.dcm");
    if (!errors) {
      MESSAGE("skipped: no dciodvfy here (Debian: dicom3tools)");
      return;
    }
    for (const auto& line : *errors) CHECK_MESSAGE(false, line);
    // A check that cannot fail would prove nothing: the same file with a type of segmentation that does not exist.
    std::string broken = read_text(f / "valid.dcm");
    REQUIRE(broken.find("BINARY") != std::string::npos);
    broken.replace(broken.find("BINARY"), 6, "TERTIA");
    write_text(f / "broken.dcm", broken);
    CHECK_FALSE(iod_errors(f / "broken.dcm")->empty());
  }
}

TEST_CASE("volume: nothing of a patient, a private element or an extension reaches an output or the terminal") {
  const Folder f;  // of its own: every file in it is looked at
  f.model("box.safetensors", tiny_lite_medsam());
  const Words kept = {"Doe", "Jane", "secret-7", "19610203", "20210304", "ACC99", "House"};                         // what --keep-patient means
  const Words never = {"St Elsewhere", "staging", "needles", "ACME", "hidden-42", "Nested", "jotted", "Extension"};  // what goes nowhere
  const std::string more = DicomBytes()
                               .add(0x00080020, "DA", "20210304").add(0x00080050, "SH", "ACC99").add(0x00080080, "LO", "St Elsewhere").add(0x00080090, "PN", "House^Greg").add(0x00081030, "LO", "staging").add(0x0008103E, "LO", "staging")
                               .add(0x00090010, "LO", "ACME").add(0x00091001, "UN", "hidden-42").sequence(0x00091002, {DicomBytes().add(0x00100010, "PN", "Nested^Nick").bytes()}, true)
                               .add(0x00100020, "LO", "secret-7").add(0x00100030, "DA", "19610203").add(0x00104000, "LT", "needles").add(0x00204000, "LT", "jotted").bytes();
  write_scan(f / "scan", 6, more);
  std::string nifti = body(kStraight, 0);
  const auto put = [&](std::size_t at, const std::string& text) { nifti.replace(at, text.size(), text); };
  put(4, "Doe^Jane"), put(14, "hidden-42"), put(148, "Doe^Jane 19610203, St Elsewhere"), put(228, "secret-7"), put(328, "House");
  const std::string extension = std::string("\x30\0\0\0\x06\0\0\0", 8) + "Extension: Doe^Jane, secret-7           ", header = nifti.substr(0, 348), voxels = nifti.substr(352);
  REQUIRE(extension.size() == 48);
  nifti = header + std::string("\1\0\0\0", 4) + extension + voxels;
  nifti.replace(108, 4, le(400.0f));
  write_text(f / "scan.nii", nifti);
  write_text(f / "scan.nrrd", "NRRD0005\n# Doe^Jane\ntype: int16\ndimension: 3\nspace: LPS\nsizes: 40 36 14\nspace directions: (1,0,0) (0,1,0) (0,0,2)\nspace origin: (0,0,0)\nendian: little\nencoding: raw\ncontent: Doe^Jane\n"
                              "patient:=Doe^Jane secret-7\nACME:=hidden-42\n\n" + voxels);
  std::set<std::string> inputs = f.files();
  const auto look = [&](const std::string& where, const std::string& text, bool keep) {
    for (const Words* list : {&kept, &never})
      for (const std::string& secret : *list) CHECK_MESSAGE((text.find(secret) == std::string::npos || (keep && list == &kept)), where << ": " << secret);
  };
  const auto run = [&](const Words& words, int code, bool keep = false) {
    const Ran r = f.run(words);
    CHECK_MESSAGE(r.code == code, r.err);
    look("stdout", r.out, false), look("stderr", r.err, false);
    for (const std::string& name : f.files()) {
      if (inputs.count(name) || fs::is_directory(f / name)) continue;
      const std::string text = read_text(f / name);
      look(name, text, keep && name == "o.dcm");
      if (text.rfind("\x1f\x8b", 0) == 0) look(name + ", inflated", gunzip(text), false);
    }
  };
  const Words prompts = {"--box", "8,10,1,28,30,4", "--json", "--progress", "json", "--montage", "m.png", "--animation", "a.png", "--cache", "kept"};
  for (const char* scan : {"scan", "scan.nii", "scan.nrrd"})
    for (const char* out : {"o.nii.gz", "o.nii", "o.nrrd", "o.npz", "o.dcm"}) {
      CAPTURE(scan);
      CAPTURE(out);
      const bool dicom = std::string(scan) == "scan";
      if (std::string(out) != "o.dcm" || dicom) run(volume(prompts + (dicom ? Words{} : kFull) + Words{"-o", out}, scan), 0);
    }
  run(volume(prompts + Words{"-o", "o.dcm", "--keep-patient"}, "scan"), 0, true);
  CHECK(read_text(f / "o.dcm").find("House^Greg") != std::string::npos);
  fs::remove(f / "o.dcm");
  // Refusals name files and numbers, nobody.
  run(volume({"--box", "8,10,1,28,300,4", "-o", "x.nii"}, "scan"), 2);
  fs::copy(f / "scan", f / "gap");
  fs::remove(f / "gap/im3");
  const std::string whole = read_text(f / "scan/im0");
  write_text(f / "cut", whole.substr(0, whole.size() - 9)), write_text(f / "shorter", whole.substr(0, whole.find("Nested")));
  std::string twice = whole;
  twice.insert(twice.find("ACC99") - 8, DicomBytes().add(0x00100020, "LO", "secret-7").bytes());
  write_text(f / "twice", twice);
  fs::copy(f / "scan", f / "mixed");
  write_scan(f / "mixed/other", 1, more + DicomBytes().add(0x00200011, "IS", "9").bytes());
  std::string other = read_text(f / "mixed/other/im0");
  other.replace(other.find("\\0\\0\\0\\1\\0"), 10, "\\0\\0\\0\\0\\1");
  write_text(f / "mixed/other/im0", other);
  for (const auto& name : f.files()) inputs.insert(name);
  for (const char* scan : {"gap", "cut", "shorter", "twice"}) run(volume({"--box", "8,10,1,28,30,3", "-o", "x.nii"}, scan), 3);
  run(volume({"--box", "8,10,1,28,30,3", "-o", "x.nii"}, "mixed"), 2);
}

TEST_CASE("volume: a deflated file that unpacks to more than --max-memory is refused before it does") {
  const Folder& f = folder();
  DicomImage i;
  i.rows = 4096, i.columns = 4096, i.pixels = std::string(std::size_t(4096) * 4096 * 2, '\0');
  const std::string packed = gzip(i.data_set());
  write_text(f / "bomb.dcm", dicom_file("1.2.840.10008.1.2.1.99", packed.substr(10, packed.size() - 18)));
  check_refused(f.run(volume({"--box", "8,10,0,28,30,0", "-o", "x.nii", "--max-memory", "30M"}, "bomb.dcm")), 4, "inflates to more than 30 MiB");
  fs::remove(f / "bomb.dcm");
}

TEST_CASE("volume: overlap and tidying") {
  const Folder& f = folder();
  const Words two = kFull + Words{"--box", "8,10,3,28,30,11", "--box", "12,12,4,36,34,10"};
  const auto run = [&](const Words& more) {
    f.ok(volume(two + more + Words{"-o", "o.nii"}));
    return labels(f / "o.nii").voxels;
  };
  f.ok(volume(kFull + Words{"--box", "8,10,3,28,30,11", "-o", "one.nii"}));
  write_text(f / "second.json", R"({"objects": [{"label": 2, "boxes": [[12,12,4,36,34,10]]}]})");  // its label is in the rule
  f.ok(volume(kFull + Words{"--prompts", "second.json", "-o", "two.nii"}));
  const auto one = labels(f / "one.nii").voxels, second = labels(f / "two.nii").voxels;
  const auto later = run({}), first = run({"--overlap", "first"}), confident = run({"--overlap", "confident"});
  std::int64_t shared = 0;
  bool right = true;
  for (std::size_t i = 0; i < one.size(); ++i) {
    const bool a = one[i], b = second[i];
    shared += a && b;
    right = right && later[i] == (b ? 2 : a) && first[i] == (a ? 1 : b ? 2 : 0) && (a && b ? confident[i] != 0 : confident[i] == later[i]);
  }
  CHECK(shared > 0);
  CHECK(right);
  const auto largest = run({"--keep-largest", "--fill-holes", "--min-size", "0.001", "--json"});
  CHECK(std::count(largest.begin(), largest.end(), 1) > 0);
  const auto none = run({"--min-size", "100"});
  CHECK(std::count(none.begin(), none.end(), 0) == std::ptrdiff_t(none.size()));
  CHECK(read_text(f / "o.nii.json").find("object 1 is empty") != std::string::npos);
}

TEST_CASE("volume: a stopped run leaves only its cache, and the next one goes on from there") {
  const Folder& f = folder();
  const Words words = volume(kFull + kBox + Words{"-o", "stop.nii.gz", "--cache", "encoded", "--progress", "json"});
  const Ran stopped = f.run(words, {.signal = SIGINT});
  CHECK(stopped.signal == SIGINT);
  CHECK_FALSE(fs::exists(f / "stop.nii.gz"));
  CHECK_FALSE(fs::exists(f / "stop.nii.gz.json"));
  for (const auto& name : f.files()) CHECK_MESSAGE(name.find(".part") == std::string::npos, name);
  std::int64_t kept = 0;
  for (const auto& e : fs::directory_iterator(f / "encoded")) kept += e.path().extension() == ".safetensors";
  const Document second = Document::parse(f.ok(volume(kFull + kBox + Words{"-o", "stop.nii.gz", "--cache", "encoded", "--json"})).out);
  CHECK(second["slices"]["encoded"].get<std::int64_t>() + kept == 9);
  CHECK(second["slices"]["from_folder"] == kept);
  // What a killed process leaves behind: everything but the slice it was at.
  fs::remove(fs::directory_iterator(f / "encoded")->path());
  write_text(f / "encoded/abc.safetensors.123-0.part", "half");
  const Document third = Document::parse(f.ok(volume(kFull + kBox + Words{"-o", "again.nii.gz", "--cache", "encoded", "--json"})).out);
  CHECK(third["slices"]["encoded"] == 1);
  CHECK(third["slices"]["from_folder"] == 8);
  CHECK(read_text(f / "again.nii.gz") == read_text(f / "stop.nii.gz"));
  fs::remove_all(f / "encoded");
}

TEST_CASE("volume: killed without warning, the next run encodes only what was not kept, and the labels are those of an undisturbed run") {
  const Folder& f = folder();
  const Words call = volume(kFull + kBox + Words{"--cache", "killed", "-o", "killed.nii", "--provenance", "none", "--progress", "json", "--json"});
  const Ran r = f.run(call, {.signal = SIGKILL});
  CHECK(r.signal == SIGKILL);
  CHECK_FALSE(fs::exists(f / "killed.nii"));
  const Document j = Document::parse(f.ok(call).out);
  const int slices = j["slices"]["encoded"].get<int>() + j["slices"]["from_folder"].get<int>();
  CHECK(slices == 9);  // 3 to 11
  CHECK(j["slices"]["from_folder"].get<int>() >= 0);
  f.ok(volume(kFull + kBox + Words{"-o", "undisturbed.nii", "--provenance", "none"}));
  CHECK(read_text(f / "killed.nii") == read_text(f / "undisturbed.nii"));
  // Nothing but whole slices is left in the folder for good: a third run finds them all.
  const Document again = Document::parse(f.ok(call).out);
  CHECK(again["slices"]["encoded"] == 0);
  CHECK(again["slices"]["from_folder"] == 9);
}

TEST_CASE("volume: a montage and an animation beside the labels") {
  const Folder& f = folder();
  f.ok(volume(kFull + kBox + Words{"-o", "shown.nii", "--provenance", "none", "--montage", "montage.png", "--animation", "animation.png"}));
  const Image montage = f.image("montage.png"), still = f.image("animation.png");
  CHECK(montage.size().width == 6 * (kR + 4) - 4);  // steps of 0.8 and 0.9 mm: 40 x 41 pixels
  CHECK(still.size().width == kR);
  CHECK(still.size().height == 41);
  const std::string bytes = read_text(f / "animation.png");
  CHECK(bytes.find("acTL") < bytes.find("IDAT"));
  check_refused(f.run(volume(kFull + kBox + Words{"-o", "x.nii", "--montage", "m.jpg"})), 2, ".png");
  check_refused(f.run(volume(kFull + kBox + Words{"-o", "x.nii", "--montage", "m.png", "--animation", "m.png"})), 2, "same file");
}

TEST_CASE("volume: --max-memory is asked before the work, and a small one only means more encoding") {
  const Folder& f = folder();
  const Ran refused = f.run(volume(kFull + kBox + Words{"-o", "m.nii", "--max-memory", "20M"}));
  CHECK(refused.code == 4);
  CHECK(refused.err.find("the scan and its labels alone need") != std::string::npos);
  const Document small = Document::parse(f.ok(volume(kFull + kBox + Words{"-o", "m.nii", "--max-memory", "64M", "--json"})).out);
  CHECK(small["peak_memory_mib"].get<double>() < 64);
  f.ok(volume(kFull + kBox + Words{"-o", "n.nii"}));
  CHECK(read_text(f / "m.nii") == read_text(f / "n.nii"));
}

TEST_CASE("volume: refusals are one line, with the right code, and leave nothing") {
  const Folder& f = folder();
  write_text(f / "bad.nii", body(kStraight, 0).substr(0, 1000));
  write_text(f / "deep.json", std::string(100, '[') + std::string(100, ']'));
  write_text(f / "twice.json", R"({"objects": [{"boxes": [[8,10,3,28,30,11],[9,10,3,28,30,11]]}]})");
  write_text(f / "typo.json", R"({"objects": [{"box": [[8,10,3,28,30,11]]}]})");
  write_text(f / "mm.json", R"({"units": "mm", "objects": [{"boxes": [[8,10,3,28,30,11]]}]})");
  write_text(f / "tilted.json", R"({"objects": [{"lines": [[13,20,5,23,20,7]]}]})");
  write_text(f / "inverted.json", R"({"objects": [{"boxes": [[28,10,3,8,30,11]]}]})");
  write_text(f / "bad.csv", "label,name,x0,y0,z0,x1,y1,z1\n1,liver,8,10,3,28,30\n");
  const auto before = f.files();
  struct Case {
    Words words;
    int code;
    const char* says;
  };
  const Words out = {"-o", "x.nii"};
  const Case cases[] = {
      {Words{"volume"}, 2, "--model M.safetensors is needed"},
      {volume({}), 2, "-o OUT.nii.gz is needed"},
      {volume(out), 2, "values from 40 to 220: say what they are"},
      {volume(kFull + out), 2, "what is to be segmented?"},
      {volume(kFull + kBox + Words{"-o", "x.png"}), 2, "must end in .nii, .nii.gz, .nrrd, .npz or .dcm"},
      {volume(kFull + kBox + Words{"-o", "x.dcm"}), 2, "needs a DICOM scan"},
      {volume(kFull + kBox + out + Words{"--keep-patient"}), 2, "belongs to a .dcm output"},
      {volume(kFull + kBox + out + Words{"--plane", "oblique"}), 2, "--plane oblique: unknown"},
      {volume(kFull + kBox + out + Words{"--overlap", "best"}), 2, "--overlap best: unknown"},
      {volume(kFull + kBox + out + Words{"--overlap", "confident", "--plane", "fused"}), 2, "does not go with --plane fused"},
      {volume(kFull + kBox + out + Words{"--min-size", "-1"}), 2, "millilitres above 0"},
      {volume(kBox + out + Words{"--recipe", "ct"}), 2, "--recipe ct: unknown"},
      {volume(kBox + out + Words{"--recipe", "as-is"}), 2, "it is for plain 8-bit voxels"},
      {volume(kBox + out + Words{"--recipe", "file"}), 2, "the file holds no window"},
      {volume(kBox + out + Words{"--recipe", "full", "--window", "40,400"}), 2, "say the same thing twice"},
      {volume(kFull + Words{"--box", "8,10,3,28,30"} + out), 2, "X0,Y0,Z0,X1,Y1,Z1 is needed"},
      {volume(kFull + Words{"--box", "28,10,3,8,30,11"} + out), 2, "is inverted"},
      {volume(kFull + Words{"--box", "8,10,3,28,30,14"} + out), 2, "outside the volume (slice 14 of 0 to 13"},
      {volume(kFull + Words{"--box", "8,10,3,41,30,11"} + out), 2, "is outside the image"},
      {volume(kFull + Words{"--box", "nan,10,3,41,30,11"} + out), 2, "not finite"},
      {volume(kFull + Words{"--point", "8,10,3,2"} + out), 2, "the label must be 1 (object) or 0"},
      {volume(kFull + Words{"--point", "8,10,3,1"} + out), 2, "takes no points"},
      {volume(kFull + Words{"--prompts", "none.json"} + out), 3, "no such file"},
      {volume(kFull + Words{"--prompts", "deep.json"} + out), 3, "nested too deeply"},
      {volume(kFull + Words{"--prompts", "twice.json"} + out), 2, "two boxes with an extent across"},
      {volume(kFull + Words{"--prompts", "typo.json"} + out), 3, "unknown key \"box\""},
      {volume(kFull + Words{"--prompts", "mm.json"} + out), 3, "space: \"RAS\" or \"LPS\" is needed"},
      {volume(kFull + Words{"--prompts", "tilted.json"} + out), 2, "a line must lie in one slice"},
      {volume(kFull + Words{"--prompts", "inverted.json"} + out), 3, "is inverted"},
      {volume(kFull + Words{"--prompts", "bad.csv"} + out), 3, "line 2: label,name,x0"},
      {volume(kFull + Words{"--prompts", "bad.csv", "--box", "1,1,1,2,2,2"} + out), 2, "cannot be mixed"},
      {volume(kFull + kBox + out, "bad.nii"), 3, "the file cannot hold them"},
      {volume(kFull + kBox + out, "none.nii"), 3, "no such file"},
      {volume(kFull + kBox + out, "box.safetensors"), 3, "neither NIfTI"},
      {volume(kFull + kBox + out + Words{"--frame", "3"}), 2, "has no volume 3"},
      {volume(kFull + kBox + Words{"-o", "a.nii"}), 2, "this file is also an input"},
      {volume(kFull + kBox + Words{"-o", "no/such/x.nii"}), 3, "its directory does not exist"},
      {volume(kFull + kBox + out, "a.nii", "a.nii"), 5, "a.nii"},
  };
  for (const Case& c : cases) {
    const Ran r = f.run(c.words);
    CAPTURE(r.err);
    CAPTURE(c.says);
    CHECK(r.code == c.code);
    CHECK(r.err.find(c.says) != std::string::npos);
    CHECK(std::count(r.err.begin(), r.err.end(), '\n') == 1);
    CHECK(f.files() == before);
  }
  CHECK(f.ok({"volume", "--help"}).out.find("Examples:") != std::string::npos);
}

TEST_CASE("volume with a volumetric network: clicks in any order of axes, one anatomy; objects from a file; what belongs to slices is refused") {
  const Folder& f = folder();
  const auto clicked = [](const Words& more, const std::string& in = "a.nii") { return volume(more, in, "med3d.safetensors"); };
  const Words clicks = {"--point", "18,20,7,1", "--point", "30,8,3,0"};
  const Ran first = f.ok(clicked(clicks + Words{"-o", "clicked.nii.gz", "--json"}));
  const Document j = Document::parse(first.out);
  CHECK(j["objects"][0]["voxels"].get<std::int64_t>() > 0);
  CHECK(j["objects"][0]["slices"].get<std::int64_t>() > 0);
  CHECK(j["model"]["family"] == "sam_med3d");
  CHECK_FALSE(j.contains("slices"));
  const Document provenance = Document::parse(read_text(f / "clicked.nii.gz.json"));
  CHECK(provenance["recipe"]["name"] == "the network's own");
  CHECK(provenance["model"]["preprocessing"].get<std::string>().find("1.5 mm") != std::string::npos);
  CHECK(provenance["prompts"][0]["points"].size() == 2);
  CHECK_FALSE(provenance.contains("plane"));
  const auto expected = anatomy(labels(f / "clicked.nii.gz"));
  const auto voxels = std::count(expected.begin(), expected.end(), 1);
  CHECK(voxels == j["objects"][0]["voxels"].get<std::int64_t>());
  constexpr std::size_t orders[3][3] = {{0, 2, 1}, {1, 2, 0}, {2, 0, 1}};
  const std::int64_t at[2][3] = {{18, 20, 7}, {30, 8, 3}}, sides[3] = {kR, kA, kS};
  unsigned flips = 3;
  for (const auto& order : orders) {
    CAPTURE(flips);
    write_text(f / "turned3.nii", body(order, flips));
    Words call;
    for (int p = 0; p < 2; ++p) {
      std::string text;
      for (std::size_t c = 0; c < 3; ++c) text += cat(flips >> c & 1u ? sides[order[c]] - 1 - at[p][order[c]] : at[p][order[c]], ",");
      call.push_back("--point"), call.push_back(cat(text, p == 0 ? 1 : 0));
    }
    f.ok(clicked(call + Words{"-o", "turned3.out.nii", "--provenance", "none"}, "turned3.nii"));
    CHECK(anatomy(labels(f / "turned3.out.nii")) == expected);
    flips = (flips * 3 + 2) % 8;
  }
  // Two objects, in voxels; the second over the first.
  write_text(f / "clicks.json", R"({"objects": [{"label": 4, "name": "ball", "points": [[18,20,7,1],[30,8,3,0]]}, {"label": 9, "points": [[10,10,5,1]]}]})");
  f.ok(clicked({"--prompts", (f / "clicks.json").string(), "-o", "two.nii.gz", "--keep-largest", "--provenance", "none", "--overlap", "first"}));
  const auto two = anatomy(labels(f / "two.nii.gz"));
  CHECK(std::count(two.begin(), two.end(), 4) > 0);
  f.ok(clicked({"--point", "18,20,7,1,4", "--point", "10,10,5,1,9", "--point", "30,8,3,0,4", "-o", "numbered.nii.gz", "--keep-largest", "--provenance", "none", "--overlap", "first"}));
  CHECK(anatomy(labels(f / "numbered.nii.gz")) == two);
  // A cube in one corner of the scan, another by a click beyond it, others where the object leaves the first.
  const auto in_corner = [&](const Words& more) { return Document::parse(f.ok(clicked(Words{"--point", "2,2,1,1"} + more + Words{"-o", "corner.nii", "--json"})).out)["objects"][0]; };
  const Document one = in_corner({}), beyond = in_corner({"--point", "37,33,12,1"}), extended = in_corner({"--extend"});
  CHECK(one["cubes"] == 1);
  CHECK(beyond["cubes"] == 2);
  CHECK(extended["cubes"].get<int>() > 1);
  for (const Document* more : {&beyond, &extended}) CHECK((*more)["voxels"].get<std::int64_t>() > one["voxels"].get<std::int64_t>());
  CHECK(Document::parse(read_text(f / "corner.nii.json"))["extend"] == true);
  f.ok(clicked({"--point", "18,20,7,1", "-o", "traced.nii", "--trace", "trace3d.safetensors:image_encoder.blocks.1,mask_decoder.output_upscaling"}));
  const auto traced = weights::Safetensors::open((f / "trace3d.safetensors").string());
  REQUIRE(traced);
  CHECK(traced->tensors().size() == 2);
  CHECK(traced->tensors()[0].shape == weights::Shape{1, 2, 2, 2, 24});
  // The boxes of a case become clicks in their middles.
  fs::copy_file(volume_fixture("cvpr24_3D.npz"), f / "3D_clicks.npz", fs::copy_options::overwrite_existing);
  f.ok(clicked({"-o", "middles.npz"}, "3D_clicks.npz"));
  const Document middles = Document::parse(read_text(f / "middles.npz.json"))["prompts"];
  CHECK(middles.size() > 1);
  for (const auto& object : middles) CHECK((object["points"].size() == 1 && !object.contains("boxes")));

  const auto refused = [&](const Words& more, const char* says) {
    const Ran r = f.run(clicked(more + Words{"-o", "no.nii.gz"}));
    CHECK(r.code == 2);
    CHECK_MESSAGE(r.err.find(says) != std::string::npos, r.err);
    CHECK_FALSE(fs::exists(f / "no.nii.gz"));
  };
  refused(kBox, "takes clicks, not boxes");
  refused({"--point", "18,20,7,0"}, "first click must be on the object");
  refused(clicks + kFull, "--recipe: this network sees volumes");
  refused(clicks + Words{"--window", "40,400"}, "--window");
  refused(clicks + Words{"--plane", "fused"}, "--plane");
  refused(clicks + Words{"--interpolate"}, "--interpolate");
  refused(clicks + Words{"--cache", "cache3"}, "--cache");
  refused(clicks + Words{"--overlap", "confident"}, "--overlap confident");
  refused({"--point", "100,20,7,1"}, "outside the volume");
  refused({"--point", "18,20,7,1,2", "--point", "18,20,7,1"}, "all or none");
  refused({"--point", "18,20,7,1,0"}, "whole number from 1");
  refused({"--point", "2,2,1,1", "--point", "37,33,12,0"}, "outside the cube of 32 voxels");
  check_refused(f.run(volume(kFull + kBox + Words{"--trace", "t.safetensors", "-o", "no.nii.gz"})), 2, "--trace of a volume belongs to networks that see volumes");
  check_refused(f.run(volume(kFull + kBox + Words{"--extend", "-o", "no.nii.gz"})), 2, "--extend belongs to networks that see volumes");
  const Ran wrong = f.run({"segment", "u8.nii.gz", "--model", "med3d.safetensors", "--point", "1,1,1", "-o", "x.png"});
  CHECK(wrong.code != 0);
  const std::string info = f.ok({"info", "med3d.safetensors"}).out;
  for (const char* word : {"SAM-Med3D", "sam_vit_3d", "volumes, 32^3", "1.5 mm", "per click"}) CHECK_MESSAGE(info.find(word) != std::string::npos, info);
  const Document ij = Document::parse(f.ok({"info", "med3d.safetensors", "--json"}).out);
  CHECK(ij["input"]["side"] == 32);
  CHECK(ij["model"]["family"] == "sam_med3d");
}
