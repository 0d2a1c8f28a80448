"""How the owner signs in: by an OpenID provider, by ONOMA_ACCESS_TOKEN, or by sitting at the machine.

A sign-in is a signed cookie of some hours that scripts cannot read; each is a new one. The way there and back again
(code flow with PKCE, state and nonce) is Authlib's; what it has to remember meanwhile lies in a signed cookie too, so
that any replica may answer.
"""

from __future__ import annotations

import hmac
import html
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import grpc
import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from joserfc.errors import JoseError
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from services.gateway.messages import read_body
from services.gateway.page import styles
from services.gateway.problems import RefusedError, of_refusal
from services.gateway.settings import owner_signs_in_by, reached_by
from services.runtime import audit
from services.runtime.access import AUTHORIZATION, BY_ACCESS_TOKEN, SIT_AT_THE_MACHINE, bearer, token_of
from services.runtime.errors import Unauthenticated
from services.runtime.rates import Buckets
from services.runtime.settings import is_loopback
from services.runtime.tokens import Caller, Keys, Role, keys_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from services.gateway.settings import SignInSettings
    from services.runtime.settings import RuntimeSettings

Endpoint = Callable[["Request"], Awaitable[Response]]

PATH = "/sign-in"
_SESSION, _UNDER_WAY = "onoma.session", "onoma.sign-in"  # audiences of the cookies' tokens
_UNDER_WAY_S = 600
_MOST_FORM_BYTES = 4 * 1024
_CLOCKS_S = 60  # that the provider's may differ


