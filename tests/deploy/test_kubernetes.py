"""deploy/k8s is valid Kubernetes, and says what the services' code and settings say."""

from __future__ import annotations

import asyncio
import base64
import copy
import inspect
import json
import os
import re
import shutil
import subprocess
import tomllib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from services.gateway.settings import GatewaySettings, SignInSettings
from services.runtime.database import SERVICES_WITH_DATABASE
from services.runtime.jobs import Jobs
from services.runtime.server import LIVE
from services.runtime.settings import RuntimeSettings, read_settings
from tests.deploy import kubernetes as k8s
from tests.deploy.connections import most_connections
from tests.deploy.images import WITH_RAY
from tests.deploy.known_settings import known_settings
from tests.deploy.kubernetes import ROOT, Object, of_kind

VERSIONS = ("1.33", "1.37")
KUBERAY = "github.com/ray-project/kuberay/ray-operator@v1.5.0"
SERVERS = ("inference", "attribution", "naming", "analytics")
OURS = (*SERVERS, "gateway")
POSTGRESQL_PORT, S3_PORT, RAY_CLIENT_PORT = 5432, 9000, 10001

pytestmark = pytest.mark.timeout(600)  # the first of them may build kustomize


@cache
def rendered(overlay: str) -> list[Object]:
    return k8s.rendered(k8s.K8S / "overlays" / overlay)


