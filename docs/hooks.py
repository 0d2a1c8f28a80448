"""What MkDocs is told beside mkdocs.yml: reference pages made from the code, and links that leave docs/.

Nothing made here is kept in git: each build reads the commands, settings, protos and routes as they are.
"""

from __future__ import annotations

import json
import logging
import posixpath
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from google.protobuf.descriptor import FieldDescriptor
from mkdocs.structure.files import File
from pydantic_core import PydanticUndefined
from typer.main import get_command

from onoma.cli import app
from onoma.open_inference import v2_pb2
from services.analytics.settings import AnalyticsSettings
from services.attribution.settings import AttributionSettings
from services.gateway.app import OPENAPI_FILE
from services.gateway.schema import STUBS, read_comments
from services.gateway.settings import GatewaySettings, SignInSettings
from services.inference.settings import InferenceSettings
from services.runtime.decoding import PictureSettings
from services.runtime.ray_engine import RaySettings
from services.runtime.settings import RuntimeSettings

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
SETTINGS = {
    "All servers": RuntimeSettings,
    "Gateway": GatewaySettings,
    "Sign-in of owners, at the gateway": SignInSettings,
    "Pictures, at inference, attribution and analytics": PictureSettings,
    "Inference": InferenceSettings,
    "Attribution": AttributionSettings,
    "Ray, at attribution": RaySettings,
    "Analytics": AnalyticsSettings,
}
CARRIED = {
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CHANGELOG.md": "project/changelog.md",
}
"""Pages of the site that lie outside docs/, by their path in the repository."""

_log = logging.getLogger("mkdocs.plugins.onoma")
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
_FIELD_TYPES = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made, and those that lie outside docs/."""
    comments = {name: prose(comment) for name, comment in read_comments().items()}
    made = {
        "reference/cli.md": cli_page(),
        "reference/settings.md": settings_page(),
        "reference/http.md": http_page(json.loads(OPENAPI_FILE.read_text(encoding="utf-8"))),
        **{_page_of(stub.DESCRIPTOR): rpc_page(stub.DESCRIPTOR, comments) for stub in (*STUBS, v2_pb2)},
        **{page: (ROOT / source).read_text(encoding="utf-8") for source, page in CARRIED.items()},
    }
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_given: object) -> str:
    """Turns links to files of the repository into links to the site's pages, or into their bare path."""
    at = page.file.src_uri
    source = next((outside for outside, carried in CARRIED.items() if carried == at), f"docs/{at}")
    return _LINK.sub(lambda link: repository_link(source, at, *link.groups(default="")), markdown)


