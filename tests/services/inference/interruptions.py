"""Jobs that are cut off at a chosen safe point."""

from services.runtime.jobs import Job, JobContext


class Interrupted(JobContext):
    """A job whose process meets `error` at its n-th safe point."""

    def __init__(self, row: Job, after: int, error: BaseException) -> None:
        super().__init__(row)
        self._left = after
        self._error = error

    def check(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise self._error
