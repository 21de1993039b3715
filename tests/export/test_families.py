"""Every family's logits against a loop over texts and videos in NumPy float64, written from the papers.

The loops differ from the models in structure: one pair at a time, masked frames dropped where the formula
allows it, keys left out instead of set to -1e6, LSTM steps in Python, sums instead of matrices.
"""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vtr.export.models import build_model  # noqa: E402
from vtr.export.options import SE_TYPES, ExportOptions  # noqa: E402
from vtr.export.synthetic import random_checkpoint  # noqa: E402

torch.set_num_threads(1)

# Logits are of scale 100: 1e-5 is what float32 leaves of them, 0.01 what the product promises.
CLOSE = {"rtol": 0, "atol": 2e-4}
TEXTS, VIDEOS = 3, 4


# --- plain references, float64 --------------------------------------------------------------------


def softmax(a):
    e = np.exp(a - a.max())
    return e / e.sum()


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def unit(a):
    return a / math.sqrt(float(a @ a))


def layer_norm(p, name, row, eps):
    centred = row - row.mean()
    return centred / math.sqrt(float((centred**2).mean()) + eps) * p[f"{name}.weight"] + p[f"{name}.bias"]


def linear(p, name, row):
    return p[f"{name}.weight"] @ row + p[f"{name}.bias"]


def quick_gelu(a):
    return a * sigmoid(1.702 * a)


def blocks(p, prefix, rows, seen, heads):
    """Pre-LayerNorm blocks over a list of rows; only the rows in ``seen`` can be attended to."""
    size = len(rows[0]) // heads
    layer = 0
    while f"{prefix}.{layer}.ln_1.weight" in p:
        name = f"{prefix}.{layer}"
        normed = [layer_norm(p, f"{name}.ln_1", row, 1e-12) for row in rows]
        qkv = [
            np.split(p[f"{name}.attn.in_proj_weight"] @ r + p[f"{name}.attn.in_proj_bias"], 3) for r in normed
        ]
        after = []
        for i, row in enumerate(rows):
            out = []
            for h in range(heads):
                part = slice(h * size, (h + 1) * size)
                scores = np.array([qkv[i][0][part] @ qkv[j][1][part] / math.sqrt(size) for j in seen])
                out.append(sum(a * qkv[j][2][part] for a, j in zip(softmax(scores), seen, strict=True)))
            row = row + linear(p, f"{name}.attn.out_proj", np.concatenate(out))
            hidden = quick_gelu(linear(p, f"{name}.mlp.c_fc", layer_norm(p, f"{name}.ln_2", row, 1e-12)))
            after.append(row + linear(p, f"{name}.mlp.c_proj", hidden))
        rows, layer = after, layer + 1
    return rows


def lstm(p, rows):
    """One layer, gates in the order input, forget, cell, output."""
    h = c = np.zeros(len(rows[0]))
    outputs = []
    for row in rows:
        gates = p["lstm_visual.weight_ih_l0"] @ row + p["lstm_visual.bias_ih_l0"]
        gates = gates + p["lstm_visual.weight_hh_l0"] @ h + p["lstm_visual.bias_hh_l0"]
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return outputs


def temporal(p, header, x, real, heads):
    """All F rows of the temporal head's output; ``real`` frames come first."""
    if header == "seqTransf":
        rows = [
            row + position for row, position in zip(x, p["frame_position_embeddings.weight"], strict=False)
        ]
        return [
            y + row
            for y, row in zip(
                blocks(p, "transformerClip.resblocks", rows, range(real), heads), x, strict=True
            )
        ]
    if header == "seqLSTM":
        padded = lstm(p, x[:real]) + [np.zeros_like(x[0])] * (len(x) - real)
        return [y + row for y, row in zip(padded, x, strict=True)]
    return list(x)


def gate(p, name, rows, act):
    means = np.array([row.mean() for row in rows])
    return linear(p, f"{name}.fc.2", act(linear(p, f"{name}.fc.0", means)))


def relu(a):
    return np.maximum(a, 0)


def relu6(a):
    return np.clip(a, 0, 6)


def mean(rows):
    return sum(rows) / len(rows)


def clip4clip_video(p, header, x, real, heads):
    return mean([unit(y) for y in temporal(p, header, x, real, heads)[:real]])


