"""Looks whether a wheel holds the code, the stubs of every proto, the whole page and the licences, and nothing else."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

PAGE = "onoma/web/index.html"
PACKAGED = "see [tool.setuptools] in pyproject.toml"
STUBS = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


def wanted(root: Path) -> Iterator[tuple[str, str]]:
    """Files of the wheel, each with what makes it."""
    for package in ("onoma", "services"):
        for code in (root / package).rglob("*.py"):
            yield code.relative_to(root).as_posix(), PACKAGED
    for proto in (root / "protos").rglob("*.proto"):
        for ending in STUBS:
            yield proto.relative_to(root / "protos").with_suffix("").as_posix() + ending, "make protos"
    yield PAGE, "make web"
    yield from ((name, PACKAGED) for name in ("onoma/py.typed", "onoma/namings.schema.json"))
    yield from ((f"onoma/report/templates/page.{form}", PACKAGED) for form in ("html", "css"))
    yield "services/gateway/openapi.json", PACKAGED


def wrongs(wheel: Path, root: Path) -> list[str]:
    """What is wrong with a wheel, a line each, with the way out."""
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        page = archive.read(PAGE).decode() if PAGE in names else ""
    found = [f"{name} is missing: {way_out}" for name, way_out in wanted(root) if name not in names]
    parts = [f"onoma/web{path}" for path in re.findall(r'(?:src|href)="(/[^"]+)"', page)]
    found += [f"{part}, which the page loads, is missing: make web" for part in parts if part not in names]
    info = next(name.split("/")[0] for name in sorted(names) if ".dist-info/" in name)
    found += [
        f"the licence file {name} is missing: see license-files in pyproject.toml"
        for name in ("LICENSE", "NOTICE")
        if f"{info}/licenses/{name}" not in names
    ]
    tops = {name.split("/")[0] for name in names} - {"onoma", "services", info}
    found += [
        f"'{top}' is not part of Onoma: see [tool.setuptools] in pyproject.toml" for top in sorted(tops)
    ]
    return found


if __name__ == "__main__":
    path = Path(sys.argv[1])
    sys.exit(
        "\n".join(f"{path.name}: {wrong}" for wrong in wrongs(path, Path(__file__).parent.parent)) or None
    )
