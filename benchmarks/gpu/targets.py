"""What is asked of a GPU of the H200's class, as data: the table holds the records against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True)
class Target:
    """One line of the table: ``field`` of the record ``record``, at least ``bound``, or at most if ``below``.

    ``record`` may be a pattern; of several records the best counts. ``field`` may lead to a percentile:
    "ms/p50".
    """

    title: str
    record: str
    field: str
    bound: float
    moonshot: float | None
    unit: str = "%"
    below: bool = False

    def measured(self, records: Iterable[Mapping[str, Any]]) -> float | None:
        """The value, in the unit of the table; ``None`` where nothing was measured."""
        values = [
            value
            for record in records
            if fnmatchcase(record["name"], self.record)
            if (value := _at(record, self.field)) is not None
        ]
        if not values:
            return None
        best = min(values) if self.below else max(values)
        return 100 * best if self.unit == "%" else best

    def reached(self, value: float, bound: float) -> bool:
        return value <= bound if self.below else value >= bound


def _at(record: Mapping[str, Any], field: str) -> float | None:
    value: Any = record
    for name in field.split("/"):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return float(value)


COPY, PEAK, TIMES = "of_copy_gb_s", "of_bf16_tflops", "times/p50"

TARGETS = (
    Target("TC-MGC, K = 3, 1 text: of copy bandwidth", "tcmgc_k3 1 texts", COPY, 60, 85),
    Target("TC-MGC, K = 3, 1 text, a million videos", "tcmgc_k3 1 texts", "ms_a_million", 5, 3.5, "ms", True),
    Target("TC-MGC, K = 22, 1 text: of copy bandwidth", "tcmgc_k22 1 texts", COPY, 30, 60),
    Target("TC-MGC, K = 3, 64 texts: of bf16 peak", "tcmgc_k3 64 texts", PEAK, 35, 60),
    Target("TC-MGC, K = 22, 64 texts: of bf16 peak", "tcmgc_k22 64 texts", PEAK, 15, 30),
    Target("X-CLIP, 1 text: of copy bandwidth", "xclip 1 texts", COPY, 75, 90),
    Target("masked mean: of copy bandwidth", "pool mean", COPY, 80, 92),
    Target("EA, excitation: of copy bandwidth", "pool excitation m=F/4", COPY, 80, 92),
    Target("EA, aggregation: of copy bandwidth", "pool aggregation m=F/4", COPY, 80, 92),
    Target("EA, both gates: of copy bandwidth", "pool excitation_aggregation m=F/4", COPY, 80, 92),
    Target("AFA: of copy bandwidth", "pool afa", COPY, 80, 92),
    Target("TC-MGC, K = 3: times PyTorch eager", "tcmgc_k3 against eager fp32", TIMES, 100, None, "×"),
    Target("TC-MGC, K = 22: times PyTorch eager", "tcmgc_k22 against eager fp32", TIMES, 100, None, "×"),
    Target("TC-MGC, K = 3: ten best as in float32", "tcmgc_k3 agreement", "top10", 99.5, None),
    Target("TC-MGC, K = 22: ten best as in float32", "tcmgc_k22 agreement", "top10", 99.5, None),
    # By any runtime that the engine opens, so not by PyTorch.
    Target("ViT-B/32 frames: of bf16 peak", "encode [!P]*", PEAK, 40, 55),
)  # fmt: skip
