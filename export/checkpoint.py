"""Reading checkpoints, none of which is trusted: tensors come out, code never runs.

Files of ``torch.save`` are read with ``weights_only=True``, safetensors after their header was measured.
Sources:

* ``.bin``, ``.pt``, ``.pth``: a dict of tensors, or one wrapped (``{"model_state_dict": ...}``, ``module.``);
* ``.safetensors``;
* a Hugging Face ``CLIPModel`` or open_clip directory (safetensors, also sharded, or a ``.bin``);
* ``hf://organisation/name`` or ``hf://organisation/name@revision``, fetched by huggingface_hub.
"""

from __future__ import annotations

import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vtr.errors import BackendError, CheckpointError

from .configs import huggingface_facts, open_clip_facts, read_json
from .layouts import Checkpoint, Facts, canonical, detect_layout

MAX_HEADER = 1 << 20  # bytes of a safetensors header
MAX_PICKLE = 16 << 20  # bytes of a torch archive's skeleton; the tensors lie outside it
TORCH_AT_LEAST = (2, 10)  # weights_only had holes before
_ZIP = b"PK\x03\x04"
_WRAPPERS = ("model_state_dict", "state_dict", "model", "module")
_OPEN_CLIP_WRAPPER = {"epoch", "name", "state_dict"}  # what open_clip's training script saves
_PREFIXES = ("module.", "_orig_mod.")  # DataParallel's and torch.compile's, on every key
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8, torch.bool)
_PICKLED = re.compile(  # what a saved dict of tensors consists of
    r"collections OrderedDict"
    r"|torch\._utils (_rebuild_tensor|_rebuild_tensor_v2|_rebuild_parameter)"
    r"|torch(\.storage)? \w+Storage"
    r"|torch (Size|device|b?float\d*|half|double|int\d+|uint8|bool)"
)


def load_checkpoint(source: str | Path) -> Checkpoint:
    """Read a checkpoint: float32 tensors under CLIP4Clip's published keys (``clip.*``), and their ``facts``.

    Raises CheckpointError for whatever is not a sound checkpoint, a missing file included, and BackendError
    where PyTorch is too old to read it safely or huggingface_hub is missing.
    """
    if isinstance(source, str) and source.startswith("hf:"):
        return load_checkpoint(download(source))
    path = Path(source)
    try:
        if not path.exists():
            raise CheckpointError("no such file or directory")
        return _read_directory(path) if path.is_dir() else _read_single(path)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error


_DIRECTORIES = {  # what a configuration says of the tensors beside it, and the files that may hold these
    "config.json": (
        huggingface_facts,
        ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"),
    ),
    "open_clip_config.json": (
        open_clip_facts,
        ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    ),
}


def _read_directory(folder: Path) -> Checkpoint:
    known = [_DIRECTORIES[name] for name in _DIRECTORIES if (folder / name).exists()]
    if not known:
        raise CheckpointError(
            "expected config.json (Hugging Face CLIPModel) or open_clip_config.json in the directory; "
            "to read a single file, name the file"
        )
    for read_facts, names in known:
        if weights := next((folder / name for name in names if (folder / name).exists()), None):
            facts = read_facts(folder)  # first: what is wrong with it is told before gigabytes are read
            shards = weights.name.endswith(".index.json")
            return canonical(_read_shards(weights) if shards else _read_file(weights)[0], facts)
    expected = ", ".join(name for _, names in known for name in names)
    raise CheckpointError(f"expected one of {expected} in the directory")


def _read_single(path: Path) -> Checkpoint:
    """A file by itself; a configuration file beside it counts when the file's layout or name calls for it."""
    tensors, wrapper = _read_file(path)
    layout = detect_layout(tensors)
    open_clip = path.name.startswith("open_clip") or wrapper >= _OPEN_CLIP_WRAPPER or layout == "open_clip"
    facts = Facts(layout)
    if layout == "huggingface" and path.with_name("config.json").exists():
        facts = huggingface_facts(path.parent)
    elif layout != "clip4clip" and open_clip:
        facts = Facts("open_clip")
        if path.with_name("open_clip_config.json").exists():
            facts = open_clip_facts(path.parent)
    return canonical(tensors, facts)


