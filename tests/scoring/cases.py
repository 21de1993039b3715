"""Random heads and features for the tests of the scorers, and the awkward ones among them."""

import numpy as np

from vtr.types import TextFeatures, VideoFeatures

POOL = "conditional_transformer.pool_frames."
LOGIT_SCALE = np.array([np.log(100)], np.float32)


def near_identity(rng, size, noise):
    return (np.eye(size) + noise * rng.standard_normal((size, size))).astype(np.float32)


def holistic_head():
    return {"logit_scale": LOGIT_SCALE}


def xclip_head(frames, words, dim, noise=0.1, seed=0):
    """Identities as at the start of training, disturbed."""
    rng = np.random.default_rng(seed)
    head = {"logit_scale": LOGIT_SCALE}
    for name in ("global_mat_weight", "local_mat_weight"):
        head[name] = near_identity(rng, dim, noise / np.sqrt(dim))
    for name in ("word_logit_weight", "word_mat_weight", "word_mat_weight2"):
        head[name] = near_identity(rng, words, noise)
    for name in ("frame_logit_weight", "frame_mat_weight", "frame_mat_weight2"):
        head[name] = near_identity(rng, frames, noise)
    return head


def tcmgc_head(words, dim, keep, noise=0.1, logit_weight=True, seed=0):
    rng = np.random.default_rng(seed)

    def vector(centre):
        return (centre + noise * rng.standard_normal(dim)).astype(np.float32)

    head = {"logit_scale": LOGIT_SCALE, "concat_frame_word_logit_weight": near_identity(rng, keep + 1, noise)}
    for name in ("global_mat_weight", "local_mat_weight"):
        head[name] = near_identity(rng, dim, noise / np.sqrt(dim))
    for name in ("word_logit", "word_mat", "frame_word_mat"):
        head[f"attentive_{name}_weight"] = near_identity(rng, keep, noise)
    for name in ("word_mat", "frame_word_mat"):
        head[f"attentive_{name}_weight2"] = near_identity(rng, keep, noise)
    for number in (1, 2, 3):
        head[f"{POOL}layer_norm{number}.weight"] = vector(1)
        head[f"{POOL}layer_norm{number}.bias"] = vector(0)
    head[f"{POOL}linear_proj.weight"] = (rng.standard_normal((dim, dim)) / np.sqrt(dim)).astype(np.float32)
    head[f"{POOL}linear_proj.bias"] = vector(0)
    if logit_weight:
        head["logit_weight"] = near_identity(rng, 4, noise)
    return head


def make_text(texts, words, dim, seed=1):
    rng = np.random.default_rng(seed)
    ids = np.zeros((texts, words), np.int64)
    sentence = rng.standard_normal((texts, dim)).astype(np.float32) * 5
    return TextFeatures(ids, sentence, rng.standard_normal((texts, words, dim)).astype(np.float32) * 3)


def make_video(videos, frames, dim, seed=2, lengths=None):
    """Frames of one video resemble each other; padded ones are one constant, as a model makes them."""
    rng = np.random.default_rng(seed)
    scenes = rng.standard_normal((videos, 1, dim)) + 0.5 * rng.standard_normal((videos, frames, dim))
    lengths = rng.integers(1, frames + 1, videos) if lengths is None else np.asarray(lengths)
    mask = (np.arange(frames) < lengths[:, None]).astype(np.float32)
    scenes = np.where(mask[..., None] > 0, scenes, rng.standard_normal(dim)).astype(np.float32)
    weights = mask / mask.sum(1, keepdims=True)
    return VideoFeatures(scenes, mask, np.einsum("vf,vfd->vd", weights, scenes), weights)


def awkward_videos(frames, dim):
    """Huge and tiny norms, all frames alike, opposite frames, constant and zero rows: ``{name: [F, D]}``."""
    rng = np.random.default_rng(7)
    one, noise = rng.standard_normal(dim), rng.standard_normal((frames, dim))
    return {
        name: np.asarray(y, np.float32)
        for name, y in {
            "huge": 1e4 * noise,
            "tiny": 1e-4 * noise,
            "alike": np.tile(one, (frames, 1)),
            "nearly alike": one + 1e-3 * noise,
            "opposite": one * np.where(np.arange(frames) % 2, 1, -1)[:, None],
            "nearly constant": 3 + 1e-3 * noise,
            "constant": np.full((frames, dim), 2.5),
            "zero padding": noise * (np.arange(frames) < 1)[:, None],
            "zero": np.zeros((frames, dim)),
            "one hot": np.eye(frames, dim) * 1e3,
            "far from zero": noise + 100,
        }.items()
    }


def stored(scorer, rows):
    """Rows as an index keeps them: cast to the declared dtypes, read-only."""
    kept = {name: rows[name].astype(spec.dtype) for name, spec in scorer.columns.items()}
    for array in kept.values():
        array.flags.writeable = False
    return kept