@pytest.fixture(params=k8s.OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return copy.deepcopy(rendered(request.param))


@pytest.fixture
def pods(objects: list[Object]) -> dict[str, k8s.Pod]:
    return k8s.pods(objects)


def containers(pods: dict[str, k8s.Pod]) -> list[tuple[str, Object]]:
    return [(name, one) for name, pod in pods.items() for one in pod.spec["containers"]]


def environment(objects: list[Object], container: Object) -> dict[str, str]:
    """What a container is told; secrets read as their names."""
    told = {}
    for source in container.get("envFrom", ()):
        told |= of_kind(objects, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    for variable in container.get("env", ()):
        match variable:
            case {"value": value}:
                told[variable["name"]] = value
            case {"valueFrom": {"configMapKeyRef": {"name": name, "key": key, **more}}}:
                data = of_kind(objects, "ConfigMap")[name]["data"]
                if key in data or not more.get("optional"):
                    told[variable["name"]] = data[key]
            case {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}:
                told[variable["name"]] = f"{name}/{key}"
    return told


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_in_strict_mode(objects: list[Object], version: str) -> None:
    for one in objects:
        if one["kind"] != "RayCluster":
            kubernetes_validate.validate(one, version, strict=True)


def test_the_ray_cluster_is_valid_by_the_schema_of_kuberay() -> None:
    [cluster] = of_kind(rendered("scaled"), "RayCluster").values()
    go = shutil.which("go")
    if go is None:
        pytest.skip("KubeRay's schema: there is no `go` on this machine to fetch it with")
    fetched = subprocess.run([go, "mod", "download", "-json", KUBERAY], capture_output=True, text=True)
    if fetched.returncode != 0:
        pytest.skip(f"KubeRay's schema cannot be fetched: {fetched.stdout[-300:]}")
    folder = Path(json.loads(fetched.stdout)["Dir"])
    definition = yaml.safe_load((folder / "config/crd/bases/ray.io_rayclusters.yaml").read_text())
    [schema] = [
        one["schema"]["openAPIV3Schema"] for one in definition["spec"]["versions"] if one["name"] == "v1"
    ]
    schema["properties"]["metadata"] = {}
    jsonschema.validate(cluster, _strict(schema))


def _strict(schema: Any) -> Any:
    """The schema, taking no field that it does not know, and numbers as text where Kubernetes does."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    if isinstance(strict.get("properties"), dict) and not strict.get("x-kubernetes-preserve-unknown-fields"):
        strict.setdefault("additionalProperties", False)
    return strict


def test_the_namespace_takes_restricted_pods_alone(objects: list[Object]) -> None:
    [namespace] = of_kind(objects, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_container_has_no_rights_that_it_does_not_need(pods: dict[str, k8s.Pod]) -> None:
    for name, pod in pods.items():
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.spec.keys(), name
        security = pod.spec["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod.spec["automountServiceAccountToken"] is False, name
        kept = {"emptyDir", "secret", "persistentVolumeClaim"}
        assert all(kept & volume.keys() for volume in pod.spec["volumes"]), name
    for name, container in containers(pods):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name


def test_every_container_says_what_it_takes(pods: dict[str, k8s.Pod]) -> None:
    for name, container in containers(pods):
        resources = container["resources"]
        for what in ("requests", "limits"):
            assert {"cpu", "memory"} <= resources[what].keys(), name


def test_what_can_be_written_has_an_end(pods: dict[str, k8s.Pod]) -> None:
    for name, pod in pods.items():
        for volume in pod.spec["volumes"]:
            if "emptyDir" in volume:
                assert "sizeLimit" in volume["emptyDir"], (name, volume["name"])


def test_services_listen_where_their_settings_say(objects: list[Object], pods: dict[str, k8s.Pod]) -> None:
    for name in SERVERS:
        [container] = pods[name].spec["containers"]
        told = environment(objects, container)
        assert told["ONOMA_HOST"] == "0.0.0.0"
        assert pods[name].ports() == {
            "grpc": int(told[f"ONOMA_{name.upper()}_ADDRESS"].rpartition(":")[2]),
            "health": int(told["ONOMA_HEALTH_PORT"]),
            "metrics": int(told["ONOMA_METRICS_PORT"]),
        }


def test_probes_of_services_ask_the_health_port(objects: list[Object], pods: dict[str, k8s.Pod]) -> None:
    for name in SERVERS:
        [container] = pods[name].spec["containers"]
        port = int(environment(objects, container)["ONOMA_HEALTH_PORT"])
        assert container["readinessProbe"]["grpc"] == {"port": port}, name
        for probe in ("startupProbe", "livenessProbe"):  # these look at nothing that the service needs
            assert container[probe]["grpc"] == {"port": port, "service": LIVE}, name


def test_probes_of_the_gateway_ask_a_page_that_it_has(
    objects: list[Object], pods: dict[str, k8s.Pod]
) -> None:
    from services.gateway.app import build

    [container] = pods["gateway"].spec["containers"]
    told = environment(objects, container)
    assert pods["gateway"].ports() == {
        "http": GatewaySettings().http_port,
        "metrics": int(told["ONOMA_METRICS_PORT"]),
    }
    assert "ONOMA_HTTP_PORT" not in told
    paths = {route.path for route in build(GatewaySettings()).routes}  # type: ignore[attr-defined]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] == "http"
        assert asked["path"] in paths


def test_probes_of_what_is_not_ours_ask_ports_that_it_declares(pods: dict[str, k8s.Pod]) -> None:
    for name, pod in pods.items():
        if name in (*OURS, "migration"):
            continue
        [container] = pod.spec["containers"]
        for probe in ("readinessProbe", "livenessProbe"):
            [(kind, asked)] = [
                (kind, container[probe][kind])
                for kind in ("httpGet", "tcpSocket", "exec")
                if kind in container[probe]
            ]
            assert kind == "exec" or asked["port"] in pod.ports(), name


def test_every_setting_is_one_that_a_service_reads(objects: list[Object], pods: dict[str, k8s.Pod]) -> None:
    for name, container in containers(pods):
        told = {key for key in environment(objects, container) if key.startswith("ONOMA_")}
        assert told <= known_settings(), name
    for settings in of_kind(objects, "ConfigMap").values():
        assert settings["data"].keys() <= known_settings()


def test_services_take_what_they_are_told(
    objects: list[Object], pods: dict[str, k8s.Pod], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OURS:
        [container] = pods[name].spec["containers"]
        with monkeypatch.context() as patch:
            for key, value in environment(objects, container).items():
                patch.setenv(key, value)
            settings = read_settings(GatewaySettings if name == "gateway" else RuntimeSettings)
        assert (settings.tls == "outside") == (name == "gateway")  # the page is plain HTTP, others speak TLS
        assert settings.host == "0.0.0.0"
        assert settings.tls_dir == Path("/etc/onoma/tls")
        assert bool(settings.database_url) == (name in SERVICES_WITH_DATABASE)
        assert bool(settings.s3_secret_key) == (name in users_of("open_object_store"))
        assert (settings.object_store == "s3") == bool(settings.s3_secret_key)
        assert bool(settings.s3_endpoint) == bool(settings.s3_secret_key)


def test_secrets_are_those_that_the_script_makes(pods: dict[str, k8s.Pod]) -> None:
    made = {one["metadata"]["name"]: one["data"] for one in _secrets()}
    for name, pod in pods.items():
        for volume in pod.spec["volumes"]:
            if "secret" in volume:
                assert volume["secret"]["secretName"] in made, name
        for container in pod.spec["containers"]:
            for variable in container.get("env", ()):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    assert reference["key"] in made[reference["name"]], (name, reference)


def test_secrets_are_others_each_time_and_fit_each_other() -> None:
    first, second = ({one["metadata"]["name"]: one["data"] for one in _secrets()} for _ in range(2))
    for name, data in first.items():
        for key in data:
            assert data[key] != second[name][key], (name, key)
    database = {key: base64.b64decode(value).decode() for key, value in first["database"].items()}
    assert f":{database['password']}@database:{POSTGRESQL_PORT}/" in database["url"]
    for name in OURS:
        assert first[f"tls-{name}"].keys() == {"ca.crt", "tls.crt", "tls.key"}


def test_no_secret_is_committed(objects: list[Object]) -> None:
    assert not of_kind(objects, "Secret")


def _secrets() -> list[Object]:
    made = subprocess.run(
        ["sh", ROOT / "scripts" / "make-secrets.sh"], capture_output=True, check=True, text=True
    )
    found = list(yaml.safe_load_all(made.stdout))
    for one in found:
        kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
    return found


def test_selectors_select(objects: list[Object], pods: dict[str, k8s.Pod]) -> None:
    for name, service in of_kind(objects, "Service").items():
        [pod] = [
            pod
            for pod in pods.values()
            if k8s.matches({"matchLabels": service["spec"]["selector"]}, pod.labels)
        ]
        assert pod.name == name
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= pod.ports().keys()
    for one in objects:
        selector = one.get("spec", {}).get("selector")
        if one["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            selected = [pod.name for pod in pods.values() if k8s.matches(selector, pod.labels)]
            assert selected == [one["metadata"]["name"]], one["kind"]
    for name, policy in of_kind(objects, "NetworkPolicy").items():
        selector = policy["spec"]["podSelector"]
        assert any(k8s.matches(selector, pod.labels) for pod in pods.values()), name
        for rule in selector.get("matchExpressions", ()):
            names = {pod.labels.get(rule["key"]) for pod in pods.values()}
            assert set(rule["values"]) <= names, name


def test_addresses_are_those_of_services_that_show_every_pod(
    objects: list[Object], pods: dict[str, k8s.Pod]
) -> None:
    found = of_kind(objects, "Service")
    for name in SERVERS:
        address = _told(objects)[f"ONOMA_{name.upper()}_ADDRESS"]
        [port] = found[name]["spec"]["ports"]
        assert address == f"dns:///{name}:{port['port']}"
        assert found[name]["spec"]["clusterIP"] == "None"


@cache
def users_of(name: str) -> set[str]:
    """Services whose code mentions a name."""
    return {
        service
        for service in OURS
        for file in (ROOT / "services" / service).rglob("*.py")
        if re.search(rf"\b{name}\b", file.read_text())
    }


def test_connections_that_are_let_through_are_those_of_the_code(
    objects: list[Object], pods: dict[str, k8s.Pod]
) -> None:
    defaults = RuntimeSettings()
    has_own_stores = "database" in pods
    wanted: set[k8s.Arrow] = set()
    for callee in SERVERS:
        port = int(getattr(defaults, f"{callee}_address").rpartition(":")[2])
        wanted |= {(caller, callee, port) for caller in users_of(f"{callee}_address")}
    database = "database" if has_own_stores else "onoma/has-database"
    store = "object-store" if has_own_stores else "onoma/has-object-store"
    assert users_of("open_database") == set(SERVICES_WITH_DATABASE)
    wanted |= {(name, database, POSTGRESQL_PORT) for name in (*SERVICES_WITH_DATABASE, "migration")}
    wanted |= {(name, store, S3_PORT) for name in users_of("open_object_store")}
    ray = {name for name in pods if name.startswith("ray-")}
    wanted |= {(name, "ray-head", RAY_CLIENT_PORT) for name in users_of("shard_work") if ray}
    between = {(one, other, 0) for one in ray for other in ray}
    wanted |= between | {(name, store, S3_PORT) for name in ray}
    dns = {(name, "kube-system", 53) for name in pods}
    assert k8s.arrows(objects, "egress") == wanted | dns

    taken = {arrow for arrow in wanted if arrow[1] in pods}
    taken |= {
        (name, "ray-worker", RAY_CLIENT_PORT) for name in users_of("shard_work") if ray
    }  # no port of theirs
    metrics = {("monitoring", name, int(_told(objects)["ONOMA_METRICS_PORT"])) for name in OURS}
    browsers = {("onoma/brings-browsers", "gateway", GatewaySettings().http_port)}
    assert k8s.arrows(objects, "ingress") == taken | metrics | browsers


def _told(objects: list[Object]) -> dict[str, str]:
    [told] = [
        one["data"] for name, one in of_kind(objects, "ConfigMap").items() if name.startswith("settings-")
    ]
    return told


def test_nothing_else_goes_in_or_out(objects: list[Object]) -> None:
    assert of_kind(objects, "NetworkPolicy")["nothing"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    for name, policy in of_kind(objects, "NetworkPolicy").items():
        spec = policy["spec"]
        assert {kind.lower() for kind in spec["policyTypes"]} >= {"ingress", "egress"} & spec.keys(), name


def test_the_overlay_of_the_docs_changes_images_and_hosts(tmp_path: Path) -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)
    here = os.path.relpath(ROOT, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(shown.replace("../onoma/", f"{here}/"))
    objects = k8s.rendered(tmp_path)
    pods, [ingress] = k8s.pods(objects), of_kind(objects, "Ingress").values()
    assert {rule["host"] for rule in ingress["spec"]["rules"]} == set(ingress["spec"]["tls"][0]["hosts"])
    [gateway], [naming] = pods["gateway"].spec["containers"], pods["naming"].spec["containers"]
    assert (
        environment(objects, gateway)["ONOMA_PUBLIC_URL"] == f"https://{ingress['spec']['rules'][0]['host']}"
    )
    assert naming["image"] == f"registry.example.org/onoma/naming:{version('onoma')}"


def with_component(folder: Path, overlay: str, component: str) -> list[Object]:
    """An overlay with a component, as an overlay of one's own has it; it is valid."""

    def relative(*path: str) -> str:
        return os.path.relpath(k8s.K8S.joinpath(*path), folder)

    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": [relative("overlays", overlay)],
                "components": [relative("components", component)],
                "namespace": "onoma",
            }
        )
    )
    objects = k8s.rendered(folder)
    for one in objects:
        kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
    return objects


