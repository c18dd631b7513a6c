"""Templates of roles filled in for one host after another; what is the same for all of them is done once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pxeforge.engine.secrets import SecretRef
from pxeforge.engine.templates import TemplateEngine, TemplateProblem, is_template


class Renderer:
    """For one plan, in which `values` differ between hosts by `host`, `vars`, `server` and `release` only.

    What the same `values` gave once, they give again: whoever adds to them passes a copy from then on.
    """

    def __init__(self) -> None:
        self._engine = TemplateEngine()
        self._texts: dict[Hashable, str] = {}
        self._data: dict[Hashable, Any] = {}
        self._asks: dict[Hashable, _Asked] = {}
        self._variables: dict[str, str] = {}  # of the host that was asked for last, as its values below
        self._own: dict[str, Any] = {}
        self._of: Mapping[str, Any] | None = None

    def text(self, source: str, values: Mapping[str, Any]) -> str:
        """The text; raises TemplateProblem."""
        key = self.shared_key(source, values)
        if key is None:
            return self._engine.render(source, values)
        if key not in self._texts:
            self._texts[key] = self._engine.render(source, values)
        return self._texts[key]

    def data(self, value: Any, values: Mapping[str, Any]) -> Any:
        """JSON-like data with every template in it rendered; secret references become tokens. To be read only."""
        if isinstance(value, str):
            return self._evaluated(value, values) if is_template(value) else value
        if isinstance(value, Mapping):
            if self._asked(value) is _NOTHING:
                return value
            return {
                (self.text(key, values) if is_template(key) else key): self.data(item, values)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.data(item, values) for item in value]
        return value

    def _evaluated(self, source: str, values: Mapping[str, Any]) -> Any:
        key = self.shared_key(source, values)
        if key is None:
            self._turn_to(values)
            if source not in self._own:
                self._own[source] = _plain(self._engine.evaluate(source, values))
            return self._own[source]
        if key not in self._data:
            self._data[key] = _plain(self._engine.evaluate(source, values))
        return self._data[key]

    def shared_key(self, source: Any, values: Mapping[str, Any]) -> Hashable | None:
        """Equal for hosts for which the source (a text, or data that lives as long as the plan) becomes the same.

        None for what may differ from host to host.
        """
        asked = self._asked(source)
        if asked.of_host:
            return None
        key = source if isinstance(source, str) else id(source)
        if asked is _NOTHING:
            return key
        given = tuple([self._as_text(name, values) for name in asked.variables])
        release = id(values["release"]) if asked.release else 0
        return (key, values["server"]["address"], release, given)

    def variables(self, source: Any) -> tuple[str, ...]:
        """Those that the templates in it ask for, as far as that can be told."""
        return self._asked(source).variables

    def _as_text(self, name: str, values: Mapping[str, Any]) -> str | None:
        """A variable's value; None where the host has no such variable (yet)."""
        self._turn_to(values)
        if name not in self._variables and name in values["vars"]:
            self._variables[name] = repr(values["vars"][name])
        return self._variables.get(name)

    def _turn_to(self, values: Mapping[str, Any]) -> None:
        if self._of is not values:
            self._variables, self._own, self._of = {}, {}, values

    def _asked(self, source: Any) -> _Asked:
        """What the templates in a text or in data ask for."""
        key = source if isinstance(source, str) else id(source)
        if key not in self._asks:
            if isinstance(source, str):
                self._asks[key] = self._asked_by_text(source) if is_template(source) else _NOTHING
            else:
                parts: list[Any] = []
                if isinstance(source, Mapping):
                    parts = [*source.keys(), *source.values()]
                elif isinstance(source, list | tuple):
                    parts = list(source)
                self._asks[key] = _together([self._asked(part) for part in parts])
        return self._asks[key]

    def _asked_by_text(self, source: str) -> _Asked:
        names, variables = self._engine.names(source), self._engine.variables(source)
        return _Asked("host" in names or variables is None, "release" in names, tuple(sorted(variables or ())))


@dataclass(frozen=True, slots=True)
class _Asked:
    """Of what differs between hosts: whether of the host itself, whether of its release, which variables."""

    of_host: bool
    release: bool
    variables: tuple[str, ...]


_NOTHING = _Asked(False, False, ())


def _together(parts: Sequence[_Asked]) -> _Asked:
    if all(part is _NOTHING for part in parts):
        return _NOTHING
    variables = sorted({name for part in parts for name in part.variables})
    return _Asked(any(part.of_host for part in parts), any(part.release for part in parts), tuple(variables))


def _plain(value: Any) -> Any:
    """A value of an expression as JSON-like data."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, SecretRef):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    raise TemplateProblem(f"the expression gives {value!r}: choose one of its values")
