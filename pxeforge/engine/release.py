"""Release packs from `releases/*.yaml`: what differs between distributions and releases, as data.

name: debian-12-zed                     # the name of its file
summary: one sentence
codename: zed                           # of the cloud's release
suite: bookworm                         # of the distribution
match: {id: debian, version: "12"}      # what a host's /etc/os-release says (id, version, codename): all must fit
packages: {keystone: [keystone, …]}     # by role; in templates `release.packages.keystone`
units: {keystone: [keystone]}           # `release.units.keystone`
options: {keystone: {…}}                # anything else a role needs to know, `release.options.keystone.…`
lacks: {keystone: no longer there, …}   # roles that cannot be on it, and why
fixes: […]                              # faults of packages and their remedies: see package_fix.py
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from pxeforge.engine.document import Document, DocumentProblem, Finding, findings_of, parse_document
from pxeforge.engine.package_fix import PackageFix, RawFix, read_fixes
from pxeforge.engine.roles import Name
from pxeforge.engine.step_fields import PackageName, UnitName

PackName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9.\-]{0,62}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+\-]{0,62}$")]


class ReleaseProblem(DocumentProblem):
    """One or more release packs cannot be used; see `findings`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A checked release pack; `match` is what a host's facts must say under `os`."""

    name: str
    summary: str
    codename: str
    suite: str
    match: Mapping[str, str]
    packages: Mapping[str, Sequence[str]]
    units: Mapping[str, Sequence[str]]
    options: Mapping[str, Mapping[str, Any]]
    file: str
    fixes: tuple[PackageFix, ...] = ()
    lacks: Mapping[str, str] = field(default_factory=dict)

    def fits(self, facts: Mapping[str, Any]) -> bool:
        told = facts.get("os")
        return isinstance(told, dict) and all(str(told.get(key, "")) == value for key, value in self.match.items())


class _Raw(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _RawMatch(_Raw):
    id: Word
    version: Word | None = None
    codename: Word | None = None


class _RawRelease(_Raw):
    name: PackName
    summary: Annotated[str, StringConstraints(min_length=1)]
    codename: Word
    suite: Word
    match: _RawMatch
    packages: dict[Name, list[PackageName]] = {}
    units: dict[Name, list[UnitName]] = {}
    options: dict[Name, dict[str, Any]] = {}
    fixes: list[RawFix] = []
    lacks: dict[Name, str] = {}


def load_releases(folders: Iterable[Path]) -> dict[str, Release]:
    """All packs by name; an earlier folder wins over a later one. Raises ReleaseProblem with all that is wrong."""
    releases: dict[str, Release] = {}
    findings: list[Finding] = []
    seen: set[str] = set()
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            if path.stem in seen:
                continue
            seen.add(path.stem)
            try:
                releases[path.stem] = parse_release(path.read_text(encoding="utf-8"), str(path), path.stem)
            except DocumentProblem as problem:
                findings.extend(problem.findings)
            except (OSError, UnicodeDecodeError) as error:
                findings.append(Finding(str(path), 1, f"cannot be read ({error})", "make it a readable UTF-8 file"))
    if findings:
        raise ReleaseProblem(findings)
    return dict(sorted(releases.items()))


@functools.lru_cache(maxsize=32)
def parse_release(text: str, file: str, file_name: str) -> Release:
    """A pack from its text (each text once); raises ReleaseProblem."""
    try:
        document = parse_document(text, file)
        raw = _RawRelease.model_validate(document.data)
    except ValidationError as error:
        raise ReleaseProblem(findings_of(document, error)) from None
    except DocumentProblem as problem:
        raise ReleaseProblem(problem.findings) from None
    if raw.name != file_name:
        message = f"the release pack is called {raw.name} in the file {file_name}.yaml"
        raise ReleaseProblem([document.finding(("name",), message, "give both the same name")])
    return _release(raw, document)


def _release(raw: _RawRelease, document: Document) -> Release:
    fixes, findings = read_fixes(raw.fixes, document)
    if findings:
        raise ReleaseProblem(findings)
    return Release(
        name=raw.name,
        summary=raw.summary,
        codename=raw.codename,
        suite=raw.suite,
        match=raw.match.model_dump(exclude_none=True),
        packages=raw.packages,
        units=raw.units,
        options=raw.options,
        file=document.file,
        fixes=fixes,
        lacks=raw.lacks,
    )


def choose_release(releases: Iterable[Release], facts: Mapping[str, Any], wanted: str | None = None) -> Release | str:
    """The pack for a host with these facts; a sentence when there is none. `wanted`: the only one that may fit."""
    packs = list(releases)
    os = facts.get("os")
    told = {key: str(value) for key, value in os.items()} if isinstance(os, dict) else {}
    system = told.get("name") or f"{told.get('id', '')} {told.get('version', '')}".strip() or "an unknown system"
    known = ", ".join(pack.name for pack in packs) or "none"
    if wanted is not None and wanted not in {pack.name for pack in packs}:
        return f"there is no release pack {wanted}: known are {known}"
    fitting = [pack for pack in packs if pack.fits(facts) and wanted in (None, pack.name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(pack.name for pack in fitting)
        return f"it runs {system}, which {names} fit: name one of them (`release:` in the blueprint)"
    if wanted is not None:
        return f"it runs {system}, and the blueprint wants {wanted}: install it with that system"
    return f"it runs {system}, for which there is no release pack: known are {known} (they lie in releases/)"
