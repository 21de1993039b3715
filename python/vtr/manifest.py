"""The manifest of a bundle: what its entries mean, and the checks that each must pass before it is used.

A manifest is JSON that anyone may have written. Every entry is checked for kind and size, so that code that
runs a model can rely on them: no name leads out of the directory, no size asks for absurd memory.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from vtr.errors import BundleError

FORMAT = "vtr-bundle"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
REQUIRED = ("text.onnx", "vision.onnx", "temporal.onnx", "head.safetensors", "tokenizer.json")
KERNELS = "kernels/kernels.json"  # of bundles that were exported with --cuda
AGAIN = "copy the bundle anew or export it again"

FAMILIES = ("clip4clip", "ea", "teachclip", "xclip", "tcmgc")
SIM_HEADERS = ("meanP", "seqTransf", "seqLSTM", "tightTransf")
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8-static")
SLICES = ("uniform", "head", "tail")

LIMITS = {"frames": 4096, "words": 4096, "dim": 16384, "image": 4096, "patch": 4096, "vocab": 1 << 24}
MAX_CLIP = 1 << 31  # bytes of one video's frames
MAX_BYTES = 1 << 62
MAX_FILES = 256
MAX_NAME = 200
_FILE_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)

# What a fingerprint covers, beside the hashes of the files: all that changes features or logits.
_DEFINING = (
    *("family", "sim_header", "variant", "scoring", "sizes"),
    *("frame_coupling", "sampling", "preprocessing", "precision"),
)


def fingerprint(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the entries that define the model, and of the hashes of graphs, head and tokenizer."""
    defining = {name: manifest[name] for name in _DEFINING}
    files = {
        name: entry["sha256"]
        for name, entry in manifest["files"].items()
        if name.endswith(".onnx") or name in REQUIRED
    }
    text = json.dumps({**defining, "files": files}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def scoring_of(family: str, sim_header: str) -> str:
    """How the logits of a family with a header are computed."""
    if family in ("xclip", "tcmgc"):
        return family
    return "cross" if sim_header == "tightTransf" else "holistic"


def head_shapes(scoring: str, sizes: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of ``head.safetensors``: the published scorers' parameters under their own names."""
    F, L, D, K = (sizes[name] for name in ("frames", "words", "dim", "keep"))
    shapes: dict[str, tuple[int, ...]] = {"logit_scale": (1,)}
    if scoring in ("xclip", "tcmgc"):
        shapes |= dict.fromkeys(("global_mat_weight", "local_mat_weight"), (D, D))
    if scoring == "xclip":
        shapes |= dict.fromkeys(("word_logit_weight", "word_mat_weight", "word_mat_weight2"), (L, L))
        shapes |= dict.fromkeys(("frame_logit_weight", "frame_mat_weight", "frame_mat_weight2"), (F, F))
    if scoring == "tcmgc":
        pool = "conditional_transformer.pool_frames."
        kept = ["attentive_word_logit_weight", "attentive_word_mat_weight", "attentive_word_mat_weight2"]
        kept += ["attentive_frame_word_mat_weight", "attentive_frame_word_mat_weight2"]
        shapes |= dict.fromkeys(kept, (K, K))
        shapes |= {"concat_frame_word_logit_weight": (K + 1, K + 1), "logit_weight": (4, 4)}
        shapes |= {f"{pool}linear_proj.weight": (D, D), f"{pool}linear_proj.bias": (D,)}
        for norm in ("layer_norm1", "layer_norm2", "layer_norm3"):
            shapes |= {f"{pool}{norm}.weight": (D,), f"{pool}{norm}.bias": (D,)}
    return shapes


def parse_manifest(text: bytes) -> dict[str, Any]:
    """The entries of a manifest, all checked.

    Raises:
        BundleError: an entry is missing or cannot be used; the message says what was expected.
    """
    try:
        manifest = json.loads(
            text.decode(), object_pairs_hook=_no_duplicates, parse_constant=_finite, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:  # damaged UTF-8 and JSON are ValueErrors
        raise BundleError(f"not a readable manifest ({error}); {AGAIN}") from None
    check_manifest(manifest)
    return dict(manifest)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = sorted(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise BundleError(f"expected each entry once, {twice[0]!r:.80} stands there twice; {AGAIN}")
    return result


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BundleError(f"expected finite numbers, got {text}; {AGAIN}")
    return value


# ---- kinds of entries --------------------------------------------------------------------------------


class Kind(NamedTuple):
    """What an entry may be: in words, and as a test."""

    words: str
    holds: Callable[[Any], bool]


def _one_of(*names: str) -> Kind:
    return Kind(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names)


def _whole(low: int, high: int) -> Kind:
    return Kind(f"a whole number in {low}..{high}", lambda value: type(value) is int and low <= value <= high)


def _numbers(low: float) -> Kind:
    def holds(value: Any) -> bool:
        return isinstance(value, list) and len(value) == 3 and all(map(number, value))

    def number(value: Any) -> bool:
        return type(value) in (int, float) and low < value < 1e6

    return Kind(f"three numbers above {low:g}", holds)


def _architectures(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(a) is int and 0 < a < 1000 for a in value)


TEXT = Kind(f"a text of at most {MAX_NAME} letters", lambda v: isinstance(v, str) and len(v) <= MAX_NAME)
TEXT_OR_NULL = Kind(f"{TEXT.words} or null", lambda value: value is None or TEXT.holds(value))
BOOLEAN = Kind("true or false", lambda value: isinstance(value, bool))
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
NULL = Kind("null", lambda value: value is None)
ARCHES = Kind("a list of CUDA architectures, such as 90", _architectures)
HASH = Kind("64 hexadecimal digits", lambda v: isinstance(v, str) and bool(re.fullmatch("[0-9a-f]{64}", v)))


def _check(entries: Mapping[str, Any], kinds: Mapping[str, Kind], place: str = "") -> None:
    for name, kind in kinds.items():
        if name not in entries or not kind.holds(entries[name]):
            actual = repr(entries[name])[:100] if name in entries else "nothing"
            raise BundleError(f"expected {place}{name} to be {kind.words}, got {actual}; {AGAIN}")


# ---- checks ------------------------------------------------------------------------------------------


def check_manifest(manifest: Any) -> None:
    """Raise BundleError unless ``manifest`` describes a model that this version can run."""
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f'expected a manifest with "format": "{FORMAT}": this directory is no bundle')
    version = manifest.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        newer = type(version) is int and version > FORMAT_VERSION
        remedy = "update vtr (pip install -U vtr)" if newer else "export the bundle again"
        raise BundleError(f"expected format version {FORMAT_VERSION}, got {repr(version)[:40]}; {remedy}")
    _check(manifest, {"family": _one_of(*FAMILIES), "sim_header": _one_of(*SIM_HEADERS)})
    scoring = scoring_of(manifest["family"], manifest["sim_header"])
    kinds = {"name": TEXT, "created_by": TEXT, "variant": TEXT_OR_NULL, "scoring": _one_of(scoring)}
    kinds |= {"precision": _one_of(*PRECISIONS), "frame_coupling": BOOLEAN, "trained": BOOLEAN}
    kinds |= dict.fromkeys(("sizes", "sampling", "preprocessing", "files", "parity"), OBJECT)
    _check(manifest, {**kinds, "fingerprint": HASH})
    _check_sizes(manifest["sizes"], scoring)
    _check_sampling(manifest["sampling"], manifest["sizes"])
    fixed = {"resize": _one_of("bicubic"), "crop": _one_of("center")}
    _check(manifest["preprocessing"], {"mean": _numbers(-1e6), "std": _numbers(0), **fixed}, "preprocessing ")
    _check_files(manifest["files"], scoring)
    if "cuda" in manifest:
        _check(manifest, {"cuda": OBJECT})
        _check(manifest["cuda"], {"arches": ARCHES, "triton": TEXT}, "cuda ")
        _check(manifest["files"], {KERNELS: OBJECT}, "file ")


def _check_sizes(sizes: dict[str, Any], scoring: str) -> None:
    _check(sizes, {name: _whole(2 if name == "words" else 1, most) for name, most in LIMITS.items()}, "size ")
    _check(sizes, {"patch": _whole(1, sizes["image"])}, "size ")
    _check(sizes, {"keep": _whole(1, sizes["words"]) if scoring == "tcmgc" else NULL}, "size ")
    if (clip := sizes["frames"] * sizes["image"] ** 2 * 3) > MAX_CLIP:
        raise BundleError(f"expected a clip of at most {MAX_CLIP} bytes, the sizes give {clip}; {AGAIN}")


def _check_sampling(sampling: dict[str, Any], sizes: dict[str, Any]) -> None:
    kinds = {"fps": _whole(1, 1000), "slice": _one_of(*SLICES)}
    kinds |= {"frames": _whole(sizes["frames"], sizes["frames"])}
    kinds |= {"size": _whole(sizes["image"], sizes["image"])}
    _check(sampling, kinds, "sampling ")
    if unknown := sorted(set(sampling) - set(kinds)):
        raise BundleError(f"expected sampling of {', '.join(sorted(kinds))}, got also {unknown[0]!r:.80}")


def _check_files(files: dict[str, Any], scoring: str) -> None:
    required = (*REQUIRED, "cross.onnx") if scoring == "cross" else REQUIRED
    _check(files, dict.fromkeys(required, OBJECT), "file ")
    if len(files) > MAX_FILES:
        raise BundleError(f"expected at most {MAX_FILES} files, got {len(files)}; {AGAIN}")
    for name, entry in files.items():
        if not _FILE_NAME.fullmatch(name) or len(name) > MAX_NAME or name == MANIFEST:
            raise BundleError(
                f"file {name!r:.100} is refused: expected names of letters, digits, '.', '_' and '-' "
                f"inside the bundle's own directory; {AGAIN}"
            )
        _check(files, {name: OBJECT}, "file ")
        _check(entry, {"sha256": HASH, "bytes": _whole(0, MAX_BYTES)}, f"file {name}: ")
