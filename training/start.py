"""The model that a run starts from: a CLIP with a new head, a model trained before, or a new one."""

from __future__ import annotations

from dataclasses import dataclass

from vtr.errors import UsageError
from vtr.export.checkpoint import load_checkpoint
from vtr.export.detect import detect_family, detect_header
from vtr.export.layouts import Checkpoint
from vtr.export.models import ReferenceModel, build_model
from vtr.export.options import DEFAULT_FRAMES, DEFAULT_WORDS, ExportOptions


@dataclass(frozen=True)
class Start:
    """``source`` is a checkpoint, ``size`` one of `fresh.SIZES`; one of them is given. ``None`` elsewhere
    means what the checkpoint says, else the default."""

    source: str | None = None
    size: str | None = None
    family: str | None = None
    header: str | None = None
    se_type: str | None = None
    keep_rate: float | None = None  # TC-MGC, of a new head
    reduction: float | None = None  # EA-CLIP4Clip, of a new head
    pair: str | None = None  # EA-CLIP4Clip, of a new head with two gates; default "unity"
    frames: int | None = None
    words: int | None = None
    fps: int = 1
    slice: str = "uniform"
    vocab: int = 49408  # tokens, of new towers
    seed: int = 0


def start_model(start: Start) -> ReferenceModel:
    """The model, ready for `vtr.training.loop.train`.

    A checkpoint that holds a model of the wanted family and header is taken as it is; of any other, the
    towers are taken and get a new head.

    Raises:
        UsageError: neither a checkpoint nor a size, or both; no family where the checkpoint has none; gates
            of EA-CLIP4Clip for a head that is not new, or of another family.
        CheckpointError: the checkpoint cannot be read, or its sizes are not the wanted ones.
    """
    if (start.source is None) == (start.size is None):
        raise UsageError(
            "expected either a checkpoint to start from (--from) or the size of a new model (--size)"
        )
    state = None if start.source is None else load_checkpoint(start.source)
    taken = state is not None and _is_wanted(state, start)
    if (start.reduction or start.pair) and (taken or start.family != "ea"):
        raise UsageError("--reduction and --pair are of the gates of a new head, with --family ea")
    if state is not None and taken:
        return _build(state, start)
    if start.family is None:
        raise UsageError(
            "expected a family (--family clip4clip, ea, teachclip, xclip or tcmgc): "
            + ("the checkpoint is a CLIP without a head" if state else "a new model has to be of some family")
        )
    return _build(_with_new_head(state, start), start)


def _is_wanted(state: Checkpoint, start: Start) -> bool:
    """Whether a checkpoint has a head, and that of the family and header that were asked for."""
    if all(key.startswith("clip.") for key in state):
        return start.family == "clip4clip" and start.header in (None, "meanP")  # which adds no tensor
    options = ExportOptions(se_type=start.se_type)
    family = detect_family(state, options)
    return start.family in (None, family) and start.header in (None, detect_header(state, family, options))


def _with_new_head(state: Checkpoint | None, start: Start) -> Checkpoint:
    from .fresh import KEEP_RATE, REDUCTION, fresh_checkpoint, with_head

    assert start.family is not None
    if state is None:
        size = start.size or ""
        state = Checkpoint(fresh_checkpoint("clip4clip", size=size, vocab=start.vocab, seed=start.seed))
    tensors = with_head(
        state,
        start.family,
        header=start.header,
        variant=start.se_type,
        frames=start.frames or DEFAULT_FRAMES,
        words=start.words or DEFAULT_WORDS,
        keep_rate=KEEP_RATE if start.keep_rate is None else start.keep_rate,
        reduction=REDUCTION if start.reduction is None else start.reduction,
        pair=start.pair or "unity",
        seed=start.seed,
    )
    return Checkpoint(tensors, state.facts)


def _build(state: Checkpoint, start: Start) -> ReferenceModel:
    """What was asked for is compared with the tensors there."""
    options = ExportOptions(
        frames=start.frames,
        words=start.words,
        fps=start.fps,
        slice=start.slice,
        se_type=start.se_type,
        keep_rate=start.keep_rate,
    )
    return build_model(state, options)