class SignIn:
    """Who the owner is, and the routes by which they sign in and out.

    Raises:
        ValueError: a key of ONOMA_SIGNING_KEYS_DIR cannot be used, or the page would be open to who may not.
    """

    def __init__(self, settings: RuntimeSettings, of: SignInSettings) -> None:
        _check_reach(settings, of)
        self._of = of
        self._access_token = settings.access_token
        self._keys = keys_of(settings) or Keys()
        # A proxy that brings others' browsers may look like the machine itself.
        self._is_open_here = not owner_signs_in_by(settings, of)
        self._failures = Buckets(per_s=1 / 6, burst=10)
        self._provider = None
        if of.oidc_issuer:
            self._provider = OAuth().register(
                "oidc",
                client_id=of.oidc_client_id,
                client_secret=of.oidc_client_secret,
                server_metadata_url=of.oidc_issuer.rstrip("/") + "/.well-known/openid-configuration",
                client_kwargs={"scope": "openid email", "code_challenge_method": "S256", "timeout": 10},
            )

    def owner_of(self, request: Request) -> Caller | None:
        """The owner who asks; None where it is somebody else."""
        if caller := self._signed_in_as(request):
            return caller
        if self._brings_access_token(request):
            return BY_ACCESS_TOKEN
        client = request.client.host if request.client else ""
        if self._is_open_here and is_loopback(client) and is_loopback(request.url.hostname or ""):
            return SIT_AT_THE_MACHINE
        return None

    def _brings_access_token(self, request: Request) -> bool:
        """Whether the request carries the owner's token; after many wrong ones nobody looks for a while."""
        given = request.headers.get(AUTHORIZATION, "")
        if (
            not self._access_token
            or not given.startswith(bearer(""))
            or self._failures.wait_s(_address(request))
        ):
            return False
        if self._is_access_token(token_of(given)):
            return True
        self.note_failure(request)
        return False

    def _signed_in_as(self, request: Request) -> Caller | None:
        session = request.cookies.get(_cookie(self.is_https(request)), "")
        try:
            return self._keys.caller_of(session, _SESSION) if session else None
        except Unauthenticated:
            return None  # it has ended: what else the request brings decides

    def refusal(self) -> RefusedError:
        """What whoever is not the owner is told."""
        if self._is_open_here:
            return RefusedError(
                grpc.StatusCode.PERMISSION_DENIED,
                "the owner's pages answer on the server's own machine only: open them at http://127.0.0.1 there",
            )
        return RefusedError(
            grpc.StatusCode.PERMISSION_DENIED, f"this is for the study's owner: sign in at {PATH}", "SIGN_IN"
        )

    def check_tries(self, request: Request) -> None:
        """Lets nobody guess.

        Raises:
            RefusedError: RESOURCE_EXHAUSTED after ten failures from one address within a short time.
        """
        wait_s = self._failures.wait_s(_address(request))
        if wait_s:
            raise RefusedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "too many tries from this address were wrong: wait a moment",
                "TOO_MANY_TRIES",
                retry_after_s=wait_s,
            )

    def note_failure(self, request: Request) -> None:
        """Counts a wrong token against its sender."""
        self._failures.take(_address(request))

    def routes(self) -> list[Route]:
        """The page of signing in, and where its form and the provider lead."""
        return [
            Route(PATH, self._page, methods=["GET"]),
            Route(PATH, self._in_words(self._by_token), methods=["POST"]),
            Route(PATH + "/provider", self._in_words(self._to_provider), methods=["GET"]),
            Route(PATH + "/back", self._in_words(self._back), methods=["GET"]),
            Route(PATH + "/state", self._state, methods=["GET"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
        ]

    def _in_words(self, endpoint: Endpoint) -> Endpoint:
        """People read the answers of these routes: a refusal is a line on the page of signing in."""

        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request)
            except RefusedError as error:
                refused = of_refusal(request, error)
                form = self._form(request, error.message, refused.status_code)
                if "retry-after" in refused.headers:
                    form.headers["retry-after"] = refused.headers["retry-after"]
                return form

        return answer

    async def _page(self, request: Request) -> Response:
        return self._form(request)

    async def _state(self, request: Request) -> Response:
        """Whether there is somebody to sign out, for the page."""
        is_signed_in = self._signed_in_as(request) is not None
        return JSONResponse({"is_signed_in": is_signed_in}, headers={"Cache-Control": "no-store"})

    async def _by_token(self, request: Request) -> Response:
        self.check_tries(request)
        token = await _field(request, "token")
        if not self._is_access_token(token):
            self.note_failure(request)
            self._log(request, "access-token", "refused")
            return self._form(request, "This is not the owner's token.", 401)
        return self._signed_in(request, BY_ACCESS_TOKEN)

    async def _to_provider(self, request: Request) -> Response:
        if self._provider is None:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, "no OpenID provider is set (ONOMA_OIDC_ISSUER)")
        request.scope["session"] = {}
        try:
            response: Response = await self._provider.authorize_redirect(
                request, self._of.public_url.rstrip("/") + PATH + "/back"
            )
        except (AuthlibBaseError, httpx.HTTPError) as error:
            raise RefusedError(
                grpc.StatusCode.UNAVAILABLE, f"the OpenID provider does not answer: {type(error).__name__}"
            ) from error
        under_way = self._keys.sign({"sub": "", "session": request.session}, _UNDER_WAY, _UNDER_WAY_S)
        response.set_cookie(
            _UNDER_WAY,
            under_way,
            max_age=_UNDER_WAY_S,
            path=PATH,
            httponly=True,
            samesite="lax",
            secure=self.is_https(request),
        )
        return response

    async def _back(self, request: Request) -> Response:
        if self._provider is None:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, "no OpenID provider is set (ONOMA_OIDC_ISSUER)")
        self.check_tries(request)
        expected = {
            "iss": {"essential": True, "value": self._of.oidc_issuer},
            "aud": {"essential": True, "value": self._of.oidc_client_id},
        }
        try:
            under_way = self._keys.check(request.cookies.get(_UNDER_WAY, ""), _UNDER_WAY)
            request.scope["session"] = under_way["session"]
            answer = await self._provider.authorize_access_token(
                request, claims_options=expected, leeway=_CLOCKS_S
            )
            person = answer["userinfo"]
            subject = str(person["sub"])
        except (AuthlibBaseError, JoseError, Unauthenticated, KeyError, httpx.HTTPError, ValueError) as error:
            self.note_failure(request)
            self._log(request, "unknown", f"refused: {type(error).__name__}")
            return self._form(request, "Signing in did not work: try again.", 401)
        emails = [person["email"]] if person.get("email") and person.get("email_verified") is True else []
        if not {subject, *emails} & set(self._of.owners):
            self._log(request, subject, "refused: no owner")
            return self._form(request, "You are not one of the owners here (ONOMA_OWNERS).", 401)
        response = self._signed_in(request, Caller(Role.OWNER, subject))
        response.delete_cookie(_UNDER_WAY, path=PATH)
        return response

    async def _sign_out(self, request: Request) -> Response:
        if owner := self.owner_of(request):
            self._log(request, owner.subject, "signed out")
        response = RedirectResponse(PATH, 303)
        is_https = self.is_https(request)
        response.delete_cookie(_cookie(is_https), path="/", secure=is_https, httponly=True, samesite="lax")
        return response

    def _signed_in(self, request: Request, caller: Caller) -> Response:
        """To the page, with a new session; none is taken over that was there before."""
        life_s = self._of.session_hours * 3600
        claims = {"sub": caller.subject, "role": caller.role.value, "study": ""}
        response = RedirectResponse("/", 303)
        is_https = self.is_https(request)
        response.set_cookie(
            _cookie(is_https),
            self._keys.sign(claims, _SESSION, life_s),
            max_age=int(life_s),
            path="/",
            secure=is_https,
            httponly=True,
            samesite="lax",
        )
        self._log(request, caller.subject, "signed in")
        return response

    def _form(self, request: Request, problem: str = "", status: int = 200) -> Response:
        """The page of signing in: forms, and no script."""
        said = f'<p class="band" role="alert">{html.escape(problem)}</p>' if problem else ""
        return HTMLResponse(
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta name="color-scheme" content="light dark">{styles()}<title>Sign in to Onoma</title></head><body>'
            '<header class="top-bar"><a class="brand" href="/">Onoma</a></header>'
            f'<main class="empty-page"><h1>Sign in as the owner</h1>{said}{self._ways(request)}'
            '<p class="quiet">You were invited to name? Open the link that you were given.</p></main></body></html>',
            status,
            headers={"Cache-Control": "no-store"},
        )

    def _ways(self, request: Request) -> str:
        """To sign in, or out again."""
        if self._signed_in_as(request):
            return (
                '<p>You are signed in. <a href="/">To the studies</a></p>'
                '<form method="post" action="/sign-out"><button>Sign out</button></form>'
            )
        ways = ""
        if self._provider is not None:
            ways += f'<p><a href="{PATH}/provider">Sign in at {html.escape(self._of.oidc_issuer)}</a></p>'
        if self._access_token:
            ways += (
                f'<form class="joined" method="post" action="{PATH}"><label>The owner\'s token '
                '<input name="token" type="password" autocomplete="current-password" required></label> '
                '<button class="main-act">Sign in</button></form>'
            )
        return ways or "<p>Nothing to sign in with is set: open the page on the server's own machine.</p>"

    def _is_access_token(self, token: str) -> bool:
        return bool(self._access_token) and hmac.compare_digest(token.encode(), self._access_token.encode())

    def is_https(self, request: Request) -> bool:
        """Whether the browser came over TLS, to the gateway or to a proxy in front."""
        return (self._of.public_url or str(request.url)).startswith("https://")

    def _log(self, request: Request, subject: str, outcome: str) -> None:
        fields = {
            "subject": subject,
            "role": "owner",
            "outcome": outcome,
            "request_id": request.state.request_id,
        }
        audit.log.info("sign-in", extra=fields)


def _check_reach(settings: RuntimeSettings, of: SignInSettings) -> None:
    setting = reached_by(settings, of)
    if not setting:
        return
    reached = f"{setting}: the page can be reached from other machines"
    if not (settings.access_token or of.oidc_issuer):
        raise ValueError(
            f"{reached}, and its owner has no way to sign in: set ONOMA_ACCESS_TOKEN or ONOMA_OIDC_ISSUER"
        )
    if not is_loopback(settings.host) and settings.tls != "outside" and of.https_dir is None:
        raise ValueError(
            f"{reached}, and speaks plain HTTP: put a proxy with TLS before it and set ONOMA_TLS=outside, or give it a "
            "certificate by ONOMA_HTTPS_DIR"
        )


def _cookie(is_https: bool) -> str:
    """A name that only this host over TLS can have set, where there is TLS."""
    return "__Host-onoma-session" if is_https else "onoma-session"


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def _field(request: Request, name: str) -> str:
    """One field of a small form; empty where it is not there."""
    content = await read_body(request, _MOST_FORM_BYTES)
    return parse_qs(content.decode("utf-8", "replace")).get(name, [""])[0]
