"""Training's score matrices against the reference models', values and gradients, in float64."""

import pytest

torch = pytest.importorskip("torch")

from training_cases import FRAMES, MODELS, WORDS, make_model  # noqa: E402

from vtr.training import chunked, scores, tcmgc  # noqa: E402
from vtr.training.scores import score_batch  # noqa: E402

torch.set_num_threads(1)

# float64: the forms sum in another order, and TC-MGC's length of z is a difference of larger numbers.
# Logits are of scale 100. Promised are 1e-5; this leaves room for what rounding really does.
VALUES = {"rtol": 0, "atol": 1e-9}


def features(texts: int, videos: int, words: int = WORDS, frames: int = FRAMES, dim: int = 64, seed: int = 0):
    """Sentence, words, x as float64 leaves, and a mask with videos of 1 to F frames."""
    make = torch.Generator().manual_seed(seed)
    shapes = [(texts, dim), (texts, words, dim), (videos, frames, dim)]
    tensors = [torch.randn(*shape, generator=make, dtype=torch.float64) for shape in shapes]
    mask = (torch.arange(frames) < torch.arange(videos)[:, None] % frames + 1).double()
    return [tensor.requires_grad_(True) for tensor in tensors], mask


def gradients(value, leaves, weight):
    found = torch.autograd.grad((value * weight).sum(), leaves, allow_unused=True)
    return [
        torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, found, strict=True)
    ]


@pytest.mark.parametrize(("texts", "videos"), [(1, 1), (3, 3), (5, 2)])
@pytest.mark.parametrize("name", MODELS)
def test_equal_to_the_reference(name, texts, videos):
    model = make_model(name).double()
    leaves, mask = features(texts, videos)
    sentence, words, x = leaves
    own = dict(model.named_parameters())
    parameters = [own[key] for key in own if not key.startswith("clip.")] + [model.clip.logit_scale]
    want = model.score(sentence, words, model.temporal(x, mask), mask)
    got = score_batch(model, sentence, words, x, mask).logits
    assert got.shape == (texts, videos)
    torch.testing.assert_close(got, want, **VALUES)
    weight = torch.randn(want.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for a, b in zip(
        gradients(got, [*leaves, *parameters], weight),
        gradients(want, [*leaves, *parameters], weight),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9 * max(1.0, b.abs().max().item()))


@pytest.mark.parametrize("keep_rate", [0.2, 0.5, 1.0])
@pytest.mark.parametrize(("words", "frames"), [(5, 1), (19, 3), (8, 11)])
def test_tcmgc_at_awkward_sizes(words, frames, keep_rate):
    model = make_model("tcmgc", words=words, frames=frames, keep_rate=keep_rate, context=32).double()
    leaves, mask = features(2, 3, words, frames)
    sentence, word_features, x = leaves
    want = model.score(sentence, word_features, model.temporal(x, mask), mask)
    got = score_batch(model, sentence, word_features, x, mask).logits
    torch.testing.assert_close(got, want, **VALUES)
    weight = torch.ones_like(want)
    for a, b in zip(gradients(got, leaves, weight), gradients(want, leaves, weight), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9 * max(1.0, b.abs().max().item()))


def test_tcmgc_parts_are_its_four_scores_with_the_scale():
    model = make_model("tcmgc").double()
    (sentence, words, x), mask = features(3, 3)
    found = score_batch(model, sentence, words, x, mask)
    y = model.temporal(x, mask)["frames"]
    for text in range(3):
        four = model.family_head.scores(sentence[text], words[text], y) * model.clip.logit_scale.exp()
        torch.testing.assert_close(found.parts[text], four, **VALUES)


@pytest.mark.parametrize("name", ["xclip", "tcmgc", "tightTransf"])
def test_portions_and_recomputation_change_nothing(name, monkeypatch):
    model = make_model(name).double()
    leaves, mask = features(5, 3)
    sentence, words, x = leaves
    weight = torch.arange(15, dtype=torch.float64).reshape(5, 3)
    whole = score_batch(model, sentence, words, x, mask).logits
    want = gradients(whole, leaves, weight)
    calls = []
    kept = chunked.checkpoint
    monkeypatch.setattr(chunked, "checkpoint", lambda *a, **k: calls.append(1) or kept(*a, **k))
    monkeypatch.setattr(chunked, "KEPT_BYTES", 0)
    monkeypatch.setattr(scores, "PAIRS", 6)
    monkeypatch.setattr(tcmgc, "PAIRS", 6)
    portions = score_batch(model, sentence, words, x, mask).logits
    assert len(calls) == 3  # two texts at a time
    torch.testing.assert_close(portions, whole, rtol=0, atol=1e-11)
    for a, b in zip(gradients(portions, leaves, weight), want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10 * max(1.0, b.abs().max().item()))


@pytest.mark.parametrize("name", MODELS)
def test_features_of_zeros_have_finite_gradients(name):
    """Untrained or dead features: norms of zero, variances of zero, all similarities equal."""
    model = make_model(name)
    sentence, words = torch.zeros(3, 64, requires_grad=True), torch.zeros(3, WORDS, 64, requires_grad=True)
    x = torch.zeros(3, FRAMES, 64, requires_grad=True)
    found = score_batch(model, sentence, words, x, torch.ones(3, FRAMES))
    assert torch.isfinite(found.logits).all()
    found.logits.sum().backward()
    leaves = [sentence, words, x, *(p for p in model.parameters() if p.grad is not None)]
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves if leaf.grad is not None)


