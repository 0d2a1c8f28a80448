"""The typed client: the only way in for the command line, notebooks and tests.

```python
from onoma.client import Client

with Client() as client:
    for study in client.list_studies():
        print(study.name)
```
"""

from onoma.client.analysis import AnalysisOptions
from onoma.client.client import Client
from onoma.client.errors import (
    AlreadyExists,
    Conflict,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    JobFailed,
    NotAllowed,
    NotFound,
    NotImplementedYet,
    OnomaError,
    ResourceExhausted,
    ServerUnavailable,
)
from onoma.client.jobs import RunningJob
from onoma.client.transport import Addresses

__all__ = [
    "Addresses",
    "AlreadyExists",
    "AnalysisOptions",
    "Client",
    "Conflict",
    "DataLoss",
    "FailedPrecondition",
    "InvalidArgument",
    "JobFailed",
    "NotAllowed",
    "NotFound",
    "NotImplementedYet",
    "OnomaError",
    "ResourceExhausted",
    "RunningJob",
    "ServerUnavailable",
]
