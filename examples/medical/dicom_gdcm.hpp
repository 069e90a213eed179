// Compressed DICOM frames (JPEG, JPEG lossless, JPEG-LS, JPEG 2000) through GDCM; compiled only where SAMPAN_GDCM is defined (CMake option of that name).
// Data flow: FrameReader (dicom_pixels.hpp) -> gdcm_decoder().decode -> a native frame. Cost: GDCM's decoder, one copy.
// GDCM sees neither the file nor its headers, only the bytes of one frame, after the frame's own header was held against the sizes that were checked here. Its codecs are
//   called one by one: gdcm::Image tries another one when a frame is damaged, and that one starts a foreign program through the shell (pvrg-jpeg) and waits for it.
// Source: ITU-T T.81 annex B and T.87 annex C (frame headers of JPEG and JPEG-LS), T.800 annex A.5.1 (SIZ of JPEG 2000).
// Deliberately absent: encoding, video, HTJ2K, JPEG XL (what GDCM cannot decode is an error). GDCM's decoders are its own; files of strangers are safer in the build without.
#pragma once
#include "dicom_pixels.hpp"

#include <gdcmDataElement.h>
#include <gdcmJPEG2000Codec.h>
#include <gdcmJPEGCodec.h>
#include <gdcmJPEGLSCodec.h>
#include <gdcmSequenceOfFragments.h>
#include <gdcmTrace.h>

