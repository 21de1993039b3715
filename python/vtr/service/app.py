"""The HTTP service. It reads an index and never writes one; rows that `vtr index` commits appear at once.

    GET  /                      a page to search with
    POST /v1/search             {"text": str or [str], "k": 10, "candidates": null, "where": null}
    GET  /v1/search?text=…      the same for one text
    GET  /v1/videos/{id}/file   the video itself, with byte ranges
    GET  /v1/info               model, index and backend
    GET  /healthz               200 when searches can be answered

Errors are ``{"error": "one line"}`` with status 400 (the request is wrong), 404, 405, 413 (body over 1 MiB)
or 503 (the index cannot be read now, or memory is short). A request to a name that is not served is refused
before all that, with 400 and a line of plain text.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtr.errors import BackendError, UsageError, VtrError

try:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
    from starlette.routing import Route
except ImportError as error:
    raise BackendError("the HTTP service needs starlette: pip install 'vtr[serve]'") from error

if TYPE_CHECKING:
    from vtr.engine import Engine

MAX_BODY = 1 << 20  # bytes
MAX_TEXTS = 256  # texts in one request
MAX_K = 1000
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")  # names of this machine, to itself
FIELDS = {"text", "k", "candidates", "where"}


def make_app(engine: Engine, hosts: Sequence[str] = LOCAL_HOSTS) -> Starlette:
    """The ASGI application that answers with ``engine``'s index.

    Args:
        hosts: names that requests may be addressed to; ``["*"]`` is any. Others are refused, so that a web
            page elsewhere cannot reach a local service under a name of its own.
    """

    async def search(request: Request) -> Response:
        asked = await _body(request) if request.method == "POST" else _query(request)
        return JSONResponse(await run_in_threadpool(answer, engine, asked))

    async def info(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(describe, engine))

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "videos": await run_in_threadpool(lambda: len(engine.bank()))})

    async def video(request: Request) -> Response:
        name = request.path_params["id"]
        known = len(name) <= 18 and name.isascii() and name.isdigit()
        path = await run_in_threadpool(video_path, engine, int(name)) if known else None
        if path is None:
            return JSONResponse({"error": "no such video, or its file cannot be read"}, status_code=404)
        return FileResponse(path)

    async def page(request: Request) -> Response:
        return HTMLResponse(files("vtr.service").joinpath("page.html").read_text(encoding="utf-8"))

    routes = [
        Route("/", page),
        Route("/v1/search", _guarded(search), methods=["GET", "POST"]),
        Route("/v1/videos/{id}/file", _guarded(video)),
        Route("/v1/info", _guarded(info)),
        Route("/healthz", _guarded(health)),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={HTTPException: _http_error, Exception: _own_error},
    )


async def _http_error(request: Request, error: Exception) -> Response:
    """What the framework refuses (no such address, wrong method), as JSON like everything else."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)


async def _own_error(request: Request, error: Exception) -> Response:
    """What should not happen; the log has it whole."""
    return JSONResponse({"error": f"{type(error).__name__}: the service's log says more"}, status_code=500)


def answer(engine: Engine, asked: dict[str, Any]) -> dict[str, Any]:
    """The reply to a search request; raises UsageError for one that cannot be answered."""
    unknown = sorted(set(asked) - FIELDS)
    if unknown:
        raise UsageError(f"expected the fields {sorted(FIELDS)}, got also {unknown}")
    text, k = asked.get("text"), asked.get("k", 10)
    texts = [text] if isinstance(text, str) else text
    if not isinstance(texts, list) or not texts or not all(isinstance(item, str) for item in texts):
        raise UsageError('expected "text" as a string or a list of strings')
    if len(texts) > MAX_TEXTS:
        raise UsageError(f"expected at most {MAX_TEXTS} texts in a request, got {len(texts)}")
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= MAX_K:
        raise UsageError(f'expected "k" as a whole number from 1 to {MAX_K}, got {k!r}')
    start = time.perf_counter()
    lists = engine.search(texts, k, asked.get("candidates"), asked.get("where"))
    results = [[hit.as_json() for hit in hits] for hits in lists]
    took = round((time.perf_counter() - start) * 1000, 3)
    if isinstance(text, str):
        return {"hits": results[0], "milliseconds": took}
    return {"results": results, "milliseconds": took}


def video_path(engine: Engine, video: int) -> Path | None:
    """The file of an indexed video, if it is still there and may be read."""
    try:
        path = engine.bank().snapshot.record(video).path
        return path if path.is_file() and os.access(path, os.R_OK) else None
    except (UsageError, OSError):  # no such id; a folder above the file that may not be searched
        return None


def describe(engine: Engine) -> dict[str, Any]:
    """What is being served."""
    manifest = engine.model.manifest
    return {
        "model": manifest["name"],
        "family": engine.model.family,
        "trained": manifest.get("trained", True),
        "fingerprint": engine.model.fingerprint,
        "engine": engine.description,
        "videos": len(engine.bank()),
    }


async def _body(request: Request) -> dict[str, Any]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise BodyTooLarge
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"expected a JSON object, got something else: {error}") from error
    if not isinstance(asked, dict):
        raise UsageError(f"expected a JSON object, got {type(asked).__name__}")
    return asked


def _query(request: Request) -> dict[str, Any]:
    asked: dict[str, Any] = dict(request.query_params)
    for name in ("k", "candidates"):
        if name in asked:
            if not asked[name].isascii() or not asked[name].isdigit() or len(asked[name]) > 9:
                raise UsageError(f"expected {name} as a whole number, got {asked[name]!r:.40}")
            asked[name] = int(asked[name])
    return asked


class BodyTooLarge(Exception):
    """The request's body is over MAX_BODY."""


def _guarded(
    handler: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Turn errors into JSON; what is not the caller's fault is a 503 with the reason."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except BodyTooLarge:
            return JSONResponse({"error": f"the body is over {MAX_BODY} bytes"}, status_code=413)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except UsageError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except VtrError as error:
            return JSONResponse({"error": str(error)}, status_code=503)
        except MemoryError:
            return JSONResponse({"error": "out of memory"}, status_code=503)

    return guarded
