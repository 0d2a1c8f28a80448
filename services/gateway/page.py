"""The built page: files under onoma/web, one HTML document for every path of the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

import onoma

if TYPE_CHECKING:
    from starlette.requests import Request

BUILT_PAGE = Path(onoma.__file__).parent / "web"
PAGE_PATHS = ("/", "/studies/{study_id}", "/name", "/name/{study_id}/{annotator_id}")


class _ImmutableFiles(StaticFiles):
    """Files whose names hold a hash of their content: never asked for twice."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def styles() -> str:
    """The built page's links to its styles and its icon, for a document that runs no script; empty without a build."""
    index = BUILT_PAGE / "index.html"
    if not index.is_file():
        return ""
    return "".join(re.findall(r'<link rel="(?:icon|stylesheet)"[^>]*>', index.read_text(encoding="utf-8")))


def page_routes(folder: Path = BUILT_PAGE) -> list[BaseRoute]:
    """Routes of the page; without a build each says how to make one."""

    def document(request: Request, status: int = 200) -> Response:  # noqa: ARG001
        index = folder / "index.html"
        if not index.is_file():
            return PlainTextResponse(
                f"The page is not built yet: run 'make web' in the checkout (looked for {index}).\n", 503
            )
        return FileResponse(index, status, headers={"Cache-Control": "no-cache"})

    def unknown(request: Request) -> Response:
        """The document says in words that there is no such page; programs get what they understand."""
        if request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
            raise HTTPException(404)
        return document(request, 404)

    return [
        *(Route(path, document) for path in PAGE_PATHS),
        Mount("/assets", _ImmutableFiles(directory=folder / "assets", check_dir=False)),
        Route("/{elsewhere:path}", unknown),
    ]
