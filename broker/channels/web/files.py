"""Static files: the stylesheet, scripts and fonts that ship with the broker, and nothing else."""

from __future__ import annotations

from litestar import Response, get
from litestar.params import FromPath

from broker.channels.web.parts import Web
from broker.channels.web.visitors import AnyRequest, bearer_of, intruders_of
from broker.errors import UnknownRequest

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".woff2": "font/woff2",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}


@get("/sw.js", opt={"anonymous": True}, include_in_schema=False)
async def service_worker(request: AnyRequest) -> Response[bytes]:
    """The worker that shows notifications. At the root, since a worker is for the addresses below its own; never cached."""
    await intruders_of(request).keep_out((bearer_of(request),), request.url.path)
    script = Web.of(request).pages.static / "worker.js"
    return Response(script.read_bytes(), media_type=_TYPES[".js"], headers={"cache-control": "no-cache"})


@get("/static/{name:path}", opt={"anonymous": True}, include_in_schema=False)
async def static_file(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
    """One file of the static folder. Addresses carry a hash, so they may be cached for ever."""
    await intruders_of(request).keep_out((bearer_of(request),), request.url.path)
    folder = Web.of(request).pages.static.resolve()
    path = (folder / name.lstrip("/")).resolve()
    if not path.is_relative_to(folder) or path.suffix not in _TYPES or not path.is_file():
        raise UnknownRequest("file")
    keep = "public, max-age=31536000, immutable" if "v" in request.query_params else "no-cache"
    return Response(path.read_bytes(), media_type=_TYPES[path.suffix], headers={"cache-control": keep})


ROUTES = (static_file, service_worker)
