"""TC-MGC's language-video attention in Gram space: its parameters, and what is kept of a video.

For a query row q (the sentence or a word) TC-MGC pools the frames y [F, D] of a video into one vector:

    a = sm_F(LN1(q)·LN1(y)ᵀ / √D),   o = LN2(a·LN1(y)),   u = A·o + bl with A = I + Wl,   z = LN3(u)

Up to the three standard deviations in it, z is linear in a. With k = LN1(y), U = (kc∘g2)·Aᵀ, c = A·b2 + bl,
and subscript c for "minus the mean over D",

    u − mean = i2·(a·Uc) + cc            i2 = 1 / √(aᵀG2·a + ε)
    z = i3·(u − mean)∘g3 + b3            i3 = 1 / √(i2²·aᵀG3·a + 2·i2·a·h3 + cc·cc/D + ε)
    ‖z‖² = i3²·(i2²·aᵀN·a + 2·i2·a·n1 + ‖cc∘g3‖²) + 2·i3·(i2·a·n2 + (cc∘g3)·b3) + ‖b3‖²

where only these small matrices of the video are needed:

    G2 = kc·kcᵀ/D,  G3 = Uc·Ucᵀ/D,  N = (Uc∘g3)·(Uc∘g3)ᵀ          [F, F]
    h3 = Uc·cc/D,   n1 = (Uc∘g3)·(cc∘g3),   n2 = (Uc∘g3)·b3          [F]

And a vector p that is to be dotted with z is folded once a text, so that it meets k itself:

    p·z = i3·(i2·a·(k·p̂) + e) + d,   p̂ = (((p∘g3)c·A)∘g2)c,   e = (p∘g3)·cc,   d = p·b3
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vtr.scoring.numerics import TINY_NORM, Floats, transform

EPS = 1e-5  # of the three layer norms
POOL = "conditional_transformer.pool_frames."
CHUNK = 64  # videos whose statistics are worked out together

Doubles = NDArray[np.float64]


def pool_shapes(dim: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the attention's parameters in a bundle's head."""
    shapes: dict[str, tuple[int, ...]] = {
        f"{POOL}linear_proj.weight": (dim, dim),
        f"{POOL}linear_proj.bias": (dim,),
    }
    for number in (1, 2, 3):
        shapes |= {f"{POOL}layer_norm{number}.weight": (dim,), f"{POOL}layer_norm{number}.bias": (dim,)}
    return shapes


def gram_rows(frames: int) -> int:
    """Rows of the stored array ``[3F + 3, F]``: G2, G3, N, h3, n1, n2."""
    return 3 * frames + 3


class Pooling:
    """The parameters of the attention, in the form in which videos and queries meet them.

    Statistics of videos are worked out in float64: it is done once a video, when indexing.
    """

    def __init__(self, head: Mapping[str, Floats]) -> None:
        def parameter(name: str) -> Doubles:
            return head[POOL + name].astype(np.float64)

        self.g1, self.b1 = parameter("layer_norm1.weight"), parameter("layer_norm1.bias")
        self.g2, self.b2 = parameter("layer_norm2.weight"), parameter("layer_norm2.bias")
        self.g3, self.b3 = parameter("layer_norm3.weight"), parameter("layer_norm3.bias")
        self.matrix = np.eye(len(self.g1)) + parameter("linear_proj.weight")  # A
        c = self.matrix @ self.b2 + parameter("linear_proj.bias")
        self.cc = c - c.mean()
        # The terms of 1/i3² and ‖z‖² that no video changes.
        self.variance = np.float32(self.cc @ self.cc / len(c) + EPS)
        self.norm = np.float32((self.cc * self.g3) @ (self.cc * self.g3))
        self.cross = np.float32((self.cc * self.g3) @ self.b3)
        self.bias = np.float32(self.b3 @ self.b3)
        self.floor = np.maximum(np.float32(1e-6) * self.bias, np.float32(TINY_NORM**2))  # of ‖z‖²
        self._fold = (self.matrix * self.g2).astype(np.float32)  # x @ this = (x·A)∘g2

    # ---- queries --------------------------------------------------------------------------------

    def queries(self, q: Floats) -> Floats:
        """LN1(q)/√D ``[…, D]``: dotted with k it is the attention's logit."""
        return ((_normalise(q) * self.g1 + self.b1) / np.sqrt(q.shape[-1])).astype(np.float32)

    def fold(self, probes: Floats) -> tuple[Floats, Floats]:
        """Probes p ``[…, D]`` folded: p̂ ``[…, D]``, and e and d stacked ``[…, 2]``."""
        scaled = probes * self.g3.astype(np.float32)
        scaled -= scaled.mean(axis=-1, keepdims=True)
        offsets = np.stack([scaled @ self.cc, probes @ self.b3], axis=-1)
        folded = transform(scaled, self._fold)
        folded -= folded.mean(axis=-1, keepdims=True)
        return folded, offsets.astype(np.float32)

    # ---- videos ---------------------------------------------------------------------------------

    def statistics(self, y: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """What is kept of videos: frames y ``[B, F, D]``, attention ``weights [B, F]`` that knows no text.

        Returns:
            k ``[B, F, D]``, the Gram array ``[B, 3F + 3, F]``, and n(z) under ``weights``, ``[B, D]``.
        """
        videos, frames, dim = y.shape
        k = np.empty((videos, frames, dim), np.float32)
        gram = np.empty((videos, gram_rows(frames), frames), np.float32)
        pooled = np.empty((videos, dim), np.float32)
        for start in range(0, videos, CHUNK):
            part = slice(start, start + CHUNK)
            k[part], gram[part], pooled[part] = self._statistics(y[part], weights[part].astype(np.float64))
        return k, gram, pooled

    def _statistics(self, y: Floats, weights: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        k = _normalise(y) * self.g1 + self.b1
        kc = k - k.mean(axis=-1, keepdims=True)
        uc = transform(kc * self.g2, self.matrix.T)
        uc -= uc.mean(axis=-1, keepdims=True)
        ug = uc * self.g3
        dim = y.shape[-1]
        squares = [kc @ kc.swapaxes(1, 2) / dim, uc @ uc.swapaxes(1, 2) / dim, ug @ ug.swapaxes(1, 2)]
        lines = np.stack([uc @ self.cc / dim, ug @ (self.cc * self.g3), ug @ self.b3], axis=1)
        return k, np.concatenate([*squares, lines], axis=1), self._pool(kc, uc, weights)

    def _pool(self, kc: Doubles, uc: Doubles, weights: Doubles) -> Doubles:
        """n(z) for attention rows given from outside."""
        i2 = 1 / np.sqrt(((weights[:, None] @ kc) ** 2).mean(axis=-1) + EPS)
        u = i2 * (weights[:, None] @ uc)[:, 0] + self.cc
        z = u / np.sqrt((u**2).mean(axis=-1, keepdims=True) + EPS) * self.g3 + self.b3
        return z / np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), TINY_NORM)


def _normalise(x: NDArray[np.floating]) -> Doubles:
    """(x − mean) / √(variance + ε) on the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True, dtype=np.float64)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPS)
