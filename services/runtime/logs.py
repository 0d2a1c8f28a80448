"""Logs: one JSON object a line on standard error."""

from __future__ import annotations

import atexit
import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue

from services.runtime import tracing

# The id of the call that is being answered; every line logged meanwhile carries it, and calls to other services.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "taskName"}


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