@pytest.mark.parametrize("overlay", ["dev", "gpu"])
def test_backups_are_made_by_one_that_reaches_rows_and_objects_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlay: str
) -> None:
    objects = with_component(tmp_path, overlay, "backups")
    pod = k8s.pods(objects)["backup"]
    [container] = pod.spec["containers"]
    assert container["image"] == f"onoma/backup:{version('onoma')}"
    assert "command" not in container  # the image's own: services.backup /backups
    assert {"name": "backups", "mountPath": "/backups"} in container["volumeMounts"]
    [volume] = [one for one in pod.spec["volumes"] if one["name"] == "backups"]
    assert volume["persistentVolumeClaim"]["claimName"] in of_kind(objects, "PersistentVolumeClaim")
    test_every_container_has_no_rights_that_it_does_not_need({"backup": pod})
    test_every_container_says_what_it_takes({"backup": pod})
    told = environment(objects, container)
    assert told.keys() <= known_settings()
    for key, value in told.items():
        monkeypatch.setenv(key, value)
    settings = read_settings(RuntimeSettings)
    assert (settings.object_store, settings.database_url) == ("s3", "database/url")
    database, store = (
        ("database", "object-store") if overlay == "dev" else ("onoma/has-database", "onoma/has-object-store")
    )
    wanted = {("backup", database, POSTGRESQL_PORT), ("backup", store, S3_PORT)}
    added = k8s.arrows(objects, "egress") - k8s.arrows(rendered(overlay), "egress")
    assert added == wanted | {("backup", "kube-system", 53)}
    taken = k8s.arrows(objects, "ingress") - k8s.arrows(rendered(overlay), "ingress")
    assert taken == (wanted if overlay == "dev" else set())


