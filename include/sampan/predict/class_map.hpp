// Logits of a decoder with one token per class -> a class for each pixel of the original image.
// Data flow: models/mask_decoder.hpp (all tokens) -> here -> ClassMap.   Shapes: logits [k, l, l]; labels [h, w] bytes, 0 .. k - 1.
// Source: SAMed, test_single_volume (utils.py): logits to the input square (bilinear, align_corners=False), argmax over the classes, first of equals; finetune-SAM and AutoSAM take it of the logits as they are;
// labels to the image by scipy's zoom of order 0. The softmax between them changes no order.
#pragma once
#include <sampan/ops/resize_scipy_zoom.hpp>
#include <sampan/ops/resize_torch_bilinear.hpp>
#include <sampan/predict/frame.hpp>
#include <sampan/predict/predictor.hpp>

namespace sampan::inline SAMPAN_ABI::predict {

/// Fills `out` (it keeps its memory); while planning only the scratch is counted.
template <class B>
void finish_labels(Context<B>& ctx, const weights::Contract& contract, const InputFrame& f, const View<const float, 3>& logits, ClassMap& out) {
  // at low resolution the resize below is to the same size: every value comes back as it is
  const Index k = logits.extent(0), s = contract.mask.upsample == weights::UpsampleKind::low_argmax_zoom ? logits.extent(1) : f.side, h = f.original.height, w = f.original.width;
  auto scope = ctx.arena.scope();
  const auto best = scope.template make<float>(s, s), next = scope.template make<float>(s, s);
  const auto at_input = scope.template make<std::uint8_t>(s, s);
  for (Index c = 0; c < k; ++c) {
    resize_torch_bilinear(ctx, logits[c], c == 0 ? best : next);
    if (!ctx.begin({double(s * s), 9.0 * double(s * s)})) continue;
    if (c == 0) std::memset(at_input.data(), 0, std::size_t(s * s));
    for (Index i = 0; c > 0 && i < s * s; ++i)
      if (next.data()[i] > best.data()[i]) best.data()[i] = next.data()[i], at_input.data()[i] = std::uint8_t(c);
  }
  std::uint8_t* labels = nullptr;
  if (!ctx.planning() && ctx.ok()) {
    out.width = w, out.height = h;
    out.labels.resize(std::size_t(h * w));
    out.areas.assign(std::size_t(k), 0);
    labels = out.labels.data();
  }
  resize_scipy_zoom_nearest(ctx, View<const std::uint8_t, 2>(at_input), View<std::uint8_t, 2>(labels, {h, w}));
  if (!ctx.planning() && ctx.ok())
    for (const std::uint8_t v : out.labels) ++out.areas[v];
}

}  // namespace sampan::inline SAMPAN_ABI::predict
