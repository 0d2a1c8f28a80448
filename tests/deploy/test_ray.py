"""The images with Ray, for real: a head and a worker as overlays/scaled has them, and features and maps computed there.

KubeRay is not here: `_start` puts the overlay's words together as KubeRay 1.5.0 does (`controllers/ray/common/pod.go`).
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import kubernetes as k8s
from tests.deploy.engine import Engine, NoEngine, running_engine
from tests.deploy.images import WITH_RAY, base_images, build_images_with_ray, build_stand_ins
from tests.synthetic import tiny_program, write_image_folder

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(3600)]

NETWORK = "onoma-ray"
HEAD = "ray-head-svc"  # the name that KubeRay gives the head's Service
KEYS = {"access-key": "onoma-test", "secret-key": "onoma-test-secret", "token": "0" * 63 + "1"}
_READY_S = 180
_RESTRICTED = (
    *("--network", NETWORK, "--read-only", "--tmpfs", "/tmp:exec,mode=1777", "--shm-size", "512m"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
)
# KubeRay's init container of a worker.
_WAIT_FOR_HEAD = f"while ! ray health-check --address {HEAD}:6379; do sleep 1; done"
# The main job up to maps, twice, by all services in one process.
_MAIN_JOB = """
from onoma.client import Client
from onoma.v1 import inference_pb2

def maps_of(client, name, engine):
    study = client.create_study(name, "tiny", "shapes", "tiny", ["circle", "cross", "square"])
    client.compute_maps(study.study_id, engine=engine).wait()
    of = client.list_activations(study.study_id)
    order = sorted(zip(of.category, of.image_id, of.x_feature, of.activation_id))
    batches = client.get_maps(study.study_id, [activation_id for *_, activation_id in order])
    return b"".join(batch.values for batch in batches)

with Client() as client:
    client.import_dataset("shapes", "/imports/shapes").wait()
    client.register_model("tiny", open("/imports/tiny.pt2", "rb").read()).wait()
    settings = inference_pb2.XnnSettings(epochs=2, batch_size=24)
    client.train_xnn("tiny", "tiny", "shapes", settings=settings, engine="ray").wait()
    on_ray, here = maps_of(client, "on Ray", "ray"), maps_of(client, "here", "local")
