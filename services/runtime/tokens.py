"""Short-lived tokens between the gateway and the services: who calls, for whom, signed with Ed25519.

A token is good for a minute and for the RPCs of one gRPC service (its audience), so that what one service is shown
opens nothing at another. The keys are those of ONOMA_SIGNING_KEYS_DIR, which all servers share; where they run in one
process, one in its memory.
"""

from __future__ import annotations

import enum
import logging
import secrets
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.runtime.errors import Unauthenticated
from services.runtime.last_used import LastUsed
from services.runtime.settings import RuntimeSettings

ISSUER = "onoma"
LIFE_S = 60.0
_LEEWAY_S = 5.0  # between the clocks of two machines
_LOOK_S = 10.0  # between looks into the folder
_LOOK_FOR_UNKNOWN_S = 1.0
# So long is a new key checked with before it is signed with: a secret reaches all machines within that.
_SPREAD_S = 120.0
_MOST_KEPT = 1000
_log = logging.getLogger(__name__)


class Role(enum.Enum):
    """As whom somebody calls."""

    OWNER = "owner"
    ANNOTATOR = "annotator"
    VIEWER = "viewer"
    SERVICE = "service"


@dataclass(frozen=True)
class Caller:
    """Who calls.

    Attributes:
        subject: the owner's id, the annotator's, or the service's name.
        study_id: the study that an annotator or a viewer was invited to.
    """

    role: Role
    subject: str
    study_id: str = ""


class Keys:
    """Keys by their ids, to sign and to check with.

    Args:
        folder: of Ed25519 private keys KID.pem; None for a key in memory. The last by name is signed with, once it
            has been there for two minutes.
    Raises:
        ValueError: the folder holds no key, or something else.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._keys = _read(folder) if folder else {"memory": Ed25519PrivateKey.generate()}
        self._known_since = dict.fromkeys(self._keys, float("-inf"))
        self._looked = time.monotonic()
        self._kept = LastUsed[tuple[str, Caller], tuple[float, str]](_MOST_KEPT)

    @property
    def are_shared(self) -> bool:
        """Whether they are those of a folder, and other processes have them too."""
        return self._folder is not None

    def token_of(self, caller: Caller, audience: str) -> str:
        """A token with at least half of its life before it.

        Args:
            audience: full name of the gRPC service that is called.
        """
        now = time.monotonic()
        made, token = self._kept.get((audience, caller)) or (float("-inf"), "")
        if now - made < LIFE_S / 2:
            return token
        claims = {"role": caller.role.value, "sub": caller.subject, "study": caller.study_id}
        token = self.sign(claims, audience, LIFE_S)
        self._kept.put((audience, caller), (now, token))
        return token

    def caller_of(self, token: str, audience: str) -> Caller:
        """Whom a token is of.

        Raises:
            Unauthenticated: it is forged, expired, another's, or signed with a key that is not known.
        """
        claims = self.check(token, audience)
        try:
            return Caller(Role(claims["role"]), claims["sub"], claims["study"])
        except (KeyError, ValueError) as error:
            raise Unauthenticated(f"this call's token is not one of Onoma's: {error}") from error

    def sign(self, claims: dict[str, Any], audience: str, life_s: float) -> str:
        """A JWT of the claims, and of who made it, for whom, when and until when."""
        self._look(_LOOK_S)
        now = time.time()
        with self._lock:
            spread = [kid for kid, since in self._known_since.items() if time.monotonic() - since > _SPREAD_S]
            kid = max(spread or self._keys)
            key = self._keys[kid]
        own = {"iss": ISSUER, "aud": audience, "iat": int(now), "exp": int(now + life_s)}
        own["jti"] = secrets.token_hex(8)
        return jwt.encode(claims | own, key, algorithm="EdDSA", headers={"kid": kid})

    def check(self, token: str, audience: str) -> dict[str, Any]:
        """The claims of a JWT that `sign` made for this audience.

        Raises:
            Unauthenticated: as in `caller_of`.
        """
        try:
            kid = str(jwt.get_unverified_header(token).get("kid", ""))
            self._look(_LOOK_S if kid in self._keys else _LOOK_FOR_UNKNOWN_S)
            with self._lock:
                key = self._keys.get(kid)
            if key is None:
                raise Unauthenticated("this call's token is signed with a key that is not known here")
            checked: dict[str, Any] = jwt.decode(
                token,
                key.public_key(),
                algorithms=["EdDSA"],
                audience=audience,
                issuer=ISSUER,
                leeway=_LEEWAY_S,
                options={"require": ["iss", "aud", "iat", "exp", "jti", "sub"]},
            )
        except jwt.InvalidTokenError as error:
            raise Unauthenticated(f"this call's token is not good: {error}") from error
        return checked

    def _look(self, every_s: float) -> None:
        """Reads the folder anew, unless it was read within `every_s`."""
        with self._lock:
            now = time.monotonic()
            if self._folder is None or now - self._looked < every_s:
                return
            self._looked = now
            try:
                self._keys = _read(self._folder)
            except ValueError as error:
                _log.error("going on with the keys read before: %s", error)
                return
            self._known_since = {kid: self._known_since.get(kid, now) for kid in self._keys}
            self._kept.clear()


def keys_of(settings: RuntimeSettings) -> Keys | None:
    """The keys that these settings' servers share.

    None where servers run each in a process of its own without ONOMA_SIGNING_KEYS_DIR: on loopback alone, by the
    token of ONOMA_ACCESS_TOKEN or by none.

    Raises:
        ValueError: the folder holds no key, or something else.
    """
    if settings.signing_keys_dir:
        return _shared(settings.signing_keys_dir)
    keys: Keys | None = settings._keys_in_memory
    return keys


def with_keys_in_memory(settings: RuntimeSettings) -> RuntimeSettings:
    """The settings of servers that share this process, and a key of it where they have none yet."""
    if keys_of(settings):
        return settings
    shared = settings.model_copy()
    shared._keys_in_memory = Keys()
    return shared


@lru_cache(maxsize=8)
def _shared(folder: Path) -> Keys:
    return Keys(folder)


def _read(folder: Path) -> dict[str, Ed25519PrivateKey]:
    keys = {}
    for file in sorted(folder.glob("*.pem")):
        try:
            key = load_pem_private_key(file.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(
                f"ONOMA_SIGNING_KEYS_DIR={folder}: {file.name} cannot be read: {error}"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(
                f"ONOMA_SIGNING_KEYS_DIR={folder}: {file.name} is no Ed25519 key "
                "(openssl genpkey -algorithm ed25519 makes one)"
            )
        keys[file.stem] = key
    if not keys:
        raise ValueError(
            f"ONOMA_SIGNING_KEYS_DIR={folder} holds no key: openssl genpkey -algorithm ed25519 -out {folder}/1.pem"
        )
    return keys
