"""What browsers are told to keep to, and requests that pages of other sites had them send."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc

from services.gateway.problems import RefusedError

if TYPE_CHECKING:
    from starlette.datastructures import Headers

PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
# A report is one file that holds its own styles and pictures; it runs nothing.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
_SAFETY = {
    "x-content-type-options": "nosniff",
    # Not "no-referrer": browsers then send a form of the page's own as from origin "null".
    "referrer-policy": "same-origin",
    "content-security-policy": PAGE_POLICY,
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_OVER_TLS = {"strict-transport-security": "max-age=31536000"}
_CHANGES_NOTHING = ("GET", "HEAD", "OPTIONS")


def safety_headers(*, is_https: bool) -> dict[str, str]:
    """Headers of every answer, in small letters; an answer's own ones go before."""
    return _SAFETY | _OVER_TLS if is_https else _SAFETY


def _host_of(origin: str) -> str:
    """Host and port; empty where it has none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:  # brackets that are no address
        return ""


def check_origin(method: str, headers: Headers, public_url: str) -> None:
    """Refuses what a page of another site had the browser send, with the browser's cookies.

    Programs that are no browsers say nothing of where they come from, and bring no cookies unasked.

    Args:
        public_url: ONOMA_PUBLIC_URL; behind a proxy the host may be another than the browser's.
    Raises:
        RefusedError: PERMISSION_DENIED.
    """
    if method in _CHANGES_NOTHING:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    own = {headers.get("host", ""), urlsplit(public_url).netloc}
    is_foreign_site = site is not None and site not in ("same-origin", "none")
    is_foreign_origin = origin is not None and (_host_of(origin) or origin) not in own
    if is_foreign_site or is_foreign_origin:
        raise RefusedError(
            grpc.StatusCode.PERMISSION_DENIED,
            f"this was sent from a page of another site ({(origin or site or '')[:200]}): open the page itself "
            "(behind a proxy, ONOMA_PUBLIC_URL says where it is)",
            "OTHER_SITE",
        )
