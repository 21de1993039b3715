"""`vtr eval` with a real model on real files: its scores are the engine's."""

import json

import numpy as np
from click.testing import CliRunner

import vtr
from vtr.cli import main
from vtr.decode import read_clip
from vtr.evaluation import evaluate


def test_a_folder_of_clips_is_measured_with_the_engines_logits(models, clips, tmp_path):
    _, bundle = models("clip4clip-meanP")
    names = [path.stem for path in sorted(clips.iterdir())]
    lines = [(name, f"caption {number} of {name}") for name in names for number in range(2)]
    captions, saved = tmp_path / "captions.csv", tmp_path / "scores.npy"
    captions.write_text("video,caption\n" + "".join(f"{name},{text}\n" for name, text in lines))
    arguments = [
        captions,
        "--videos",
        clips,
        "--model",
        bundle,
        "--precision",
        "fp32",
        "--save-scores",
        saved,
    ]
    result = CliRunner().invoke(main, ["eval", "--json", "--bootstrap", "0", *map(str, arguments)])
    assert result.exit_code == 0, result.output

    engine = vtr.Engine(bundle, precision="fp32")
    videos = [read_clip(clips / f"{name}.mp4", engine.model.sampling) for name in names]
    expected = engine.score(engine.encode_text([text for _, text in lines]), engine.encode_clips(videos))
    scores = np.load(saved)
    np.testing.assert_allclose(scores, expected, atol=0.02)  # an index holds float16 features
    found = json.loads(result.stdout)
    assert (found["texts"], found["videos"]) == (2 * len(names), len(names))
    measured = evaluate(scores, np.repeat(np.arange(len(names)), 2), resamples=0)
    assert [entry["metrics"] for entry in found["results"]] == [d.metrics for d in measured.directions]
