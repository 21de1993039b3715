"""What a checkpoint's tensors cannot say, and the exporter has to be told."""

from __future__ import annotations

from dataclasses import dataclass

from vtr.errors import UsageError

DEFAULT_FRAMES = 12
DEFAULT_WORDS = 32

FAMILIES = ("clip4clip", "ea", "teachclip", "xclip", "tcmgc")
SIM_HEADERS = ("meanP", "seqTransf", "seqLSTM", "tightTransf")
SE_TYPES = (
    "excitation",
    "aggregation",
    "excitation_aggregation",
    "excitation_seq",
    "excitation_seq_aggregation",
)
SLICES = ("uniform", "head", "tail")
ACTIVATIONS = ("quick_gelu", "gelu")


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export; ``None`` and ``"auto"`` mean "what the tensors say, else the default".

    A value that contradicts the tensors is an error, never a preference. Only the names are checked here;
    `vtr.export.models.build_model` compares them with the checkpoint. The sizes that came out are in
    ``ReferenceModel.sizes``, the sampling in ``ReferenceModel.sampling``: read them there, not here.
    """

    family: str = "auto"
    sim_header: str = "auto"
    frames: int | None = None  # F, most frames of a video; default 12
    words: int | None = None  # L, tokens of a text, start and end included; default 32
    fps: int = 1  # candidate frames a second
    slice: str = "uniform"  # which candidates stay when there are more than F
    se_type: str | None = None  # EA-CLIP4Clip's block type; needed where the file has a lone ``se_block.fc``
    keep_rate: float | None = (
        None  # TC-MGC: only checked against the tensors, which hold K = int(L * keep_rate)
    )
    activation: str = "auto"  # of the CLIP towers' MLPs
    vision_heads: int | None = None  # attention heads; default width // 64
    text_heads: int | None = None
    ignore: tuple[str, ...] = ()  # name prefixes of tensors to leave out on purpose

    def __post_init__(self) -> None:
        _one_of("--family", self.family, ("auto", *FAMILIES))
        _one_of("--sim-header", self.sim_header, ("auto", *SIM_HEADERS))
        _one_of("--slice", self.slice, SLICES)
        _one_of("--activation", self.activation, ("auto", *ACTIVATIONS))
        if self.se_type is not None:
            _one_of("--se-type", self.se_type, SE_TYPES)
        for name in ("frames", "words", "fps", "vision_heads", "text_heads"):
            value = getattr(self, name)
            least = 2 if name == "words" else 1
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise UsageError(
                    f"--{name.replace('_', '-')} must be an integer of at least {least}, got {value!r}"
                )
        if self.keep_rate is not None and not 0 < self.keep_rate <= 1:
            raise UsageError(f"--keep-rate must be in (0, 1], got {self.keep_rate!r}")
        if isinstance(self.ignore, str) or not all(isinstance(p, str) and p for p in self.ignore):
            raise UsageError(f"--ignore takes a list of non-empty name prefixes, got {self.ignore!r}")


def _one_of(option: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{option} must be one of {', '.join(allowed)}; got {value!r}")
