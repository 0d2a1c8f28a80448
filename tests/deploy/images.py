"""The images of deploy/, built where none can be pulled: on stand-ins for their base images.

A stand-in carries the tag of the image that it stands in for, on the tests' own engine alone. It is Debian 12 made by
debootstrap, and on it: Debian's Python 3.11, this machine's Node, Debian's PostgreSQL 15 for 17, and MinIO built by Go
for silo. So the tests show that Onoma's images and compose file work; they do not show it of those releases.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.deploy.engine import CACHE, CHECKOUT, Engine, run

IMAGES = ("naming", "analytics", "gateway", "backup", "inference", "attribution")
WITH_RAY = ("inference", "attribution")
STAND_INS = Path(__file__).parent / "stand_ins"
_DEBIAN = "onoma-stand-in/bookworm"
_BUILD_S = 3600
_PACKAGES = "ca-certificates,python3,python3-venv"


def base_images() -> dict[str, str]:
    """Tags that deploy/ names, by target of stand_ins/Dockerfile."""
    dockerfile = (CHECKOUT / "deploy" / "docker" / "Dockerfile").read_text()
    compose = (CHECKOUT / "deploy" / "compose.yaml").read_text()
    found = {
        "python": re.findall(r"^ARG PYTHON=(\S+)$", dockerfile, re.MULTILINE),
        "node": re.findall(r"^ARG NODE=(\S+)$", dockerfile, re.MULTILINE),
        "postgres": re.findall(r"image: (\S+/postgres:\S+)$", compose, re.MULTILINE),
        "silo": re.findall(r"image: (\S+/silo:\S+)$", compose, re.MULTILINE),
    }
    return {target: tag for target, (tag,) in found.items()}


def build_stand_ins(engine: Engine, minio: Path) -> None:
    """Builds them, those that are there from what the engine kept.

    Args:
        minio: the server's program.
    """
    if not engine.docker("images", "--quiet", _DEBIAN).strip():
        engine.docker("import", str(_debian()), _DEBIAN)
    with tempfile.TemporaryDirectory(prefix="onoma-stand-ins-") as folder:
        context = Path(folder)
        shutil.copytree(STAND_INS, context, dirs_exist_ok=True)
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is None or npm is None:
            raise FileNotFoundError("the page is built with this machine's node and npm, which are not here")
        shutil.copy2(node, context / "node")
        shutil.copytree(Path(npm).resolve().parent.parent, context / "npm", symlinks=True)
        shutil.copy2(minio, context / "minio")
        for target, tag in base_images().items():
            _build(engine, "--target", target, "--tag", tag, folder)


def build_images(engine: Engine, version: str) -> None:
    """Builds Onoma's images as `onoma/NAME:VERSION`."""
    _build_each(engine, IMAGES, version)
    engine.docker("image", "prune", "--force")  # those whose tags have moved on


def build_images_with_ray(engine: Engine, version: str) -> None:
    """Builds those that take Ray as `onoma/NAME:VERSION-ray`, as `make images RAY=1` does."""
    _build_each(engine, WITH_RAY, f"{version}-ray", "--build-arg", "RAY=1")
    engine.docker("image", "prune", "--force")


def _build_each(engine: Engine, names: tuple[str, ...], tag: str, *arguments: str) -> None:
    dockerfile = CHECKOUT / "deploy" / "docker" / "Dockerfile"
    with tempfile.TemporaryDirectory(prefix="onoma-build-") as folder:
        common = (*_secrets(Path(folder)), *arguments, "--file", str(dockerfile))
        for name in names:
            _build(engine, *common, "--target", name, "--tag", f"onoma/{name}:{tag}", str(CHECKOUT))


def _build(engine: Engine, *arguments: str) -> None:
    # The host's network: packages come over this machine's way to them.
    engine.docker("build", "--progress", "plain", "--network", "host", *arguments, timeout_s=_BUILD_S)


def _debian() -> Path:
    """A tar archive of the root file system, made once."""
    archive = CACHE / "bookworm.tar"
    if archive.exists():
        return archive
    with tempfile.TemporaryDirectory(prefix="onoma-debootstrap-") as folder:
        root = Path(folder) / "root"
        make = [
            *("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(root)),
            _mirror(),
        ]
        run(make, dict(os.environ), _BUILD_S)
        for package in (root / "var/cache/apt/archives").glob("*.deb"):
            package.unlink()
        partial = archive.with_suffix(".partial")
        run(["tar", "--create", "--file", str(partial), "--directory", str(root), "."], dict(os.environ), 600)
        partial.replace(archive)
    return archive


def _mirror() -> str:
    """Where this machine's apt gets Debian from."""
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True, check=True
    )
    return next(line for line in said.stdout.splitlines() if line.rstrip("/").endswith("/debian"))


def _secrets(folder: Path) -> list[str]:
    """This machine's certificates and settings of pip and npm, as secrets of a build."""
    authorities = os.environ.get("PIP_CERT") or "/etc/ssl/certs/ca-certificates.crt"
    index = os.environ.get("PIP_INDEX_URL")
    pip = [
        "[global]",
        "cert = /run/secrets/ca",
        "timeout = 180",
        *([f"index-url = {index}"] if index else []),
    ]
    registry = run(["npm", "config", "get", "registry"], dict(os.environ), 60).strip()
    (folder / "pip.conf").write_text("\n".join(pip) + "\n")
    (folder / "npmrc").write_text(f"cafile=/run/secrets/ca\nregistry={registry}\n")
    named = {"ca": authorities, "pip": str(folder / "pip.conf"), "npm": str(folder / "npmrc")}
    return [part for name, source in named.items() for part in ("--secret", f"id={name},src={source}")]
