"""Starts the analytics service: `python -m services.analytics`."""

from services.analytics.service import build
from services.runtime.server import main

main(build, "analytics")
