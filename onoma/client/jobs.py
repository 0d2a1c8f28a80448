"""Long work seen from the client: watch it, wait for it, cancel it, resume it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from onoma.client.errors import JobFailed
from onoma.client.transport import Transport
from onoma.v1 import jobs_pb2

_PAUSE_S = 1.0
ENDED = (jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_FAILED, jobs_pb2.JOB_STATE_CANCELLED)


class RunningJob:
    """A job on a server. `message` is its latest known state."""

    def __init__(self, transport: Transport, service: str, message: jobs_pb2.Job) -> None:
        self._transport = transport
        self._service = service
        self.message = message

    @property
    def job_id(self) -> str:
        """Id of the job, unique within its service."""
        return self.message.job_id

    def watch(self) -> Iterator[jobs_pb2.Job]:
        """The job's states as they come, ending with its last."""
        while True:
            request = jobs_pb2.WatchJobRequest(job_id=self.job_id)
            for response in self._transport.stream(self._service, "WatchJob", request, timeout_s=300):
                self.message = response.job
                yield self.message
            if self.message.state in ENDED:
                return
            time.sleep(
                _PAUSE_S
            )  # the server follows so many watchers at once; beyond them it ends the stream

    def wait(self, on_progress: Callable[[jobs_pb2.Job], None] | None = None) -> dict[str, Any]:
        """Waits for the end and returns what the job made.

        Args:
            on_progress: called with each state, the last one included.
        Raises:
            JobFailed: it ended otherwise than by success.
        """
        for message in self.watch():
            if on_progress:
                on_progress(message)
        if self.message.state != jobs_pb2.JOB_STATE_SUCCEEDED:
            how = "was cancelled" if self.message.state == jobs_pb2.JOB_STATE_CANCELLED else "failed"
            reason = f": {self.message.error}" if self.message.error else ""
            raise JobFailed(f"{self.message.kind} {how}{reason}", self.message)
        result: dict[str, Any] = json.loads(self.message.result_json or "{}")
        return result

    def cancel(self) -> None:
        """Asks the job to stop at its next safe point; what it did so far stays."""
        request = jobs_pb2.CancelJobRequest(job_id=self.job_id)
        self.message = self._transport.call(self._service, "CancelJob", request).job

    def resume(self) -> None:
        """Puts a failed or cancelled job back in the queue; finished parts are not done again."""
        request = jobs_pb2.ResumeJobRequest(job_id=self.job_id)
        self.message = self._transport.call(self._service, "ResumeJob", request).job
