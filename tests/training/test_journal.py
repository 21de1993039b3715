"""A run's log and its picture."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from PIL import Image

from vtr.training.journal import CURVES, LOG, Journal, draw_curves, read_log


def test_steps_are_averaged_and_a_last_line_that_was_cut_off_is_passed_over(tmp_path):
    journal = Journal(tmp_path, 0, every=2)
    for step in range(1, 6):
        journal.add(step, {"loss": float(step)}, clips=8, seconds=0.5, last=step == 5)
    lines = read_log(tmp_path / LOG)
    assert [(line["step"], line["loss"], line["clips_per_s"]) for line in lines] == [
        (2, 1.5, 16.0),
        (4, 3.5, 16.0),
        (5, 5.0, 16.0),
    ]
    with (tmp_path / LOG).open("a") as file:
        file.write(json.dumps(lines[0])[:-3])
    assert read_log(tmp_path / LOG) == lines
    Journal(tmp_path, 4, every=2)  # a run that goes on after step 4 does step 5 again
    assert read_log(tmp_path / LOG) == lines[:2]


def test_curves_show_the_loss_and_the_validation(tmp_path):
    pytest.importorskip("matplotlib")
    drawn = {}
    for name, low in {"falling": 0.0, "level": 1.0}.items():
        folder = tmp_path / name
        folder.mkdir()
        journal = Journal(folder, 0, every=1)
        for step in range(1, 11):
            loss = 1 - (1 - low) * step / 10
            journal.add(step, {"loss": loss, "m.contrast": loss}, clips=1, seconds=1.0, last=False)
        journal.write({"step": 10, "validation.R@1": 50.0})
        draw_curves(folder)
        drawn[name] = np.asarray(Image.open(folder / CURVES).convert("L"))
    assert drawn["falling"].shape == (900, 900)
    upper = drawn["falling"][:430] != drawn["level"][:430]
    assert upper[:, 100:700].any(0).mean() > 0.5, "the curves of the loss differ all along"
