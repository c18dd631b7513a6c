"""Finds what Ubuntu's installer and cloud-init would ignore, refuse or ask about: mistakes in user-data."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pxeforge.render.accounts import is_crypt_hash
from pxeforge.render.lint_finding import Finding, by_line, error, warning

HEADER: Final = "#cloud-config"
_SCHEMAS: Final = Path(__file__).resolve().parent / "schemas"
_TEMPLATE_REST = re.compile(r"\{\{-?\s*\w|\{%")  # two closing braces end YAML mappings as well
# Ends well in any case, or says by itself that it is to stop the install.
_IS_MEANT = re.compile(r"(;|\|\|)\s*(true|:|exit [0-9]+|(exit [1-9]|false);\s*\})\s*$")
_KERNEL_NAME = re.compile(r"(eth|en[opsx])[0-9]")
_LOCKED: Final = ("", "!", "*")
_MOST_DEPTH: Final = 60
_MOST_VALUES: Final = 50_000

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class _Document:
    """The parsed text, and in which line each value begins (by its path)."""

    value: Any
    lines: Mapping[Path_, int]

    def line(self, path: Path_) -> int:
        """The line of a path, or of the nearest value around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def lint_user_data(text: str) -> list[Finding]:
    """All findings of a rendered user-data file, by line: as cloud-config, and what it says below `autoinstall`.

    Passwords are never repeated in a message.
    """
    # YAML knows more ends of lines than an editor does.
    last = text.count("\n") + 1
    return by_line(replace(one, line=min(one.line, last)) for one in _findings(text))


def _findings(text: str) -> list[Finding]:
    findings = [*_raw(text)]
    document = _parse(text, findings)
    if document is None:
        return findings
    if not isinstance(document.value, dict):
        return [*findings, error(1, "user-data must be a mapping (`key: value` lines)")]
    findings += _held_against("cloud-config.json", document, ())
    findings += _plain_passwords(document, ())
    if "autoinstall" in document.value:
        findings += _autoinstall(document)
    return findings


def _raw(text: str) -> Iterator[Finding]:
    lines = text.split("\n")
    if lines[0].strip() != HEADER:
        yield error(1, f"the first line must be {HEADER}: cloud-init does not look at the file without it")
    for number, line in enumerate(lines, start=1):
        if "\t" in re.match(r"\s*", line)[0]:  # type: ignore[index] # matches always
            yield error(number, "a tab at the beginning of the line: indent with blanks")
        if _TEMPLATE_REST.search(line):
            yield error(number, "a template expression was not rendered")
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line):
            yield error(number, "control character (a carriage return?): write plain lines")


def _parse(text: str, findings: list[Finding]) -> _Document | None:
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        findings.append(error(mark.line + 1 if mark else 1, f"not YAML: {problem.problem or problem.context}"))
        return None
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        findings.append(error(1, f"not YAML: {' '.join(str(problem).split())}"))
        return None
    lines: dict[Path_, int] = {}
    if node is not None:
        findings.extend(_places(node, (), lines))
    if len(lines) > _MOST_VALUES:
        findings.append(error(1, f"more than {_MOST_VALUES} values: do not let YAML aliases repeat each other"))
        return None
    return _Document(value, lines)


