// One way in and one way out for whole scans: the content decides how a file is read, the ending of its name how one is written.
// Data flow: path -> read_volume -> Volume; LabelMap -> write_labels -> AtomicFile.
// Defined in read_volume.cpp (target sampan_medical), since the readers of all formats together take half a minute to compile. Deliberately absent: guessing. What is neither NIfTI, NRRD, npz nor DICOM is an error that lists what is read.
#pragma once
#include "dicom_series.hpp"

namespace sampan::inline SAMPAN_ABI::medical {

enum class FileFormat { nifti, nifti_gz, nrrd, npz };

/// The format that the ending names (any case): .nii, .nii.gz, .nrrd, .npz. Error{invalid_argument} lists them.
Result<FileFormat> format_of_name(const std::string& path);

/// GDCM's decoder in builds that have it, else none.
FrameDecoder default_decoder();

struct ReadOptions {
  VolumeLimits limits;
  std::optional<std::int64_t> frame = {};  ///< of a NIfTI time series
  std::optional<std::size_t> series = {};  ///< of a DICOM folder that holds several
  SeriesOptions dicom;                     ///< its limits are replaced by those above
};

/// NIfTI, NRRD, npz or DICOM (a file or a folder) by content; of an npz case only the image. Error{io | bad_file | limit | unsupported | invalid_argument | out_of_memory}.
Result<Volume> read_volume(const std::string& path, const ReadOptions& o = {});

/// Not committed. An .npz keeps no place; NIfTI and NRRD do.
Status write_labels(AtomicFile& out, FileFormat format, const LabelMap& labels, bool flat = false);

}  // namespace sampan::inline SAMPAN_ABI::medical
