"""TC-MGC in its direct form, in plain torch: what :mod:`vtr.kernels.tcmgc` and :mod:`vtr.kernels.gram` must
give."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F

POOL = "conditional_transformer.pool_frames."
LAMBDA = 100.0
EPS = 1e-5

Head = Mapping[str, torch.Tensor]


def tcmgc_reference(
    head: Head, sentence: torch.Tensor, words: torch.Tensor, frames: torch.Tensor
) -> torch.Tensor:
    """Logits ``[T, n]`` of TC-MGC (Jing et al., 2025), in the type of the arguments: float64 as a reference.

        LVA   a = sm_F(LN1(q)·LN1(y)ᵀ / √D),  o = LN2(a·LN1(y)),  z = LN3(o + Wl·o + bl);  of the sentence
              V = n(z), of word j R_j = n(z)
        1     video-sentence  (s·G)·V
        2     video-word      w·V [L] → SR: the K highest, downwards → isa
        3     sentence-frame  s·R_j [L] → the K highest, then Σ sm(rest)·rest → isa
        4     frame-word      (w_i·Lm)·R_j [L, L] → Bi-SR: the K highest along i for every j, of these the K
              highest along j → c = isa over i, r = isa over j → (isa(c) + isa(r)) / 2
        LSA   l = exp(logit_scale) · the four;  Σ sm(l @ logit_weight) ∘ l

    with s = n(sentence), w = n(words) and isa(a, M) = Σ sm(λ·(sm(λ·a) @ M)) ∘ a, λ = 100.

    Args:
        head: a checkpoint's tensors by name.
        sentence: ``[T, D]``, ``words [T, L, D]``, not normalised.
        frames: y ``[n, F, D]``, the temporal head's output.
    """
    of_texts = [_logits(head, s, w, frames) for s, w in zip(sentence, words, strict=True)]
    return torch.stack(of_texts)


def _logits(head: Head, sentence: torch.Tensor, words: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    keep = len(head["attentive_word_logit_weight"])
    v, r = _pooled(head, sentence[None], y)[:, 0], _pooled(head, words, y)  # [n, D], [n, L, D]
    s, w = F.normalize(sentence, dim=-1), F.normalize(words, dim=-1)
    frame_word = torch.einsum("ld,njd->nlj", w @ head["local_mat_weight"], r)
    four = [
        v @ (s @ head["global_mat_weight"]),
        _isa(_highest(v @ w.T, keep, -1), head["attentive_word_logit_weight"]),
        _isa(_fused(r @ s, keep), head["concat_frame_word_logit_weight"]),
        _frame_word(head, _highest(_highest(frame_word, keep, 1), keep, 2)),
    ]
    scores = head["logit_scale"].exp() * torch.stack(four, -1)  # [n, 4]
    mixed = scores @ head["logit_weight"] if "logit_weight" in head else scores
    return (mixed.softmax(-1) * scores).sum(-1)


def _pooled(head: Head, queries: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """LVA of ``queries [Q, D]`` and ``y [n, F, D]``: ``[n, Q, D]``, normalised."""
    k = _norm(head, 1, y)
    attention = torch.einsum("qd,nfd->nqf", _norm(head, 1, queries), k) / y.shape[-1] ** 0.5
    o = _norm(head, 2, attention.softmax(-1) @ k)
    o = o + F.linear(o, head[POOL + "linear_proj.weight"], head[POOL + "linear_proj.bias"])
    return F.normalize(_norm(head, 3, o), dim=-1)


def _norm(head: Head, number: int, x: torch.Tensor) -> torch.Tensor:
    weight, bias = (head[f"{POOL}layer_norm{number}.{name}"] for name in ("weight", "bias"))
    return F.layer_norm(x, weight.shape, weight, bias, EPS)


def _isa(a: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    return ((LAMBDA * ((LAMBDA * a).softmax(-1) @ matrix)).softmax(-1) * a).sum(-1)


def _highest(a: torch.Tensor, keep: int, axis: int) -> torch.Tensor:
    return a.sort(dim=axis, descending=True).values.narrow(axis, 0, keep)


def _fused(a: torch.Tensor, keep: int) -> torch.Tensor:
    """SR of ``a [n, L]`` with the rest in one entry, which is 0 where nothing is left: ``[n, K + 1]``."""
    a = a.sort(dim=-1, descending=True).values
    rest = a[:, keep:]
    return torch.cat([a[:, :keep], (rest.softmax(-1) * rest).sum(-1, keepdim=True)], -1)


def _frame_word(head: Head, a: torch.Tensor) -> torch.Tensor:
    """``a [n, K words, K frames]`` -> ``[n]``."""
    c = _isa(a.transpose(1, 2), head["attentive_word_mat_weight"])
    r = _isa(a, head["attentive_frame_word_mat_weight"])
    c = _isa(c, head["attentive_frame_word_mat_weight2"])
    return (c + _isa(r, head["attentive_word_mat_weight2"])) / 2


def gram_reference(head: Head, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """k = LN1(y) ``[n, F, D]`` and TC-MGC's Gram array ``[n, 3F + 3, F]`` of ``y [n, F, D]``, in y's type.

    With kc = k less its mean over D, U = (kc∘g2)·(I + Wl)ᵀ, c = b2 + Wl·b2 + bl, and Uc, cc these less their
    means over D:

        G2 = kc·kcᵀ / D,  G3 = Uc·Ucᵀ / D,  N = (Uc∘g3)·(Uc∘g3)ᵀ            [F, F], one after the other
        h3 = Uc·cc / D,   n1 = (Uc∘g3)·(cc∘g3),   n2 = (Uc∘g3)·b3            [F]
    """
    dim = y.shape[-1]
    matrix, bias = (head[f"{POOL}linear_proj.{name}"] for name in ("weight", "bias"))
    g2, b2, g3, b3 = (head[POOL + name] for name in _AFTER_THE_FIRST)
    k = _norm(head, 1, y)
    kc = k - k.mean(-1, keepdim=True)
    u, c = kc * g2 + F.linear(kc * g2, matrix), b2 + matrix @ b2 + bias
    uc, cc = u - u.mean(-1, keepdim=True), c - c.mean()
    squares = [kc @ kc.mT / dim, uc @ uc.mT / dim, (uc * g3) @ (uc * g3).mT]
    lines = torch.stack([uc @ cc / dim, (uc * g3) @ (cc * g3), (uc * g3) @ b3], 1)
    return k, torch.cat([*squares, lines], 1)


_AFTER_THE_FIRST = ("layer_norm2.weight", "layer_norm2.bias", "layer_norm3.weight", "layer_norm3.bias")
