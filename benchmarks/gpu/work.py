"""Bytes that have to be read and operations that have to be done, from shapes: what fractions are taken of.

F frames, L words, D width, ``item`` bytes of a stored feature. A multiplication with its addition is two
operations. Softmaxes, sorts and products of F- or L-sized rows are left out: a kernel has to hide them.
"""

from __future__ import annotations

FP32 = 4


def tcmgc_bytes(videos: int, frames: int, dim: int, item: int = 2) -> int:
    """k [F, D] in the storage type and the Gram array [3F + 3, F] in float32."""
    return videos * (frames * dim * item + (3 * frames + 3) * frames * FP32)


def tcmgc_flop(texts: int, videos: int, frames: int, words: int, dim: int) -> int:
    """3L + 3 probes of a text (attention, w·Lm, w; then s, s·G) with every frame."""
    return 2 * texts * videos * (3 * words + 3) * frames * dim


def xclip_bytes(videos: int, frames: int, dim: int, item: int = 2) -> int:
    """The frames and one vector."""
    return videos * (frames + 1) * dim * item


def xclip_flop(texts: int, videos: int, frames: int, words: int, dim: int) -> int:
    """L + 1 probes (w·Lm, s) with every frame, L + 1 (w, s·G) with the vector."""
    return 2 * texts * videos * (words + 1) * (frames + 1) * dim


def holistic_bytes(videos: int, dim: int, item: int = 2) -> int:
    return videos * dim * item


def holistic_flop(texts: int, videos: int, dim: int) -> int:
    return 2 * texts * videos * dim


def pool_bytes(videos: int, frames: int, dim: int, item: int = 2, masked: bool = True) -> int:
    """Frames and mask read; the vector [D] and the weights [F] written in float32."""
    return videos * (frames * dim * item + (dim + frames + masked * frames) * FP32)


def excite_bytes(videos: int, frames: int, dim: int, item: int = 2) -> int:
    """Frames read and written."""
    return 2 * videos * frames * dim * item


def afa_flop(videos: int, frames: int, dim: int, hidden: int) -> int:
    """frameLinear on every frame, and frameLinear2."""
    return 2 * videos * frames * (dim + 1) * hidden


def gram_flop(videos: int, frames: int, dim: int) -> int:
    """kc·B [F, D] × [D, D], and three Gram matrices [F, F]."""
    return 2 * videos * (frames * dim * dim + 3 * frames * frames * dim)


def vit_flop(images: int, image: int, patch: int, width: int, layers: int, dim: int) -> int:
    """A vision transformer's products: patches, blocks (attention 4W² and MLP 8W² a token, and the attention
    itself), projection of the class token."""
    patches = (image // patch) ** 2
    tokens = patches + 1
    embedding = patches * 3 * patch * patch * width
    block = 12 * tokens * width * width + 2 * tokens * tokens * width
    return 2 * images * (embedding + layers * block + width * dim)
