"""The containers of deploy/compose.yaml, for real: the main job from outside, each one stopped, all of them restarted.

A quarter of an hour and 10 GB: run by `make test-deploy`.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import httpx2 as httpx
import pytest

from onoma.client import Client, ServerUnavailable
from onoma.client.jobs import RunningJob
from onoma.v1 import inference_pb2, naming_pb2, types_pb2
from tests.deploy.engine import Engine, NoEngine, running_engine
from tests.deploy.images import IMAGES, build_images, build_stand_ins
from tests.deploy.stack import PAGE, SERVICES, STORAGE, Stack
from tests.services.certified import Authority
from tests.synthetic import tiny_program, write_image_folder

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(3600)]

CATEGORIES = ["circle", "cross", "square"]
VERSION = version("onoma")
_JOB_S = 300


@pytest.fixture(scope="module")
def engine(minio_binary: Path) -> Iterator[Engine]:
    """An engine that holds all images."""
    try:
        with running_engine() as engine:
            build_stand_ins(engine, minio_binary)
            build_images(engine, VERSION)
            yield engine
    except NoEngine as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All of it, up and healthy; its volumes are gone afterwards."""
    stack = Stack(engine, tmp_path_factory.mktemp("stack"))
    stack.make_secrets()
    for folder in (stack.folder, *stack.folder.parents[:2]):
        folder.chmod(0o755)  # the containers' user reads the keys and the pictures below
    try:
        stack.up()
        yield stack
    finally:
        stack.compose("down", "--volumes", "--remove-orphans")


@dataclass(frozen=True)
class Named:
    """What has to outlive every stop.

    Attributes:
        link: the annotator's token.
    """

    study_id: str
    annotator_id: str
    link: str
    category: str
    naming: naming_pb2.Naming
    activations: types_pb2.ActivationColumns
    maps: bytes


@pytest.fixture(scope="module")
def named(stack: Stack) -> Named:
    """The main job, small, by the client from outside, up to a name."""
    images = write_image_folder(stack.folder / "imports" / "shapes")
    with stack.client() as client:
        client.import_dataset("shapes", "/imports/shapes").wait()
        client.register_model("tiny", tiny_program(images)).wait()
        _training(client, "tiny").wait()
        study = client.create_study("shapes", "tiny", "shapes", "tiny", CATEGORIES)
        client.compute_maps(study.study_id).wait()
        client.open_study(study.study_id)
        invited = client.invite_annotator(study.study_id, "Ada")
        activations = client.list_activations(study.study_id)
        category = activations.category[0]
        naming = client.get_naming(study.study_id, invited.annotator.annotator_id, category)
        create = naming_pb2.CreateConcept(
            concept_id=str(uuid.uuid4()), name="outline", activation_ids=naming.pool
        )
        naming = client.act(naming, naming_pb2.Command(create=create))
        maps = _maps(client, study.study_id, activations)
    return Named(
        study.study_id,
        invited.annotator.annotator_id,
        invited.token,
        category,
        naming,
        activations,
        maps,
    )


def test_the_main_job_leads_to_an_explanation_in_the_annotators_word(stack: Stack, named: Named) -> None:
    image_id = next(
        image
        for image, category in zip(named.activations.image_id, named.activations.category, strict=True)
        if category == named.category
    )
    with stack.client() as client:
        explained = client.explain_image(named.study_id, named.annotator_id, image_id=image_id)
    assert list(explained.names) == ["outline"]


def test_the_page_opens_and_an_annotators_link_lets_in(stack: Stack, named: Named) -> None:
    with httpx.Client(base_url=PAGE, timeout=30) as browser:
        page = browser.get("/")
        assert page.status_code == 200
        script = re.search(r'src="(/assets/[^"]+\.js)"', page.text)
        assert script is not None
        assert browser.get(script[1]).status_code == 200
        accepted = browser.post("/api/invitations", json={"token": named.link}, headers={"origin": PAGE})
        assert accepted.status_code == 200, accepted.text
        naming = browser.get(
            f"/api/studies/{named.study_id}/annotators/{named.annotator_id}/naming",
            params={"category": named.category},
        )
        assert [concept["name"] for concept in naming.json()["naming"]["concepts"]] == ["outline"]


