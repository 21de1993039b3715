"""Temporal heads against PyTorch's own layers, and what of a head goes into a bundle."""

import pytest

torch = pytest.importorskip("torch")

from vtr.export.models import build_model  # noqa: E402
from vtr.export.options import ExportOptions  # noqa: E402
from vtr.export.synthetic import random_checkpoint  # noqa: E402

torch.set_num_threads(1)

REAL = [5, 1, 3, 2]  # frames of each video
MASK = torch.tensor([[float(f < n) for f in range(5)] for n in REAL])


def make(*args, dim=64):
    sizes = {"frames": 5, "words": 7, "dim": dim, "vocab": 97, "context": 40, "layers": 1}
    state = random_checkpoint(*args, **sizes)
    return state, build_model(state, ExportOptions(frames=5, words=7))


def features(dim=64):
    return torch.randn(4, 5, dim, generator=torch.Generator().manual_seed(0)) + 0.3


def test_mean_weights_are_shares_and_finite_without_frames():
    _, model = make("clip4clip", "seqTransf")
    weights = model.temporal(features(), MASK)["weights"]
    torch.testing.assert_close(weights, torch.tensor([[1 / n] * n + [0.0] * (5 - n) for n in REAL]))
    empty = model.temporal(features(), torch.zeros(4, 5))
    assert torch.isfinite(empty["video"]).all() and not empty["weights"].any()


@pytest.mark.parametrize("real", [[5, 5, 5, 5], [3, 1, 2, 3], REAL])
def test_seq_lstm_equals_packed_sequences(real):
    """The published code packs the sequences; positions beyond a video's frames come back as zeros."""
    _, model = make("clip4clip", "seqLSTM")
    head, x = model.temporal_head, features()
    mask = torch.tensor([[float(f < n) for f in range(5)] for n in real])
    packing = torch.nn.utils.rnn
    packed = packing.pack_padded_sequence(x, torch.tensor(real), batch_first=True, enforce_sorted=False)
    want, _ = packing.pad_packed_sequence(head.lstm_visual(packed)[0], batch_first=True, total_length=5)
    torch.testing.assert_close(head(x, mask), want + x, rtol=0, atol=1e-6)


def test_seq_transf_equals_multihead_attention():
    """PyTorch's attention in every block, two heads, each with its own video's additive mask."""
    _, model = make("clip4clip", "seqTransf", dim=128)
    head, x = model.temporal_head, features(128)
    y = x + head.frame_position_embeddings.weight[:5]
    additive = (-1e6 * (1 - MASK))[:, None, None, :].expand(-1, 2, 5, -1).reshape(-1, 5, 5)
    for block in head.transformerClip.resblocks:
        attention = torch.nn.MultiheadAttention(128, 2, batch_first=True)
        attention.load_state_dict(block.attn.state_dict())
        h = block.ln_1(y)
        y = y + attention(h, h, h, attn_mask=additive, need_weights=False)[0]
        y = y + block.mlp(block.ln_2(y))
    torch.testing.assert_close(head(x, MASK), y + x, rtol=0, atol=1e-5)


def test_head_tensors_keep_their_published_names():
    for family, keys in [
        ("clip4clip", set()),
        (
            "xclip",
            {"global_mat_weight", "local_mat_weight"}
            | {f"{a}_{b}" for a in ("word", "frame") for b in ("logit_weight", "mat_weight", "mat_weight2")},
        ),
        (
            "tcmgc",
            {"global_mat_weight", "local_mat_weight", "concat_frame_word_logit_weight", "logit_weight"}
            | {"attentive_word_logit_weight", "attentive_word_mat_weight", "attentive_word_mat_weight2"}
            | {"attentive_frame_word_mat_weight", "attentive_frame_word_mat_weight2"}
            | {
                f"conditional_transformer.pool_frames.{layer}.{kind}"
                for layer in ("layer_norm1", "layer_norm2", "layer_norm3", "linear_proj")
                for kind in ("weight", "bias")
            },
        ),
    ]:
        state, model = make(family)
        head = model.head()
        assert head.keys() == keys | {"logit_scale"} and head["logit_scale"].shape == (1,)
        for key in keys:
            assert torch.equal(head[key], state[key])


def test_layer_norm_epsilons():
    """1e-5 in CLIP's towers and TC-MGC's pooling, 1e-12 in the heads that the training code brings."""
    for args in [("tcmgc",), ("clip4clip", "tightTransf")]:
        for name, module in make(*args)[1].named_modules():
            if isinstance(module, torch.nn.LayerNorm):
                head = name.startswith(("temporal_head", "cross_encoder"))
                assert module.eps == (1e-12 if head else 1e-5), name
