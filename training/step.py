"""One training step: a batch through the shared towers and every model's head, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from vtr.errors import UsageError
from vtr.export.models import ReferenceModel

from .batches import Batch
from .encode import Tower, encode_videos
from .losses import LossWeights, losses
from .ranks import Ranks
from .scores import Scores, score_batch

STUDENT = "teachclip"  # the family that learns from a teacher


@contextlib.contextmanager
def arithmetic(device: str, precision: str) -> Iterator[None]:
    """The towers' arithmetic: bfloat16 where asked for. On a processor attention is spelled out as matrix
    products: the gradient of PyTorch's fused one is slow there (a whole step took 1.6 times as long)."""
    with contextlib.ExitStack() as stack:
        if device == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if precision == "bf16":
            stack.enter_context(torch.autocast(device, torch.bfloat16))
        elif device == "cuda":  # convolutions and LSTMs take TF32 else
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
        yield


def run_batch(
    models: Mapping[str, ReferenceModel],
    batch: Batch,
    weights: LossWeights,
    *,
    teacher: ReferenceModel | str | None = None,
    precision: str = "fp32",
    tower: Tower | None = None,
    ranks: Ranks | None = None,
) -> dict[str, Tensor]:
    """Add the gradients of the mean of all models' losses; models share their towers, which run once.

    ``teacher`` is a model apart, which is not trained, or the name of one of ``models``. Returns ``"loss"``
    and every model's terms as ``"<model>.<term>"``, detached. The heads' activations are given up model by
    model: each model's loss is taken back to the towers' features before the next one is computed.

    With ``ranks``, the step's batch is what all ranks hold together: features are gathered, each rank takes
    some of the models, and features' gradients are added up. Those of parameters are left to the caller.
    """
    ranks = ranks or Ranks()
    device = batch.ids.device.type
    first = next(iter(models.values()))
    with arithmetic(device, precision):
        *outputs, own_mask = _encode(first, batch, tower)
    mask = ranks.gather(own_mask)
    features = [ranks.gather(out.detach()).requires_grad_(out.requires_grad) for out in outputs]
    sentence, words, x = features
    taught = None
    if isinstance(teacher, ReferenceModel):
        taught = score_apart(teacher, batch, precision, ranks)
    terms: dict[str, Tensor] = {}
    with arithmetic(device, "fp32"):
        for name, model in list(models.items())[ranks.rank :: ranks.size]:
            student = model.family == STUDENT and name != teacher
            if student and isinstance(teacher, str):
                with torch.no_grad():
                    taught = score_batch(models[teacher], sentence, words, x, mask)
            found = losses(score_batch(model, sentence, words, x, mask), weights, taught if student else None)
            (found["loss"] / len(models)).backward()
            terms |= {f"{name}.{term}": value.detach() for term, value in found.items()}
    with arithmetic(device, precision):
        _back(outputs, features, ranks)
    return _report(terms, models, ranks)


def _encode(model: ReferenceModel, batch: Batch, tower: Tower | None = None) -> tuple[Tensor, ...]:
    """``sentence``, ``words``, ``x`` and ``mask`` of a batch, float32."""
    sentence, words = model.encode_text(batch.ids)
    x, mask = encode_videos(model, batch.frames, batch.counts, tower)
    return sentence.float(), words.float(), x.float(), mask


def _back(outputs: Sequence[Tensor], features: Sequence[Tensor], ranks: Ranks) -> None:
    """From the features' gradients, of all ranks together, to this rank's towers."""
    trained = [(out, f) for out, f in zip(outputs, features, strict=True) if out.requires_grad]
    gradients = [torch.zeros_like(f) if f.grad is None else f.grad for _, f in trained]
    ranks.add(gradients)
    if trained:
        own = [ranks.own(gradient) for gradient in gradients]
        torch.autograd.backward([out for out, _ in trained], own)


def _report(
    terms: dict[str, Tensor], models: Mapping[str, ReferenceModel], ranks: Ranks
) -> dict[str, Tensor]:
    """Every model's terms, whichever rank computed them, and the mean of their losses."""
    totals: dict[str, float] = {}
    for found in ranks.meet({name: float(value) for name, value in terms.items()}):
        for name, value in found.items():
            totals[name] = totals.get(name, 0.0) + value
    terms = {name: torch.tensor(value) for name, value in totals.items()}
    loss = torch.stack([terms.pop(f"{name}.loss") for name in models]).mean()
    return {"loss": loss, **terms}


@torch.no_grad()
def score_apart(
    model: ReferenceModel, batch: Batch, precision: str = "fp32", ranks: Ranks | None = None
) -> Scores:
    """The scores that a model with towers of its own gives a batch, without gradients."""
    ranks = ranks or Ranks()
    with arithmetic(batch.ids.device.type, precision):
        found = _encode(model, batch)
    with arithmetic(batch.ids.device.type, "fp32"):
        return score_batch(model, *(ranks.gather(tensor) for tensor in found))


def check_models(models: Mapping[str, ReferenceModel], teacher: ReferenceModel | str | None) -> None:
    """Models of one run share one CLIP and its sizes; a teacher has a pupil, and sees what the pupil sees."""
    if not models:
        raise UsageError("expected at least one model to train")
    first = next(iter(models.values()))
    for name, model in models.items():
        if model.clip is not first.clip:
            raise UsageError(
                f"{name}: models that are trained together share one clip module, this one has its own"
            )
        _check_sizes(name, model, first)
    if teacher is None:
        return
    if isinstance(teacher, ReferenceModel):
        _check_sizes("the teacher", teacher, first)
    elif teacher not in models:
        raise UsageError(
            f"the teacher {teacher!r} is none of the models: expected one of {', '.join(models)}"
        )
    if not any(model.family == STUDENT and name != teacher for name, model in models.items()):
        raise UsageError(
            f"a teacher teaches models of the family {STUDENT}; there is none among {', '.join(models)}"
        )


def _check_sizes(name: str, model: ReferenceModel, first: ReferenceModel) -> None:
    for size in ("frames", "words", "image", "vocab"):
        if model.sizes[size] != first.sizes[size]:
            raise UsageError(
                f"{name} has {size} {model.sizes[size]}, expected {first.sizes[size]} as in the others"
            )
