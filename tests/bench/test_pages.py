"""What is made of results: tables, the documentation's page, pictures."""

import pytest
from bench_cases import record, results, times
from click.testing import CliRunner

from vtr.benchmarks import tables
from vtr.benchmarks.cli import main
from vtr.benchmarks.document import page
from vtr.benchmarks.plots import latencies, roofline_points
from vtr.benchmarks.results import write
from vtr.errors import UsageError


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(0.055, "55.0 ns"), (2.944, "2.94 µs"), (999.7, "1.00 ms"), (48100, "48.1 ms"), (1.2e6, "1.20 s")],
)
def test_durations(microseconds, text):
    assert tables.duration(microseconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3, "3"),
        (12345, "12,345"),
        (0.00123, "0.00123"),
        (123.456, "123"),
        (9876.5, "9,876"),
        ("x", "x"),
    ],
)
def test_numbers(value, text):
    assert tables.number(value) == text


def test_noise_wider_than_the_difference_is_no_difference():
    ratio = {"p20": 0.9, "p50": 1.2, "p80": 1.5, "clear": False}
    assert "no difference" in tables.faster(ratio)
    assert tables.faster({**ratio, "clear": True}).startswith("1.20×")


def whole():
    cases = {
        "index": [{"name": "five clips", "stages": {"decode": 1.5, "encode": 2.5, "commit": 0.5}}],
        "score": [record(), record("X, 100 videos", settings={"videos": 100}, items=100)],
        "search": [
            record(
                f"Y, alone, {videos:,} videos",
                {"vtr": {**times(videos * 3.0), "p95": videos * 4.0, "p99": videos * 5.0}},
                settings={"videos": videos},
                items=1,
                times_faster={},
            )
            for videos in (1000, 10_000)
        ],
        "memory": [{"name": "Z", "figures": {"peak, MB": 12.5, "on disk, KB a video": 17.0}}],
        "mine": [{"name": "a case that this version does not know", "figures": {"n": 1}}],
    }
    return results(cases, skipped={"encode": "torch | is not installed"})


def test_the_page_says_everything(tmp_path):
    text = page([(tmp_path / "results" / "a.json", whole())], tmp_path / "docs" / "benchmarks.md")
    for part in (
        "## A Processor, 2 cores, avx2",
        "2026-01-02; threads of every contender: 2; [a.json](../results/a.json)",
        "torch 2.0",
        "| 50.0× (45.0 – 55.0) |",
        "25% of bf16_tflops",
        "- left out: encoding",
        "- skipped: FAISS flat: faiss is not installed",
        "- checked before timing: largest difference 0.00100",
        "| five clips | decode | 1.50",
        "5.00 ms",
        "Not measured here: torch \\| is not installed.",
        "### mine",
    ):
        assert part in text, part
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)
    assert (
        text.index("### score")
        < text.index("### search")
        < text.index("### index")
        < text.index("### memory")
    )


def test_equal_results_make_an_equal_page(tmp_path):
    write(tmp_path / "a.json", whole())
    pages = []
    for name in ("one.md", "two.md"):
        done = CliRunner().invoke(main, ["document", str(tmp_path / "a.json"), "-o", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("change", "message"), [({"quick": True}, "quick"), ({"failed": {"score": "it broke"}}, "score failed")]
)
def test_results_that_are_not_for_quoting_are_refused(change, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        page([(tmp_path / "a.json", {**whole(), **change})], tmp_path / "b.md")


def test_latencies_are_of_whole_calls():
    lines = latencies(whole())
    assert lines["score: X"] == [(10, 0.02), (100, 0.2)]  # 2 µs an item, as many items as videos
    assert lines["search: Y, alone"] == [(1000, 3.0), (10_000, 30.0)]


def test_roofline_points():
    assert list(roofline_points(results())) == [("X, 10 videos", 20.0, pytest.approx(0.001))]


def test_pictures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    write(tmp_path / "a.json", whole())
    done = CliRunner().invoke(main, ["plot", str(tmp_path / "a.json"), "-o", str(tmp_path / "plots")])
    assert done.exit_code == 0, done.output
    drawn = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert drawn == ["latency.png", "roofline.png", "stages.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "plots").iterdir())


def test_nothing_is_drawn_of_nothing(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    write(tmp_path / "a.json", results({}))
    done = CliRunner().invoke(main, ["plot", str(tmp_path / "a.json"), "-o", str(tmp_path / "plots")])
    assert done.exit_code == 0 and list((tmp_path / "plots").iterdir()) == []