def repository_link(source: str, page: str, text: str, target: str, anchor: str) -> str:
    """A link of a file of the repository, as the page that shows the file has it.

    Args:
        source: path of the file in the repository.
        page: path of the page below docs/.
        text: of the link.
        target: relative to `source`.
        anchor: with its #, or empty.
    """
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path == "docs/decisions":
        path = "docs/decisions/README.md"
    if path.startswith("docs/"):
        on_site = path.removeprefix("docs/")
    elif path == "README.md":
        on_site = "index.md"
    elif path in CARRIED:
        on_site = CARRIED[path]
    else:
        if not (ROOT / path).exists():
            _log.warning("%s links to %s, which the repository lacks", source, path)
        return text if path in text else f"{text} (`{path}`)"
    return f"[{text}]({posixpath.relpath(on_site, posixpath.dirname(page) or '.')}{anchor})"


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its whole name ("onoma xnn train"), as click has it."""

    def below(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "commands"):
            yield name, command
            return
        for word, one in command.commands.items():
            yield from below(one, f"{name} {word}")

    return below(get_command(app), "onoma")


def cli_page() -> str:
    """Commands with their arguments and options."""
    lines = [
        "# The command line",
        "",
        "Exit codes: 0 done, 1 failed with one clear line, 2 wrong use. Commands find the servers by the addresses of",
        "[the settings](settings.md), which are those of `onoma up` where nothing is set.",
    ]
    for name, command in commands():
        lines += ["", f"## {name}", "", *_paragraphs(command.help or "")]
        hints = get_type_hints(command.callback)
        rows = [_parameter(one, hints) for one in command.params if not getattr(one, "hidden", False)]
        lines += _table(("", "takes", "default", ""), rows)
    return "\n".join(lines) + "\n"


def _parameter(one: Any, hints: dict[str, Any]) -> tuple[str, ...]:
    names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
    if one.param_type_name != "option":
        names = f"`{one.name.upper()}`"
    if one.required:
        default = "needed"
    elif one.default in (None, "", False):
        default = ""
    else:
        default = f"`{getattr(one.default, 'value', one.default)}`"
    return names, _takes(hints[one.name]), default, prose(one.help or "")


def _takes(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " ".join(f"`{choice}`" for choice in get_args(hint))
    if kinds := [kind for kind in get_args(hint) if kind is not NoneType]:
        if get_origin(hint) is tuple:
            return ", ".join(map(_takes, kinds))
        return _takes(kinds[0]) + " ..." * (get_origin(hint) is list)
    if issubclass(hint, Enum):
        return " ".join(f"`{choice.value}`" for choice in hint)
    return {bool: "", str: "text"}.get(hint, hint.__name__.lower())


def settings_page() -> str:
    """Environment variables with their defaults."""
    lines = [
        "# Settings",
        "",
        "Environment variables, read when a server starts; a wrong one is refused with one line that names it. Lists",
        "are JSON. The client and the command line read `ONOMA_ACCESS_TOKEN`, `ONOMA_TLS_DIR` and the addresses.",
    ]
    for reader, kind in SETTINGS.items():
        inherited = set().union(*(getattr(base, "model_fields", {}) for base in kind.__bases__))
        rows = [
            (
                f"`ONOMA_{name.upper()}`",
                _takes(field.annotation),
                _default(field),
                prose(field.description or ""),
            )
            for name, field in kind.model_fields.items()
            if name not in inherited
        ]
        lines += ["", f"## {reader}", "", *_table(("setting", "takes", "default", ""), rows)]
    return "\n".join(lines) + "\n"


def _default(field: Any) -> str:
    value = field.default_factory() if field.default_factory else field.default
    return "" if value in (None, "", PydanticUndefined) else f"`{value}`"


def rpc_page(file: Any, comments: dict[str, str]) -> str:
    """Services, messages and enums of one .proto file."""
    lines = [
        f"# {file.name.removeprefix('onoma/')}",
        "",
        f"From `protos/{file.name}`, package `{file.package}`.",
    ]
    for service in file.services_by_name.values():
        lines += ["", f"## {service.name}", "", comments.get(service.full_name, "")]
        for method in service.methods:
            lines += [
                "",
                f"### {method.name}",
                "",
                comments.get(method.full_name, ""),
                "",
                f"Takes {'a stream of ' if method.client_streaming else ''}{_message_link(method.input_type)}, answers "
                f"{'a stream of ' if method.server_streaming else ''}{_message_link(method.output_type)}.",
            ]
    if file.message_types_by_name:
        lines += ["", "## Messages"]
    for message in file.message_types_by_name.values():
        lines += _message(message, comments)
    if file.enum_types_by_name:
        lines += ["", "## Enums"]
    for enum in file.enum_types_by_name.values():
        rows = [
            (f"`{value.name}`", str(value.number), comments.get(f"{enum.full_name}.{value.name}", ""))
            for value in enum.values
        ]
        lines += ["", f"### {enum.name}", "", comments.get(enum.full_name, ""), ""]
        lines += _table(("value", "number", ""), rows)
    return "\n".join(lines) + "\n"


def _message(message: Descriptor, comments: dict[str, str]) -> Iterator[str]:
    rows = [
        (f"`{field.name}`", str(field.number), _field_type(field), comments.get(field.full_name, ""))
        for field in message.fields
    ]
    yield from ("", f"### {message.name}", "", comments.get(message.full_name, ""), "")
    yield from _table(("field", "number", "type", ""), rows)
    for nested in message.nested_types:
        if not nested.GetOptions().map_entry:
            yield from _message(nested, comments)


def _field_type(field: FieldDescriptor) -> str:
    of_type = field.message_type or field.enum_type
    one = _message_link(of_type) if of_type else _FIELD_TYPES[field.type]
    return f"list of {one}" if field.is_repeated else one


def _message_link(described: Descriptor | EnumDescriptor) -> str:
    if described.file.package == "google.protobuf":
        return f"`{described.full_name}`"
    if getattr(described, "has_options", False) and described.GetOptions().map_entry:
        return f"`{described.name}`"
    return f"[{described.name}]({posixpath.basename(_page_of(described.file))}#{described.name.lower()})"


def _page_of(file: Any) -> str:
    return f"reference/rpc-{Path(file.name).stem}.md"


def http_page(document: dict[str, Any]) -> str:
    """Routes of the gateway."""
    lines = [
        "# HTTP",
        "",
        f"{document['info']['description']} The gateway answers the whole document at `/api/openapi.json`; it lies at",
        "`services/gateway/openapi.json`. Whoever may call stands at each route.",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lines += [
                "",
                f"## {method.upper()} {path}",
                "",
                prose(operation["summary"]),
                "",
                prose(operation["description"]),
                "",
            ]
            rows = [
                (
                    f"`{one['name']}`",
                    one["in"],
                    "needed" if one.get("required") else "",
                    prose(one.get("description", "")),
                )
                for one in operation["parameters"]
            ]
            lines += _table(("parameter", "in", "", ""), rows)
            body = (
                operation.get("requestBody", {})
                .get("content", {})
                .get("application/json", {})
                .get("schema", {})
            )
            rows = [
                (f"`{name}`", prose(one.get("description", "")))
                for name, one in body.get("properties", {}).items()
            ]
            lines += ["", *_table(("in the body", ""), rows)]
            if "$ref" in body:
                lines += ["", f"Body: `{_name(body)}`."]
            for media_type, content in operation["responses"]["200"]["content"].items():
                what = f"`{_name(content['schema'])}` as " if "$ref" in content["schema"] else ""
                lines += ["", f"Answers {what}`{media_type}`."]
    problem = document["components"]["schemas"]["Problem"]
    rows = [(f"`{name}`", prose(one.get("description", ""))) for name, one in problem["properties"].items()]
    lines += ["", "## Problems", "", "An error is answered as `application/problem+json`:", ""]
    return "\n".join([*lines, *_table(("field", ""), rows)]) + "\n"


def _name(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def prose(text: str) -> str:
    """Words of the code as Markdown shows them; what stands in backticks is code there too."""
    pieces = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(
        re.sub(r"([\\*_\[\]<])", r"\\\1", one) if n % 2 == 0 else one for n, one in enumerate(pieces)
    )


def _paragraphs(text: str) -> list[str]:
    return [prose(line) for line in text.splitlines()] + [""]


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *cells)]
