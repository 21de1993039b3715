"""The engine: one model, one index, five verbs (encode_text, encode_frames, score, index, search)."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vtr.bank import Bank
from vtr.builtin import NAMES, builtin_name
from vtr.bundle import Bundle
from vtr.choices import choose_decoder, choose_device, choose_scoring
from vtr.columns import ColumnSpec
from vtr.encoders import open_encoders
from vtr.errors import DecodeError, IndexStoreError, UsageError
from vtr.features import FeatureEncoder
from vtr.files import absolute
from vtr.index import IndexStore
from vtr.scoring import make_scorer, topk
from vtr.types import Clip, Failure, Hit, IndexReport, TextFeatures, TextHit, VideoFeatures

if TYPE_CHECKING:
    from vtr.decode import DaliPool, DecodePool

Where = Mapping[str, Any] | str | None
Features = TypeVar("Features", TextFeatures, VideoFeatures)


class Engine:
    """Search videos by text with one exported model.

    Args:
        model: path of a bundle, or the name of a built-in model: "mini" (the best of them),
            "mini-clip4clip", "mini-ea", "mini-teachclip", "mini-xclip" or "mini-tcmgc". A str that is such
            a name means the built-in model even where a directory has that name; ``"./mini"`` and
            ``Path("mini")`` are paths. ``None`` takes the model that ``index`` was made with.
        index: directory of an index; it is made by the first call of :meth:`index`.
        device: "auto", "cpu" or "cuda". Encoders run there, and so do searches of an index where the bundle
            was made with ``vtr export --cuda`` and ``scoring`` is "auto"; "cuda" asks for both by name.
        precision: arithmetic of the towers: "auto", "fp32", "fp16" or "bf16". "auto" takes bf16 where
            the processor multiplies it in hardware. Scoring always accumulates in float32.
        backend: "auto", "openvino", "onnxruntime" or "tensorrt" (TensorRT or TensorRT-RTX, whichever is
            installed).
        threads: threads of the encoders, and of the native core; ``None`` lets both take every core.
        scoring: what ranks an index's videos for texts. "native" is the compiled core, as exact as float32
            on the index's features; "numpy" the reference scorers; "auto" takes the core where it can, and
            the repr says what it took and why. "fast" is the core with features in bfloat16, multiplied as
            they are where the processor has a matrix unit: X-CLIP and TC-MGC take two thirds of the time,
            and logits move by some hundredths.
        decoder: what decodes videos to be indexed. "pyav"; "dali" is NVIDIA DALI, on NVDEC where the encoders
            run on CUDA, which leaves every file to PyAV that it is not known to decode alike, and crashes
            with files that crash the GPU's driver; "auto" is "pyav".

    All methods may be called from many threads at once.

    Raises:
        BundleError, IndexStoreError: the bundle or the index cannot be used; the message says why.
        BackendError: a backend asked for by name is not installed; ``device="cuda"``, and there is no driver,
            no GPU or no backend that uses it. When the index is first searched: ``device="cuda"``, and the
            bundle has no kernels for this GPU, or the core does not know the model.
        DeviceError, from searches: ``device="cuda"``, and the GPU has too little memory, or failed.
        UnsupportedError: ``scoring="native"`` or ``"fast"`` for a model that the native core cannot score.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None,
        index: str | os.PathLike[str] | None = None,
        device: str = "auto",
        precision: str = "auto",
        *,
        backend: str = "auto",
        threads: int | None = None,
        scoring: str = "auto",
        decoder: str = "auto",
    ) -> None:
        self._index_path = None if index is None else Path(absolute(index))
        self.model = Bundle.open(model if model is not None else model_of_index(self._index_path))
        self.encoders = open_encoders(
            self.model, backend=backend, device=device, precision=precision, threads=threads
        )
        self.scorer = make_scorer(
            self.model.head, self.model.scoring, self.model.sizes, cross=self.encoders.cross
        )
        self._native, self._scoring = choose_scoring(scoring, self.model, threads)
        self._decoder = choose_decoder(decoder)
        self._device = choose_device(device, scoring, self._native, self.model)
        self._features = FeatureEncoder(self.model, self.encoders)
        self._attach(self._index_path)

    def _attach(self, index_path: Path | None) -> None:
        self._index_path = index_path
        self._lock = threading.Lock()
        self._bank_lock = threading.Lock()
        self._bank: Bank | None = None
        self._store: IndexStore | None = None
        if index_path is not None and IndexStore.exists(index_path):
            self._store = self._open_store(index_path)

    def with_index(self, index: str | os.PathLike[str]) -> Engine:
        """An engine on another index that shares this one's loaded model."""
        other = copy.copy(self)
        other._attach(Path(absolute(index)))
        return other

    def __repr__(self) -> str:
        return f"Engine({str(self.model)!r}, index={str(self._index_path)!r}, {self.description})"

    @property
    def description(self) -> str:
        """What runs the encoders and what ranks videos, and why where it was chosen automatically.

        A GPU for searches is opened by the first one; only then is its name known, or why there is none.
        """
        where = "" if (device := self._device.description) is None else f"; {device}"
        decoding = f", decoder: DALI on {self.encoders.device}" if self._decoder == "dali" else ""
        return f"{self.encoders.description}, scoring: {self._scoring}{where}{decoding}"

    # ---- encode ---------------------------------------------------------------------------------

    def encode_text(self, texts: str | Sequence[str]) -> TextFeatures:
        """Encode texts: ``.ids [B, L]`` int64, ``.sentence [B, D]``, ``.words [B, L, D]`` float32.

        Features are un-normalised; what goes beyond L - 2 tokens is cut off, as in training.
        """
        return self._features.text([texts] if isinstance(texts, str) else texts)

    def encode_frames(self, frames: ArrayLike, mask: ArrayLike | None = None) -> VideoFeatures:
        """Encode sampled frames: uint8 ``[B, n, S, S, 3]`` RGB with n ≤ F, to features for scoring.

        Args:
            frames: what ``vtr.decode.read_clip`` gives, stacked; S is the model's image size.
            mask: ``[B, n]``, 1 on real frames, which come first, and 0 on padding. ``None``: all real.
                The pixels of padded frames are not looked at.

        Returns:
            ``.frames [B, F, D]``, ``.video [B, D]`` (``None`` for families without one), ``.mask [B, F]``.
        """
        return self._features.frames(frames, mask)

    def encode_clips(self, clips: Sequence[Clip]) -> VideoFeatures:
        """Encode decoded clips of any number of frames up to F."""
        return self._features.clips(clips)

    # ---- score ----------------------------------------------------------------------------------

    def score(self, text: TextFeatures, video: VideoFeatures) -> NDArray[np.float32]:
        """The family's logits, float32 ``[texts, videos]``, exactly as the trained model defines them.

        Features may be of NumPy, or whatever it reads as arrays, such as tensors of PyTorch on the CPU.
        """
        return self.scorer.score(self.scorer.prepare(_arrays(text)), self.scorer.rows(_arrays(video)))

    # ---- index ----------------------------------------------------------------------------------

    def index(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        progress: bool | Callable[..., None] = False,
        *,
        metadata: Mapping[str, Mapping[str, Any]] | None = None,
        retry: bool = False,
        workers: int | None = None,
    ) -> IndexReport:
        """Index video files and folders; returns what was added, unchanged, failed and skipped.

        Files whose content is indexed already are not decoded again. A file that cannot be decoded ends
        in ``report.failed`` with its reason, and is tried again when it changes or with ``retry=True``.
        Rows become visible to searches in batches, each in one transaction; interrupting loses at most
        the batch in hand.

        Args:
            progress: ``True`` shows progress on the terminal; or a callable, see ``vtr.progress``.
            metadata: JSON-like fields by path (absolute, or the bare file name), searchable by ``where``.
            workers: decoder processes; ``None`` takes one for each core.
        """
        from vtr.indexing import run_indexing

        return run_indexing(
            self, paths, progress=progress, metadata=metadata or {}, retry=retry, workers=workers
        )

    def decode_pool(self, workers: int | None = None) -> DecodePool | DaliPool:
        """What decodes the files of :meth:`index`, in ``workers`` processes; a context manager."""
        from vtr.decode import DaliPool, DecodePool

        if self._decoder == "dali":
            return DaliPool(workers, self.model.sampling, device=self.encoders.device)
        return DecodePool(workers, self.model.sampling)

    def remove(self, paths: str | os.PathLike[str] | int | Iterable[str | os.PathLike[str] | int]) -> int:
        """Remove videos, by file path or id, from the index; returns how many were there."""
        items = [paths] if isinstance(paths, (str, os.PathLike, int, np.integer)) else list(paths)
        chosen = [int(item) if isinstance(item, (int, np.integer)) else absolute(item) for item in items]
        with self.store().writer() as writer:
            return writer.remove(chosen)

    def store(self, create: bool = False) -> IndexStore:
        """The index's store, made with this model's columns if ``create`` and it is not there yet."""
        if self._index_path is None:
            raise UsageError("this engine has no index: pass index=DIRECTORY to Engine")
        with self._lock:
            if self._store is None:
                if IndexStore.exists(self._index_path):
                    self._store = self._open_store(self._index_path)
                elif create:
                    self._store = self._create_store(self._index_path)
                else:
                    raise IndexStoreError(
                        f"{self._index_path} holds no index yet: run engine.index(paths) or `vtr index` first"
                    )
            return self._store

    def _open_store(self, path: Path) -> IndexStore:
        store = IndexStore.open(path)
        store.check_model(self.model.fingerprint, self.model.manifest["name"])
        return store

    def _create_store(self, path: Path) -> IndexStore:
        # A built-in model is found by its name wherever vtr is installed; "mini" may be another head one day.
        where = {"builtin": self.model.builtin} if self.model.builtin else {"path": str(self.model.path)}
        model = {"name": self.model.manifest["name"], "family": self.model.family, **where}
        times = ColumnSpec((self.model.sizes["frames"],), "float32")
        return IndexStore.create(
            path, self.model.fingerprint, model, {**self.scorer.columns, "timestamps": times}
        )

    def bank(self) -> Bank:
        """The index as it is now. Holding on to it keeps that state whatever is written meanwhile."""
        store = self.store()
        bank = self._bank
        if bank is None or bank.version != store.version():
            with self._bank_lock:  # one thread makes the new bank; the others wait for it
                bank = self._bank
                if bank is None or bank.version != store.version():
                    gpu = self._device.opened()
                    self._bank = bank = Bank(store.snapshot(), self.scorer, self._native, bank, gpu)
        return bank

    # ---- search ---------------------------------------------------------------------------------

    @overload  # a str is a sequence of str too: to a type checker the two overlap
    def search(  # type: ignore[overload-overlap]
        self, query: str | Path | Clip, k: int = ..., candidates: int | None = ..., where: Where = ...
    ) -> list[Hit]: ...

    @overload
    def search(
        self,
        query: Sequence[str] | TextFeatures | VideoFeatures,
        k: int = ...,
        candidates: int | None = ...,
        where: Where = ...,
    ) -> list[list[Hit]]: ...

    @overload
    def search(self, query: Path | Clip, k: int = ..., *, texts: Sequence[str]) -> list[TextHit]: ...

    @overload
    def search(self, query: VideoFeatures, k: int = ..., *, texts: Sequence[str]) -> list[list[TextHit]]: ...

    def search(
        self,
        query: str | Path | Clip | Sequence[str] | TextFeatures | VideoFeatures,
        k: int = 10,
        candidates: int | None = None,
        where: Where = None,
        *,
        texts: Sequence[str] | None = None,
    ) -> Any:
        """The ``k`` videos that match best, each with its score and its matching moments.

        Args:
            query: a text, or several; or a video (the ``Path`` of a file, a ``Clip``, encoded
                ``VideoFeatures``) for videos like it. One query gives a list of hits, several a list
                of such lists.
            k: how many hits at most.
            candidates: ``None`` scores every video with the full family; ``n`` takes the n best by the
                cosine of one vector a video first and scores only those.
            where: conditions on fields, as ``{"camera": "front", "duration": {">": 10}}`` or
                ``"camera=front duration>10"``.
            texts: for a video as query: rank these instead of the index's videos, by the family's logits.

        Videos like a video are ranked by the cosine of the videos' holistic vectors, in [-1, 1].
        """
        k = _count("k", k)
        candidates = None if candidates is None else _count("candidates", candidates)
        features, single = self._query(query)
        if isinstance(features, VideoFeatures) and candidates is not None:
            raise UsageError("candidates is for texts: videos are compared by one vector each anyway")
        if texts is not None:
            if where is not None:
                raise UsageError("where chooses videos of the index, and texts ranks texts: give one of them")
            found: Any = self._rank_texts(features, texts, k)
        elif isinstance(features, VideoFeatures):
            found = self.bank().similar(features, k, where)
        else:
            found = self.bank().search(features, k, candidates, where)
        return found[0] if single else found

    def _rank_texts(
        self, videos: TextFeatures | VideoFeatures, texts: Sequence[str], k: int
    ) -> list[list[TextHit]]:
        """For each video the ``k`` texts that describe it best."""
        if not isinstance(videos, VideoFeatures) or isinstance(texts, str):
            raise UsageError("expected a video (Path, Clip or VideoFeatures) and a sequence of texts to rank")
        best = topk(self.score(self.encode_text(texts), videos).T, k)
        return [
            [TextHit(int(i), texts[i], float(score)) for i, score in zip(*row, strict=True)] for row in best
        ]

    def _query(self, query: Any) -> tuple[TextFeatures | VideoFeatures, bool]:
        if isinstance(query, str):
            return self._features.query(query), True
        if isinstance(query, (TextFeatures, VideoFeatures)):
            return query, False
        if isinstance(query, Clip):
            return self.encode_clips([query]), True
        if isinstance(query, os.PathLike):
            return self.encode_clips([self._decode(Path(query))]), True
        if isinstance(query, Sequence) and not isinstance(query, bytes):
            alone = len(query) == 1 and isinstance(query[0], str)
            return self._features.query(query[0]) if alone else self.encode_text(query), False
        raise UsageError(
            "expected a text, a sequence of texts, a Path, a Clip, TextFeatures or VideoFeatures; "
            f"got {type(query).__name__}"
        )

    def _decode(self, path: Path) -> Clip:
        """A query's clip, decoded in a process of its own, as files to be indexed are."""
        from vtr.decode import DecodePool

        with DecodePool(1, self.model.sampling) as pool:
            ((_, clip),) = pool.map([path])
        if isinstance(clip, Failure):
            raise DecodeError(f"{path}: {clip.reason}")
        return clip


def _arrays(features: Features) -> Features:
    """The same features as NumPy's arrays, whatever they were given as."""
    given = {name: value for name, value in vars(features).items() if value is not None}
    return replace(features, **{name: np.asarray(value) for name, value in given.items()})


def model_of_index(index: Path | None) -> str:
    """The model that an index was made with: a bundle's path, or a built-in model's name."""
    if index is None:
        raise UsageError("expected a model (bundle path or built-in name), an index, or both; got neither")
    if not IndexStore.exists(index):
        raise UsageError(f"{index} holds no index: make one with `vtr index`, and say which --model")
    recorded = IndexStore.open(index).model
    if name := recorded.get("builtin"):
        if builtin_name(name) is None:
            raise IndexStoreError(
                f"{index} was made with the built-in model {name!r:.80}, which this version of vtr does not "
                f"have, only {', '.join(NAMES)}: index again with one of these into another directory"
            )
        return str(name)
    path = recorded.get("path")
    if not path or not Path(path).exists():
        raise IndexStoreError(
            f"{index} was made with the bundle {path}, which is not there any more; "
            "pass the bundle's path as model (--model)"
        )
    return str(path)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise UsageError(f"expected {name} as a whole number of at least 1, got {value!r:.80}")
    return int(value)