def _read_file(path: Path) -> tuple[dict[str, Tensor], set[str]]:
    """Tensors of one file, and the other names beside them where the file wraps them."""
    if path.suffix == ".safetensors":
        tensors, wrapper = _read_safetensors(path), set()
    else:
        tensors, wrapper = _unwrap(_read_torch(path))
    _check_tensors(tensors, path.stat().st_size)
    return _strip_prefixes(tensors), wrapper


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    size = path.stat().st_size
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if size < 8 or header > MAX_HEADER or header > size - 8:
        raise CheckpointError(
            f"safetensors header of {header} bytes in a file of {size}: at most {MAX_HEADER} are accepted, "
            "and the file must hold them; is it truncated, or a Git LFS pointer?"
        )
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"not a sound safetensors file: {error}") from error


def _read_shards(index: Path) -> dict[str, Tensor]:
    """The files of a ``model.safetensors.index.json``, each holding exactly what the index says."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index.name}: expected a non-empty weight_map")
    files: dict[str, set[str]] = {}
    for key, name in weight_map.items():
        if not isinstance(name, str) or not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name):
            raise CheckpointError(f"{index.name}: {name!r} is not the plain name of a safetensors file")
        files.setdefault(name, set()).add(key)
    tensors = {}
    for name, keys in sorted(files.items()):
        if not (index.parent / name).exists():
            raise CheckpointError(f"{index.name}: shard {name} is missing")
        part, _ = _read_file(index.parent / name)
        if part.keys() != keys:
            odd = sorted(part.keys() ^ keys)[:4]
            raise CheckpointError(
                f"{index.name}: shard {name} does not hold what the index says: {', '.join(odd)}"
            )
        tensors |= part
    return tensors


def _read_torch(path: Path) -> Any:
    """What ``torch.save`` wrote, tensors and plain containers only."""
    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if version < TORCH_AT_LEAST:
        raise BackendError(
            f"reading {path.name} safely needs torch >= {'.'.join(map(str, TORCH_AT_LEAST))}, "
            f"got {torch.__version__}: pip install -U torch"
        )
    with path.open("rb") as file:
        zipped = file.read(len(_ZIP)) == _ZIP
    if zipped:
        _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on pickle protocols, of no use to a reader
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files fail in many ways
        raise CheckpointError(
            f"torch.load(weights_only=True) cannot read it: {_reason(error)}; "
            "expected what torch.save(model.state_dict(), path) writes"
        ) from error


def _reason(error: Exception) -> str:
    """What went wrong, in one line and without PyTorch's hints at loading the file unsafely."""
    text = " ".join(str(error).split())
    if foreign := re.search(r"GLOBAL (\S+)", text):
        return f"it holds Python objects ({foreign[1]})"
    if refusal := re.search(r"WeightsUnpickler error: (.*?)( Please file|$)", text):
        text = refusal[1]
    return f"{type(error).__name__}: {text[:200]}" if "weights_only" not in text else type(error).__name__


