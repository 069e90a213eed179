// What fine-tunes put into SAM's transformer blocks, by place; a block has any combination, most have none. A new adapter is a struct of layers beside this file and one line here.
// Data flow: nn/block.hpp calls each place -> nn/bottleneck.hpp, nn/conv_adapter.hpp.   Shapes: maps [h, w, c].
//   before_block      x += hook(image): nn/frequency_prompt.hpp, held by the encoder because its blocks share layers
//   before_attention  n = hook(norm1(x), branch), which changes the branch too (nn/side_branch.hpp)
//   after_attention   x += a + hook(a), a the attention's output
//   beside_mlp        x += mlp(n) + hook(n), n = norm2(x)
// Deliberately absent: LoRA and FacT, which are folded into the weights at conversion (weights_tools/merge.hpp) and cost nothing here.
#pragma once
#include <sampan/nn/bottleneck.hpp>
#include <sampan/nn/conv_adapter.hpp>
#include <sampan/nn/side_branch.hpp>
#include <sampan/weights/contract.hpp>

#include <optional>
#include <variant>

namespace sampan::inline SAMPAN_ABI::nn {

struct HookSizes {
  weights::HookKind kind = weights::HookKind::none;
  Index hidden = 0;
};

template <Backend B>
struct BlockHooks {
  std::optional<BranchAttention<B>> before_attention;
  std::optional<Bottleneck<B>> after_attention;
  std::variant<std::monostate, Bottleneck<B>, ConvAdapter<B>> beside_mlp;

  static BlockHooks load(const Loader<B>& w, const HookSizes& s, Index c, Index heads) {
    BlockHooks h;
    switch (s.kind) {
      case weights::HookKind::none:
      case weights::HookKind::frequency_prompt: break;
      case weights::HookKind::conv_adapter: h.beside_mlp.template emplace<ConvAdapter<B>>(ConvAdapter<B>::load(w / "Adapter", c, s.hidden)); break;
      case weights::HookKind::bottleneck:
        h.after_attention = Bottleneck<B>::load(w / "Space_Adapter", c, s.hidden, 1);
        h.beside_mlp.template emplace<Bottleneck<B>>(Bottleneck<B>::load(w / "MLP_Adapter", c, s.hidden, 0.5f));
        break;
      case weights::HookKind::side_branch:
        h.before_attention = BranchAttention<B>::load(w, c, heads);
        h.beside_mlp.template emplace<Bottleneck<B>>(Bottleneck<B>::load(w / "MLP_Adapter", c, s.hidden, 0.5f));
        break;
    }
    return h;
  }

  bool any() const { return before_attention || after_attention || has_beside_mlp(); }
  bool has_beside_mlp() const { return beside_mlp.index() != 0; }

  /// x += hook(n).
  void add_beside_mlp(Context<B>& ctx, const View<const float, 3>& n, const View<float, 3>& x) const {
    if (const auto* b = std::get_if<Bottleneck<B>>(&beside_mlp)) b->forward(ctx, tokens(n), tokens(x), tokens(View<const float, 3>(x)));
    if (const auto* c = std::get_if<ConvAdapter<B>>(&beside_mlp)) c->forward(ctx, n, x);
  }
};

}  // namespace sampan::inline SAMPAN_ABI::nn
