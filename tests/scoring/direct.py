"""The formulas of the papers, pair by pair, in float64 and in their direct form: what the scorers must give.

Nothing here is shared with the package, nothing is batched, and no step is clever.
"""

import numpy as np

LN_EPS = 1e-5


def unit(x):
    length = np.sqrt((x * x).sum(-1, keepdims=True))
    return x / np.where(length == 0, 1, length)


def softmax(x):
    """Of a vector."""
    e = np.exp(x - np.max(x)) if len(x) else x
    return e / e.sum() if len(x) else x


def layer_norm(x, gain, bias):
    """Of a vector."""
    mean = sum(x) / len(x)
    variance = sum((x - mean) ** 2) / len(x)
    return (x - mean) / np.sqrt(variance + LN_EPS) * gain + bias


def best(x, k):
    """The k highest of a vector, downwards."""
    return np.array(sorted(x, reverse=True)[:k])


# ---- holistic --------------------------------------------------------------------------------------


def holistic(head, sentence, video):
    return np.exp(head["logit_scale"][0]) * float(unit(sentence) @ unit(video))


# ---- X-CLIP ----------------------------------------------------------------------------------------


def xclip_isa(a, matrix):
    return float((softmax(100 * a) @ matrix) @ a)


def xclip(head, sentence, words, frames, video):
    """One text and one video: ``[D]``, ``[L, D]``, raw frames ``[F, D]``, video vector ``[D]``."""
    s, w, f, v = unit(sentence), unit(words), unit(frames), unit(video)
    a = (w @ head["local_mat_weight"]) @ f.T
    c = np.array([xclip_isa(a[:, j], head["word_mat_weight"]) for j in range(len(f))])
    r = np.array([xclip_isa(a[i], head["frame_mat_weight"]) for i in range(len(w))])
    four = [
        (s @ head["global_mat_weight"]) @ v,
        xclip_isa(np.array([word @ v for word in w]), head["word_logit_weight"]),
        xclip_isa(np.array([s @ frame for frame in f]), head["frame_logit_weight"]),
        (xclip_isa(c, head["frame_mat_weight2"]) + xclip_isa(r, head["word_mat_weight2"])) / 2,
    ]
    return np.exp(head["logit_scale"][0]) * sum(four) / 4


# ---- TC-MGC ----------------------------------------------------------------------------------------

POOL = "conditional_transformer.pool_frames."


def tcmgc_isa(a, matrix):
    return float(softmax(100 * (softmax(100 * a) @ matrix)) @ a)


def tcmgc_attention(head, query, frames):
    """The row of attention over the frames, [F]."""
    gain, bias = head[POOL + "layer_norm1.weight"], head[POOL + "layer_norm1.bias"]
    q = layer_norm(query, gain, bias)
    return softmax(np.array([q @ layer_norm(y, gain, bias) for y in frames]) / np.sqrt(len(query)))


def tcmgc_pool(head, query, frames):
    """LVA: the frames as one query row sees them, [D], normalised."""
    norm = [(head[f"{POOL}layer_norm{n}.weight"], head[f"{POOL}layer_norm{n}.bias"]) for n in (1, 2, 3)]
    attention = tcmgc_attention(head, query, frames)
    o = sum(share * layer_norm(y, *norm[0]) for share, y in zip(attention, frames, strict=True))
    o = layer_norm(o, *norm[1])
    linear = head[POOL + "linear_proj.weight"] @ o + head[POOL + "linear_proj.bias"]
    return unit(layer_norm(o + linear, *norm[2]))


def tcmgc_scores(head, sentence, words, frames):
    """The four scores of one text and one video, before the scale: ``[D]``, ``[L, D]``, y ``[F, D]``."""
    keep = len(head["attentive_word_logit_weight"])
    s, w = unit(sentence), unit(words)
    v = tcmgc_pool(head, sentence, frames)
    r = [tcmgc_pool(head, word, frames) for word in words]

    video_word = tcmgc_isa(best([word @ v for word in w], keep), head["attentive_word_logit_weight"])

    a = best([s @ frame for frame in r], len(w))
    rest = a[keep:]
    fused = float(softmax(rest) @ rest)
    sentence_frame = tcmgc_isa(np.array([*a[:keep], fused]), head["concat_frame_word_logit_weight"])

    a = np.array([[(word @ head["local_mat_weight"]) @ frame for frame in r] for word in w])
    a = np.array([best(column, keep) for column in a.T]).T  # [K, L]: along words for every frame
    a = np.array([best(row, keep) for row in a])  # [K, K]: along frames for every word that is left
    c = np.array([tcmgc_isa(a[:, j], head["attentive_word_mat_weight"]) for j in range(keep)])
    r2 = np.array([tcmgc_isa(a[i], head["attentive_frame_word_mat_weight"]) for i in range(keep)])
    frame_word = tcmgc_isa(c, head["attentive_frame_word_mat_weight2"])
    frame_word = (frame_word + tcmgc_isa(r2, head["attentive_word_mat_weight2"])) / 2
    return np.array([(s @ head["global_mat_weight"]) @ v, video_word, sentence_frame, frame_word])


def tcmgc(head, sentence, words, frames):
    scores = np.exp(head["logit_scale"][0]) * tcmgc_scores(head, sentence, words, frames)
    return float(softmax(scores @ head.get("logit_weight", np.eye(4))) @ scores)


def logits(pair, head, texts, videos):
    """``pair(head, *text, *video)`` for every text and video, in float64: ``[T, V]``."""
    wide = {name: np.asarray(value, np.float64) for name, value in head.items()}
    return np.array(
        [
            [pair(wide, *(np.asarray(x, np.float64) for x in (*text, *video))) for video in videos]
            for text in texts
        ]
    )
