"""What every server is told by its environment: ONOMA_*."""

from __future__ import annotations

import difflib
import ipaddress
import os
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError


class RuntimeSettings(BaseSettings):
    """Settings that all services share; each is read from ONOMA_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="ONOMA_", env_ignore_empty=True)

    data_dir: Path = Field(Path("onoma-data"), description="Folder of SQLite files and the directory store.")
    database_url: str = Field(
        "",
        repr=False,
        description="SQLAlchemy URL (postgresql+psycopg://...); empty: a SQLite file a service.",
    )
    object_store: Literal["directory", "s3"] = Field("directory", description="Where objects are kept.")
    s3_endpoint: str = Field("", description="host:port of the S3 server (MinIO).")
    s3_access_key: str = Field("", description="Access key of the S3 server.")
    s3_secret_key: str = Field("", repr=False, description="Secret key of the S3 server.")
    s3_bucket: str = Field("onoma", description="Bucket, made where it is missing.")
    s3_region: str = Field("us-east-1", description="Region of the bucket.")
    s3_secure: bool = Field(True, description="Whether the S3 server is spoken to over TLS.")
    access_token: str = Field(
        "",
        repr=False,
        description="Token of the owner, for the SDK and the command line.",
    )
    signing_keys_dir: Path | None = Field(
        None,
        description="Folder of Ed25519 private keys KID.pem that the servers sign tokens among each other with.",
    )
    tls_dir: Path | None = Field(
        None,
        description="Folder of ca.crt, tls.crt and tls.key for mutual TLS between services; empty: plain.",
    )
    host: str = Field("127.0.0.1", description="Address the servers bind to.")
    tls: Literal["inside", "outside"] = Field(
        "inside",
        description="outside: the network, or a proxy before the page, encrypts what is bound beyond loopback.",
    )
    inference_address: str = Field("127.0.0.1:50051", description="host:port of the inference service.")
    attribution_address: str = Field("127.0.0.1:50052", description="host:port of the attribution service.")
    naming_address: str = Field("127.0.0.1:50053", description="host:port of the naming service.")
    analytics_address: str = Field("127.0.0.1:50054", description="host:port of the analytics service.")
    grpc_workers: int = Field(16, ge=8, le=256, description="Threads of a server: calls handled at once.")
    max_message_bytes: int = Field(
        32 * 1024 * 1024, ge=64 * 1024, lt=2**31, description="Largest gRPC message, both ways."
    )
    max_connection_age_s: int = Field(
        600,
        gt=0,
        le=2_000_000,
        description="Age at which clients are asked to connect anew, so that new replicas get calls.",
    )
    drain_s: float = Field(
        10.0, ge=0, le=3600, description="Seconds that calls in flight get to end at a stop."
    )
    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of Prometheus metrics of `python -m services.NAME`; 0: none."
    )
    health_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of a plain gRPC health service beside that of `python -m services.NAME`, for probes that "
        "speak no TLS; 0: none.",
    )
    otlp_endpoint: str = Field(
        "",
        description="URL of the OpenTelemetry collector that traces are sent to (http://HOST:4317, https:// over TLS); "
        "empty: none.",
    )
    import_roots: list[Path] = Field(
        default_factory=list,
        description="Folders on the server that data sets may be imported from (JSON list).",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least level of the log's lines."
    )

    # Keys of services.runtime.tokens that servers of one process share; no environment can say them.
    _keys_in_memory: Any = PrivateAttr(None)

    @field_validator("s3_endpoint")
    @classmethod
    def _be_no_url(cls, endpoint: str) -> str:
        if "/" in endpoint:
            raise ValueError("no host:port; whether it is spoken to over TLS is said by ONOMA_S3_SECURE")
        return endpoint

    @field_validator("inference_address", "attribution_address", "naming_address", "analytics_address")
    @classmethod
    def _have_a_port(cls, address: str) -> str:
        if ":" not in address:
            raise ValueError("it has no port: give host:port")
        return address

    @field_validator("otlp_endpoint")
    @classmethod
    def _say_whether_traces_are_encrypted(cls, endpoint: str) -> str:
        url = urlsplit(endpoint)
        if endpoint and not (url.scheme in ("http", "https") and url.hostname):
            raise ValueError("no URL of a collector: http://HOST:4317, or https://HOST:4317 over TLS")
        return endpoint

    @model_validator(mode="after")
    def _be_reached_by_those_alone_who_may(self) -> RuntimeSettings:
        if is_loopback(self.host):
            return self
        reached = f"ONOMA_HOST={self.host} can be reached from other machines"
        if self.signing_keys_dir is None:
            raise ValueError(
                f"{reached}, and nothing says who calls: bind to 127.0.0.1, or set ONOMA_SIGNING_KEYS_DIR"
            )
        if self.tls_dir is None and self.tls != "outside":
            raise ValueError(
                f"{reached}, and nothing is encrypted: set ONOMA_TLS_DIR, or ONOMA_TLS=outside where the network is "
                "closed or encrypts by itself"
            )
        return self

    @model_validator(mode="after")
    def _know_the_s3_server(self) -> RuntimeSettings:
        if self.object_store != "s3":
            return self
        required = ("s3_endpoint", "s3_access_key", "s3_secret_key")
        missing = [f"ONOMA_{name.upper()}" for name in required if not getattr(self, name)]
        if missing:
            raise ValueError(f"ONOMA_OBJECT_STORE=s3 also needs {', '.join(missing)}")
        if "minioadmin" in (self.s3_access_key, self.s3_secret_key):
            raise ValueError(
                "minioadmin is the password that everybody knows; give the S3 server others "
                "(MINIO_ROOT_USER, MINIO_ROOT_PASSWORD) and set ONOMA_S3_ACCESS_KEY and ONOMA_S3_SECRET_KEY"
            )
        return self


Settings = TypeVar("Settings", bound=BaseSettings)
LIKENESS = 0.88
"""Of two names (difflib's ratio) from which one is taken for the other, misspelled; no two settings are so alike."""


def read_settings(kind: type[Settings], **given: Any) -> Settings:  # values of the fields' own types
    """Settings of the environment, those given put over them.

    Raises:
        ValueError: one line that names each wrong setting, its value and what is wrong with it; a variable that is no
            setting but is spelled nearly as one of these is wrong too.
    """
    _refuse_misspelled(kind)
    try:
        return kind(**given)
    except ValidationError as error:
        raise ValueError("; ".join(map(_line, error.errors()))) from error
    except SettingsError as error:
        raise ValueError(f"{error} (lists are written as JSON)") from error


def _refuse_misspelled(kind: type[BaseSettings]) -> None:
    """What is spelled like none of these settings passes: it may be for another server, or for compose."""
    for variable in filter(lambda name: name.upper().startswith("ONOMA_"), os.environ):
        name = variable[len("ONOMA_") :].lower()
        near = difflib.get_close_matches(name, kind.model_fields, n=1, cutoff=LIKENESS)
        if near and name not in kind.model_fields:
            raise ValueError(
                f"{variable} is no setting; ONOMA_{near[0].upper()} is: correct its name, or unset it"
            )


def _line(error: Any) -> str:  # pydantic's ErrorDetails
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    return f"ONOMA_{str(error['loc'][0]).upper()}={error['input']}: {message[:1].lower()}{message[1:]}"


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