def ea_video(p, header, variant, acts, x, real, heads):
    """``acts`` are the activations of the first and the second gate."""
    if variant.startswith("excitation_seq"):
        x = [g * row for g, row in zip(sigmoid(gate(p, "se_block_excitation", x, acts[0])), x, strict=True)]
    y = temporal(p, header, x, real, heads)
    if "intra_mlp.0.weight" in p:
        whole = mean(y)
        factors = [
            linear(p, "intra_mlp.2", relu(linear(p, "intra_mlp.0", np.concatenate([r, whole])))) for r in y
        ]
        y = [factor * row for factor, row in zip(factors, y, strict=True)]
    if variant in ("excitation", "excitation_aggregation"):
        name = "se_block" if variant == "excitation" else "se_block.scale"
        y = [g * row for g, row in zip(sigmoid(gate(p, name, y, acts[0])), y, strict=True)]
    if variant in ("excitation", "excitation_seq"):
        return mean(y[:real])
    name, act = {
        "aggregation": ("se_block", acts[0]),
        "excitation_aggregation": ("se_block.aggregate", acts[1]),
        "excitation_seq_aggregation": ("se_block_aggregation", acts[1]),
    }[variant]
    return sum(w * row for w, row in zip(softmax(gate(p, name, y, act)), y, strict=True))


def teachclip_video(p, x, real, heads):
    y = temporal(p, "seqTransf", x, real, heads)
    relevance = np.array([linear(p, "frameLinear2", relu(linear(p, "frameLinear", row)))[0] for row in y])
    return sum(w * unit(row) for w, row in zip(softmax(relevance / 0.1), y, strict=True))


def holistic(p, sentence, video):
    return math.exp(p["clip.logit_scale"]) * float(unit(sentence) @ unit(video))


def tight(p, sentence, x, real, act=None):
    if act is not None:
        x = [g * row for g, row in zip(sigmoid(gate(p, "se_block", x, act)), x, strict=True)]
    rows = [sentence, *x[:real]]  # a masked frame changes nothing that the first token sees
    rows = [
        row + pos for row, pos in zip(rows, p["cross.embeddings.position_embeddings.weight"], strict=False)
    ]
    first = blocks(p, "cross.transformer.resblocks", rows, range(len(rows)), 8)[0]
    pooled = quick_gelu(linear(p, "cross.pooler.dense", layer_norm(p, "cross.pooler.ln_pool", first, 1e-12)))
    return float(linear(p, "similarity_dense", pooled)[0])


def xclip(p, header, sentence, words, x, real, heads):
    def isa(values, weight):
        mixed = sum(a * row for a, row in zip(softmax(100 * values), weight, strict=True))
        return float(sum(m * v for m, v in zip(mixed, values, strict=True)))

    s, w, f = unit(sentence), [unit(row) for row in words], [unit(row) for row in x]
    v = unit(clip4clip_video(p, header, x, real, heads))
    table = np.array([[a @ p["local_mat_weight"] @ b for b in f] for a in w])  # [L, F]
    by_frame = np.array([isa(table[:, j], p["word_mat_weight"]) for j in range(len(f))])
    by_word = np.array([isa(table[i], p["frame_mat_weight"]) for i in range(len(w))])
    parts = [
        float(s @ p["global_mat_weight"] @ v),
        isa(np.array([row @ v for row in w]), p["word_logit_weight"]),
        isa(np.array([row @ s for row in f]), p["frame_logit_weight"]),
        (isa(by_frame, p["frame_mat_weight2"]) + isa(by_word, p["word_mat_weight2"])) / 2,
    ]
    return math.exp(p["clip.logit_scale"]) * sum(parts) / 4


def tcmgc(p, sentence, words, x, real, heads, keep):
    pool = "conditional_transformer.pool_frames"

    def isa(values, weight):
        mixed = sum(a * row for a, row in zip(softmax(100 * values), weight, strict=True))
        return float(softmax(100 * mixed) @ values)

    def attend(query):
        k = [layer_norm(p, f"{pool}.layer_norm1", row, 1e-5) for row in y]
        q = layer_norm(p, f"{pool}.layer_norm1", query, 1e-5)
        a = softmax(np.array([q @ row for row in k]) / math.sqrt(len(q)))
        o = layer_norm(p, f"{pool}.layer_norm2", sum(w * row for w, row in zip(a, k, strict=True)), 1e-5)
        return unit(layer_norm(p, f"{pool}.layer_norm3", o + linear(p, f"{pool}.linear_proj", o), 1e-5))

    y = temporal(p, "seqTransf", x, real, heads)
    s, w, v, r = (
        unit(sentence),
        [unit(row) for row in words],
        attend(sentence),
        [attend(row) for row in words],
    )
    down = lambda values: np.sort(values)[::-1]  # noqa: E731
    by_word = down(np.array([row @ v for row in w]))[:keep]
    by_frame = down(np.array([row @ s for row in r]))
    rest = by_frame[keep:]
    fused = float(softmax(rest) @ rest) if len(rest) else 0.0
    table = np.array([[a @ p["local_mat_weight"] @ b for b in r] for a in w])
    table = np.array([down(table[:, j])[:keep] for j in range(len(r))]).T  # K words a frame
    table = np.array([down(row)[:keep] for row in table])  # K frames of those
    c = np.array([isa(table[:, j], p["attentive_word_mat_weight"]) for j in range(keep)])
    f = np.array([isa(table[i], p["attentive_frame_word_mat_weight"]) for i in range(keep)])
    parts = [
        float(s @ p["global_mat_weight"] @ v),
        isa(by_word, p["attentive_word_logit_weight"]),
        isa(np.array([*by_frame[:keep], fused]), p["concat_frame_word_logit_weight"]),
        (isa(c, p["attentive_frame_word_mat_weight2"]) + isa(f, p["attentive_word_mat_weight2"])) / 2,
    ]
    scores = math.exp(p["clip.logit_scale"]) * np.array(parts)
    return float(softmax(scores @ p.get("logit_weight", np.eye(4))) @ scores)


