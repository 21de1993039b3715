"""The scorers against the reference models in PyTorch, for every family that is tested end to end."""

import numpy as np
import pytest
import torch
from support import MODELS, SMALL

from vtr.export.models import build_model
from vtr.export.options import ExportOptions
from vtr.export.synthetic import random_checkpoint
from vtr.scoring import make_scorer
from vtr.types import TextFeatures, VideoFeatures

EA = ("excitation", "aggregation", "excitation_seq", "excitation_seq_aggregation")
NAMES = [name for name in MODELS if name != "clip4clip-3d"]  # its head is plain CLIP4Clip's


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def features(model, videos=7, texts=3):
    """Encoded texts and videos of 1 to F frames, from random tower outputs."""
    generator = torch.Generator().manual_seed(0)
    frames, words, dim = (model.sizes[name] for name in ("frames", "words", "dim"))
    lengths = torch.linspace(1, frames, videos).int()
    mask = (torch.arange(frames) < lengths[:, None]).float()
    x = torch.randn(videos, frames, dim, generator=generator)
    x = torch.where(mask[..., None] > 0, x, x[0, 0])
    sentence = torch.randn(texts, dim, generator=generator)
    return sentence, torch.randn(texts, words, dim, generator=generator), model.temporal(x, mask), mask


@torch.inference_mode()
def compare(model):
    sentence, words, video, mask = features(model)
    expected = model.score(sentence, words, video, mask).numpy()
    assert np.ptp(expected) > 0.1, "a reference that hardly varies would prove nothing"

    def cross(*pairs):
        return model.cross(*map(torch.from_numpy, pairs)).numpy()

    head = {name: tensor.numpy() for name, tensor in model.head().items()}
    scorer = make_scorer(head, model.scoring, model.sizes, cross)
    arrays = {name: tensor.numpy() for name, tensor in video.items()}
    rows = scorer.rows(VideoFeatures(arrays.pop("frames"), mask.numpy(), **arrays))
    text = TextFeatures(np.zeros(words.shape[:2], np.int64), sentence.numpy(), words.numpy())
    # Both are float32, of scale 100, and differ in the order of sums.
    np.testing.assert_allclose(scorer.score(scorer.prepare(text), rows), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_logits_equal_the_reference_model(name):
    compare(build_model(random_checkpoint(**{**SMALL, **MODELS[name]})))


@pytest.mark.parametrize("variant", EA)
def test_every_ea_block(variant):
    header = "seqTransf" if "seq" in variant else "meanP"
    state = random_checkpoint(**{**SMALL, "family": "ea", "variant": variant, "sim_header": header})
    compare(build_model(state, ExportOptions(se_type=variant if "seq" not in variant else None)))
