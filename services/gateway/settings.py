"""What the gateway is told beside the settings that all servers share."""

from pydantic import Field

from services.runtime.settings import RuntimeSettings


class GatewaySettings(RuntimeSettings):
    """Settings of the gateway, from ONOMA_ and the name in capitals."""

    http_port: int = Field(8080, ge=0, le=65535, description="Port of the page and of /api.")
