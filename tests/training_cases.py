"""What the tests of training share: small models of every family, and batches of coloured videos."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from vtr.export.models import ReferenceModel, build_model
from vtr.export.options import ExportOptions
from vtr.export.synthetic import random_checkpoint
from vtr.training.batches import Batch
from vtr.training.options import TrainOptions

FRAMES, WORDS, SIDE, VOCAB = 4, 6, 32, 97
SIZES = {"frames": FRAMES, "words": WORDS, "vocab": VOCAB, "layers": 1, "temporal_layers": 1}
SIZES |= {"image": SIDE, "patch": 16, "context": 16}
MODELS = {
    "meanP": {"family": "clip4clip"},
    "seqTransf": {"family": "clip4clip", "sim_header": "seqTransf"},
    "seqLSTM": {"family": "clip4clip", "sim_header": "seqLSTM"},
    "tightTransf": {"family": "clip4clip", "sim_header": "tightTransf"},
    "3d": {"family": "clip4clip", "linear_patch": "3d"},
    "excitation": {"family": "ea", "variant": "excitation"},
    "aggregation": {"family": "ea", "variant": "aggregation"},
    "excitation_aggregation": {"family": "ea", "variant": "excitation_aggregation"},
    "excitation_seq": {"family": "ea", "variant": "excitation_seq", "sim_header": "seqTransf"},
    "excitation_seq_aggregation": {
        "family": "ea",
        "variant": "excitation_seq_aggregation",
        "sim_header": "seqLSTM",
    },
    "ea-tight": {"family": "ea", "variant": "excitation", "sim_header": "tightTransf"},
    "teachclip": {"family": "teachclip"},
    "xclip": {"family": "xclip"},
    "tcmgc": {"family": "tcmgc"},
}


def make_model(name: str, seed: int = 0, **sizes) -> ReferenceModel:
    """A trainable model; one random checkpoint for one seed."""
    given = {**SIZES, **MODELS[name], **sizes}
    alone = given.get("variant") if given.get("variant") in ("excitation", "aggregation") else None
    options = ExportOptions(frames=given["frames"], words=given["words"], se_type=alone)
    return build_model(random_checkpoint(**given, seed=seed), options).requires_grad_(True)


def make_batch(size: int = 3, seed: int = 0, frames: int = FRAMES) -> Batch:
    """Videos of 1 to F frames of noise; captions of different lengths."""
    make = torch.Generator().manual_seed(seed)
    counts = torch.arange(size) % frames + 1
    shape = (int(counts.sum()), SIDE, SIDE, 3)
    pictures = torch.randint(0, 256, shape, generator=make, dtype=torch.uint8)
    ids = torch.zeros(size, WORDS, dtype=torch.int64)
    for row in range(size):
        length = 3 + row % (WORDS - 2)
        ids[row, :length] = torch.randint(1, VOCAB - 2, (length,), generator=make)
        ids[row, 0], ids[row, length - 1] = VOCAB - 2, VOCAB - 1
    return Batch(pictures, counts, ids)


class Batches:
    """A source of ``steps`` steps: the same batch over and over, or a new one each."""

    def __init__(self, steps: int, size: int = 3, same: bool = False):
        self.steps, self.size, self.same = steps, size, same

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        return make_batch(self.size, seed=0 if self.same else step)


class Some(Batches):
    """As `Batches`, but only ``there`` can be had of its steps."""

    def __init__(self, steps: int, there: range):
        super().__init__(steps)
        self.there = there

    def __getitem__(self, step: int) -> Batch:
        if step not in self.there:
            raise EOFError
        return super().__getitem__(step)


INTERRUPTED = """
import json, os, signal, sys
import torch
from pathlib import Path
from training_cases import Batches, make_model
from vtr.training.loop import train
from vtr.training.options import TrainOptions

number, name, steps, out = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
torch.set_num_threads(1)

class Interrupts(Batches):
    def __getitem__(self, step):
        if step == 2:
            os.kill(os.getpid(), number)
        return super().__getitem__(step)

handler = signal.getsignal(number)
try:
    train({"m": make_model(name)}, Interrupts(steps), TrainOptions(**json.loads(sys.argv[5])), out)
except KeyboardInterrupt:
    assert signal.getsignal(number) is handler, "the handler that was there is back"
    print("interrupted")
"""


def interrupt_training(number: int, name: str, steps: int, options: TrainOptions, out: Path) -> None:
    """A run that sends itself a signal at its batch 2: a process of its own, so that no other one is hit."""
    given = {name: value for name, value in asdict(options).items() if name != "loss"}
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(number), name, str(steps), str(out), json.dumps(given)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.strip() == "interrupted", done.stderr[-3000:]
