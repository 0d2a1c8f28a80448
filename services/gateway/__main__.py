"""Serve the gateway over HTTP: python -m services.gateway."""

import signal
import sys

import uvicorn

from services.gateway.app import build
from services.gateway.settings import GatewaySettings
from services.runtime.settings import read_settings


def main() -> None:
    """Serve until SIGTERM or SIGINT; open requests are answered first, then exit 0."""
    try:
        settings = read_settings(GatewaySettings)
    except ValueError as error:
        sys.exit(f"gateway: {error}")
    # uvicorn drains on a signal and then raises it again for the handler that was there before.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: sys.exit(0))
    uvicorn.run(
        build(settings),
        host=settings.host,
        port=settings.http_port,
        log_level="warning",
        timeout_graceful_shutdown=int(settings.drain_s),
    )


if __name__ == "__main__":
    main()