def _places(node: Any, path: Path_, lines: dict[Path_, int]) -> Iterator[Finding]:
    """Fills `lines`; tells keys that are there twice, of which YAML keeps the last in silence."""
    import yaml

    lines.setdefault(path, node.start_mark.line + 1)
    if len(path) > _MOST_DEPTH or len(lines) > _MOST_VALUES:
        return
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                yield error(line, f"{name!r} is already in line {seen[name]}; only the last one counts: merge them")
            seen[name] = line
            lines[(*path, name)] = line
            yield from _places(value, (*path, name), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            yield from _places(value, (*path, index), lines)


# ------------------------------------------------------------------------------------------ schemas


@functools.cache
def _validator(name: str) -> Any:
    from jsonschema import Draft4Validator, Draft7Validator

    schema = json.loads((_SCHEMAS / name).read_text(encoding="utf-8"))
    is_old = "draft-04" in schema.get("$schema", "")
    return (Draft4Validator if is_old else Draft7Validator)(schema)


def _held_against(name: str, document: _Document, base: Path_) -> Iterator[Finding]:
    """What the schema says about the value below `base`; of alternatives the one that comes nearest is told."""
    from jsonschema.exceptions import best_match

    value = document.value
    for step in base:
        value = value[step]
    for problem in _validator(name).iter_errors(value):
        nearest = best_match([problem]) or problem
        path = (*base, *nearest.absolute_path)
        place = ".".join(map(str, path)) or "the file"
        yield error(document.line((*path, *_extra_key(nearest))), f"{place}: {_said(nearest)}")


def _extra_key(problem: Any) -> Path_:
    """The key that should not be there, where that is the problem."""
    if problem.validator == "additionalProperties" and isinstance(problem.instance, dict):
        known = problem.schema.get("properties", {})
        return next(((str(key),) for key in problem.instance if key not in known), ())
    return ()


def _said(problem: Any) -> str:
    """The schema's complaint, without the value: that may be a password or a page long."""
    if problem.validator == "additionalProperties":
        return f"unknown key {''.join(map(repr, _extra_key(problem)))}; it would be ignored"
    if problem.validator == "required":
        return str(problem.message)
    if problem.validator == "enum":
        return f"must be one of {', '.join(map(str, problem.validator_value))}"
    if problem.validator == "const":
        return f"must be {problem.validator_value}"
    if problem.validator == "type":
        kinds = problem.validator_value
        return f"must be of type {kinds if isinstance(kinds, str) else ' or '.join(kinds)}"
    return f"does not fit the schema ({problem.validator}: {str(problem.validator_value)[:80]})"


# ------------------------------------------------------------------------------------------ beyond the schemas


def _autoinstall(document: _Document) -> Iterator[Finding]:
    base: Path_ = ("autoinstall",)
    yield from _held_against("autoinstall.json", document, base)
    values = document.value["autoinstall"]
    if not isinstance(values, dict):
        return
    if isinstance(values.get("network"), dict):
        inner = (*base, "network", "network") if isinstance(values["network"].get("network"), dict) else None
        yield from _network(document, inner or (*base, "network"))
    if isinstance(values.get("user-data"), dict):
        yield from _held_against("cloud-config.json", document, (*base, "user-data"))
    for check in (_questions, _identity, _storage, _commands):
        yield from check(document, values)


def _network(document: _Document, base: Path_) -> Iterator[Finding]:
    value = document.value
    for step in base:
        value = value[step]
    # cloud-init's schema wants the key `network` around it, which autoinstall may leave out.
    wrapped = _Document(
        {"network": value}, {("network", *path[len(base) :]): line for path, line in document.lines.items()
                             if path[: len(base)] == base},
    )  # fmt: skip
    yield from _held_against("network-config-v2.json", wrapped, ())
    ethernets = value.get("ethernets")
    for name, one in ethernets.items() if isinstance(ethernets, dict) else ():
        if _KERNEL_NAME.match(str(name)) and not (isinstance(one, dict) and one.get("match")):
            line = document.line((*base, "ethernets", name))
            yield warning(line, f"network: the name {name!r} differs per machine, use `match: {{macaddress: …}}`")


def _questions(document: _Document, values: dict[str, Any]) -> Iterator[Finding]:
    if values.get("interactive-sections"):
        line = document.line(("autoinstall", "interactive-sections"))
        yield warning(line, "interactive-sections make the installer ask at the console, and end its reports")
    if "identity" not in values and "user-data" not in values:
        yield error(document.line(("autoinstall",)), "neither identity nor user-data: nobody could log in")


def _identity(document: _Document, values: dict[str, Any]) -> Iterator[Finding]:
    identity = values.get("identity")
    password = identity.get("password") if isinstance(identity, dict) else None
    if isinstance(password, str) and password not in _LOCKED and not is_crypt_hash(password):
        line = document.line(("autoinstall", "identity", "password"))
        yield error(line, "identity.password is no crypt hash of a good method ($6$…, $y$…)")


def _storage(document: _Document, values: dict[str, Any]) -> Iterator[Finding]:
    storage = values.get("storage")
    base: Path_ = ("autoinstall", "storage")
    if not isinstance(storage, dict):
        if "storage" not in values:
            yield error(document.line(("autoinstall",)), "no storage: the installer takes a disk of its own choice")
        return
    layout, config = storage.get("layout"), storage.get("config")
    if isinstance(layout, dict) and not layout.get("match"):
        line = document.line((*base, "layout"))
        yield error(line, "storage.layout takes the largest disk: name it with `match: {serial: …}` or `{path: …}`")
    if isinstance(config, list):
        yield from _actions(document, (*base, "config"), config)


_REFERENCES: Final = ("device", "volume", "volgroup", "devices", "spare_devices", "backing_device")


def _actions(document: _Document, base: Path_, config: list[Any]) -> Iterator[Finding]:
    known: set[str] = set()
    for index, action in enumerate(config):
        if not isinstance(action, dict):
            continue
        line, name = document.line((*base, index)), str(action.get("id"))
        if action.get("type") == "disk" and not {"match", "serial", "path"} & {key for key in action if action[key]}:
            yield error(line, f"the disk {name} is named by nothing: any free one would be taken (serial, path, match)")
        for key in _REFERENCES:
            wanted = action.get(key)
            for one in wanted if isinstance(wanted, list) else [wanted] if wanted else []:
                if str(one) not in known:
                    yield error(line, f"{action.get('type')} {name}: no action above it makes {key} {one!r}")
        if name in known:
            yield error(line, f"the id {name} is there twice")
        known.add(name)


def _commands(document: _Document, values: dict[str, Any]) -> Iterator[Finding]:
    for section in ("early-commands", "late-commands"):
        commands = values.get(section)
        for index, command in enumerate(commands if isinstance(commands, list) else ()):
            text = command if isinstance(command, str) else " ".join(map(str, command or ()))
            if not _IS_MEANT.search(text.strip()):
                line = document.line(("autoinstall", section, index))
                yield warning(line, f"{section}: a command that fails stops the install: end it with '|| true'")


def _plain_passwords(document: _Document, base: Path_) -> Iterator[Finding]:
    """Passwords of cloud-config, at the top and in autoinstall's user-data, wherever they stand."""
    for path, value in _walk(document.value, base):
        key = str(path[-1]) if path else ""
        if key == "plain_text_passwd" or (key == "password" and _is_login(path)):
            if isinstance(value, str) and not is_crypt_hash(value):
                yield error(document.line(path), f"{key} is in plain text: use hashed_passwd with a hash ($6$…)")
        elif key in ("passwd", "hashed_passwd") and isinstance(value, str) and value not in _LOCKED:
            if not is_crypt_hash(value):
                yield error(document.line(path), f"{key} is no crypt hash of a good method ($6$…, $y$…)")
        elif path[-2:] == ("chpasswd", "list"):
            yield error(document.line(path), "chpasswd.list holds passwords: use users with hashed_passwd")


def _is_login(path: Path_) -> bool:
    return path == ("password",) or path[:2] == ("autoinstall", "user-data") or "chpasswd" in path


def _walk(value: Any, path: Path_) -> Iterator[tuple[Path_, Any]]:
    yield path, value
    if len(path) > _MOST_DEPTH:
        return
    pairs: Callable[[], Any] = lambda: value.items() if isinstance(value, dict) else enumerate(value)  # noqa: E731
    for key, one in pairs() if isinstance(value, dict | list) else ():
        yield from _walk(one, (*path, key if isinstance(key, int) else str(key)))
