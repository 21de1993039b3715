"""The command that starts a Python process: what it imports, and from where."""

import signal
import subprocess
import sys

import pytest

from vtr.processes import python_command, signal_name

SHADOWS = ("json", "sys", "struct", "numpy", "answers")


def test_a_process_imports_what_this_one_would_and_nothing_from_its_working_directory(tmp_path, monkeypatch):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir(), theirs.mkdir()
    (ours / "answers.py").write_text("import json, numpy\ndef main(n): print(json.dumps(n), numpy.ones(1))")
    for name in SHADOWS:
        (theirs / f"{name}.py").write_text("raise SystemExit(7)")
    for path in (str(ours), "", "."):
        monkeypatch.syspath_prepend(path)
    done = subprocess.run(
        python_command("answers", 5), cwd=theirs, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "5 [1.]\n"), done.stderr
    plain = subprocess.run([sys.executable, "-c", "import json"], cwd=theirs, timeout=120)
    assert plain.returncode == 7, "without it the working directory comes first"


@pytest.mark.parametrize(
    ("number", "name"), [(9, "SIGKILL"), (int(signal.SIGRTMIN) + 6, f"signal {int(signal.SIGRTMIN) + 6}")]
)
def test_names_of_signals(number, name):
    assert signal_name(number) == name
