"""What kustomize makes of deploy/k8s, and what its NetworkPolicies come to."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
K8S = ROOT / "deploy" / "k8s"
OVERLAYS = ("dev", "gpu", "scaled")
_KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"
_BINARY = ROOT / ".cache" / "kustomize" / _KUSTOMIZE.rpartition("@")[2] / "kustomize"

Object = dict[str, Any]


def kustomize() -> Path:
    """The program, built by Go once; the test is skipped with the reason where it cannot be."""
    if _BINARY.exists():
        return _BINARY
    go = shutil.which("go")
    if go is None:
        pytest.skip("kustomize: there is no `go` on this machine to build it with")
    partial = _BINARY.parent / f"new.{os.getpid()}"
    environment = {**os.environ, "GOBIN": str(partial)}
    built = subprocess.run([go, "install", _KUSTOMIZE], env=environment, capture_output=True, text=True)
    if built.returncode != 0:
        pytest.skip(f"kustomize: the build failed: {built.stderr.strip()[-500:]}")
    (partial / "kustomize").replace(_BINARY)
    partial.rmdir()
    return _BINARY


def rendered(folder: Path) -> list[Object]:
    """All objects of a folder with a kustomization."""
    command = [kustomize(), "build", "--load-restrictor=LoadRestrictionsNone", folder]
    return list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True).stdout))


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    """Those of a kind, by name."""
    return {found["metadata"]["name"]: found for found in objects if found["kind"] == kind}


@dataclass(frozen=True)
class Pod:
    """What the pods of one object are made from."""

    name: str
    labels: dict[str, str]
    spec: Object

    def ports(self) -> dict[str, int]:
        """Numbers of the named ports."""
        return {
            port["name"]: port["containerPort"]
            for container in self.spec["containers"]
            for port in container.get("ports", ())
        }


def pods(objects: list[Object]) -> dict[str, Pod]:
    """Every pod's template, by its object's name; those of Ray with the labels that KubeRay gives them."""
    found = {}
    for one in objects:
        name, spec = one["metadata"]["name"], one.get("spec", {})
        if one["kind"] in ("Deployment", "StatefulSet", "Job"):
            template = spec["template"]
            found[name] = Pod(name, template["metadata"]["labels"], template["spec"])
        elif one["kind"] == "CronJob":
            template = spec["jobTemplate"]["spec"]["template"]
            found[name] = Pod(name, template["metadata"]["labels"], template["spec"])
        elif one["kind"] == "RayCluster":
            groups = {"head": spec["headGroupSpec"], "worker": spec["workerGroupSpecs"][0]}
            for kind, group in groups.items():
                labels = group["template"]["metadata"]["labels"]
                given = {"ray.io/cluster": name, "ray.io/node-type": kind}
                found[f"{name}-{kind}"] = Pod(f"{name}-{kind}", labels | given, group["template"]["spec"])
    return found


def matches(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels."""
    for rule in selector.get("matchExpressions", ()):
        assert rule["operator"] == "In", rule
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


Arrow = tuple[str, str, int]
"""Who may open a connection, to whom, at which port (0: any). Namespaces elsewhere go by their label."""


def arrows(objects: list[Object], direction: str) -> set[Arrow]:
    """What the NetworkPolicies of a direction, "ingress" or "egress", let through."""
    known = pods(objects)
    found = set()
    for policy in of_kind(objects, "NetworkPolicy").values():
        spec = policy["spec"]
        concerned = [pod for pod in known.values() if matches(spec["podSelector"], pod.labels)]
        for rule in spec.get(direction, ()):
            for peer in rule["from" if direction == "ingress" else "to"]:
                for other in _peers(peer, known):
                    for pod in concerned:
                        at = pod if direction == "ingress" else known.get(other)
                        for port in _numbers(rule, at):
                            ends = (other, pod.name) if direction == "ingress" else (pod.name, other)
                            found.add((*ends, port))
    return found


def _peers(peer: Object, known: dict[str, Pod]) -> Iterator[str]:
    if "ipBlock" in peer:
        yield peer["ipBlock"]["cidr"]
    elif "namespaceSelector" in peer:
        [(key, value)] = peer["namespaceSelector"]["matchLabels"].items()
        yield value if value != "true" else key
    else:
        yield from (pod.name for pod in known.values() if matches(peer["podSelector"], pod.labels))


def _numbers(rule: Object, at: Pod | None) -> Iterator[int]:
    for port in rule.get("ports", [{"port": 0}]):
        number = port["port"]
        if isinstance(number, str):
            assert at is not None, f"port {number} is named, of pods that are others'"
            if number not in at.ports():
                continue  # this pod has no such port: nothing opens
            number = at.ports()[number]
        yield number
