"""The picture sets: which packages, pinned by version and hash, under which licence, and how each is read."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtr.errors import UsageError

ALIASES = Path(__file__).parent / "fxemoji.csv"


@dataclass(frozen=True)
class Source:
    """One drawing style: an npm package that holds a picture for each code point."""

    style: str
    package: str
    version: str
    integrity: str  # as npm states it: "sha512-" and base64
    licence: str  # SPDX
    attribution: str


SOURCES = (
    Source(
        "noto", "@iconify-json/noto", "1.2.9",
        "sha512-DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
        "Apache-2.0", "Noto Emoji, Google Inc, github.com/googlefonts/noto-emoji",
    ),
    Source(
        "blob", "@iconify-json/noto-v1", "1.2.5",
        "sha512-/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
        "Apache-2.0", "Noto Emoji (v1), Google Inc, github.com/googlefonts/noto-emoji",
    ),
    Source(
        "fluent-flat", "@iconify-json/fluent-emoji-flat", "1.2.6",
        "sha512-RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
        "MIT", "Fluent Emoji, Microsoft Corporation, github.com/microsoft/fluentui-emoji",
    ),
    Source(
        "fluent-3d", "@lobehub/fluent-emoji-3d", "1.1.0",
        "sha512-Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g==",
        "MIT", "Fluent Emoji, Microsoft Corporation, packaged by LobeHub, github.com/lobehub/fluent-emoji",
    ),
    Source(
        "firefox", "@iconify-json/fxemoji", "1.2.2",
        "sha512-UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ==",
        "Apache-2.0", "Firefox OS Emoji, Mozilla, github.com/mozilla/fxemoji",
    ),
    Source(
        "emojione", "@iconify-json/emojione", "1.2.3",
        "sha512-T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
        "CC-BY-4.0", "Emoji One 2.3, Emoji One and EmojiTwo, github.com/EmojiTwo/emojitwo",
    ),
    Source(
        "twemoji", "@iconify-json/twemoji", "1.2.5",
        "sha512-uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
        "CC-BY-4.0", "Twemoji, Twitter, Inc and other contributors, github.com/jdecked/twemoji",
    ),
)  # fmt: skip
MISDRAWN = {  # pictures in which people see something else: a cricket bat for the insect, a hoop for the ball
    "blob": {"1f997", "1f3c0"},
    "emojione": {"1f997", "1f3c0"},
    "firefox": {"1f6a7", "1f576", "1f68b", "1fa9f", "1f426", "1f417"},
    "fluent-flat": {"1f339"},
    "fluent-3d": {"1f339"},
}
STYLES = tuple(source.style for source in SOURCES)
NAMING_STYLE = "noto"  # the set that says which name a code point has; older sets know names only


@dataclass(frozen=True)
class Drawing:
    """A picture as its package holds it."""

    data: bytes
    vector: bool  # SVG; otherwise a raster file


class Package:
    """A downloaded package, read in memory: nothing is unpacked to disk.

    Raises ``UsageError`` where the file is not the one that was pinned.
    """

    def __init__(self, source: Source, path: Path) -> None:
        data = path.read_bytes()
        found = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
        if found != source.integrity:
            raise UsageError(
                f"{source.package} {source.version}: expected a file with the hash {source.integrity}, got "
                f"{found}; it was changed on its way or by its publisher, so nothing was read from it"
            )
        self.source = source
        self._files: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for member in archive:
                opened = archive.extractfile(member)
                if opened is not None:
                    self._files[member.name] = opened.read()

    def read(self, name: str) -> bytes:
        """The bytes of a file of the package."""
        if not self.has(name):
            raise UsageError(
                f"{self.source.package} {self.source.version}: expected a file {name}, found none"
            )
        return self._files[f"package/{name}"]

    def json(self, name: str) -> Any:
        """A JSON file of the package."""
        return json.loads(self.read(name))

    def has(self, name: str) -> bool:
        """Whether the package holds a file."""
        return f"package/{name}" in self._files


Lookup = Callable[[str], "Drawing | None"]


def names_of_codes(package: Package) -> dict[str, str]:
    """Names by code point, from a package that lists them."""
    return {code.removesuffix("-fe0f"): name for code, name in package.json("chars.json").items()}


def open_lookup(package: Package, names: dict[str, str]) -> Lookup:
    """A function from a code point to its picture in this package; ``names`` are the usual names."""
    left_out = MISDRAWN.get(package.source.style, set())
    find = _icon_lookup(package, names) if package.has("icons.json") else _raster_lookup(package)
    return lambda code: None if code in left_out else find(code)


def _raster_lookup(package: Package) -> Lookup:
    def raster(code: str) -> Drawing | None:
        for name in (f"assets/{code}.webp", f"assets/{code}-fe0f.webp"):
            if package.has(name):
                return Drawing(package.read(name), vector=False)
        return None

    return raster


def _icon_lookup(package: Package, names: dict[str, str]) -> Lookup:
    icons = package.json("icons.json")
    own = names_of_codes(package)
    listed = own or names
    aliases = _aliases() if package.source.style == "firefox" else {}
    squash = package.source.style == "firefox"

    def icon(code: str) -> Drawing | None:
        name = aliases.get(code) or listed.get(code, "")
        name = name.replace("-", "") if squash else name
        found = icons["icons"].get(name)
        parent = icons.get("aliases", {}).get(name, {})
        if found is None and set(parent) == {"parent"}:  # another name, not a turned picture
            found = icons["icons"].get(parent["parent"])
        return None if found is None else Drawing(_svg(found, icons), vector=True)

    return icon


def _svg(icon: dict[str, Any], icons: dict[str, Any]) -> bytes:
    box = [icon.get("left", 0), icon.get("top", 0)]
    box += [icon.get(side, icons.get(side, 16)) for side in ("width", "height")]
    body = icon["body"]
    if re.search(r"<(?:image|script|foreignObject)\b|href=\"(?!#)", body):
        raise UsageError("expected a drawing without links to other files, got one with: leave this set out")
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{" ".join(map(str, box))}">{body}</svg>'
    ).encode()


def _aliases() -> dict[str, str]:
    lines: Sequence[str] = ALIASES.read_text(encoding="utf-8").splitlines()
    return {code: name for code, name in (line.split(";") for line in lines if not line.startswith("#"))}
