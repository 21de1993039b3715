"""The towers against OpenAI's own implementation, Hugging Face's, and plain NumPy for the 3d patches."""

import json

import numpy as np
import pytest
from openai_clip import draw_ids, openai_module, pixels

torch = pytest.importorskip("torch")

from vtr.errors import CheckpointError  # noqa: E402
from vtr.export.checkpoint import load_checkpoint  # noqa: E402
from vtr.export.models import build_model  # noqa: E402
from vtr.export.options import ExportOptions  # noqa: E402
from vtr.export.synthetic import random_checkpoint, random_clip, write_huggingface  # noqa: E402

torch.set_num_threads(1)

# Features are of size 1 and both sides are float32: sums of a few hundred terms in another order.
CLOSE = {"rtol": 0, "atol": 2e-5}


def draw_frames(batch, frames, side, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, frames, side, side, 3), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(
    "dim, vision_width, text_width, layers, image, patch",
    [(64, 64, 64, 1, 32, 32), (48, 128, 64, 2, 64, 16), (19, 64, 192, 3, 28, 14)],
)
def test_towers_equal_openai(dim, vision_width, text_width, layers, image, patch):
    clip = random_clip(
        dim=dim,
        vision_width=vision_width,
        text_width=text_width,
        layers=layers,
        image=image,
        patch=patch,
        vocab=211,
        seed=dim,
    )
    theirs = openai_module().CLIP(
        dim, image, layers, vision_width, patch, 77, 211, text_width, text_width // 64, layers
    )
    scalars = ("input_resolution", "context_length", "vocab_size")
    theirs.load_state_dict({key: value for key, value in clip.items() if key not in scalars})
    ours = build_model(clip)
    frames, ids = draw_frames(2, 3, image), draw_ids([2, 7, 32], 32, 211)
    with torch.inference_mode():
        got = ours.encode_vision(frames, torch.ones(2, 3))
        want = theirs.eval().encode_image(pixels(frames)).reshape(2, 3, dim)
        assert want.std() > 0.1 and (want[0, 0] - want[0, 1]).abs().max() > 0.05  # frames do differ
        torch.testing.assert_close(got, want, **CLOSE)
        sentence, words = ours.encode_text(ids)
        full = torch.nn.functional.pad(ids, (0, 77 - 32))  # theirs takes its whole context
        torch.testing.assert_close(sentence, theirs.encode_text(full), **CLOSE)
        x = theirs.token_embedding(full) + theirs.positional_embedding
        x = theirs.ln_final(theirs.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)) @ theirs.text_projection
        torch.testing.assert_close(words, x[:, :32], **CLOSE)
        torch.testing.assert_close(sentence, words[torch.arange(3), torch.tensor([1, 6, 31])])


@pytest.mark.parametrize(
    "hidden_act, shards, heads", [("quick_gelu", 1, 1), ("gelu", 1, 1), ("gelu", 3, 1), ("quick_gelu", 1, 4)]
)
def test_huggingface_directory_equals_transformers(tmp_path, hidden_act, shards, heads):
    transformers = pytest.importorskip("transformers")
    clip = random_clip(dim=40, vocab=97, context=20, seed=3)
    write_huggingface(clip, tmp_path, hidden_act=hidden_act, shards=shards)
    config = json.loads((tmp_path / "config.json").read_text())
    for tower in ("text_config", "vision_config"):
        config[tower]["num_attention_heads"] = heads
    (tmp_path / "config.json").write_text(json.dumps(config))
    theirs = transformers.CLIPModel.from_pretrained(tmp_path).eval()
    ours = build_model(load_checkpoint(tmp_path), ExportOptions(words=20))
    frames, ids = draw_frames(1, 3, 64), draw_ids([5, 20], 20, 97)
    with torch.inference_mode():
        image = theirs.visual_projection(theirs.vision_model(pixel_values=pixels(frames)).pooler_output)
        text = theirs.text_model(input_ids=ids)
        words = theirs.text_projection(text.last_hidden_state)
        got_sentence, got_words = ours.encode_text(ids)
        torch.testing.assert_close(ours.encode_vision(frames, torch.ones(1, 3))[0], image, **CLOSE)
        torch.testing.assert_close(got_words, words, **CLOSE)
        torch.testing.assert_close(got_sentence, theirs.text_projection(text.pooler_output), **CLOSE)


def test_activation_and_heads_change_the_features():
    """The two settings that no tensor shows do matter, so that the tests above can tell them apart."""
    clip = random_clip(vocab=97)
    frames, mask = draw_frames(1, 2, 64), torch.ones(1, 2)
    plain = build_model(clip).encode_vision(frames, mask)
    bare = {key: value for key, value in clip.items() if value.ndim or key == "logit_scale"}
    for options in (ExportOptions(activation="gelu"), ExportOptions(vision_heads=4)):
        assert (build_model(bare, options).encode_vision(frames, mask) - plain).abs().max() > 1e-3