@pytest.mark.parametrize("where", ["settings", "object-store"])
def test_a_bucket_is_that_of_services_and_backups(tmp_path: Path, where: str) -> None:
    objects = with_component(tmp_path, "dev", "backups")
    by_name = of_kind(objects, "ConfigMap")
    [name] = [name for name in by_name if name == where or name.startswith(f"{where}-")]
    by_name[name]["data"]["ONOMA_S3_BUCKET"] = "ours"
    pods = k8s.pods(objects)
    for who in ("inference", "attribution", "backup"):
        [container] = pods[who].spec["containers"]
        assert environment(objects, container)["ONOMA_S3_BUCKET"] == "ours", who


def test_owners_may_sign_in_at_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = with_component(tmp_path, "gpu", "sign-in")
    [container] = k8s.pods(objects)["gateway"].spec["containers"]
    told = environment(objects, container)
    secret = {key: value for key, value in told.items() if value.startswith("sign-in/")}
    documented = (ROOT / "docs" / "deploy.md").read_text()
    for key, value in (
        told | dict.fromkeys(secret, "https://sign-in.example") | {"ONOMA_OWNERS": '["a"]'}
    ).items():
        monkeypatch.setenv(key, value)
    settings = read_settings(SignInSettings)
    assert (settings.oidc_issuer, settings.owners) == ("https://sign-in.example", ["a"])
    for value in secret.values():
        assert f"--from-literal={value.removeprefix('sign-in/')}=" in documented
    assert k8s.arrows(objects, "egress") - k8s.arrows(rendered("gpu"), "egress") == {
        ("gateway", "0.0.0.0/0", 443)
    }


