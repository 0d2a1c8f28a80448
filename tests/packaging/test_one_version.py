"""The version stands in pyproject.toml; whatever cannot read it there says the same."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]


@pytest.mark.parametrize("path", ["deploy/compose.yaml", "deploy/k8s", "deploy/.env.example"])
def test_images_are_of_this_version(path: str) -> None:
    place = ROOT / path
    texts = [file.read_text() for file in place.rglob("*.yaml")] if place.is_dir() else [place.read_text()]
    told = re.findall(
        r"image: onoma/\w+:(?:\$\{ONOMA_VERSION:-)?([\w.]+)|#ONOMA_VERSION=(\S+)", "\n".join(texts)
    )
    assert {one or other for one, other in told} == {VERSION}


def test_the_page_is_of_this_version() -> None:
    assert json.loads((ROOT / "web" / "package.json").read_text())["version"] == VERSION


def test_the_citation_is_of_this_version_and_names_its_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == VERSION
    assert citation["license"] == PROJECT["license"]
    first_authors = [paper["authors"][0]["family-names"] for paper in citation["references"]]
    assert first_authors == ["Hamidi-Haines", "Qi", "Zhang", "Cazals"]


def test_every_library_in_the_page_is_in_the_notice() -> None:
    locked = json.loads((ROOT / "web" / "package-lock.json").read_text())["packages"]
    types_alone = ("@types/", "csstype", "openapi-typescript-helpers")
    bundled = {
        name.removeprefix("node_modules/"): package["license"]
        for name, package in locked.items()
        if name and not package.get("dev") and not name.removeprefix("node_modules/").startswith(types_alone)
    }
    notice = (ROOT / "NOTICE").read_text()
    assert [name for name in bundled if not re.search(rf" {re.escape(name)}[,:]", notice)] == []
    assert set(bundled.values()) == {"MIT"}


def test_the_changelog_is_kept() -> None:
    headings = re.findall(r"^(##+) (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    kinds.add("Upgrading from an earlier checkout")  # of what was never released
    assert headings[0] == ("##", "[Unreleased]")
    for level, heading in headings:
        if level == "##":
            assert re.fullmatch(r"\[Unreleased\]|\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading)
        elif level == "###":
            assert heading in kinds, heading
        else:  # a group of a kind's lines
            assert (level, heading in kinds) == ("####", False), heading
