"""The JobService of a service: its jobs as messages, and followed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import grpc

from onoma.enum_names import values_of
from onoma.v1 import jobs_pb2 as pb
from onoma.v1 import jobs_pb2_grpc
from services.runtime.job_table import PENDING, RUNNING, Job
from services.runtime.jobs import Jobs

MAX_WATCHERS = 6  # of a server's threads (8 at least); see JobServicer.WatchJob
_LOOK_S = 0.25  # between two looks at a row that is watched
_WATCH_S = 60.0

_STATES = values_of(pb.JobState)


class JobServicer(jobs_pb2_grpc.JobServiceServicer):
    """onoma.v1.JobService over the jobs of one service."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._watchers = threading.BoundedSemaphore(MAX_WATCHERS)

    def GetJob(self, request: pb.GetJobRequest, context: grpc.ServicerContext) -> pb.GetJobResponse:
        return pb.GetJobResponse(job=job_message(self._jobs.get(request.job_id)))

    def ListJobs(self, request: pb.ListJobsRequest, context: grpc.ServicerContext) -> pb.ListJobsResponse:
        rows, token = self._jobs.list(request.page_size, request.page_token)
        return pb.ListJobsResponse(jobs=map(job_message, rows), next_page_token=token)

    def WatchJob(
        self, request: pb.WatchJobRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchJobResponse]:
        """Follows the row for a minute at most; a client whose job goes on asks again.

        A stream holds a thread of the server. MAX_WATCHERS are followed at once; one beyond gets the present
        state and the end of its stream, and asks again after a pause.
        """
        row = self._jobs.get(request.job_id)
        yield pb.WatchJobResponse(job=job_message(row))
        if not self._watchers.acquire(blocking=False):
            return
        try:
            until = time.monotonic() + _WATCH_S
            while row.state in (PENDING, RUNNING) and context.is_active() and time.monotonic() < until:
                if self._jobs.closing.wait(_LOOK_S):
                    return
                seen, row = row.update_time, self._jobs.get(request.job_id)
                if row.update_time != seen:
                    yield pb.WatchJobResponse(job=job_message(row))
        finally:
            self._watchers.release()

    def CancelJob(self, request: pb.CancelJobRequest, context: grpc.ServicerContext) -> pb.CancelJobResponse:
        return pb.CancelJobResponse(job=job_message(self._jobs.cancel(request.job_id)))

    def ResumeJob(self, request: pb.ResumeJobRequest, context: grpc.ServicerContext) -> pb.ResumeJobResponse:
        return pb.ResumeJobResponse(job=job_message(self._jobs.resume(request.job_id)))


def job_message(row: Job) -> pb.Job:
    """The row as a message."""
    message = pb.Job(
        job_id=row.job_id,
        kind=row.kind,
        state=_STATES[row.state],
        stage=row.stage,
        done=row.done,
        total=row.total,
        rate_per_s=row.rate_per_s,
        error=row.error,
        result_json="" if row.result is None else json.dumps(row.result),
        warnings=row.warnings,
        attempts=row.attempts,
        subject=row.params.get("name") or row.params.get("study_id", ""),
    )
    message.create_time.FromDatetime(datetime.fromtimestamp(row.create_time, UTC))
    message.update_time.FromDatetime(datetime.fromtimestamp(row.update_time, UTC))
    return message
