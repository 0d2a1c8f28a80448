"""Serve attribution: python -m services.attribution."""

from services.attribution.service import build
from services.runtime.server import main

main(build, "attribution")
