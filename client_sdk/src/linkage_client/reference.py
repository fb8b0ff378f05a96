"""Writes the references of the command `linkage`, of linkage schemas and of agreements from the code.

`python -m linkage_client.reference commands`, and the same with `schema` and `agreement`, print Markdown; a test holds
`docs/reference/` to it.
"""

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import click

from linkage_client.agreements.json_schema import agreement_schema, resolved
from linkage_client.cli import cli
from linkage_client.cli.exit_codes import ExitCode
from linkage_client.encoding.schema_options import PLACES, Option, Place

_REQUIRED: Final = "required"
_OPTIONS_HEAD: Final = ("| option | meaning | default |", "|---|---|---|")
_COMMANDS: Final = """# The command `linkage`

Made from the program itself, which answers `--help` to every command. Results go to standard output, words to standard
error. See the [guide for analysts](../analyst.md) for what to do in which order.
"""
_SCHEMAS: Final = """# Linkage schemas

Made from the table by which the program reads schemas. The format is that of clkhash 0.18.3, version 3. A member that
is not listed here is refused, because clkhash would skip it in silence and encode something else. The
[page on fields](../fields.md) says what to choose.
"""


_FIELDS_HEAD: Final = ("| field | in short | what it holds | if left out |", "|---|---|---|---|")
_AGREEMENTS: Final = """# Agreement documents

Made from the JSON Schema (2020-12) that the service publishes at `/v1/agreement-schema` and that is kept as
`openapi/agreement.schema.json`. `linkage agreement check` checks a document by it offline. The
[guide](../agreements.md) says how an agreement is made, signed, amended and ended.
"""


def commands_reference() -> str:
    """Every command with its arguments and options, and the exit codes, as Markdown."""
    commands = list(leaf_commands())
    described = [_options(command, path) for path, command in commands]
    # Nearly every one: the demo, which has its own service, needs no profile.
    shared = [line for line in described[0] if sum(line in lines for lines in described) > 0.9 * len(described)]
    lines = [_COMMANDS, "## Options of nearly every command", "", *_OPTIONS_HEAD, *shared, ""]
    for (path, command), options in zip(commands, described, strict=True):
        lines += _command(path, command, [line for line in options if line not in shared])
    lines += ["## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code.value} | {_cell(code.meaning)} |" for code in ExitCode]
    return "\n".join(lines) + "\n"


def schema_reference() -> str:
    """Every member of a linkage schema, as Markdown."""
    lines = [_SCHEMAS]
    for place in PLACES:
        lines += _schema_place(place)
    return "\n".join(lines[:-1]) + "\n"


def leaf_commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that is not a group, with its words, the program's name first."""
    return _commands(cli, ("linkage",))


def _commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command, info_name=path[-1], **cli.context_settings)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        if found is not None and not found.hidden:
            yield from _commands(found, (*path, name))


def _command(path: tuple[str, ...], command: click.Command, options: Sequence[str]) -> list[str]:
    context = click.Context(command, info_name=" ".join(path), **cli.context_settings)
    arguments = " ".join(piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]")
    usage = f"{' '.join(path)} {arguments}".strip()
    lines = [f"## {' '.join(path)}", "", f"    {usage}", "", *_paragraphs(command.help or ""), ""]
    return [*lines, *_OPTIONS_HEAD, *options, ""] if options else lines


def _paragraphs(text: str) -> list[str]:
    return [line.replace("\b", "").strip() for line in inspect.cleandoc(text).split("\f")[0].splitlines()]


def _options(command: click.Command, path: tuple[str, ...]) -> list[str]:
    context = click.Context(command, info_name=path[-1], **cli.context_settings)
    options = [parameter for parameter in command.get_params(context) if isinstance(parameter, click.Option)]
    return [_option(option, context) for option in options if not option.hidden]


def _option(option: click.Option, context: click.Context) -> str:
    # click keeps the help option of the first context that asked for it, whatever its names were there.
    is_help = option is context.command.get_help_option(context)
    spelt = context.help_option_names if is_help else (*option.opts, *option.secondary_opts)
    names = ", ".join(f"`{name}`" for name in spelt)
    value = "" if option.is_flag or option.count else f" {_cell(option.make_metavar(context))}"
    default = _REQUIRED if option.required else _default(option, context)
    return f"| {names}{value} | {_cell(option.help or '')} | {default} |"


def _default(option: click.Option, context: click.Context) -> str:
    value = option.get_default(context)
    if option.is_flag or not isinstance(value, str | int | float) or value == "":
        return ""
    return f"`{_cell(str(value))}`"


def _schema_place(place: Place) -> list[str]:
    where = f"`{place.where}`: " if place.where else ""
    lines = [f"## {place.title}", "", f"{where}{place.meaning}", "", "| member | values | meaning | if absent |"]
    lines.append("|---|---|---|---|")
    return [*lines, *(_schema_option(name, option) for name, option in place.options.items()), ""]


def _schema_option(name: str, option: Option) -> str:
    absent = _REQUIRED if option.default is None else option.default
    return f"| `{name}` | {_cell(option.values)} | {_cell(option.meaning)} | {_cell(absent)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def agreement_reference() -> str:
    """Every field of an agreement document in the words of the published JSON Schema, as Markdown."""
    lines = [_AGREEMENTS, *_FIELDS_HEAD]
    for name, field in agreement_schema()["properties"].items():
        if "$ref" not in field:
            lines.append(_field_row(name, field, required=name in agreement_schema()["required"]))
    for name, field in agreement_schema()["properties"].items():
        if "$ref" in field:
            lines += ["", f"## {field['title']}", "", f"`{name}`: {field['description']}", "", *_FIELDS_HEAD]
            lines += _field_rows(name, resolved(field))
    return "\n".join(lines) + "\n"


def _field_rows(where: str, schema: Mapping[str, Any]) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        inner = next((resolved(choice) for choice in field.get("anyOf", []) if "$ref" in choice), resolved(field))
        items = resolved(inner.get("items", {}))
        path = f"{where}.{name}" + ("[]" if "properties" in items else "")
        yield _field_row(path, field, required=name in schema.get("required", ()))
        yield from _field_rows(path, items if "properties" in items else inner)


def _field_row(path: str, field: Mapping[str, Any], *, required: bool) -> str:
    default = field.get("default")
    left_out = "nothing said" if default is None or default == [] else json.dumps(default)
    cells = (f"`{path}`", _cell(field["title"]), _cell(field["description"]), _REQUIRED if required else left_out)
    return f"| {' | '.join(cells)} |"


REFERENCES: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {"commands": commands_reference, "schema": schema_reference, "agreement": agreement_reference}
)

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in REFERENCES:  # noqa: PLR2004 - the program and its one argument
        sys.exit(f"Usage: python -m linkage_client.reference {'|'.join(REFERENCES)}")
    sys.stdout.write(REFERENCES[sys.argv[1]]())