print(len(on_ray), on_ray == here)
"""


@pytest.fixture(scope="module")
def engine(minio_binary: Path) -> Iterator[Engine]:
    """An engine that holds the images with Ray, a network, and no container when it ends."""
    try:
        with running_engine() as engine:
            build_stand_ins(engine, minio_binary)
            build_images_with_ray(engine, version("onoma"))
            engine.docker("network", "prune", "--force")  # that of a run that was killed
            engine.docker("network", "create", NETWORK)
            try:
                yield engine
            finally:
                engine.docker("rm", "--force", "--volumes", *engine.docker("ps", "--all", "--quiet").split())
                engine.docker("network", "rm", NETWORK)
    except NoEngine as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def scaled() -> list[k8s.Object]:
    return k8s.rendered(k8s.K8S / "overlays" / "scaled")


@pytest.fixture(scope="module")
def pods(scaled: list[k8s.Object]) -> dict[str, k8s.Pod]:
    return k8s.pods(scaled)


@pytest.fixture(scope="module")
def ray(scaled: list[k8s.Object]) -> k8s.Object:
    [ray] = k8s.of_kind(scaled, "RayCluster").values()
    return ray


@pytest.fixture(scope="module")
def cluster(engine: Engine, pods: dict[str, k8s.Pod], ray: k8s.Object) -> None:
    """A head, which takes no work, and a worker; their probes find their ports."""
    head, [worker] = ray["spec"]["headGroupSpec"], ray["spec"]["workerGroupSpecs"]
    _start(
        engine, HEAD, pods["ray-head"], {"head": "true", "dashboard-host": "0.0.0.0"} | head["rayStartParams"]
    )
    _wait_until_ready(engine, HEAD, pods["ray-head"])
    # What KubeRay gives its init container.
    engine.docker(
        *("run", "--rm", "--memory", "256m", "--memory-swap", "256m", "--cpus", "0.2"),
        *_pod_options(pods["ray-worker"]),
        *("/bin/bash", "-c", "--", _WAIT_FOR_HEAD),
    )
    _start(engine, "ray-worker", pods["ray-worker"], {"address": f"{HEAD}:6379"} | worker["rayStartParams"])
    _wait_until_ready(engine, "ray-worker", pods["ray-worker"])


@pytest.mark.parametrize("name", WITH_RAY)
def test_an_image_holds_the_overlays_ray_and_no_pip(engine: Engine, ray: k8s.Object, name: str) -> None:
    look = "import importlib.metadata as m, importlib.util as u; print(m.version('ray'), u.find_spec('pip'))"
    image = f"onoma/{name}:{version('onoma')}-ray"
    said = engine.docker("run", "--rm", "--network", "none", image, "python", "-c", look)
    assert said.split() == [ray["spec"]["rayVersion"], "None"]


def test_features_and_maps_are_computed_on_the_cluster_of_the_overlay(
    engine: Engine, cluster: None, pods: dict[str, k8s.Pod], tmp_path: Path
) -> None:
    images = write_image_folder(tmp_path / "shapes")
    (tmp_path / "tiny.pt2").write_bytes(tiny_program(images))
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)  # the containers' user reads it
    _start_object_store(engine)
    told = {
        "ONOMA_HOST": "127.0.0.1",
        "ONOMA_RAY_ADDRESS": f"ray://{HEAD}:10001",
        "ONOMA_RAY_WORKERS": "1",
        "ONOMA_OBJECT_STORE": "s3",
        "ONOMA_S3_ENDPOINT": "objects:9000",
        "ONOMA_S3_SECURE": "false",
    }
    engine.docker(
        *("run", "--detach", "--name", "services", "--volume", f"{tmp_path}:/imports:ro"),
        *(part for key, value in told.items() for part in ("--env", f"{key}={value}")),
        *_pod_options(pods["ray-worker"]),
        *("python", "-m", "onoma", "up", "--data", "/tmp/onoma-data"),
    )
    _wait_until(lambda: "Onoma is up" in engine.docker("logs", "services"), engine, "services")
    size, same = engine.docker("exec", "services", "python", "-c", _MAIN_JOB).split()
    assert int(size) > 0
    assert same == "True"


def test_nothing_is_killed_for_the_overlays_limits_of_memory(engine: Engine, cluster: None) -> None:
    for name in (HEAD, "ray-worker"):
        [container] = json.loads(engine.docker("inspect", name))
        assert container["State"]["Running"], engine.docker("logs", name)
        assert not container["State"]["OOMKilled"], name


def _start(engine: Engine, name: str, pod: k8s.Pod, parameters: dict[str, str]) -> None:
    [container] = pod.spec["containers"]
    limits = container["resources"]["limits"]
    parameters = {
        "block": "true",
        "dashboard-agent-listen-port": "52365",
        "metrics-export-port": "8080",
        "num-cpus": limits["cpu"],  # num-gpus too, but there is none here
    } | parameters
    switches = [f"--{key}" for key, value in parameters.items() if value == "true"]
    options = [f"--{key}={value}" for key, value in parameters.items() if value != "true"]
    engine.docker(
        *("run", "--detach", "--name", name, "--memory", limits["memory"].removesuffix("i").lower()),
        *_pod_options(pod),
        *("/bin/bash", "-c", "--", f"ulimit -n 65536; ray start {' '.join([*switches, *options])}"),
    )


def _pod_options(pod: k8s.Pod) -> tuple[str, ...]:
    """What `docker run` is told of a pod of Ray's, its image last."""
    [container] = pod.spec["containers"]
    told = {one["name"]: one.get("value") or _secret(one) for one in container["env"]}
    user = f"{pod.spec['securityContext']['runAsUser']}:{pod.spec['securityContext']['runAsGroup']}"
    environment = (part for key, value in told.items() for part in ("--env", f"{key}={value}"))
    return (*_RESTRICTED, "--user", user, *environment, container["image"])


def _secret(variable: dict[str, Any]) -> str:
    return KEYS[variable["valueFrom"]["secretKeyRef"]["key"]]


def _start_object_store(engine: Engine) -> None:
    keys = ("MINIO_ROOT_USER=" + KEYS["access-key"], "MINIO_ROOT_PASSWORD=" + KEYS["secret-key"])
    engine.docker(
        *("run", "--detach", "--name", "objects", "--network", NETWORK),
        *(part for key in keys for part in ("--env", key)),
        *(base_images()["silo"], "server", "/data"),
    )
    _wait_until_open(engine, "objects", 9000)


def _wait_until_ready(engine: Engine, name: str, pod: k8s.Pod) -> None:
    """Until its probes, which try ports from outside, find them open."""
    [container] = pod.spec["containers"]
    for probe in ("livenessProbe", "readinessProbe"):
        _wait_until_open(engine, name, pod.ports()[container[probe]["tcpSocket"]["port"]])


def _wait_until_open(engine: Engine, name: str, port: int) -> None:
    [container] = json.loads(engine.docker("inspect", name))
    host = container["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]

    def is_open() -> bool:
        try:
            socket.create_connection((host, port), timeout=5).close()
        except OSError:
            return False
        return True

    _wait_until(is_open, engine, name)


def _wait_until(is_so: Callable[[], bool], engine: Engine, name: str) -> None:
    until = time.monotonic() + _READY_S
    while not is_so():
        assert time.monotonic() < until, engine.docker("logs", name)
        time.sleep(0.5)
