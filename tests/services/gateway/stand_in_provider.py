"""A stand-in for an OpenID provider: real HTTP on loopback, one person, and every mistake that a test asks for."""

import base64
import hashlib
import html
import socket
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt.algorithms import RSAAlgorithm
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

CLIENT_ID, SECRET = "onoma", "between-us"
_KEY = generate_private_key(65537, 2048)


@dataclass
class StandInProvider:
    """Answers as OpenID Connect says, but for `claims`, which go over those of the id token."""

    url: str = ""
    claims: dict = field(default_factory=dict)
    key: object = _KEY
    algorithm: str = "RS256"
    asked: dict = field(default_factory=dict)
    token_requests: list = field(default_factory=list)

    def authorize(self, location):
        """What a browser that signs in there brings back: code and state."""
        self.asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        return {"code": "the-code", "state": self.asked["state"]}

    def app(self):
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/authorize", self._authorize),
                Route("/jwks", self._jwks),
                Route("/token", self._token, methods=["POST"]),
            ]
        )

    async def _metadata(self, request):
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "id_token_signing_alg_values_supported": ["RS256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            }
        )

    async def _authorize(self, request):
        """For a browser: who is there has signed in long ago, and only has to agree."""
        back = f"{request.query_params['redirect_uri']}?{urlencode(self.authorize(str(request.url)))}"
        return HTMLResponse(f'<a href="{html.escape(back)}">Go on as Ann</a>')

    async def _jwks(self, request):
        return JSONResponse({"keys": [RSAAlgorithm.to_jwk(_KEY.public_key(), as_dict=True) | {"kid": "1"}]})

    async def _token(self, request):
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        self.token_requests.append(form)
        basic = base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
        if request.headers.get("authorization") != f"Basic {basic}" or form["code"] != "the-code":
            return JSONResponse({"error": "invalid_client"}, 401)
        if challenge != self.asked["code_challenge"] or self.asked["code_challenge_method"] != "S256":
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        usual = {"iss": self.url, "aud": CLIENT_ID, "sub": "person-1", "iat": now, "exp": now + 300}
        usual |= {"nonce": self.asked["nonce"], "email": "ann@example.org", "email_verified": True}
        claims = {name: value for name, value in (usual | self.claims).items() if value is not None}
        id_token = jwt.encode(claims, self.key, algorithm=self.algorithm, headers={"kid": "1"})
        return JSONResponse({"access_token": "a", "token_type": "Bearer", "id_token": id_token})


def serve(provider, host="127.0.0.1"):
    """Starts it on a free port, at one of loopback's names; returns how to stop it."""
    listening = socket.create_server(("127.0.0.1", 0))
    provider.url = f"http://{host}:{listening.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(provider.app(), log_config=None))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()

    def stop():
        server.should_exit = True
        thread.join()
        listening.close()

    return stop
