// Compressed DICOM frames (JPEG, JPEG lossless, JPEG-LS, JPEG 2000) through GDCM; compiled only where SAMPAN_GDCM is defined (CMake option of that name).
// Data flow: FrameReader (dicom_pixels.hpp) -> gdcm_decoder().decode -> a native frame. GDCM never sees the file: it gets a small DICOM object of its own with the sizes
// that were checked here and the bytes of one frame, so its parser meets no foreign header. Cost: GDCM's decoder, one copy.
// Deliberately absent: encoding, video, HTJ2K, JPEG XL (what GDCM cannot decode is an error). GDCM's decoders are its own; files of strangers are safer in the build without.
#pragma once
#include "dicom_pixels.hpp"
#include "dicom_write.hpp"

#include <gdcmImageChangeTransferSyntax.h>
#include <gdcmImageReader.h>
#include <gdcmTrace.h>

#include <sstream>

namespace sampan::inline SAMPAN_ABI::medical {

namespace detail {

inline Status gdcm_decode_unguarded(const DicomData& d, const PixelFormat& f, Bytes frame, std::uint8_t* out) {
  gdcm::Trace::DebugOff(), gdcm::Trace::WarningOff(), gdcm::Trace::ErrorOff();  // a library must not write to the terminal
  const Compression c = compression_of(d.syntax_uid);
  if (!c.gdcm) return cannot_decompress(d.syntax_uid);
  const auto failed = [&] { return Error(ErrorCode::bad_file, cat("a frame that GDCM cannot decode as ", c.name)); };
  if (frame.empty() || frame.size() > 0xFFFFFFF0u) return failed();
  const std::string sop_class = "1.2.840.10008.5.1.4.1.1.7", uid = "1.2.826.0.1.3680043.10.1";  // secondary capture; the names reach nobody
  DicomOut o;
  o.text(tag::sop_class, "UI", sop_class).text(tag::sop_instance, "UI", uid).text(tag::modality, "CS", "OT").us(tag::samples, {f.samples});
  o.text(tag::photometric, "CS", f.samples == 1 ? "MONOCHROME2" : dicom_text(d.find(tag::photometric)));
  if (f.samples > 1) o.us(tag::planar, {0});
  o.us(tag::rows, {int(f.rows)}).us(tag::columns, {int(f.columns)}).us(tag::bits_allocated, {f.allocated}).us(tag::bits_stored, {f.stored}).us(tag::high_bit, {f.high_bit}).us(tag::pixel_sign, {f.is_signed});
  o.fragment(tag::pixels, frame);
  std::istringstream in(dicom_head(sop_class, uid, d.syntax_uid, uid) + o.bytes());
  gdcm::ImageReader reader;
  reader.SetStream(in);
  if (!reader.Read()) return failed();
  gdcm::ImageChangeTransferSyntax change;
  change.SetTransferSyntax(gdcm::TransferSyntax::ExplicitVRLittleEndian);
  change.SetInput(reader.GetImage());
  if (!change.Change()) return failed();
  const gdcm::Image& image = change.GetOutput();
  const auto pi = image.GetPhotometricInterpretation();
  if (image.GetDimension(0) != std::size_t(f.columns) || image.GetDimension(1) != std::size_t(f.rows) || image.GetBufferLength() != f.frame_bytes) return failed();
  if (!image.GetBuffer(reinterpret_cast<char*>(out))) return failed();
  if (f.samples == 1) return {};
  const std::size_t pixels = std::size_t(f.rows * f.columns);
  if (image.GetPlanarConfiguration() == 1) FrameReader::interleave(out, pixels);
  if (pi == gdcm::PhotometricInterpretation::YBR_FULL || pi == gdcm::PhotometricInterpretation::YBR_FULL_422) FrameReader::to_rgb(out, pixels);
  return {};
}

/// GDCM throws where its own readers do not catch; nothing of that leaves this file.
inline Status gdcm_decode(void*, const DicomData& d, const PixelFormat& f, Bytes frame, std::uint8_t* out) {
  try {
    return gdcm_decode_unguarded(d, f, frame, out);
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "no memory to decode a frame");
  } catch (const std::exception&) {
    return Error(ErrorCode::bad_file, cat("a frame that GDCM cannot decode as ", compression_of(d.syntax_uid).name));
  }
}

}  // namespace detail

inline FrameDecoder gdcm_decoder() { return {detail::gdcm_decode, nullptr}; }

}  // namespace sampan::inline SAMPAN_ABI::medical
