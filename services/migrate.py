"""Brings the databases of all services to this version: `python -m services.migrate`.

Services do so themselves when they start; before an upgrade it is done first, so that what cannot be migrated is known
before anything of the new version runs.
"""

from __future__ import annotations

import sys

from services.runtime.database import SERVICES_WITH_DATABASE, open_database
from services.runtime.errors import ServiceError
from services.runtime.logs import log_json
from services.runtime.settings import RuntimeSettings, read_settings


def main() -> None:
    """Exits with 0 once all are at this version, with 1 and one line where one cannot be brought there."""
    try:
        settings = read_settings(RuntimeSettings)
        log_json(settings.log_level)
        for name in SERVICES_WITH_DATABASE:
            open_database(settings, name).dispose()
    except (OSError, ServiceError, ValueError) as error:
        sys.exit(f"migrate: {error}")


if __name__ == "__main__":
    main()
