"""Serve the gateway over HTTP: python -m services.gateway."""

import signal
import sys

import uvicorn

from services.gateway.app import build
from services.gateway.settings import GatewaySettings, SignInSettings
from services.runtime.logs import log_json
from services.runtime.server import show_numbers
from services.runtime.settings import read_settings
from services.runtime.tracing import send_the_rest, send_traces


def main() -> None:
    """Serve until SIGTERM or SIGINT; open requests are answered first, then exit 0."""
    try:
        settings = read_settings(GatewaySettings)
        certificate = read_settings(SignInSettings).certificate()
        log_json(settings.log_level)
        show_numbers(settings)
        send_traces(settings, "gateway")
        app = build(settings)
    except (OSError, ValueError) as error:
        sys.exit(f"gateway: {error}")
    # uvicorn drains on a signal and then raises it again for the handler that was there before.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: sys.exit(0))
    try:
        uvicorn.run(
            app,
            host=settings.host,
            port=settings.http_port,
            log_config=None,
            log_level="warning",
            timeout_graceful_shutdown=int(settings.drain_s),
            **certificate,
        )
    finally:
        send_the_rest()


if __name__ == "__main__":
    main()
