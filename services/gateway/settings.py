"""What the gateway is told beside the settings that all servers share."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.runtime.settings import RuntimeSettings, is_loopback


class GatewaySettings(RuntimeSettings):
    """Settings of the gateway, from ONOMA_ and the name in capitals."""

    http_port: int = Field(8080, ge=0, le=65535, description="Port of the page and of /api.")


class SignInSettings(BaseSettings):
    """Where the page is found and how its owners sign in, from ONOMA_ and the name in capitals."""

    model_config = SettingsConfigDict(env_prefix="ONOMA_", env_ignore_empty=True)

    public_url: str = Field(
        "",
        description="Where browsers find the page (https://onoma.example); empty: where they say they found it. "
        "Where it names another machine than this, the owner has to sign in, at this machine too.",
    )
    https_dir: Path | None = Field(
        None,
        description="Folder of tls.crt and tls.key that the page is served with over HTTPS; empty: plain HTTP.",
    )
    oidc_issuer: str = Field(
        "", description="URL of the OpenID provider that owners sign in with; empty: none."
    )
    oidc_client_id: str = Field("", description="The gateway's id at the provider.")
    oidc_client_secret: str = Field("", repr=False, description="The gateway's secret at the provider.")
    owners: list[str] = Field(
        default_factory=list,
        description="Who of those that sign in is an owner: subjects or verified e-mail addresses (JSON list).",
    )
    session_hours: float = Field(8.0, gt=0, le=168, description="Hours that a sign-in lasts.")

    @model_validator(mode="after")
    def _know_the_provider(self) -> SignInSettings:
        for name in ("public_url", "oidc_issuer"):
            url = urlsplit(getattr(self, name))
            if url.geturl() and not (
                url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname or ""))
            ):
                raise ValueError(f"ONOMA_{name.upper()}={url.geturl()} is no https:// address")
        if self.oidc_issuer:
            needed = ("oidc_client_id", "oidc_client_secret", "owners", "public_url")
            missing = [f"ONOMA_{name.upper()}" for name in needed if not getattr(self, name)]
            if missing:
                raise ValueError(f"ONOMA_OIDC_ISSUER also needs {', '.join(missing)}")
        return self

    def certificate(self) -> dict[str, Path]:
        """What uvicorn is given to speak HTTPS; nothing where it speaks plain HTTP.

        Raises:
            ValueError: a file is missing or no PEM, or the key is another certificate's.
        """
        if self.https_dir is None:
            return {}
        files = {"ssl_certfile": self.https_dir / "tls.crt", "ssl_keyfile": self.https_dir / "tls.key"}
        try:
            # An empty password, for OpenSSL would ask at the terminal for that of a key that has one.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files.values(), password="")
        except OSError as error:
            raise ValueError(
                f"ONOMA_HTTPS_DIR={self.https_dir}: {error} (it needs tls.crt and tls.key, the key of the first)"
            ) from error
        return files


def reached_by(settings: RuntimeSettings, of: SignInSettings) -> str:
    """The setting that lets other machines reach the page, and its value; empty where none does."""
    if not is_loopback(settings.host):
        return f"ONOMA_HOST={settings.host}"
    if of.public_url and not is_loopback(urlsplit(of.public_url).hostname or ""):
        return f"ONOMA_PUBLIC_URL={of.public_url}"
    return ""


def owner_signs_in_by(settings: RuntimeSettings, of: SignInSettings) -> str:
    """The setting for which the owner signs in, and its value; empty where whoever sits at the machine is the owner."""
    provider = f"ONOMA_OIDC_ISSUER={of.oidc_issuer}" if of.oidc_issuer else ""
    return reached_by(settings, of) or provider