def test_a_masked_frame_is_zero_after_normalisation():
    model = build_model(random_clip(vocab=97))
    mask = torch.tensor([[1.0, 1, 0], [1, 0, 0]])
    a = model.encode_vision(draw_frames(2, 3, 64, seed=1), mask)
    b = model.encode_vision(draw_frames(2, 3, 64, seed=2), mask)
    padded = mask == 0
    torch.testing.assert_close(a[padded], b[padded], rtol=0, atol=0)
    torch.testing.assert_close(a[0, 2], a[1, 1], rtol=0, atol=1e-6)
    assert (a[~padded] - b[~padded]).abs().max() > 0.05
    zeros = model.clip.visual.patches(torch.zeros(1, 1, 3, 64, 64))
    assert zeros.abs().max() == 0  # no bias: the patches of a padded frame are zero


def test_3d_patches_against_numpy():
    """A frame's patches are a 3×p×p product with itself and its neighbours, zeros beyond the ends."""
    state = random_checkpoint(vocab=97, linear_patch="3d", image=32, patch=16)
    model = build_model(state)
    assert model.frame_coupling and build_model(random_checkpoint(vocab=97)).frame_coupling is False
    x = torch.randn(2, 5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    got = model.clip.visual.patches(x).reshape(2, 5, 4, -1).numpy()
    kernel = state["clip.visual.conv2.weight"].numpy().astype(np.float64)
    for b in range(2):
        for f in range(5):
            for row in range(2):
                for column in range(2):
                    want = np.zeros(kernel.shape[0])
                    for step in (-1, 0, 1):
                        if 0 <= f + step < 5:
                            area = x[b, f + step, :, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
                            want += np.einsum("chw,ochw->o", area, kernel[:, :, step + 1])
                    np.testing.assert_allclose(got[b, f, row * 2 + column], want, atol=1e-5, rtol=0)


def test_3d_with_an_empty_neighbourhood_is_2d():
    """CLIP4Clip starts the 3d kernel from the 2d one between zeros: then both towers agree."""
    state = random_checkpoint(vocab=97)
    centre = torch.zeros(64, 3, 3, 32, 32)
    centre[:, :, 1] = state["clip.visual.conv1.weight"]
    coupled = build_model({**state, "clip.visual.conv2.weight": centre})
    frames, mask = draw_frames(2, 4, 64), torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]])
    torch.testing.assert_close(
        coupled.encode_vision(frames, mask), build_model(state).encode_vision(frames, mask), **CLOSE
    )


def test_a_temporal_kernel_of_another_depth_is_refused():
    state = random_checkpoint(vocab=97)
    state["clip.visual.conv2.weight"] = torch.zeros(64, 3, 5, 32, 32)
    with pytest.raises(CheckpointError, match=r"conv2\.weight: expected shape \[64, 3, 3, 32, 32\]"):
        build_model(state)


def batch_of(name, model, batch):
    mask = torch.ones(batch, 12)
    mask[-1, 3:] = 0
    if name == "text":
        return (draw_ids([9] * batch, 32, 97),)
    if name == "vision":
        return draw_frames(batch, batch + 1, 64), torch.ones(batch, batch + 1)
    features = torch.randn(batch, 12, 64, generator=torch.Generator().manual_seed(batch))
    if name == "cross":
        return torch.randn(batch, 64, generator=torch.Generator().manual_seed(9)), features, mask
    return features, mask


@pytest.mark.parametrize(
    "name, checkpoint",
    [
        ("text", {}),
        ("vision", {}),
        ("vision", {"linear_patch": "3d"}),
        ("temporal", {"sim_header": "seqLSTM"}),
        ("temporal", {"family": "ea", "sim_header": "seqTransf", "variant": "excitation_seq"}),
        ("temporal", {"family": "xclip"}),
        ("cross", {"sim_header": "tightTransf"}),
    ],
)
def test_graphs_trace_with_a_dynamic_batch(name, checkpoint):
    """``torch.export``, the first step of an ONNX export; frames are dynamic for the image tower too."""
    model = build_model(random_checkpoint(**checkpoint, vocab=97, layers=1, temporal_layers=1))
    method = {"text": model.encode_text, "vision": model.encode_vision}.get(name) or getattr(model, name)

    class Graph(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, *inputs):
            return method(*inputs)

    auto = torch.export.Dim.DYNAMIC
    axes = {0: auto, 1: auto} if name == "vision" else {0: auto}
    inputs = batch_of(name, model, 2)
    program = torch.export.export(Graph(), inputs, dynamic_shapes=((axes,) * len(inputs),))
    for batch in (1, 5):
        inputs = batch_of(name, model, batch)
        torch.testing.assert_close(program.module()(*inputs), method(*inputs), **CLOSE)