# --- harness --------------------------------------------------------------------------------------


class Case:
    """A random checkpoint, its model, and random features of texts and videos, most of them short."""

    def __init__(self, *args, options=None, change=None, words=7, frames=5, dim=64, **sizes):
        state = random_checkpoint(
            *args, frames=frames, words=words, dim=dim, vocab=97, context=40, layers=1, seed=5, **sizes
        )
        state.update({key: change(key, value) for key, value in state.items()} if change else {})
        self.model = build_model(state, ExportOptions(frames=frames, words=words, **(options or {})))
        self.p = {key: value.double().numpy() for key, value in state.items()}
        self.heads = dim // 64
        rng = np.random.default_rng(11)
        self.sentence = 0.3 + rng.normal(size=(TEXTS, dim))
        self.words = 0.3 + rng.normal(size=(TEXTS, words, dim))
        # lengths differ, frames share a direction as CLIP's do, and their means reach ReLU6's ceiling
        self.x = rng.uniform(0.5, 2, (VIDEOS, frames, 1)) * (0.8 + rng.normal(size=(VIDEOS, frames, dim)))
        self.real = [frames, 1, 3, 2]
        self.mask = np.array([[float(f < n) for f in range(frames)] for n in self.real])

    def logits(self):
        x, mask, sentence, words = (
            torch.from_numpy(a).float() for a in (self.x, self.mask, self.sentence, self.words)
        )
        with torch.inference_mode():
            video = self.model.temporal(x, mask)
            if self.model.scoring == "holistic":
                total = torch.einsum("bf,bfd->bd", video["weights"], video["frames"])
                torch.testing.assert_close(video["video"], total, rtol=0, atol=1e-5)
            return self.model.score(sentence, words, video, mask).numpy()

    def check(self, pair):
        """``pair(sentence, words, frames, real)`` -> logit, for every text and video."""
        texts, videos = zip(self.sentence, self.words, strict=True), list(zip(self.x, self.real, strict=True))
        want = np.array([[pair(s, w, list(x), n) for x, n in videos] for s, w in texts])
        got = self.logits()
        assert want.shape == (TEXTS, VIDEOS) and want.std() > 1
        np.testing.assert_allclose(got, want, **CLOSE)


HEADERS = ["meanP", "seqTransf", "seqLSTM"]


@pytest.mark.parametrize("dim", [64, 128])
@pytest.mark.parametrize("header", HEADERS)
def test_clip4clip(header, dim):
    case = Case("clip4clip", header, dim=dim)
    case.check(lambda s, w, x, n: holistic(case.p, s, clip4clip_video(case.p, header, x, n, case.heads)))


def test_clip4clip_tight():
    case = Case("clip4clip", "tightTransf")
    case.check(lambda s, w, x, n: tight(case.p, s, x, n))


