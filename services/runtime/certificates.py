"""Certificates of mutual TLS: ONOMA_TLS_DIR with ca.crt, tls.crt and tls.key, read anew when the files change.

A certificate lives shorter than the process that shows it: servers look at the files at each handshake, channels at
each call, and both go on with the last good ones where what lies there does not fit together.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_FILES = ("ca.crt", "tls.crt", "tls.key")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Certificate:
    """What a process shows, and whom it believes; PEM.

    Attributes:
        authority: certificates of the authorities whose certificates are taken.
        chain: the process's own certificate, and those between it and the authority.
        key: the private key of the first of the chain.
    """

    authority: bytes
    chain: bytes
    key: bytes


def read_certificate(folder: Path) -> Certificate:
    """The three files of a folder.

    Raises:
        ValueError: one is missing or no PEM, or the key is another certificate's.
    """
    try:
        contents = [(folder / name).read_bytes() for name in _FILES]
    except OSError as error:
        raise ValueError(
            f"ONOMA_TLS_DIR={folder}: {error.strerror}: {error.filename} (it needs {', '.join(_FILES)})"
        ) from error
    read = Certificate(*contents)
    try:
        x509.load_pem_x509_certificates(read.authority)
        certified = x509.load_pem_x509_certificates(read.chain)[0].public_key()
        own = load_pem_private_key(read.key, password=None).public_key()
    except (ValueError, TypeError) as error:
        raise ValueError(f"ONOMA_TLS_DIR={folder}: not PEM as TLS has it: {error}") from error
    if own != certified:
        raise ValueError(f"ONOMA_TLS_DIR={folder}: tls.key is not the key of tls.crt; renew both together")
    return read


class Renewed:
    """The certificate of a folder as it stands.

    Raises:
        ValueError: as in `read_certificate`, at the start alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._certificate = read_certificate(folder)

    def now(self) -> Certificate:
        """The last good one."""
        with self._lock:
            stamp = self._look()
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._certificate = read_certificate(self._folder)
                    _log.info("the certificate in %s was renewed", self._folder)
                except ValueError as error:
                    _log.error("going on with the certificate read before: %s", error)
            return self._certificate

    def _look(self) -> list[tuple[int, int] | None]:
        return [_stamp(self._folder / name) for name in _FILES]


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def server_credentials(folder: Path) -> grpc.ServerCredentials:
    """Of a server that shows its certificate and takes nobody without one of the authority's.

    Raises:
        ValueError: as in `read_certificate`.
    """
    renewed = Renewed(folder)

    def configuration(shown: Certificate) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(shown.key, shown.chain)], shown.authority)

    lock, last = threading.Lock(), renewed.now()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal last
        with lock:
            present = renewed.now()
            if present is last:
                return None
            last = present
            return configuration(present)

    return grpc.dynamic_ssl_server_credentials(
        configuration(last), changed, require_client_authentication=True
    )


class RenewedChannel(grpc.Channel):
    """A channel that goes on over a new one once the certificate has changed; calls in flight end on theirs.

    Args:
        folder: ONOMA_TLS_DIR.
        connect: opens a channel with credentials.
    Raises:
        ValueError: as in `read_certificate`.
    """

    def __init__(self, folder: Path, connect: Callable[[grpc.ChannelCredentials], grpc.Channel]) -> None:
        self._renewed = Renewed(folder)
        self._connect = connect
        self._lock = threading.Lock()
        self._shown = self._renewed.now()
        self._channels = [self._open(self._shown)]

    def channel(self) -> grpc.Channel:
        """The one to call over now."""
        present = self._renewed.now()
        with self._lock:
            if present is not self._shown:
                self._shown = present
                self._channels.append(self._open(present))
            return self._channels[-1]

    def _open(self, shown: Certificate) -> grpc.Channel:
        return self._connect(grpc.ssl_channel_credentials(shown.authority, shown.key, shown.chain))

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """See grpc.Channel."""
        return _Calls(self, "unary_unary", args, kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """See grpc.Channel."""
        return _Calls(self, "unary_stream", args, kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """See grpc.Channel."""
        return _Calls(self, "stream_unary", args, kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """See grpc.Channel."""
        return _Calls(self, "stream_stream", args, kwargs)

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:
        """See grpc.Channel."""
        self.channel().subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        """See grpc.Channel."""
        for channel in self._channels:
            channel.unsubscribe(callback)

    def close(self) -> None:
        """See grpc.Channel."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> RenewedChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Calls:
    """One RPC, over whichever channel is the present one."""

    def __init__(self, of: RenewedChannel, kind: str, args: Any, kwargs: Any) -> None:
        self._of = of
        self._make = lambda channel: getattr(channel, kind)(*args, **kwargs)
        self._over: tuple[grpc.Channel, Any] | None = None

    def _present(self) -> Any:
        channel = self._of.channel()
        if self._over is None or self._over[0] is not channel:
            self._over = channel, self._make(channel)
        return self._over[1]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._present()(*args, **kwargs)

    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        return self._present().with_call(*args, **kwargs)

    def future(self, *args: Any, **kwargs: Any) -> Any:
        return self._present().future(*args, **kwargs)
