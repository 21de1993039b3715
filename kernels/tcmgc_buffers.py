"""Texts and heads as TC-MGC's kernel reads them: made on the host, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .config import padded_words, power_of_two
from .multi_grained import fits_fp16

Floats = NDArray[np.float32]

SCALARS = 32  # floats after the matrices in `weights`
SQUARES = (
    "attentive_word_logit_weight",
    "concat_frame_word_logit_weight",
    "attentive_word_mat_weight",
    "attentive_frame_word_mat_weight",
    "attentive_word_mat_weight2",
    "attentive_frame_word_mat_weight2",
)


class Query(Protocol):
    """Texts as :mod:`vtr.scoring.tcmgc` prepares them, float32."""

    attention: Floats  # [T, 1 + L, D]
    frame_probes: Floats  # [T, 1 + L, D]
    frame_offsets: Floats  # [T, 2, 1 + L]
    video_probes: Floats  # [T, 1 + L, D]
    video_offsets: Floats  # [T, 2, 1 + L]


def prepare_query(query: Query) -> tuple[Floats, Floats]:
    """The kernel's ``probes [T, 4W, D]``, to be cast to the storage type, and ``offsets [T, 5, W]``.

    Probe 2W·h + 2j + b is row j of group 2h + b: attention of word j; its w·Lm; w; and in the fourth group
    the sentence's attention, s, s·G. What is over is zero.
    """
    texts, rows, dim = query.attention.shape
    words, wide = rows - 1, padded_words(rows - 1)
    probes = np.zeros((texts, 2, wide, 2, dim), np.float32)
    probes[:, 0, :words, 0] = query.attention[:, 1:]
    probes[:, 0, :words, 1] = query.frame_probes[:, 1:]
    probes[:, 1, :words, 0] = query.video_probes[:, 1:]
    for number, rows_of in enumerate((query.attention, query.frame_probes, query.video_probes)):
        probes[:, 1, number, 1] = rows_of[:, 0]
    offsets = np.zeros((texts, 5, wide), np.float32)
    offsets[:, 0:2, :words] = query.frame_offsets[:, :, 1:]
    offsets[:, 2:4, :words] = query.video_offsets[:, :, 1:]
    offsets[:, 4, 0:2] = query.frame_offsets[:, :, 0]
    offsets[:, 4, 2:4] = query.video_offsets[:, :, 0]
    return probes.reshape(texts, 4 * wide, dim), offsets


def prepare_weights(head: Mapping[str, NDArray[Any]]) -> Floats:
    """A head's small parameters as the kernel reads them, fp32, S = K up to a power of two.

    Six matrices [S, S] in the order of ``SQUARES`` (of the second its first K × K), zero beyond K; the
    second's last row and last column, [2, S]; then 32 numbers: its corner, the five constants of the norms
    (variance, ‖cc∘g3‖², (cc∘g3)·b3, ‖b3‖², the floor of ‖z‖²), exp(logit_scale), one free, and logit_weight
    [4, 4].

    Raises:
        UsageError: a number of a matrix does not fit fp16, in two pieces of which the kernel multiplies them.
    """
    keep = len(head[SQUARES[0]])
    size = power_of_two(keep)
    squares = np.zeros((len(SQUARES), size, size), np.float32)
    for number, name in enumerate(SQUARES):
        squares[number, :keep, :keep] = fits_fp16(name, head[name][:keep, :keep])
    fused = head[SQUARES[1]]
    edge = np.zeros((2, size), np.float32)
    edge[0, :keep], edge[1, :keep] = fused[keep, :keep], fused[:keep, keep]
    scalars = np.zeros(SCALARS, np.float32)
    scalars[0] = fused[keep, keep]
    scalars[1:6] = _constants(head)
    scalars[6] = np.exp(head["logit_scale"][0])
    scalars[8:24] = np.asarray(head.get("logit_weight", np.eye(4)), np.float32).ravel()
    return np.concatenate([squares.ravel(), edge.ravel(), scalars])


def _constants(head: Mapping[str, NDArray[Any]]) -> list[float]:
    """What no video changes of 1/i3² and ‖z‖²; python/vtr/scoring/gram.py has the same."""
    pool = "conditional_transformer.pool_frames."
    matrix, bias = (head[f"{pool}linear_proj.{name}"].astype(np.float64) for name in ("weight", "bias"))
    b2, g3, b3 = (
        head[f"{pool}layer_norm{name}"].astype(np.float64) for name in ("2.bias", "3.weight", "3.bias")
    )
    c = b2 + matrix @ b2 + bias
    cc = c - c.mean()
    return [
        float(cc @ cc / len(c)) + 1e-5,
        float((cc * g3) @ (cc * g3)),
        float((cc * g3) @ b3),
        float(b3 @ b3),
        max(1e-6 * float(b3 @ b3), 1e-24),
    ]