@pytest.mark.parametrize("ratio, act", [(4, relu), (0.25, relu6), (1, relu6), (1.5, relu)])
@pytest.mark.parametrize("variant", ["excitation", "aggregation"])
@pytest.mark.parametrize("header", ["meanP", "seqLSTM"])
def test_ea_single_block(header, variant, ratio, act):
    case = Case("ea", header, variant, reduction_ratio=ratio, options={"se_type": variant})
    assert case.model.variant == variant and case.p["se_block.fc.0.weight"].shape == (int(5 // ratio), 5)
    case.check(
        lambda s, w, x, n: holistic(
            case.p, s, ea_video(case.p, header, variant, (act, act), x, n, case.heads)
        )
    )


PAIRS = [  # pair, r, activations of excitation_aggregation, of excitation_seq_aggregation
    ("unity", 4, (relu, relu), (relu, relu)),
    ("unity", 0.25, (relu, relu), (relu6, relu6)),
    ("squeeze_expand", 4, (relu, relu6), (relu, relu6)),
    ("expand_squeeze", 0.25, (relu6, relu), (relu6, relu)),
]


@pytest.mark.parametrize("pair, ratio, acts, _", PAIRS)
@pytest.mark.parametrize("intra_mlp", [False, True])
def test_ea_excitation_aggregation(pair, ratio, acts, _, intra_mlp):
    case = Case(
        "ea", "seqTransf", "excitation_aggregation", reduction_ratio=ratio, pair=pair, intra_mlp=intra_mlp
    )
    video = lambda x, n: ea_video(case.p, "seqTransf", "excitation_aggregation", acts, x, n, 1)  # noqa: E731
    case.check(lambda s, w, x, n: holistic(case.p, s, video(x, n)))


@pytest.mark.parametrize("pair, ratio, _, acts", PAIRS)
@pytest.mark.parametrize("header", ["seqTransf", "seqLSTM"])
def test_ea_excitation_seq_aggregation(header, pair, ratio, _, acts):
    case = Case("ea", header, "excitation_seq_aggregation", reduction_ratio=ratio, pair=pair)
    video = lambda x, n: ea_video(case.p, header, "excitation_seq_aggregation", acts, x, n, 1)  # noqa: E731
    case.check(lambda s, w, x, n: holistic(case.p, s, video(x, n)))


@pytest.mark.parametrize("ratio, act", [(4, relu), (0.25, relu6)])
@pytest.mark.parametrize("header, intra_mlp", [("seqTransf", False), ("seqLSTM", True)])
def test_ea_excitation_seq(header, intra_mlp, ratio, act):
    case = Case("ea", header, "excitation_seq", reduction_ratio=ratio, intra_mlp=intra_mlp)
    case.check(
        lambda s, w, x, n: holistic(
            case.p, s, ea_video(case.p, header, "excitation_seq", (act, act), x, n, 1)
        )
    )


@pytest.mark.parametrize("ratio, act", [(4, relu), (0.25, relu6)])
def test_ea_tight(ratio, act):
    case = Case(
        "ea",
        "tightTransf",
        "excitation",
        reduction_ratio=ratio,
        intra_mlp=True,
        options={"se_type": "excitation"},
    )
    case.check(lambda s, w, x, n: tight(case.p, s, x, n, act))


@pytest.mark.parametrize("variant", SE_TYPES)
def test_ea_activations_differ_on_these_inputs(variant):
    """ReLU for ReLU6 would move a logit far beyond the tolerance, so the tests above can tell them apart."""
    se_type = variant if variant in ("excitation", "aggregation") else None
    case = Case("ea", "seqTransf", variant, reduction_ratio=0.25, options={"se_type": se_type})
    a, b = (
        [ea_video(case.p, "seqTransf", variant, (act, act), list(x), 5, 1) for x in case.x]
        for act in (relu, relu6)
    )
    moved = [
        abs(holistic(case.p, s, u) - holistic(case.p, s, v))
        for s in case.sentence
        for u, v in zip(a, b, strict=True)
    ]
    assert max(moved) > 0.05


def test_teachclip():
    case = Case("teachclip")
    case.check(lambda s, w, x, n: holistic(case.p, s, teachclip_video(case.p, x, n, 1)))


@pytest.mark.parametrize("header", HEADERS)
def test_xclip(header):
    case = Case("xclip", header)
    case.check(lambda s, w, x, n: xclip(case.p, header, s, w, x, n, case.heads))


def soften(key, value):
    """λ = 100 twice makes attention from near-identities all but one-hot: flatter, every entry counts."""
    if not key.startswith(("attentive_", "concat_")):
        return value
    return 0.02 * torch.randn(value.shape, generator=torch.Generator().manual_seed(len(key)))


@pytest.mark.parametrize("change", [None, soften], ids=["sharp", "soft"])
@pytest.mark.parametrize("keep_rate, logit_weight", [(0.5, True), (0.5, False), (1.0, True), (0.15, True)])
def test_tcmgc(keep_rate, logit_weight, change):
    case = Case("tcmgc", keep_rate=keep_rate, logit_weight=logit_weight, change=change)
    keep = case.model.sizes["keep"]
    assert keep == int(7 * keep_rate)
    assert bool(case.model.notes) is not logit_weight
    case.check(lambda s, w, x, n: tcmgc(case.p, s, w, x, n, case.heads, keep))