def _check_archive(path: Path) -> None:
    """Refuse torch archives that are code, that unpack to more than they are, or that pickle objects."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename.split("/", 1)[-1] for entry in entries]
            if "constants.pkl" in names or any(name.startswith("code/") for name in names):
                raise CheckpointError(
                    "a TorchScript archive, which holds code (OpenAI publishes its models so). "
                    "If you trust the file, convert it once: "
                    "torch.save(torch.jit.load(path, map_location='cpu').state_dict(), 'clip.pt')"
                )
            inflated = sum(entry.file_size for entry in entries)
            if (
                any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
                or inflated > path.stat().st_size
            ):
                raise CheckpointError(
                    f"compressed or overlapping entries ({inflated} bytes in a file of "
                    f"{path.stat().st_size}): torch.save stores tensors as they are"
                )
            skeletons = [e for e, name in zip(entries, names, strict=True) if name == "data.pkl"]
            if len(skeletons) != 1 or skeletons[0].file_size > MAX_PICKLE:
                sizes = [entry.file_size for entry in skeletons]
                raise CheckpointError(f"expected one data.pkl of at most {MAX_PICKLE} bytes, got {sizes}")
            _check_pickle(archive.read(skeletons[0]))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise CheckpointError(f"a damaged or truncated torch archive: {error}") from error


def _check_pickle(data: bytes) -> None:
    """Name the classes that do not belong into a dict of tensors, without building any."""
    foreign = {
        argument.replace(" ", ".")
        for opcode, argument, _ in pickletools.genops(data)
        if opcode.name == "GLOBAL" and not _PICKLED.fullmatch(argument)
    }
    if foreign:
        raise CheckpointError(
            f"holds Python objects beside tensors ({', '.join(sorted(foreign)[:5])}); "
            "save the tensors alone: torch.save(model.state_dict(), path)"
        )


def _unwrap(value: Any, depth: int = 0) -> tuple[dict[str, Tensor], set[str]]:
    """The dict of tensors in what was saved, and the names it was wrapped with."""
    if not isinstance(value, dict):
        raise CheckpointError(f"expected a dict of tensors, got {type(value).__name__}")
    if depth < 3 and not any(isinstance(item, Tensor) for item in value.values()):
        for name in _WRAPPERS:
            if isinstance(value.get(name), dict):
                tensors, inner = _unwrap(value[name], depth + 1)
                return tensors, inner | {str(key) for key in value}
    wrong = [key for key, item in value.items() if not isinstance(item, Tensor) or not isinstance(key, str)]
    if wrong or not value:
        kinds = ", ".join(f"{key!r}: {type(value[key]).__name__}" for key in wrong[:4]) or "nothing"
        raise CheckpointError(
            f"expected a dict of named tensors (or one under {', '.join(_WRAPPERS)}), got {kinds}"
        )
    return dict(value), set()


def _check_tensors(tensors: Mapping[str, Tensor], file_size: int) -> None:
    """Refuse what is not plain numbers in memory, or claims more of them than the file holds."""
    claimed = 0
    for key, tensor in tensors.items():
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not plain or tensor.dtype not in _FLOATS + _INTEGERS:
            raise CheckpointError(
                f"{key}: expected a plain tensor of floating-point numbers, got {tensor.dtype}, "
                f"{tensor.layout}, device {tensor.device.type}"
            )
        claimed += tensor.numel() * tensor.element_size()
    if claimed > 2 * file_size + MAX_HEADER:  # tied weights may count twice
        raise CheckpointError(f"the tensors claim {claimed} bytes, the file has {file_size}: forged sizes")


def _strip_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES * 2:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


_HUB_FILES = ["config.json", "*processor_config.json", "tokenizer*.json", "vocab.json", "merges.txt"]


def download(source: str) -> Path:
    """Fetch ``hf://organisation/name[@revision]``: configuration, tokenizer and weights.

    These are safetensors where the repository has such, else ``pytorch_model.bin`` (OpenAI's own CLIPs), read
    like any other file of PyTorch: tensors alone, and nothing in it is run.
    """
    match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", source)
    if match is None:
        raise CheckpointError(
            f"expected hf://organisation/name or hf://organisation/name@revision, got {source!r}"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise BackendError('reading hf:// names needs huggingface_hub: pip install "vtr[export]"') from error
    name, revision = match.groups()
    wanted = [*_HUB_FILES, "model*.safetensors", "model.safetensors.index.json"]
    others = [["open_clip_config.json", "open_clip_model.safetensors"], ["pytorch_model.bin"]]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
        while others and not any(folder.glob("*model*.safetensors*")):
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=others.pop(0)))
    except Exception as error:  # the hub's own errors, and the network's
        raise CheckpointError(f"{source}: cannot be fetched: {type(error).__name__}: {error}") from error
    return folder