@pytest.mark.parametrize("overlay", ["gpu", "scaled"])
def test_the_page_believes_no_address_that_a_browser_writes_itself(overlay: str) -> None:
    [container] = k8s.pods(rendered(overlay))["gateway"].spec["containers"]
    seen = []

    async def page(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["client"][0])

    believing = ProxyHeadersMiddleware(page, environment(rendered(overlay), container)["FORWARDED_ALLOW_IPS"])
    for invented in ("198.51.100.1", "10.1.2.3"):
        forwarded = (b"x-forwarded-for", f"{invented}, 203.0.113.9".encode())
        scope: Any = {"type": "http", "client": ("10.244.0.7", 5), "headers": [forwarded]}
        asyncio.run(believing(scope, None, None))  # type: ignore[arg-type]
    assert seen == ["203.0.113.9"] * 2


def test_the_database_of_dev_takes_every_connection_that_may_be_opened() -> None:
    pods = k8s.pods(rendered("dev"))
    [container] = pods["database"].spec["containers"]
    assert container["args"][0] == "-c"
    most = int(container["args"][1].removeprefix("max_connections="))
    replicas = of_kind(rendered("dev"), "Deployment")
    of_a_rollout = [replicas[name]["spec"]["replicas"] + 1 for name in SERVICES_WITH_DATABASE]
    assert sum(of_a_rollout) * most_connections() + 10 <= most


def test_the_docs_say_how_many_connections_the_overlays_open() -> None:
    documented = (ROOT / "docs" / "deploy.md").read_text()
    deployments = of_kind(rendered("gpu"), "Deployment")
    scaled = of_kind(rendered("scaled"), "HorizontalPodAutoscaler")
    of_gpu = sum(deployments[name]["spec"]["replicas"] + 1 for name in SERVICES_WITH_DATABASE)
    of_scaled = sum(scaled[name]["spec"]["maxReplicas"] + 1 for name in SERVICES_WITH_DATABASE)
    assert f"{of_gpu * most_connections() + 10} for `gpu`" in documented
    assert f"{of_scaled * most_connections() + 10} for `scaled`" in documented


def test_autoscalers_have_a_deployment_that_leaves_the_number_to_them() -> None:
    objects = rendered("scaled")
    deployments = of_kind(objects, "Deployment")
    scaled = of_kind(objects, "HorizontalPodAutoscaler")
    assert set(scaled) == set(SERVERS)
    for name, scaler in scaled.items():
        assert scaler["spec"]["scaleTargetRef"] == {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": name,
        }
        assert "replicas" not in deployments[name]["spec"]
        assert scaler["spec"]["minReplicas"] >= 2
    assert deployments["gateway"]["spec"]["replicas"] == 1


