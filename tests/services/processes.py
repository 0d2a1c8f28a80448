"""A server in a process of its own, to be killed."""

import json
import os
import subprocess
import sys
import threading
from collections import deque
from contextlib import contextmanager
from pathlib import Path

import grpc

from onoma.v1 import jobs_pb2
from onoma.v1.jobs_pb2_grpc import JobServiceStub

DEADLINE_S = 90  # the server follows a job for a minute, then ends the stream


@contextmanager
def server_process(service, stub, before="", **settings):
    """`python -m services.SERVICE` with settings ONOMA_*: its process, and stubs for it and its jobs."""
    with (
        running(service, before, **settings) as (process, address),
        grpc.insecure_channel(address) as channel,
    ):
        yield process, stub(channel), JobServiceStub(channel)


@contextmanager
def running(service, before="", **settings):
    """`python -m services.SERVICE` with settings ONOMA_*: its process and its address.

    Args:
        before: what the process is to run first, as a test replaces a constant.
    """
    module = f"services.{service}"
    replacing = ["-c", f"{before}\nimport runpy\nrunpy.run_module('{module}', run_name='__main__')"]
    environment = os.environ | {f"ONOMA_{name.upper()}": value for name, value in settings.items()}
    with subprocess.Popen(
        [sys.executable, *(replacing if before else ["-m", module])],
        env=environment | {f"ONOMA_{service.upper()}_ADDRESS": "127.0.0.1:0"},
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        # A full pipe would stop the server.
        reading = threading.Thread(target=deque, args=(process.stderr, 0))
        try:
            address = next(json.loads(line)["address"] for line in process.stderr if "is ready" in line)
            reading.start()
            yield process, address
        finally:
            process.kill()
            if reading.ident is not None:
                reading.join()


def states(jobs, job_id):
    """The job, again and again until it has ended."""
    while True:
        request = jobs_pb2.WatchJobRequest(job_id=job_id)
        for response in jobs.WatchJob(request, timeout=DEADLINE_S):
            yield response.job
            if response.job.state not in (jobs_pb2.JOB_STATE_PENDING, jobs_pb2.JOB_STATE_RUNNING):
                return
