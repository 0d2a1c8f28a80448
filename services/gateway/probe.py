"""Whether the page of this machine answers: `python -m services.gateway.probe` exits with 0 or 1.

What a container's health check runs.
"""

import ssl
import sys
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from services.gateway.settings import GatewaySettings, SignInSettings
from services.runtime.settings import read_settings

_TIMEOUT_S = 4.0


def problem(http_port: int, *, is_https: bool) -> str:
    """What keeps the page from answering, in one line; empty where nothing does."""
    url = f"{'https' if is_https else 'http'}://127.0.0.1:{http_port}/healthz"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Its certificate is for the name that browsers know it by; asked is whether it answers.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    straight = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
    try:
        with straight.open(url, timeout=_TIMEOUT_S):
            return ""
    except OSError as error:
        return f"{url} does not answer: {error}"


if __name__ == "__main__":
    is_https = read_settings(SignInSettings).https_dir is not None
    sys.exit(problem(read_settings(GatewaySettings).http_port, is_https=is_https) or 0)