def test_gpus_are_for_those_who_compute_on_them(objects: list[Object], pods: dict[str, k8s.Pod]) -> None:
    with_gpu = {name for name, one in containers(pods) if "nvidia.com/gpu" in one["resources"]["limits"]}
    computing = {"inference", "attribution"}
    assert with_gpu in (set(), computing, computing | {"ray-worker"})
    assert bool(with_gpu) == ("database" not in pods)  # dev has none


def test_images_are_those_of_the_dockerfile(pods: dict[str, k8s.Pod]) -> None:
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE))
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    user = {int(number) for number in re.findall(r"^USER (\d+):", dockerfile, re.MULTILINE)}
    for name, pod in pods.items():
        [image] = [one["image"] for one in pod.spec["containers"]]
        if not image.startswith("onoma/"):
            assert image.startswith("docker.io/"), name
            continue
        target, tag = image.removeprefix("onoma/").split(":")
        assert target in targets, name
        assert name not in OURS or target == name
        assert tag == (f"{version}-ray" if "ray-head" in pods and target in WITH_RAY else version), name
        assert {pod.spec["securityContext"]["runAsUser"]} == user, name


def test_make_builds_the_images_that_the_overlay_with_ray_names(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/builds\n')
    docker.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["make", "images", "RAY=1"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        env=os.environ | {"PATH": path},
    )
    builds = (tmp_path / "builds").read_text().splitlines()
    made = {re.search(r"--tag (\S+)", line)[1] for line in builds}
    named = {one["image"] for _, one in containers(k8s.pods(rendered("scaled")))}
    assert made == named | {f"onoma/backup:{version('onoma')}"}
    with_ray = {line for line in builds if "--build-arg RAY=1" in line}
    assert {re.search(r"--target (\S+)", line)[1] for line in with_ray} == set(WITH_RAY)


def test_ray_in_the_images_is_the_extra_in_the_version_of_the_overlay() -> None:
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    [installed] = re.findall(r"--constraint /requirements/dev.txt (.+?) \\$", dockerfile, re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(installed.split()) == {
        re.split(r"[<>=]", one)[0] for one in extras["ray"] if one != "onoma[serve]"
    }
    pins = (ROOT / "requirements" / "dev.txt").read_text().splitlines()
    [cluster] = of_kind(rendered("scaled"), "RayCluster").values()
    assert f"ray=={cluster['spec']['rayVersion']}" in pins


def test_pods_have_time_to_end_what_they_are_at(objects: list[Object], pods: dict[str, k8s.Pod]) -> None:
    job_s = inspect.signature(Jobs.close).parameters["timeout_s"].default
    for name in OURS:
        [container] = pods[name].spec["containers"]
        [(wait_s,)] = [
            re.findall(r"sleep\((\d+)\)", container["lifecycle"]["preStop"]["exec"]["command"][-1])
        ]
        drain_s = float(environment(objects, container)["ONOMA_DRAIN_S"])
        assert pods[name].spec["terminationGracePeriodSeconds"] >= int(wait_s) + drain_s + 2 * job_s


def test_a_rollout_or_a_drained_node_takes_one_pod_at_a_time(objects: list[Object]) -> None:
    for name, deployment in of_kind(objects, "Deployment").items():
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert of_kind(objects, "PodDisruptionBudget")[name]["spec"]["maxUnavailable"] == 1


def test_ray_asks_for_a_token_and_shows_no_dashboard() -> None:
    objects = rendered("scaled")
    pods = k8s.pods(objects)
    for name in ("ray-head", "ray-worker", *sorted(users_of("shard_work"))):
        [container] = pods[name].spec["containers"]
        told = environment(objects, container)
        assert (told["RAY_AUTH_MODE"], told["RAY_AUTH_TOKEN"]) == ("token", "ray/token"), name
    [cluster] = of_kind(objects, "RayCluster").values()
    assert cluster["spec"]["headGroupSpec"]["rayStartParams"]["include-dashboard"] == "false"
    assert (
        _told(objects)["ONOMA_RAY_ADDRESS"]
        == f"ray://{cluster['metadata']['name']}-head-svc:{RAY_CLIENT_PORT}"
    )
