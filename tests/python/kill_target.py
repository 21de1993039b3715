"""Run by test_kill.py: indexes a folder, a commit for each clip, and prints files once committed."""

import sys

import vtr
import vtr.indexing

bundle, index, folder = sys.argv[1:]
vtr.indexing.ENCODE_CLIPS = 1
vtr.indexing.COMMIT_CLIPS = 1
engine = vtr.Engine(bundle, index, precision="fp32", backend="onnxruntime", threads=1)
print("ready", flush=True)
engine.index(folder, progress=lambda done, total, name, outcome: print(outcome, name, flush=True), workers=1)
print("finished", flush=True)
