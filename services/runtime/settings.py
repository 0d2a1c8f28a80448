"""What every server is told by its environment: ONOMA_*."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class RuntimeSettings(BaseSettings):
    """Settings that all services share; each is read from ONOMA_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="ONOMA_")

    data_dir: Path = Field(Path("onoma-data"), description="Folder of SQLite files and the directory store.")
    database_url: str = Field(
        "",
        description="SQLAlchemy URL (postgresql+psycopg://...); empty: a SQLite file a service.",
    )
    object_store: Literal["directory", "s3"] = Field("directory", description="Where objects are kept.")
    s3_endpoint: str = Field("", description="host:port of the S3 server (MinIO).")
    s3_access_key: str = Field("", description="Access key of the S3 server.")
    s3_secret_key: str = Field("", description="Secret key of the S3 server.")
    s3_bucket: str = Field("onoma", description="Bucket, made where it is missing.")
    s3_region: str = Field("us-east-1", description="Region of the bucket.")
    s3_secure: bool = Field(True, description="Whether the S3 server is spoken to over TLS.")
    host: str = Field("127.0.0.1", description="Address the servers bind to.")
    allow_remote: bool = Field(False, description="Whether `host` may be other than loopback.")
    inference_address: str = Field("127.0.0.1:50051", description="host:port of the inference service.")
    attribution_address: str = Field("127.0.0.1:50052", description="host:port of the attribution service.")
    naming_address: str = Field("127.0.0.1:50053", description="host:port of the naming service.")
    analytics_address: str = Field("127.0.0.1:50054", description="host:port of the analytics service.")
    http_port: int = Field(8080, description="Port of the page when the gateway runs by itself.")
    grpc_workers: int = Field(16, ge=4, description="Threads of a server: calls handled at once.")
    max_message_bytes: int = Field(32 * 1024 * 1024, description="Largest gRPC message, both ways.")
    drain_s: float = Field(10.0, description="Seconds that calls in flight get to end at a stop.")
    max_connection_age_s: int = Field(600, description="Age at which clients are asked to connect anew.")
    import_roots: list[Path] = Field(
        default_factory=list,
        description="Folders on the server that data sets may be imported from (JSON list).",
    )
    log_level: str = Field("INFO", description="Least level of the log's lines.")

    @model_validator(mode="after")
    def _stay_on_loopback(self) -> RuntimeSettings:
        if not self.allow_remote and not _is_loopback(self.host):
            raise ValueError(
                f"ONOMA_HOST={self.host} can be reached from other machines and there is no sign-in yet; "
                "bind to 127.0.0.1, or set ONOMA_ALLOW_REMOTE=true where the network itself is closed"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
