"""The kernels really compiled, in a process of their own: this one may have them interpreted.

By default a few of the architectures; VTR_KERNELS=all compiles every shipped size for all six.
"""

import hashlib
import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="no Triton: pip install 'vtr[gpu]'")

from vtr.kernels.config import ARCHES

ALL = os.environ.get("VTR_KERNELS") == "all"
# (scoring, frames, words, dim, keep, storage), architectures by default
SPECS = [
    (("holistic", 1, 1, 512, 1, "fp16"), (120,)),
    (("xclip", 12, 32, 512, 1, "fp16"), (80, 90)),
    (("tcmgc", 12, 32, 512, 3, "fp16"), (90,)),
    (("tcmgc", 12, 32, 192, 22, "fp16"), ()),  # the built-in model
    (("tcmgc", 12, 32, 512, 3, "bf16"), ()),
    (("tcmgc", 12, 32, 512, 22, "fp16"), ()),
    (("tcmgc", 12, 32, 512, 22, "bf16"), ()),
    (("xclip", 12, 32, 512, 1, "bf16"), ()),
    (("xclip", 12, 32, 192, 1, "fp16"), ()),
    (("xclip", 64, 64, 512, 1, "fp16"), ()),
]
CASES = [(spec, ARCHES if ALL else some) for spec, some in SPECS if ALL or some]

SCRIPT = """
import sys
from pathlib import Path
from vtr.kernels.aot import build
from vtr.kernels.config import Spec
scoring, frames, words, dim, keep, storage, out, *arches = sys.argv[1:]
build(Spec(scoring, int(frames), int(words), int(dim), int(keep), storage), Path(out), map(int, arches))
"""


# As if the first compilations had kept 8 bytes of a thread in memory.
SPILLING = """
import sys
from pathlib import Path
from vtr.errors import UsageError
from vtr.kernels import aot
from vtr.kernels.config import Spec
compile_kernel, asked = aot.compile_kernel, []
def compile_and_note(kernel, arch, registers=None):
    asked.append(registers)
    return compile_kernel(kernel, arch, registers)
aot.compile_kernel = compile_and_note
aot.resources = lambda cubin: (128, 8 if len(asked) <= int(sys.argv[1]) else 0)
try:
    made = aot.build(Spec("xclip", 12, 32, 512, 1), Path(sys.argv[2]), [80], names=["topk_merge"])
    print(asked, list(made["kernels"]))
except UsageError as error:
    print(asked, error)
"""


def run(script, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def compiled(spec, arches, out):
    run(SCRIPT, *spec, out, *arches)
    return json.loads((out / "kernels.json").read_text())


def test_what_spills_is_compiled_with_all_registers_and_then_refused(tmp_path):
    assert run(SPILLING, 1, tmp_path) == "[None, 255] ['topk_merge']\n"
    said = run(SPILLING, 2, tmp_path)
    assert said.startswith("[None, 255] topk_merge for sm_80: expected all in registers, 8 bytes a thread")


@pytest.mark.parametrize("spec, arches", CASES, ids=str)
def test_cubins_of_every_kernel_without_spills(spec, arches, tmp_path):
    made = compiled(spec, arches, tmp_path)
    assert made["format"] == 1
    own = {"holistic_topk", "holistic_score"} if spec[0] == "holistic" else {f"{spec[0]}_score"}
    assert set(made["kernels"]) == own | {"topk_scores", "topk_merge"}
    for name, kernel in made["kernels"].items():
        assert set(kernel["variants"]) == {f"sm_{arch}" for arch in arches}
        ptx = (tmp_path / kernel["ptx"]["file"]).read_text()
        assert f".entry {kernel['symbol']}(" in ptx
        assert [arg["name"] for arg in kernel["args"][-2:]] == ["global_scratch", "profile_scratch"]
        for arch, variant in kernel["variants"].items():
            cubin = (tmp_path / variant["file"]).read_bytes()
            assert cubin.startswith(b"\x7fELF"), name
            assert hashlib.sha256(cubin).hexdigest() == variant["sha256"]
            assert variant["spills"] == 0 and 0 < variant["registers"] <= 255
            most = 99 if arch in ("sm_86", "sm_89", "sm_120") else 227
            assert variant["shared"] <= most * 1024
