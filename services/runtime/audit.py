"""Who did what: a line for every change, and for everything that was refused, on a log of its own.

Subjects are ids: an annotator's, the owner's at the provider, a service's name. No line holds a person's name, what
they wrote, or a token.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from dataclasses import dataclass

from onoma.service_config import READS
from services.runtime.logs import request_id

log = logging.getLogger("onoma.audit")
log.setLevel(logging.INFO)  # whatever ONOMA_LOG_LEVEL keeps quiet
REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED")
_READS = (*READS, "Sort", "Analyse", "Server", "Model")


@dataclass(frozen=True)
class Who:
    """Who makes the call that is being answered, and about which study; empty where nobody knows."""

    role: str = ""
    subject: str = ""
    study_id: str = ""


who: ContextVar[Who] = ContextVar("who", default=Who())  # noqa: B039  frozen


def note_call(method: str, outcome: str) -> None:
    """A line on a call that has ended, unless it was a read that was answered.

    Args:
        method: "onoma.v1.NamingService/Act".
        outcome: name of its status code.
    """
    is_read = method.rpartition("/")[2].startswith(_READS)
    if is_read and outcome not in REFUSED:
        return
    caller = who.get()
    fields = {"role": caller.role, "subject": caller.subject, "study": caller.study_id, "outcome": outcome}
    log.info(method, extra=fields | {"request_id": request_id.get()})
