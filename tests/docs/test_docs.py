"""The documentation: it builds with no network, leaves nothing out, and names only commands that exist."""

import html
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from onoma.cli import app
from onoma.open_inference import v2_pb2
from services.gateway.schema import STUBS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES_WITH_COMMANDS = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted((DOCS / "howto").glob("*.md"))]
NO_NETWORK = """
import runpy, socket, sys
def refuse(*address):
    raise OSError(f"the documentation asked for the network: {address[1:]}")
socket.socket.connect = socket.getaddrinfo = refuse
sys.argv = ["mkdocs", "build", "--site-dir", sys.argv[1]]
runpy.run_module("mkdocs", run_name="__main__")
"""


@cache
def commands() -> dict[str, Any]:
    """Every command by its whole name, as click has it."""

    def below(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        if hasattr(command, "commands"):
            for word, one in command.commands.items():
                yield from below(one, f"{name} {word}")
        else:
            yield name, command

    return dict(below(get_command(app), "onoma"))


def settings() -> list[str]:
    """Environment variables of every settings class of the services, found in the text."""
    found = []
    for path in (ROOT / "services").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for body in re.findall(
            r"^class \w+\((?:Base|Runtime)Settings\):\n((?:[ ].*\n|\n)+)", text, re.MULTILINE
        ):
            fields = re.findall(r"^    ([a-z]\w*): .*= (?:Field\(|SettingsConfigDict)", body, re.MULTILINE)
            found += [f"ONOMA_{name.upper()}" for name in fields]
    return found


def rpcs() -> list[str]:
    """Every method of every service."""
    files = [stub.DESCRIPTOR for stub in (*STUBS, v2_pb2)]
    return [m.name for file in files for service in file.services_by_name.values() for m in service.methods]


def metrics() -> list[str]:
    """Every name of a Prometheus number, found in the text."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "services").rglob("*.py")]
    kinds = r"(?:Counter|Gauge|Histogram|Summary|\w+MetricFamily)"
    return [name for text in texts for name in re.findall(kinds + r"\(\s*\"(onoma_\w+)\"", text)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built in a process that has no network."""
    folder: Path = tmp_path_factory.mktemp("docs")
    built = subprocess.run(
        [sys.executable, "-c", NO_NETWORK, str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def words_of(site: Path, *pages: str) -> set[str]:
    """Words that stand in code or headings of pages, markup left out."""
    text = " ".join((site / page).read_text(encoding="utf-8") for page in pages)
    found = re.findall(r"[\w/{}.-]+", html.unescape(re.sub(r"<[^>]+>", " ", text)))
    return {word.rstrip(".") for word in found}


def missing(wanted: list[str], words: set[str]) -> list[str]:
    """What is wanted and not there; fails where nothing is wanted, for then the search is broken."""
    assert wanted
    return [one for one in wanted if one not in words]


def test_every_setting_is_in_the_reference(site: Path) -> None:
    wanted = settings()
    assert {"ONOMA_DATABASE_URL", "ONOMA_RAY_ADDRESS", "ONOMA_OIDC_ISSUER", "ONOMA_HTTP_PORT"} <= set(wanted)
    assert missing(wanted, words_of(site, "reference/settings.html")) == []


def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    text = (site / "reference/cli.html").read_text(encoding="utf-8")
    assert (
        missing([name.replace(" ", "-") for name in commands()], set(re.findall(r'<h2 id="([^"]+)"', text)))
        == []
    )
    options = [option for command in commands().values() for one in command.params for option in one.opts]
    assert (
        missing([one for one in options if one.startswith("-")], words_of(site, "reference/cli.html")) == []
    )


def test_every_rpc_is_in_the_reference(site: Path) -> None:
    pages = [page.relative_to(site).as_posix() for page in (site / "reference").glob("rpc-*.html")]
    assert missing(rpcs(), words_of(site, *pages)) == []


def test_every_http_route_is_in_the_reference(site: Path) -> None:
    from services.gateway.routes import HANDWRITTEN, ROUTES

    wanted = [route.path for route in (*ROUTES, *HANDWRITTEN)]
    assert missing(wanted, words_of(site, "reference/http.html")) == []


def test_every_metric_is_in_the_reference(site: Path) -> None:
    wanted = metrics()
    assert {"onoma_ready", "onoma_jobs", "onoma_grpc_calls_total"} <= set(wanted)
    assert missing(wanted, words_of(site, "telemetry.html")) == []


def test_every_key_of_the_analysis_is_in_the_statistics() -> None:
    from services.analytics.statistics import KEYS

    words = re.findall(r"`[\w.*<>-]+`", (DOCS / "statistics.md").read_text(encoding="utf-8"))
    named = {word.strip("`").partition(".")[0] for word in words}
    assert missing(sorted({key for keys in KEYS.values() for key in keys}), named) == []


def test_every_method_of_the_client_is_in_the_reference(site: Path) -> None:
    from onoma.client import Client

    wanted = [f"onoma.client.Client.{name}" for name in vars(Client) if not name.startswith("_")]
    ids = re.findall(r' id="([^"]+)"', (site / "reference/python-client.html").read_text(encoding="utf-8"))
    assert missing(wanted, set(ids)) == []


def test_what_is_not_documented_is_noticed(site: Path) -> None:
    words = words_of(site, "reference/settings.html", "telemetry.html")
    assert missing(["ONOMA_NOT_A_SETTING", "ONOMA_HOST"], words) == ["ONOMA_NOT_A_SETTING"]
    assert missing(["onoma_not_a_metric_total"], words) == ["onoma_not_a_metric_total"]


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loaded = [
        (page.name, address)
        for page in site.rglob("*.html")
        for address in re.findall(
            r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"?((?:https?:)?//[^\"\s>]+)",
            page.read_text("utf-8"),
        )
    ]
    assert loaded == []


def anchors(text: str) -> set[str]:
    """Anchors of a Markdown text's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(text: str, folder: Path) -> list[str]:
    """Links of a Markdown text to files or headings that are not there."""
    broken = []
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        file = folder / path if path else None
        is_there = file is None or file.exists()
        if not is_there or (anchor and anchor not in anchors(file.read_text("utf-8") if file else text)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_between_files_hold(name: str) -> None:
    assert broken_links((ROOT / name).read_text(encoding="utf-8"), ROOT) == []


def test_every_decision_is_listed() -> None:
    listed = (DOCS / "decisions/README.md").read_text(encoding="utf-8")
    pages = [page.name for page in (DOCS / "decisions").glob("*.md") if page.name != "README.md"]
    assert [page for page in pages if f"]({page})" not in listed] == []


def test_a_broken_link_is_noticed() -> None:
    assert broken_links("[a](README.md) [b](no.md) [c](README.md#no)", ROOT) == ["no.md", "README.md#no"]


def command_lines(text: str) -> list[str]:
    """Lines of a shell's blocks that call onoma."""
    blocks = re.findall(r"^ *```(?:sh|bash)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [
        line.strip() for block in blocks for line in block.splitlines() if line.strip().startswith("onoma ")
    ]


def wrong_use(line: str) -> str:
    """What click says against a line; empty where it would be run."""
    words = shlex.split(line, comments=True)
    if words[-1] == "&":
        words.pop()
    depth = next((n for n in (2, 3) if " ".join(words[:n]) in commands()), 0)
    if not depth:
        return f"no command: {line}"
    command = commands()[" ".join(words[:depth])]
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
    unknown = [word for word in words[depth:] if word.startswith("-") and word.partition("=")[0] not in known]
    if unknown:
        return f"no option {unknown[0]}: {line}"
    flags = {name for one in command.params if getattr(one, "is_flag", False) for name in one.opts}
    rest, arguments = list(words[depth:]), 0
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            arguments += 1
        elif word not in flags and "=" not in word:
            nargs = next(one.nargs for one in command.params if word in one.opts)
            if len(rest) < nargs:
                return f"no value of {word}: {line}"
            del rest[:nargs]
    positional = [one for one in command.params if one.param_type_name == "argument"]
    least = sum(one.required for one in positional)
    if arguments < least or (arguments > len(positional) and all(one.nargs == 1 for one in positional)):
        return f"{arguments} arguments: {line}"
    given = {word.partition("=")[0] for word in words[depth:]}
    lacking = [
        one.opts[0]
        for one in command.params
        if one.required and one not in positional and not given & {*one.opts}
    ]
    return f"lacks {lacking[0]}: {line}" if lacking else ""


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_of_the_pages_exist(page: Path) -> None:
    lines = command_lines(page.read_text(encoding="utf-8"))
    if page.name in (
        "README.md", "tutorial.md", "own-dataset.md", "invite-annotators.md", "deploy.md", "security.md"
    ):  # fmt: skip
        assert lines
    assert [wrong for wrong in map(wrong_use, lines) if wrong] == []


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("onoma studdy list", "no command"),
        ("onoma study list --jsonn", "no option --jsonn"),
        ("onoma study invite s", "1 arguments"),
        ("onoma study open s t", "2 arguments"),
        ("onoma dataset add x", "lacks --name"),
        ("onoma dataset add x --name", "no value of --name"),
    ],
)
def test_wrong_commands_are_noticed(line: str, wrong: str) -> None:
    assert wrong_use(line).startswith(wrong)


def hooks() -> Any:
    spec = spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_words_of_the_code_are_no_markup() -> None:
    assert hooks().prose("CLASS/*, a[0] and\n<b> `x_y*`") == r"CLASS/\*, a\[0\] and \<b> `x_y*`"


def test_links_out_of_the_folder_become_pages_or_paths(caplog: pytest.LogCaptureFixture) -> None:
    link = hooks().repository_link
    assert link("docs/deploy.md", "deploy.md", "read me", "../README.md", "") == "[read me](index.md)"
    assert link("docs/a/b.md", "a/b.md", "TLS", "../security.md", "#tls") == "[TLS](../security.md#tls)"
    assert link("SECURITY.md", "project/security.md", "it", "docs/security.md", "") == "[it](../security.md)"
    assert (
        link("docs/deploy.md", "deploy.md", "stack", "../deploy/compose.yaml", "")
        == "stack (`deploy/compose.yaml`)"
    )
    assert not caplog.records
    link("docs/deploy.md", "deploy.md", "gone", "../no/such.file", "")
    assert "no/such.file" in caplog.text