namespace sampan::inline SAMPAN_ABI::medical {

namespace detail {

/// What a compressed frame says of itself.
struct FrameHeader {
  std::int64_t rows = 0, columns = 0;
  int samples = 0, bits = 0;
};

/// The frame header (SOF0 to SOF15, SOF55) of a JPEG or JPEG-LS stream whose segments follow each other without a gap up to its first scan.
/// Nothing also for what the JPEG library would only warn of: GDCM ends the program on a warning before the scan (an assertion, which Debian's package has).
inline std::optional<FrameHeader> jpeg_header(Bytes b) {
  if (b.size() < 4 || b[0] != 0xFF || b[1] != 0xD8) return std::nullopt;
  std::optional<FrameHeader> h;
  int transform = 0;
  for (std::size_t at = 2; b.size() - at >= 4;) {
    if (b[at] != 0xFF) return std::nullopt;
    const int marker = b[at + 1];
    if (marker == 0xFF) {
      ++at;  // fill
      continue;
    }
    if (marker < 0xC0 || (marker >= 0xD0 && marker <= 0xD9)) return std::nullopt;  // markers without a segment
    const std::size_t length = std::size_t(b[at + 2]) << 8 | b[at + 3];
    if (length < 2 || length > b.size() - at - 2) return std::nullopt;
    const Bytes content = b.subspan(at + 4, length - 2);
    const bool frame = (marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC) || marker == 0xF7;
    if (frame) {
      if (content.size() < 6 || h) return std::nullopt;
      h = FrameHeader{std::int64_t(content[1]) << 8 | content[2], std::int64_t(content[3]) << 8 | content[4], content[5], content[0]};
    }
    if (marker == 0xE0 && content.size() >= 6 && as_text(content.first(4)) == "JFIF" && content[5] != 1) return std::nullopt;
    if (marker == 0xEE && content.size() >= 12 && as_text(content.first(5)) == "Adobe") transform = content[11];
    if (marker == 0xDA) return h && (h->samples != 3 || transform <= 1) ? h : std::nullopt;
    at += 2 + length;
  }
  return std::nullopt;
}

/// SIZ of a JPEG 2000 codestream, plain or inside a JP2 file.
inline std::optional<FrameHeader> jpeg2000_header(Bytes b) {
  constexpr std::uint8_t start[] = {0xFF, 0x4F, 0xFF, 0x51};
  const auto it = std::search(b.begin(), b.end(), std::begin(start), std::end(start));
  const auto s = b.subspan(std::size_t(it - b.begin()));
  if (s.size() < 45) return std::nullopt;
  const auto u32 = [&](std::size_t i) { return std::int64_t(s[i]) << 24 | std::int64_t(s[i + 1]) << 16 | std::int64_t(s[i + 2]) << 8 | s[i + 3]; };
  return FrameHeader{u32(12) - u32(20), u32(8) - u32(16), s[40] << 8 | s[41], (s[42] & 0x7F) + 1};
}

/// One frame through one codec. False: it cannot.
template <class Codec>
bool gdcm_run(Codec& codec, const PixelFormat& f, int bits, gdcm::PhotometricInterpretation colours, const gdcm::DataElement& in, std::uint8_t* out) {
  const unsigned sides[3] = {unsigned(f.columns), unsigned(f.rows), 1};
  codec.SetNumberOfDimensions(2);
  codec.SetDimensions(sides);
  codec.SetPlanarConfiguration(0);
  codec.SetPhotometricInterpretation(colours);
  const auto u16 = [](int v) { return static_cast<unsigned short>(v); };
  codec.SetPixelFormat(gdcm::PixelFormat(u16(f.samples), u16(f.allocated), u16(bits), u16(bits - 1), u16(f.is_signed)));  // last: it makes the inner codec, which copies the rest
  if constexpr (std::is_same_v<Codec, gdcm::JPEGLSCodec>) codec.SetBufferLength(static_cast<unsigned long>(f.frame_bytes));
  gdcm::DataElement decoded;
  if (!codec.Decode(in, decoded)) return false;
  const gdcm::ByteValue* bytes = decoded.GetByteValue();
  if (!bytes || bytes->GetLength() < f.frame_bytes || bytes->GetLength() > f.frame_bytes + 1) return false;  // one byte of padding
  std::memcpy(out, bytes->GetPointer(), f.frame_bytes);
  return true;
}

inline Status gdcm_decode_unguarded(const DicomData& d, const PixelFormat& f, Bytes frame, std::uint8_t* out) {
  gdcm::Trace::DebugOff(), gdcm::Trace::WarningOff(), gdcm::Trace::ErrorOff();  // a library must not write to the terminal
  const Compression c = compression_of(d.syntax_uid);
  if (!c.gdcm) return cannot_decompress(d.syntax_uid);
  const auto failed = [&](std::string_view why = "") { return Error(ErrorCode::bad_file, cat("a frame that GDCM cannot decode as ", c.name, why)); };
  if (frame.empty() || frame.size() > 0xFFFFFFF0u) return failed();
  const bool j2k = c.end == "90" || c.end == "91", ls = c.end == "80" || c.end == "81";
  const auto h = j2k ? jpeg2000_header(frame) : jpeg_header(frame);
  if (!h) return failed(": its headers are damaged");
  if (h->rows != f.rows || h->columns != f.columns || h->samples != f.samples || h->bits > f.allocated || (h->bits > 8) != (f.allocated > 8))
    return failed(cat(": its own header says ", h->columns, "x", h->rows, ", ", h->samples, " samples of ", h->bits, " bits"));
  using Colours = gdcm::PhotometricInterpretation;
  const std::string photometric = dicom_text(d.find(tag::photometric));
  Colours colours = Colours::MONOCHROME2;
  if (f.samples > 1) {
    if (photometric == "RGB") colours = Colours::RGB;
    else if (photometric == "YBR_FULL") colours = Colours::YBR_FULL;
    else if (photometric == "YBR_FULL_422") colours = Colours::YBR_FULL_422;
    else if (photometric == "YBR_RCT" && j2k) colours = Colours::YBR_RCT;
    else if (photometric == "YBR_ICT" && j2k) colours = Colours::YBR_ICT;
    else return Error(ErrorCode::unsupported, "compressed colours that are none of RGB, YBR_FULL, YBR_FULL_422, YBR_RCT, YBR_ICT");
  }
  gdcm::SmartPointer<gdcm::SequenceOfFragments> fragments = new gdcm::SequenceOfFragments;
  gdcm::Fragment fragment;
  std::string even(as_text(frame));
  even.resize(even.size() + even.size() % 2);
  fragment.SetByteValue(even.data(), gdcm::VL(static_cast<std::uint32_t>(even.size())));
  fragments->AddFragment(fragment);
  gdcm::DataElement in(gdcm::Tag(0x7FE0, 0x0010));
  in.SetVR(gdcm::VR::OB);
  in.SetValue(*fragments);
  bool done = false;
  if (j2k) {
    gdcm::JPEG2000Codec codec;
    done = gdcm_run(codec, f, f.stored, colours, in, out);
  } else if (ls) {
    gdcm::JPEGLSCodec codec;
    done = gdcm_run(codec, f, f.stored, colours, in, out);
  } else {
    gdcm::JPEGCodec codec;
    done = gdcm_run(codec, f, h->bits, colours, in, out);  // the frame's own bits: GDCM has a decoder for each of 8, 12 and 16
  }
  if (!done) return failed();
  if (colours == Colours::YBR_FULL || colours == Colours::YBR_FULL_422) FrameReader::to_rgb(out, std::size_t(f.rows * f.columns));
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
