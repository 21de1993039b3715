"""One file a model family; each head is its formula.

A head has ``scoring`` ("holistic", "xclip", "tcmgc" or "cross") and

* ``video(x, mask, temporal) -> dict``: what a video keeps for scoring, named as the outputs of temporal.onnx;
* where scoring is its own, ``score(sentence, words, video, scale) -> [T, V]``, scale = exp(logit_scale), and
  ``scorer_tensors() -> dict``: the parameters a scorer needs at search time, under their checkpoint keys.
"""