def test_relevance_of_frames():
    """By hand for X-CLIP (cosines) and TeachCLIP (sm(w), whose tenth power is the pooling weight)."""
    (sentence, words, x), mask = features(3, 3)
    for name in MODELS:
        weights = score_batch(make_model(name).double(), sentence, words, x, mask).weights
        assert (weights is None) == (name not in ("teachclip", "xclip", "tcmgc"))
        if weights is not None:
            torch.testing.assert_close(weights.sum(dim=1), torch.ones(3, dtype=torch.float64))
    found = score_batch(make_model("xclip").double(), sentence, words, x, mask).weights
    for i in range(3):
        cosines = torch.stack([torch.cosine_similarity(sentence[i], frame, dim=0) for frame in x[i]])
        torch.testing.assert_close(found[i], cosines.softmax(dim=0), **VALUES)
    model = make_model("teachclip").double()
    found = score_batch(model, sentence, words, x, mask).weights
    power = found**10 / (found**10).sum(dim=1, keepdim=True)
    torch.testing.assert_close(power, model.temporal(x, mask)["weights"], **VALUES)
    model = make_model("tcmgc").double()
    norm = model.family_head.conditional_transformer["pool_frames"].layer_norm1
    y = model.temporal(x, mask)["frames"]
    found = score_batch(model, sentence, words, x, mask).weights
    for i in range(3):
        torch.testing.assert_close(found[i], (norm(y[i]) @ norm(sentence[i]) / 8).softmax(dim=0), **VALUES)


def test_pruning_is_two_sorted_selections():
    a = torch.randn(7, 9, 9, dtype=torch.float64, requires_grad=True)  # frames by words
    kept = tcmgc.prune_both(a, 4)
    want = a.mT.topk(4, dim=1).values.topk(4, dim=2).values.flip(1, 2)
    assert torch.equal(kept, want)
    weight = torch.randn(7, 4, 4, dtype=torch.float64)
    assert torch.equal(*(torch.autograd.grad((v * weight).sum(), a)[0] for v in (kept, want)))


def test_half_precision_features_are_scored_in_float32():
    model = make_model("xclip")
    (sentence, words, x), mask = features(2, 2)
    half = [tensor.detach().to(torch.bfloat16) for tensor in (sentence, words, x)]
    with torch.autocast("cpu", torch.bfloat16):
        found = score_batch(model, *half, mask.float()).logits
    want = score_batch(model, *(tensor.float() for tensor in half), mask.float()).logits
    assert found.dtype == torch.float32 and torch.equal(found, want)