def test_the_owner_signs_in_by_the_token_from_outside_and_out_again(stack: Stack, named: Named) -> None:
    def sign_in(browser: httpx.Client, token: str, origin: str = PAGE) -> httpx.Response:
        return browser.post("/sign-in", data={"token": token}, headers={"origin": origin})

    study, token = f"/api/studies/{named.study_id}", stack.secret("ONOMA_ACCESS_TOKEN")
    with httpx.Client(base_url=PAGE, timeout=30) as browser:
        assert browser.get(study).json()["reason"] == "SIGN_IN"  # though it comes from this very machine
        assert sign_in(browser, "guessed").status_code == 401
        assert sign_in(browser, token, origin="https://elsewhere.example").status_code == 403
        assert not browser.cookies
        entered = sign_in(browser, token)
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        assert {"HttpOnly", "SameSite=lax"} <= set(entered.headers["set-cookie"].split("; "))
        assert token not in entered.headers["set-cookie"]
        assert browser.get(study).json()["study"]["study_id"] == named.study_id
        assert browser.post("/sign-out", headers={"origin": PAGE}).status_code == 303
        assert browser.get(study).status_code == 403


def test_nothing_is_open_without_the_owners_token(stack: Stack, named: Named) -> None:
    with Client(token="") as stranger, pytest.raises(Exception, match="token"):
        stranger.get_study(named.study_id)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_runs_as_nobody_in_particular_and_writes_to_tmp_alone(stack: Stack, service: str) -> None:
    container = stack.container(service)
    host = container["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert not host["Privileged"]
    name = container["Name"].lstrip("/")
    assert stack.engine.docker("exec", name, "id", "-u").strip() == "10001"
    written = 'touch /tmp/it && ! touch /opt/onoma/it 2>/dev/null && ! touch /it 2>/dev/null && echo "alone"'
    assert stack.engine.docker("exec", name, "sh", "-c", written).strip() == "alone"


@pytest.mark.parametrize("name", [*SERVICES, *STORAGE])
def test_what_is_published_is_published_on_loopback(stack: Stack, name: str) -> None:
    ports = stack.container(name)["NetworkSettings"]["Ports"]
    published = [address["HostIp"] for addresses in ports.values() for address in addresses or ()]
    assert published == (["127.0.0.1"] if name in SERVICES else [])


@pytest.mark.parametrize("name", ["naming", "analytics", "gateway", "backup"])
def test_a_light_image_holds_no_torch_and_no_pip(engine: Engine, name: str) -> None:
    look = "import importlib.util as u; print([n for n in ('torch', 'onnxruntime', 'pip') if u.find_spec(n)])"
    assert _python(engine, name, look) == "[]"


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_has_the_licence_and_the_notice(engine: Engine, name: str) -> None:
    look = "import importlib.metadata as m; print(sorted(f.name for f in m.files('onoma') if 'licenses' in f.parts))"
    assert _python(engine, name, look) == "['LICENSE', 'NOTICE']"


def test_threads_keep_to_the_limit_of_a_container(engine: Engine) -> None:
    look = "from services.runtime.cores import cores; print(cores())"
    assert _python(engine, "naming", look, "--cpus", "0.5") == "1"
    assert _python(engine, "naming", look) == str(len(os.sched_getaffinity(0)))


def test_a_gateway_that_has_a_certificate_is_found_healthy(engine: Engine, tmp_path: Path) -> None:
    folder = Authority.new().write(tmp_path / "certificate", hosts=("onoma.example",))
    for path in (folder, *folder.parents[:3]):
        path.chmod(0o755)
    name = "onoma-test-https"
    told = ("--env", "ONOMA_HOST=127.0.0.1", "--env", "ONOMA_HTTPS_DIR=/certificate")
    mounted = ("--volume", f"{folder}:/certificate:ro", "--network", "none", "--health-interval", "2s")
    engine.docker("run", "--detach", "--name", name, *told, *mounted, f"onoma/gateway:{VERSION}")
    try:
        until = time.monotonic() + 60
        while (
            state := engine.docker("inspect", "--format", "{{.State.Health.Status}}", name).strip()
        ) != "healthy":
            assert time.monotonic() < until, (state, engine.docker("logs", name))
            time.sleep(0.5)
    finally:
        engine.docker("rm", "--force", name)


def _python(engine: Engine, name: str, code: str, *options: str) -> str:
    """What a line of Python prints in a container of an image, without a network."""
    image = f"onoma/{name}:{VERSION}"
    return engine.docker("run", "--rm", "--network", "none", *options, image, "python3", "-c", code).strip()


@pytest.mark.parametrize("name", [*STORAGE, *SERVICES])
def test_a_container_that_is_stopped_and_started_again_has_lost_nothing(
    stack: Stack, named: Named, name: str
) -> None:
    stack.compose("stop", name)
    stack.compose("start", name)
    stack.wait_until_healthy()
    _assert_it_is_all_there(stack, named)


def test_maps_are_computed_to_the_end_through_a_kill(stack: Stack, named: Named) -> None:
    with stack.client() as client:
        study = client.create_study("again", "tiny", "shapes", "tiny", CATEGORIES)
        job = client.compute_maps(study.study_id)
        stack.compose("kill", "attribution")
        stack.compose("start", "attribution")
        stack.wait_until_healthy()
        _wait_through(job)
        again = client.list_activations(study.study_id)
        assert len(again.activation_id) == len(named.activations.activation_id)
        assert _maps(client, study.study_id, again) == named.maps


def test_xnns_are_trained_to_the_end_through_a_stop(stack: Stack, named: Named) -> None:
    with stack.client() as client:
        job = _training(client, "second", epochs=40)
        stack.compose("stop", "inference")
        stack.compose("start", "inference")
        stack.wait_until_healthy()
        _wait_through(job)
        assert [xnn.class_name for xnn in client.get_xnn_set("second").xnns] == CATEGORIES


def test_volumes_outlive_the_whole_stack(stack: Stack, named: Named) -> None:
    stack.compose("down")
    stack.up()
    _assert_it_is_all_there(stack, named)


def test_a_backup_made_in_use_becomes_an_empty_stack_again(stack: Stack, named: Named) -> None:
    made = stack.compose("run", "--rm", "-T", "backup").strip()
    stack.compose("down", "--volumes")
    stack.compose("up", "--detach", "--no-build", *STORAGE)
    stack.wait_until_healthy(*STORAGE)
    stack.compose("run", "--rm", "-T", "backup", "python3", "-m", "services.restore", made)
    stack.up()
    _assert_it_is_all_there(stack, named)
    found = json.loads(
        stack.compose("run", "--rm", "-T", "backup", "python3", "-m", "onoma", "doctor", "--json")
    )
    assert (found["faults"], found["object_count"] > 100) == ([], True)


def test_nothing_was_killed_for_memory_or_restarted_by_itself(stack: Stack, named: Named) -> None:
    for name in (*SERVICES, *STORAGE):
        container = stack.container(name)
        assert not container["State"]["OOMKilled"], name
        assert container["RestartCount"] == 0, name


def _training(client: Client, name: str, epochs: int = 4) -> RunningJob:
    settings = inference_pb2.XnnSettings(epochs=epochs, batch_size=24)
    return client.train_xnn(name, "tiny", "shapes", settings=settings)


def _maps(client: Client, study_id: str, activations: types_pb2.ActivationColumns) -> bytes:
    """Bytes of all maps, in the order of what they are of, whatever the ids are."""
    of = zip(
        activations.category,
        activations.image_id,
        activations.x_feature,
        activations.activation_id,
        strict=True,
    )
    ids = [activation_id for *_, activation_id in sorted(of)]
    return b"".join(batch.values for batch in client.get_maps(study_id, ids))


def _assert_it_is_all_there(stack: Stack, named: Named) -> None:
    with stack.client() as client:
        assert client.get_naming(named.study_id, named.annotator_id, named.category) == named.naming
        assert client.list_activations(named.study_id) == named.activations
        assert _maps(client, named.study_id, named.activations) == named.maps
    assert httpx.get(f"{PAGE}/", timeout=30).status_code == 200


def _wait_through(job: RunningJob) -> None:
    """Waits for a job whose service is gone in between."""
    until = time.monotonic() + _JOB_S
    while True:
        try:
            job.wait()
            return
        except ServerUnavailable:
            if time.monotonic() > until:
                raise
            time.sleep(1)
