"""PNG pictures of results: latency by number of videos, roofline, where the time of indexing goes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vtr.errors import BackendError

from .case import OURS, is_ours
from .results import name_of
from .tables import short

COLOURS = ("#0b6e99", "#d9730d", "#0f7b6c", "#6940a5", "#ad1a72", "#64473a", "#e03e3e", "#787774")
MARKERS = "osD^vP*X"
STAGE_COLOURS = ("#0b6e99", "#d9730d", "#dfab01", "#0f7b6c", "#6940a5", "#ad1a72", "#64473a", "#b0aca6")

Line = list[tuple[float, float]]


def check_matplotlib() -> None:
    """Raise before minutes of work go into results that cannot be drawn."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise BackendError("plots need matplotlib: pip install 'vtr[plot]'") from error


def draw_all(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw what the results have records for; returns the files.

    Raises:
        BackendError: matplotlib is not installed.
    """
    check_matplotlib()
    drawers: dict[str, Callable[[Any, Mapping[str, Any]], bool]] = {
        "latency.png": _latency,
        "roofline.png": _roofline,
        "stages.png": _stages,
    }
    from matplotlib.figure import Figure

    drawn = []
    for name, draw in drawers.items():
        figure = Figure(figsize=(8.5, 5.2), layout="constrained")
        axes = figure.add_subplot()
        if draw(axes, results):
            threads = f"{results['threads']} thread{'s' if results['threads'] > 1 else ''}"
            axes.set_title(f"{axes.get_title()}\n{name_of(results['machine'])}, {threads}", fontsize=10)
            figure.savefig(folder / name, dpi=150)
            drawn.append(folder / name)
    return drawn


def _both_logarithmic(axes: Any) -> None:
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,g}")
    low, high = axes.get_ylim()
    axes.yaxis.set_minor_formatter((lambda value, _: f"{value:,g}") if high < 100 * low else "")
    axes.xaxis.set_minor_formatter("")
    axes.grid(alpha=0.3, which="both")
    axes.tick_params(which="both", labelsize=8)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


# ---- latency -----------------------------------------------------------------------------------------


def latencies(results: Mapping[str, Any]) -> dict[str, Line]:
    """Milliseconds of one call of vtr by number of videos, for every series that has at least two.

    A series is a measurement's name without the part that tells the number of videos.
    """
    lines: dict[str, Line] = {}
    for case in ("search", "score"):
        for record in results["cases"].get(case, []):
            videos = record.get("settings", {}).get("videos")
            label = f"{case}: {re.sub(r', [0-9,]+ videos', '', record['name'])}"
            for contender, micro in record.get("microseconds", {}).items():
                if videos and is_ours(contender):
                    series = label if contender == OURS else f"{label} ({contender})"
                    point = (videos, micro["p50"] * record.get("items", 1) / 1000)
                    lines.setdefault(series, []).append(point)
    return {name: sorted(points) for name, points in lines.items() if len({x for x, _ in points}) > 1}


def _latency(axes: Any, results: Mapping[str, Any]) -> bool:
    lines = latencies(results)
    if not lines:
        return False
    for number, (name, points) in enumerate(lines.items()):
        xs, ys = zip(*points, strict=True)
        style = ("-", "--")[number // 8 % 2]
        axes.plot(
            xs, ys, f"{MARKERS[number % 8]}{style}", color=COLOURS[number % 8], label=name, markersize=5
        )
    low = min(x for points in lines.values() for x, _ in points)
    high = max(x for points in lines.values() for x, _ in points)
    bottom = min(y for points in lines.values() for _, y in points)
    axes.plot(
        [low, high], [bottom, bottom * high / low], ":", color="#b0aca6", label="in proportion to videos"
    )
    axes.set(xlabel="videos", ylabel="milliseconds a search (median)")
    axes.set_title("Latency against the size of the index")
    _both_logarithmic(axes)
    return True


# ---- roofline ----------------------------------------------------------------------------------------


def roofline_points(results: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Name, operations a byte, TFLOP/s, of what says how much it computes and reads an item."""
    for records in results["cases"].values():
        for record in records:
            settings, micro = record.get("settings", {}), record.get("microseconds", {}).get(OURS)
            if micro and settings.get("flop") and settings.get("bytes"):
                tflops = settings["flop"] / micro["p50"] / 1e6
                yield record["name"], settings["flop"] / settings["bytes"], tflops


def _roofline(axes: Any, results: Mapping[str, Any]) -> bool:
    points, peaks = list(roofline_points(results)), results["ceilings"]
    if not points or "read_gb_s" not in peaks:
        return False
    slope = peaks["read_gb_s"] / 1000  # TFLOP/s for one operation a byte
    low, high = min(x for _, x, _ in points) / 3, max(x for _, x, _ in points) * 3
    for name, style in (("bf16_tflops", "-"), ("fp32_tflops", "--")):
        if peak := peaks.get(name):
            ridge = peak / slope
            xs = sorted({low, max(low, min(ridge, high)), high})
            axes.plot(xs, [min(slope * x, peak) for x in xs], f"k{style}", lw=1)
            axes.annotate(
                f"{name}, {short(peak)}", (high, min(slope * high, peak)), xytext=(0, 3),
                textcoords="offset points", ha="right", va="bottom", fontsize=7,
            )  # fmt: skip
    axes.annotate(
        f"read_gb_s, {short(peaks['read_gb_s'])}", (low, slope * low), xytext=(8, 0),
        textcoords="offset points", fontsize=7,
    )  # fmt: skip
    for number, (name, x, y) in enumerate(points):
        axes.plot(
            x, y, MARKERS[number // 8 % 8], color=COLOURS[number % 8], label=name, markersize=6, ls="none"
        )
    axes.set(xlabel="operations a byte that is read", ylabel="TFLOP/s (median)")
    axes.set_title("Roofline: the product that any form of the head must do")
    _both_logarithmic(axes)
    return True


# ---- stages ------------------------------------------------------------------------------------------


def _stages(axes: Any, results: Mapping[str, Any]) -> bool:
    records = [record for record in results["cases"].get("index", []) if record.get("stages")]
    if not records:
        return False
    names = list(dict.fromkeys(stage for record in records for stage in record["stages"]))
    starts = [0.0] * len(records)
    for number, stage in enumerate(names):
        widths = [record["stages"].get(stage, 0.0) for record in records]
        axes.barh(range(len(records)), widths, 0.6, left=starts, label=stage, color=STAGE_COLOURS[number % 8])
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    axes.set_yticks(range(len(records)), [record["name"] for record in records], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="seconds (stages that overlap stand one after the other)")
    axes.set_title("Indexing: where the time goes")
    axes.grid(alpha=0.3, axis="x")
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=4)
    return True
