"""Starts the analytics service: `python -m services.analytics`."""

from services.analytics.service import build
from services.runtime.server import main

if __name__ == "__main__":  # the processes of a large analysis import this file too
    main(build, "analytics")
