"""Reference networks that put something into or around SAM's blocks: finetune-SAM's decoder, SAM-Adapter, AutoSAM, SAMUS, AutoSAMUS, DeSAM. Own code from the published formulas, Apache-2.0.

What: build_finetune, build_sam_adapter, build_autosam, build_samus, build_autosamus, build_desam -> net as refnets.py's; the lists of their tensors under the names of the published files.
Where: cases_blocks.py. Around the modules of segment-anything 1.0; nothing is copied, and nothing here shares code with the engine.
Not here: pre- and post-processing (refpipes.py), weights (hashgen.py).
"""
import types

import torch
import torch.nn.functional as F
from torch import nn

import hashgen as hg
import refadapters as ra
import refnets as rn
from segment_anything.modeling import MaskDecoder, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.image_encoder import window_partition, window_unpartition


def load_named(net, seed, shapes, rename=lambda n: n, unused=()):
    """Fills net from a file's tensors, whose names are hashed as they stand there. What the file lacks must be `unused` by the forward."""
    left = net.load_state_dict({rename(n): torch.from_numpy(hg.values(seed, n, s)) for n, s in shapes}, strict=False)
    assert not left.unexpected_keys and all(any(u in k for u in unused) for k in left.missing_keys), left
    return net.eval()


def decoder(outputs):
    return MaskDecoder(num_multimask_outputs=outputs, transformer_dim=256, iou_head_depth=3, iou_head_hidden_dim=256, transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8))


# ---- finetune-SAM: K classes behind token 0, bottlenecks in the two-way blocks -------------------------------------------

def class_decoder_shapes(classes, hidden, layers):
    L = hg.Shapes(hg.decoder_shapes(masks=classes + 1))
    for l in range(layers):
        for place in ("Adapter", "MLP_Adapter"):
            n = f"mask_decoder.transformer.layers.{l}.{place}."
            L.wb(n + "D_fc1", hidden, 256); L.wb(n + "D_fc2", 256, hidden)
    return L


def finetune_shapes(classes, hidden, layers, encoder_hidden, hook_blocks, **sam):
    return hg.Shapes([(n, s) for n, s in hg.adapted_shapes("bottleneck", encoder_hidden, hook_blocks, **sam) if n.startswith("image_encoder.")] + class_decoder_shapes(classes, hidden, layers))


def hooked_two_way(l, queries, keys, query_pe, key_pe):
    if l.skip_first_layer_pe: q = l.self_attn(q=queries, k=queries, v=queries)
    else: q = queries + l.self_attn(q=queries + query_pe, k=queries + query_pe, v=queries)
    q = l.norm1(q)
    q = q + l.cross_attn_token_to_image(q=q + query_pe, k=keys + key_pe, v=keys)
    q = l.norm2(q + l.Adapter(q))
    q = l.norm3(q + l.mlp(q) + 0.5 * l.MLP_Adapter(q))
    k = keys + l.cross_attn_image_to_token(q=keys + key_pe, k=q + query_pe, v=q)
    return q, l.norm4(k + l.Adapter(k))


def with_class_decoder(net, classes, hidden, layers):
    net.mask_decoder = decoder(classes)
    for l in net.mask_decoder.transformer.layers[:layers]:
        l.Adapter, l.MLP_Adapter = ra.Bottleneck(256, hidden), ra.Bottleneck(256, hidden)
        l.forward = types.MethodType(hooked_two_way, l)
    return net


def build_finetune(classes, hidden, layers, encoder_hidden, hook_blocks, **sam):
    return with_class_decoder(ra.build_adapted("bottleneck", encoder_hidden, hook_blocks, **sam), classes, hidden, layers)


