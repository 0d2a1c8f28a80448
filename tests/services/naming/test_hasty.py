"""A thousand acts a second by one person: they wait, the others do not notice; and the audit log of all that."""

import time
import uuid

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status

from onoma.v1 import naming_pb2 as pb
from services.runtime.access import ACTS_AT_ONCE, ACTS_PER_S
from tests.services.naming.conftest import create

Code = grpc.StatusCode


def rename(server, study_id, invited, number):
    """One act by the invitation's own token; None, or the error."""
    request = pb.ActRequest(
        study_id=study_id,
        annotator_id=invited.annotator.annotator_id,
        category="boat",
        request_id=str(uuid.uuid4()),
        base_revision=number,
        command=pb.Command(**create(f"c{number}", (), f"name {number}")),
    )
    try:
        server.calls.Act(request, timeout=30, metadata=(("authorization", f"Bearer {invited.token}"),))
    except grpc.RpcError as error:
        return error
    return None


def test_who_acts_too_fast_waits_and_nobody_else(server, study):
    hasty, calm = (server.invite(study.study_id, name) for name in ("Hasty", "Calm"))
    refused = None
    began = time.monotonic()
    done = 0
    while refused is None:
        # The same stale revision, again and again: what is refused by naming counts as well.
        error = rename(server, study.study_id, hasty, 1_000_000)
        refused = error if error.code() == Code.RESOURCE_EXHAUSTED else None
        done += refused is None
        assert done <= ACTS_AT_ONCE + ACTS_PER_S * (time.monotonic() - began) + 1
    assert done >= ACTS_AT_ONCE
    status = rpc_status.from_call(refused)
    again = RetryInfo()
    (packed,) = [detail for detail in status.details if detail.Is(RetryInfo.DESCRIPTOR)]
    packed.Unpack(again)
    assert 0 < again.retry_delay.ToTimedelta().total_seconds() <= 1 / ACTS_PER_S
    assert rename(server, study.study_id, calm, 0) is None
    time.sleep(2 / ACTS_PER_S)
    assert rename(server, study.study_id, hasty, 0) is None


@pytest.fixture
def audited(caplog):
    def lines():
        return [
            (record.getMessage().rpartition("/")[2], record.role, record.subject, record.outcome)
            for record in caplog.records
            if record.name == "onoma.audit"
        ]

    return lines


def test_the_audit_log_says_who_did_what_and_no_name(server, study, audited, caplog):
    ada = server.invite(study.study_id, "Ada Lovelace")
    ada_id = ada.annotator.annotator_id
    rename(server, study.study_id, ada, 0)
    own = (("authorization", f"Bearer {ada.token}"), ("x-request-id", "asked-by-ada"))
    key = {"study_id": study.study_id, "annotator_id": ada_id, "category": "boat"}
    server.calls.GetNaming(pb.GetNamingRequest(**key), metadata=own, timeout=30)
    with pytest.raises(grpc.RpcError):
        server.calls.CloseStudy(pb.CloseStudyRequest(study_id=study.study_id), metadata=own, timeout=30)
    wrong = (("authorization", "Bearer guess"),)
    with pytest.raises(grpc.RpcError):
        server.calls.GetNaming(pb.GetNamingRequest(**key), metadata=wrong, timeout=30)
    assert audited()[-4:] == [
        ("InviteAnnotator", "owner", "at-the-machine", "OK"),
        ("Act", "annotator", ada_id, "OK"),
        ("CloseStudy", "annotator", ada_id, "PERMISSION_DENIED"),
        ("GetNaming", "", "", "UNAUTHENTICATED"),
    ]
    lines = [record for record in caplog.records if record.name == "onoma.audit"]
    assert lines[-2].request_id == "asked-by-ada"
    assert {line.study for line in lines[-4:-1]} == {study.study_id}
    for secret in ("Lovelace", "name 0", ada.token, "guess"):
        assert secret not in "".join(str(line.__dict__) for line in lines)
