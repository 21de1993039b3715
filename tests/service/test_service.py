"""The HTTP service: a real server on a free port, asked by a real client."""

import httpx
import pytest
from starlette.testclient import TestClient

import vtr
from vtr.service import make_app


@pytest.fixture(scope="module")
def engine(models, clips, tmp_path_factory):
    engine = vtr.Engine(models("clip4clip-meanP")[1], tmp_path_factory.mktemp("index"))
    engine.index(clips, metadata={"clip3.mp4": {"tag": "x"}})
    return engine


@pytest.fixture(scope="module")
def client(engine, serve):
    with serve(engine) as address, httpx.Client(base_url=address, timeout=20) as client:
        yield client


def test_search_gives_the_engines_hits(client, engine):
    expected = [hit.as_json() for hit in engine.search("two dogs", k=3)]
    posted = client.post("/v1/search", json={"text": "two dogs", "k": 3}).json()
    assert posted["hits"] == expected and posted["milliseconds"] > 0
    assert client.get("/v1/search", params={"text": "two dogs", "k": 3}).json()["hits"] == expected


def test_many_texts_and_conditions(client):
    found = client.post("/v1/search", json={"text": ["a", "b"], "k": 8, "where": {"tag": "x"}}).json()
    assert [[hit["path"].endswith("clip3.mp4") for hit in hits] for hits in found["results"]] == [
        [True],
        [True],
    ]
    assert len(client.get("/v1/search", params={"text": "a", "where": "tag=x"}).json()["hits"]) == 1


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "JSON"),
        (b"[1]", 400, "object"),
        (b"[" * 100_000, 400, "JSON"),
        (b'{"text": 5}', 400, "text"),
        (b'{"text": []}', 400, "text"),
        (b'{"text": "a", "k": 0}', 400, "k"),
        (b'{"text": "a", "k": 100000}', 400, "k"),
        (b'{"text": "a", "candidates": -1}', 400, "candidates"),
        (b'{"text": "a", "candidates": true}', 400, "candidates"),
        (b'{"text": "a", "where": {"x": {"~": 1}}}', 400, "x"),
        (b'{"text": "a", "where": 5}', 400, ""),
        (b'{"text": "a", "limit": 5}', 400, "limit"),
        (b'{"text": "' + b"a" * (2 << 20) + b'"}', 413, "bytes"),
        (b'{"text": "' + b"word " * 50_000 + b'"}', 200, ""),
        ('{"text": "\\ud800 \\u0000 é"}'.encode(), 200, ""),
    ],
)
def test_odd_requests_get_one_clear_line(client, body, status, message):
    reply = client.post("/v1/search", content=body)
    assert reply.status_code == status, reply.text
    if status != 200:
        assert message in reply.json()["error"] and "\n" not in reply.json()["error"]


def test_a_video_is_served_in_ranges(client, engine, clips):
    hit = engine.search("x", k=1)[0]
    data = hit.path.read_bytes()
    whole = client.get(f"/v1/videos/{hit.id}/file")
    assert whole.content == data and whole.headers["content-type"] == "video/mp4"
    part = client.get(f"/v1/videos/{hit.id}/file", headers={"Range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == data[10:20]
    assert client.get("/v1/videos/999999/file").status_code == 404
    assert client.get("/v1/videos/..%2F..%2Fetc/file").json() == {"error": "Not Found"}
    for name in ("9" * 30, "9" * 5000, "-1", "x", "٣"):
        reply = client.get(f"/v1/videos/{name}/file")
        assert reply.status_code == 404 and "error" in reply.json()


def test_a_video_that_may_not_be_read_is_not_found(client, engine, monkeypatch):
    hit = engine.search("x", k=1)[0]
    monkeypatch.setattr("vtr.service.app.os.access", lambda path, mode: False)
    assert client.get(f"/v1/videos/{hit.id}/file").status_code == 404

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(hit.path), "is_file", refuse)
    assert client.get(f"/v1/videos/{hit.id}/file").status_code == 404


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (MemoryError(), 503, "out of memory"),
        (ZeroDivisionError("secret"), 500, "ZeroDivisionError: the service"),
    ],
)
def test_what_goes_wrong_inside_is_json_too(engine, monkeypatch, error, status, message):
    def fail():
        raise error

    monkeypatch.setattr(engine, "bank", fail)
    client = TestClient(make_app(engine), base_url="http://localhost", raise_server_exceptions=False)
    reply = client.get("/healthz")
    assert reply.status_code == status and message in reply.json()["error"] and "secret" not in reply.text


def test_page_info_and_health(client):
    page = client.get("/")
    assert page.status_code == 200 and '"v1/search"' in page.text
    info = client.get("/v1/info").json()
    assert info["videos"] == 8 and info["family"] == "clip4clip" and info["trained"] is False
    assert client.get("/healthz").json() == {"status": "ok", "videos": 8}


def test_other_methods_and_long_numbers_are_refused(client):
    assert client.delete("/v1/search").json() == {"error": "Method Not Allowed"}
    assert client.get("/v1/search", params={"text": "a", "k": "9" * 5000}).status_code == 400


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:80", 200), ("[::1]:8080", 200), ("evil.example", 400), ("localhost.evil.example", 400)],
)
def test_requests_to_other_names_are_refused(client, host, status):
    """A page elsewhere may not reach a service of this machine under a name of its own."""
    assert client.get("/healthz", headers={"Host": host}).status_code == status