def build_finetune_tiny(classes, hidden, layers, img, **tiny):
    """On MobileSAM's encoder, whose grid of `img` follows from its strides: a sixteenth."""
    return with_class_decoder(rn._whole(rn.build_tinyvit(3, img=img, **tiny), img, img // 16), classes, hidden, layers)


@torch.no_grad()
def later_tokens(net, emb):
    """Its multimask output: every token's logits but the first one's, without a prompt."""
    sp, de = net.prompt_encoder(points=None, boxes=None, masks=None)
    return net.mask_decoder(image_embeddings=emb, image_pe=net.prompt_encoder.get_dense_pe(), sparse_prompt_embeddings=sp.to(emb.dtype), dense_prompt_embeddings=de, multimask_output=True)[0]


# ---- SAM-Adapter: a prompt before each block ------------------------------------------------------------------------------

def sam_adapter_shapes(hidden, **sam):
    L, c = hg.Shapes(hg.sam_encoder_shapes(**sam)), sam["embed"]
    p = "image_encoder.prompt_generator."
    L.wb(p + "shared_mlp", c, hidden); L.wb(p + "embedding_generator", hidden, c)
    for i in range(sam["depth"]): L.wb(f"{p}lightweight_mlp_{i}.0", hidden, hidden)
    L.wb(p + "prompt_generator.proj", hidden, 3, 16, 16)
    L.one("pe_layer.positional_encoding_gaussian_matrix", 2, 128); L.one("no_mask_embed.weight", 1, 256)
    return hg.Shapes(L + [(n, s) for n, s in hg.decoder_shapes() if n.startswith("mask_decoder.")])


class PromptGenerator(nn.Module):
    def __init__(self, c, hidden, depth):
        super().__init__()
        self.shared_mlp, self.embedding_generator = nn.Linear(hidden, c), nn.Linear(c, hidden)
        for i in range(depth): setattr(self, f"lightweight_mlp_{i}", nn.Sequential(nn.Linear(hidden, hidden), nn.GELU()))
        self.prompt_generator = nn.Module()
        self.prompt_generator.proj = nn.Conv2d(3, hidden, 16, 16)

    def features(self, image, patches): return self.prompt_generator.proj(high_pass(image)).permute(0, 2, 3, 1) + self.embedding_generator(patches)

    def prompt(self, i, features): return self.shared_mlp(getattr(self, f"lightweight_mlp_{i}")(features))


def high_pass(x, rate=0.25):
    n = x.shape[-1]
    line = int((n * n * rate) ** 0.5 // 2)
    f = torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1))
    f[..., n // 2 - line:n // 2 + line, n // 2 - line:n // 2 + line] = 0
    return torch.fft.ifft2(torch.fft.ifftshift(f, dim=(-2, -1))).real.abs()


def prompted_encoder(enc, image):
    x = enc.patch_embed(image)
    features = enc.prompt_generator.features(image, x)
    x = x + enc.pos_embed
    for i, b in enumerate(enc.blocks): x = b(enc.prompt_generator.prompt(i, features) + x)
    return enc.neck(x.permute(0, 3, 1, 2))


def build_sam_adapter(hidden, **sam):
    net = rn.build_sam(**sam)
    net.image_encoder.prompt_generator = PromptGenerator(sam["embed"], hidden, sam["depth"])
    net.image_encoder.forward = types.MethodType(prompted_encoder, net.image_encoder)
    return net


def bare_prompt(n): return "prompt_encoder." + n if n.startswith(("pe_layer.", "no_mask_embed.")) else n


# ---- AutoSAM: its own tokens for each class --------------------------------------------------------------------------------

def autosam_shapes(classes, **sam):
    L = hg.Shapes(hg.sam_encoder_shapes(**sam))
    L.one("pe_layer.positional_encoding_gaussian_matrix", 2, 128)
    for n, s in hg.decoder_shapes(masks=2):
        if n.startswith("mask_decoder."): L.one(n, *((classes * s[0], s[1]) if n.endswith(("iou_token.weight", "mask_tokens.weight")) else s))
    return L


def build_autosam(classes, **sam):
    net = rn.build_sam(**sam)
    net.mask_decoder = decoder(1)
    net.mask_decoder.iou_token, net.mask_decoder.mask_tokens = nn.Embedding(classes, 256), nn.Embedding(2 * classes, 256)
    return net


@torch.no_grad()
def first_masks(net, emb):
    """(1, classes, 4g, 4g): mask 0 of each class's set, nothing added to the embedding."""
    m, pe, out = net.mask_decoder, net.prompt_encoder.get_dense_pe(), []
    for k in range(m.iou_token.weight.shape[0]):
        tokens = torch.cat([m.iou_token.weight[k:k + 1], m.mask_tokens.weight[2 * k:2 * k + 2]])[None]
        hs, src = m.transformer(emb, pe, tokens)
        up = m.output_upscaling(src.transpose(1, 2).reshape(emb.shape))
        out.append((m.output_hypernetworks_mlps[0](hs[:, 1]) @ up.flatten(2)).reshape(1, 1, *up.shape[2:]))
    return torch.cat(out, 1)


def plain_head_shapes(classes, blocks, top=64, **sam):
    """Encoder and one of its two other heads: linear (0 blocks), or `blocks` blocks of convolutions."""
    L, m = hg.Shapes(hg.sam_encoder_shapes(**sam)), "mask_decoder."
    conv = lambda n, i, o, k: L.wb(m + n, o, i, k, k)

    def wt(n, i, o): L.one(f"{m}{n}.weight", i, o, 2, 2); L.one(f"{m}{n}.bias", o)
    if not blocks:
        wt("output_upscaling.0", 256, 64); L.wb(m + "output_upscaling.1", 64); wt("output_upscaling.3", 64, 32)
        conv("final.0", 32, 32, 1); conv("final.2", 32, classes, 1)
        return L
    c = top * 2 ** blocks
    conv("input_block.0", 256, c, 1); conv("input_block.2", c, c, 1)
    for i in range(blocks):
        half = blocks > 2 and i < 2
        conv(f"blocks.{i}.0", c, c, 3); conv(f"blocks.{i}.2", c, c // 2 if half else c, 3)
        if not half: wt(f"blocks.{i}.4", c, c // 2)
        c //= 2
    conv("final.0", top, top, 3); conv("final.1", top, classes, 1)
    return L


def plain_head(classes, count, top=64):
    up = lambda i, o: nn.ConvTranspose2d(i, o, 2, 2)
    near = lambda i, o: nn.Conv2d(i, o, 3, padding=1)
    if not count:
        return part(output_upscaling=nn.Sequential(up(256, 64), LayerNorm2d(64), nn.GELU(), up(64, 32), nn.GELU()), final=nn.Sequential(nn.Conv2d(32, 32, 1), nn.ReLU(), nn.Conv2d(32, classes, 1), nn.ReLU()))
    c, blocks = top * 2 ** count, []
    first = nn.Sequential(nn.Conv2d(256, c, 1), nn.ReLU(), nn.Conv2d(c, c, 1), nn.ReLU())
    for i in range(count):
        if count > 2 and i < 2: blocks.append(nn.Sequential(near(c, c), nn.ReLU(), near(c, c // 2), nn.ReLU()))
        else: blocks.append(nn.Sequential(near(c, c), nn.ReLU(), near(c, c), nn.ReLU(), up(c, c // 2)))
        c //= 2
    return part(input_block=first, blocks=nn.ModuleList(blocks), final=nn.Sequential(near(top, top), nn.Conv2d(top, classes, 1)))


def build_plain_head(classes, blocks, top=64, **sam):
    net = rn.build_sam(**sam)
    net.mask_decoder = plain_head(classes, blocks, top)
    return net


@torch.no_grad()
def head_maps(net, emb):
    """(1, classes, 4g, 4g)"""
    m = net.mask_decoder
    if hasattr(m, "output_upscaling"): return m.final(m.output_upscaling(emb))
    x = m.input_block(emb)
    for b in m.blocks: x = b(x)
    return m.final(x)


def two_steps(img, size):
    """AutoSAM's input: [0, 1] by the image's own extremes, to 256 and from there to the encoder's size."""
    a = img.astype("float32")
    a = (a - a.min()) / (a.max() - a.min())
    x = torch.from_numpy(a).permute(2, 0, 1)[None]
    for s in (256, size): x = F.interpolate(x, (s, s), mode="bilinear", align_corners=False)
    return x


# ---- SAMUS: a branch of convolutions, to which global blocks attend -------------------------------------------------------

def samus_shapes(hidden, pos_grid, **sam):
    """sam: as for refnets.build_sam, img = 16 times the grid (the network's input has 8 times)."""
    c, L, e = sam["embed"], hg.Shapes(), "image_encoder."

    def conv_norm(n, i, inp, out): L.one(f"{n}.{i}.weight", out, inp, 3, 3); L.wb(f"{n}.{i + 1}", out)

    def bottleneck(n): L.wb(n + ".D_fc1", hidden, c); L.wb(n + ".D_fc2", c, hidden)
    conv_norm(e + "cnn_embed.inc.conv", 0, 3, 64)
    for i, (a, b) in enumerate(((64, 128), (128, 256), (256, c))): conv_norm(f"{e}cnn_embed.downs.{i}.maxpool_conv", 1, a, b)
    bottleneck(e + "input_Adapter")
    for i in range((pos_grid // (sam["img"] // 16)).bit_length() - 1): conv_norm(f"{e}post_pos_embed.downs.{i}.maxpool_conv", 1, c, c)
    for i in sam["global_blocks"]:
        b = f"{e}blocks.{i}."
        bottleneck(b + "MLP_Adapter")
        for k in ("q", "k", "v", "proj"): L.wb(f"{b}Space_Adapter.{k}", c, c)
        conv_norm(b + "refine_Adapter.conv", 0, c, c)
    plain = dict(hg.sam_shapes(**sam))
    plain[e + "pos_embed"] = (1, pos_grid, pos_grid, c)
    return hg.Shapes(list(plain.items()) + L)


class ConvNorm(nn.Sequential):
    """norm over the channels of a pixel, eps 1e-6, and GELU behind a convolution; the file numbers the layers of the sequence."""

    def __init__(self, inp, out, pooled):
        super().__init__(*([nn.MaxPool2d(2)] if pooled else []), nn.Conv2d(inp, out, 3, padding=1, bias=False), LayerNorm2d(out), nn.GELU())


def last(x): return x.permute(0, 2, 3, 1)


def first(x): return x.permute(0, 3, 1, 2)


class MapAttention(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.heads = heads
        for k in ("q", "k", "v", "proj"): setattr(self, k, nn.Linear(c, c))

    def forward(self, x, other):
        b, h, w, c = x.shape
        split = lambda t: t.reshape(b, h * w, self.heads, c // self.heads).transpose(1, 2)
        q, k, v = split(self.q(x)), split(self.k(other)), split(self.v(other))
        a = torch.softmax(q @ k.transpose(-1, -2) / (c // self.heads) ** 0.5, -1)
        return self.proj((a @ v).transpose(1, 2).reshape(b, h, w, c))


def part(**modules):
    m = nn.Module()
    for n, v in modules.items(): setattr(m, n, v)
    return m


def samus_block(b, x):
    """The branch's map stands in the encoder, so that the block gives one tensor."""
    n = b.norm1(x)
    if b.window_size == 0:
        enc = b.encoder[0]
        n = n + b.Space_Adapter(n, enc.side)
        enc.side = last(b.refine_Adapter.conv(first(enc.side)))
        x = x + b.attn(n)
    else:
        y, padded = window_partition(n, b.window_size)
        x = x + window_unpartition(b.attn(y), b.window_size, padded, x.shape[1:3])
    m = b.norm2(x)
    x = x + b.mlp(m)
    return x + 0.5 * b.MLP_Adapter(m) if b.window_size == 0 else x


def samus_encoder(enc, image):
    side = enc.cnn_embed.inc.conv(image)
    for d in enc.cnn_embed.downs: side = d.maxpool_conv(side)
    enc.side = last(side)
    size = image.shape[-1] + 8
    x = last(enc.patch_embed.proj(F.interpolate(image, (size, size), mode="bilinear", align_corners=False)))
    x = x + enc.input_Adapter(x)
    pos = first(enc.pos_embed)
    for d in enc.post_pos_embed.downs: pos = d.maxpool_conv(pos)
    x = x + last(pos)
    for b in enc.blocks: x = b(x)
    return enc.neck(first(x + 0.5 * enc.side))


def bind_samus(net):
    """Methods of this copy: a deep copy's blocks must see their own encoder."""
    enc = net.image_encoder
    enc.forward = types.MethodType(samus_encoder, enc)
    for b in enc.blocks: b.encoder, b.forward = (enc,), types.MethodType(samus_block, b)
    return net


def build_samus(hidden, pos_grid, **sam):
    c, grid = sam["embed"], sam["img"] // 16
    enc = rn.build_sam(**sam).image_encoder
    enc.patch_embed.proj = nn.Conv2d(3, c, 16, 8)
    enc.pos_embed = nn.Parameter(torch.zeros(1, pos_grid, pos_grid, c))
    enc.cnn_embed = part(inc=part(conv=ConvNorm(3, 64, False)), downs=nn.ModuleList(part(maxpool_conv=ConvNorm(a, b, True)) for a, b in ((64, 128), (128, 256), (256, c))))
    enc.input_Adapter = ra.Bottleneck(c, hidden)
    enc.post_pos_embed = part(downs=nn.ModuleList(part(maxpool_conv=ConvNorm(c, c, True)) for _ in range((pos_grid // grid).bit_length() - 1)))
    for i in sam["global_blocks"]:
        b = enc.blocks[i]
        b.MLP_Adapter, b.Space_Adapter, b.refine_Adapter = ra.Bottleneck(c, hidden), MapAttention(c, sam["heads"]), part(conv=ConvNorm(c, c, False))
    return bind_samus(rn._whole(enc, 8 * grid, grid))



# ---- AutoSAMUS: SAMUS, and a prompt made from the image ------------------------------------------------------------------------

def autosamus_shapes(objects, **samus):
    L = hg.Shapes(samus_shapes(**samus))
    p = "prompt_generator."
    L.one(p + "object_token", 1, objects, 256)
    for t in ("cross_token_token", "cross_image_token"):
        for l in range(2):
            for k in range(2):
                n = f"{p}{t}.layers.{l}.{k}."
                L.wb(n + "norm1", 256); L.wb(n + "norm2", 256)
                L.one(n + "fn.to_q.weight", 512, 256); L.one(n + "fn.to_kv.weight", 1024, 256); L.wb(n + "fn.to_out.0", 256, 512)
            for k in range(2, 4):
                n = f"{p}{t}.layers.{l}.{k}."
                L.wb(n + "norm", 256); L.wb(n + "fn.net.0", 1024, 256); L.wb(n + "fn.net.3", 256, 1024)
    L.wb(p + "token_proj", 256, 256)
    for i, (a, b) in enumerate(((256, 64), (64, 64), (64, 64), (64, 256))): L.one(f"feature_adapter.{3 * i}.weight", b, a, 3, 3); L.wb(f"feature_adapter.{3 * i + 1}", b)
    return L


class MeetOne(nn.Module):
    """norm2(other) seen from norm1(x), with one added to the softmax's denominator."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(256), nn.LayerNorm(256)
        self.fn = part(to_q=nn.Linear(256, 512, bias=False), to_kv=nn.Linear(256, 1024, bias=False), to_out=nn.Sequential(nn.Linear(512, 256)))

    def forward(self, x, other):
        split = lambda t: t.reshape(*t.shape[:2], 8, 64).transpose(1, 2)
        q, (k, v) = split(self.fn.to_q(self.norm1(x))), (split(t) for t in self.fn.to_kv(self.norm2(other)).chunk(2, -1))
        s = q @ k.transpose(-1, -2) / 8
        e = (s - s.amax(-1, keepdim=True)).exp()
        return self.fn.to_out((e / (1 + e.sum(-1, keepdim=True)) @ v).transpose(1, 2).flatten(2))


class Forward(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(256), part(net=nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Identity(), nn.Linear(1024, 256)))

    def forward(self, x): return x + self.fn.net(self.norm(x))


class Meeting(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleList([MeetOne(), MeetOne(), Forward(), Forward()]) for _ in range(2))

    def forward(self, a, b):
        for first, second, f, g in self.layers:
            a, b = a + first(a, b), b + second(b, a)
            a, b = f(a), g(b)
        return a, b


def self_prompted(dec, image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings, multimask_output):
    """Prompts of the caller are not looked at."""
    net = dec.whole[0]
    gen, own = net.prompt_generator, torch.cat([dec.iou_token.weight, dec.mask_tokens.weight])[None]
    objects, _ = gen.cross_token_token(gen.object_token, own)
    objects = gen.token_proj(objects) + gen.object_token
    image, met = gen.cross_image_token(image_embeddings.flatten(2).transpose(1, 2), torch.cat([objects, own], 1))
    image = image.transpose(1, 2).reshape(image_embeddings.shape)
    return type(dec).forward(dec, image_embeddings=image, image_pe=image_pe, sparse_prompt_embeddings=met[:, :1], dense_prompt_embeddings=net.feature_adapter(image), multimask_output=multimask_output)


def bind_autosamus(net):
    bind_samus(net)
    net.mask_decoder.whole, net.mask_decoder.forward = (net,), types.MethodType(self_prompted, net.mask_decoder)
    return net


def build_autosamus(objects, **samus):
    net = build_samus(**samus)
    net.prompt_generator = part(cross_token_token=Meeting(), cross_image_token=Meeting(), token_proj=nn.Linear(256, 256))
    net.prompt_generator.object_token = nn.Parameter(torch.zeros(1, objects, 256))
    layer = lambda a, b: [nn.Conv2d(a, b, 3, padding=1, bias=False), LayerNorm2d(b), nn.GELU()]
    net.feature_adapter = nn.Sequential(*layer(256, 64), *layer(64, 64), *layer(64, 64), *layer(64, 256))
    return bind_autosamus(net)


# ---- DeSAM: a U-Net over maps of the encoder makes the mask ----------------------------------------------------------------

def desam_shapes(**sam):
    L, early = hg.Shapes(hg.sam_shapes(**sam)), sam["embed"]
    p = "mask_decoder.pimm."

    def block(n, i, o):
        for k, s in dict(conv1=(o, i, 3, 3), conv2=(o, o, 3, 3), conv3=(o, i, 1, 1)).items(): L.one(f"{n}.{k}.conv.weight", *s)
        L.one(n + ".se.fc.0.weight", o // 16, o); L.one(n + ".se.fc.2.weight", o, o // 16)
    for d, o in enumerate((256, 128, 64)):
        block(f"{p}conv_blocks_context.{d}.block_init", early, o)
        for i in range(d):
            L.one(f"{p}conv_blocks_context.{d}.residual_block.{i}.0.conv.weight", o, o, 2, 2)
            block(f"{p}conv_blocks_context.{d}.residual_block.{i}.1", o, o)
    for u, o in enumerate((128, 64)):
        L.one(f"{p}conv_blocks_localization.{u}.transp_conv.conv.weight", 2 * o, o, 2, 2)
        block(f"{p}conv_blocks_localization.{u}.res_block", 2 * o, o)
        L.one(f"{p}seg_outputs.{u}.weight", 1, o, 1, 1)
    block(p + "mask_embedding_fusion", 512, 256)
    return L


class Squeezed(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (part(conv=nn.Conv2d(a, o, k, padding=k // 2, bias=False)) for a, k in ((i, 3), (o, 3), (i, 1)))
        self.se = part(fc=nn.Sequential(nn.Linear(o, o // 16, bias=False), nn.ReLU(), nn.Linear(o // 16, o, bias=False), nn.Sigmoid()))
        self.own_residual = i != o

    def forward(self, x):
        y = F.leaky_relu(F.instance_norm(self.conv1.conv(x)), 0.01)
        y = F.instance_norm(self.conv2.conv(y))
        y = y * self.se.fc(y.mean((2, 3)))[..., None, None]
        return F.leaky_relu(y + (F.instance_norm(self.conv3.conv(x)) if self.own_residual else x), 0.01)


def doubling(i, o): return part(conv=nn.ConvTranspose2d(i, o, 2, 2, bias=False))


def build_pimm(early):
    context = [part(block_init=Squeezed(early, o), residual_block=nn.ModuleList(nn.ModuleList([doubling(o, o), Squeezed(o, o)]) for _ in range(d))) for d, o in enumerate((256, 128, 64))]
    up = [part(transp_conv=doubling(2 * o, o), res_block=Squeezed(2 * o, o)) for o in (128, 64)]
    return part(conv_blocks_context=nn.ModuleList(context), conv_blocks_localization=nn.ModuleList(up), seg_outputs=nn.ModuleList(nn.Conv2d(o, 1, 1, bias=False) for o in (128, 64)),
                mask_embedding_fusion=Squeezed(512, 256))


def keep_maps(enc, image):
    """The maps behind the global blocks but the last are kept for the decoder."""
    x = enc.patch_embed(image) + enc.pos_embed
    enc.maps = []
    for b in enc.blocks:
        x = b(x)
        if b.window_size == 0: enc.maps.append(first(x))
    return enc.neck(first(x))


def context_maps(dec):
    """What the decoder makes of the encoder's maps, the last of the three first."""
    out = []
    for d, k in enumerate(dec.pimm.conv_blocks_context):
        x = k.block_init(dec.source[0].maps[2 - d])
        for up, block in k.residual_block: x = block(up.conv(x))
        out.append(x)
    return out


def decoupled(dec, image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings, multimask_output):
    tokens = torch.cat([dec.iou_token.weight, dec.mask_tokens.weight, sparse_prompt_embeddings[0]])[None]
    hs, src = dec.transformer(image_embeddings + dense_prompt_embeddings, image_pe, tokens)
    skips = context_maps(dec)
    x = dec.pimm.mask_embedding_fusion(torch.cat([src.transpose(1, 2).reshape(image_embeddings.shape), skips[0]], 1))
    for u, skip in zip(dec.pimm.conv_blocks_localization, skips[1:]): x = u.res_block(torch.cat([u.transp_conv.conv(x), skip], 1))
    return dec.pimm.seg_outputs[1](x), dec.iou_prediction_head(hs[:, 0])[:, :1]


def bind_desam(net):
    net.image_encoder.forward = types.MethodType(keep_maps, net.image_encoder)
    net.mask_decoder.source, net.mask_decoder.forward = (net.image_encoder,), types.MethodType(decoupled, net.mask_decoder)
    return net


def build_desam(**sam):
    net = rn.build_sam(**sam)
    net.mask_decoder.pimm = build_pimm(sam["embed"])
    return bind_desam(net)
