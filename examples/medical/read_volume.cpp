// Definitions of read_volume.hpp: the one unit that has every reader and writer in it.
#include "read_volume.hpp"

#include "nifti.hpp"
#include "npz.hpp"
#include "nrrd.hpp"
#if defined(SAMPAN_GDCM)
#  include "dicom_gdcm.hpp"
#endif

namespace sampan::inline SAMPAN_ABI::medical {

Result<FileFormat> format_of_name(const std::string& path) {
  const std::string s = detail::lower(path);
  const auto ends = [&](std::string_view e) { return s.size() > e.size() && s.compare(s.size() - e.size(), e.size(), e) == 0; };
  if (ends(".nii")) return FileFormat::nifti;
  if (ends(".nii.gz")) return FileFormat::nifti_gz;
  if (ends(".nrrd")) return FileFormat::nrrd;
  if (ends(".npz")) return FileFormat::npz;
  return Error(ErrorCode::invalid_argument, cat(path, ": the name must end in .nii, .nii.gz, .nrrd or .npz"));
}

FrameDecoder default_decoder() {
#if defined(SAMPAN_GDCM)
  return gdcm_decoder();
#else
  return {};
#endif
}

Result<Volume> read_volume(const std::string& path, const ReadOptions& o) {
  const auto dicom = [&]() -> Result<Volume> {
    SeriesOptions d = o.dicom;
    d.limits = o.limits;
    if (!d.decoder.decode) d.decoder = default_decoder();
    SAMPAN_TRY(v, read_dicom_volume(path, o.series, d));
    return std::move(v.image);
  };
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return dicom();
  Bytes bytes;
  {
    SAMPAN_TRY(file, MappedFile::open(path));
    bytes = file.bytes();
    if (looks_like_npz(bytes)) {
      SAMPAN_TRY(c, read_npz(path, o.limits));
      return std::move(c.image);
    }
    if (looks_like_nrrd(bytes)) return read_nrrd(path, {o.limits});
    if (looks_like_dicom(bytes)) return dicom();
    if (!ByteStream::is_gzip(bytes) && !looks_like_nifti(bytes)) return Error(ErrorCode::bad_file, cat(path, ": neither NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), npz nor DICOM"));
  }
  return read_nifti(path, {o.limits, o.frame});
}

Status write_labels(AtomicFile& out, FileFormat format, const LabelMap& labels, bool flat) {
  switch (format) {
    case FileFormat::nifti:
    case FileFormat::nifti_gz: return write_nifti_labels(out, format == FileFormat::nifti_gz, labels);
    case FileFormat::nrrd: return write_nrrd_labels(out, labels);
    default: return write_npz_labels(out, labels, flat);
  }
}

}  // namespace sampan::inline SAMPAN_ABI::medical
