"""Logs: one JSON object a line on standard error."""

from __future__ import annotations

import atexit
import json
import logging
import re
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue

from services.runtime import tracing

REQUEST_ID = "x-request-id"
# The id of the call that is being answered; every line logged meanwhile carries it, and calls to other services.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_REQUEST_ID_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "taskName"}


def request_id_of(given: object) -> str:
    """The id that a caller gave, where it has the form of one (it goes into logs), or a new one."""
    return given if isinstance(given, str) and _REQUEST_ID_FORM.fullmatch(given) else uuid.uuid4().hex


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        line |= tracing.ids()
        line |= {key: value for key, value in record.__dict__.items() if key not in _PLAIN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_json(level: str) -> None:
    """Sends every log line of this process to standard error as JSON.

    A thread of its own writes the lines: while one call wrote, all others that had a line would wait for it.
    """
    lines: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler = QueueHandler(lines)
    handler.setFormatter(_JsonFormatter())
    writing = QueueListener(lines, logging.StreamHandler())
    writing.start()
    atexit.register(writing.stop)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel("WARNING")  # `migrate` says what it did in one line
