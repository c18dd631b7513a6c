"""Hosts as a table of a spreadsheet: read all or nothing, written so that no cell is taken for a formula.

Columns: mac (several separated by blanks), name, tags, roles, disk, wipe, loader, address (reserved for the NICs, in
the order of their MACs; `-` for one without), rack, unit, height (where it stands), profile (for its install); only
mac must be there. An empty cell leaves what is there, `-` clears it; tags and roles become exactly what the cell says.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from sqlalchemy.orm import Session

from pxeforge.domain.mac import MacAddress, NotAMac
from pxeforge.services import hosts
from pxeforge.services.context import Context
from pxeforge.services.problems import NotFound, Problem
from pxeforge.services.racks import Position, position_of

COLUMNS: Final = (
    "mac", "name", "tags", "roles", "disk", "wipe", "loader", "address", "rack", "unit", "height", "profile",
)  # fmt: skip
_CLEAR: Final = "-"
_DELIMITERS: Final = ",;\t"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would run (CWE-1236)
_TRUTH: Final = {"true": True, "yes": True, "wahr": True, "false": False, "no": False, "falsch": False}


class BadTable(Problem):
    """Nothing was imported; the message has a line for each line that is wrong."""

    def __init__(self, wrong: Sequence[tuple[int, str]]) -> None:
        said = "\n".join(f"line {line}: {message}" for line, message in wrong)
        super().__init__(f"nothing was imported: mend these lines and import again\n{said}")
        self.wrong = tuple(wrong)


@dataclass(frozen=True, slots=True)
class Row:
    """One line: cells by column, without the empty ones. `line` counts from 1."""

    line: int
    cells: Mapping[str, str]


class _Undone(Exception):
    """Takes back what a dry run or a wrong table did."""


def read_table(content: bytes) -> list[Row]:
    """The rows of a file as spreadsheets write it: UTF-8 with or without BOM; `,` `;` or tab. Raises BadTable."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise BadTable([(line, "this is not UTF-8: save the table as 'CSV UTF-8'")]) from None
    records = _records(text)
    head_line, head = next(records, (1, []))
    names = [cell.strip().lower() for cell in head]
    unknown = [name for name in names if name and name not in COLUMNS]
    if unknown:
        raise BadTable([(head_line, f"unknown column {unknown[0]!r}: known are {', '.join(COLUMNS)}")])
    if "mac" not in names or any(names.count(name) > 1 for name in names if name):
        raise BadTable([(head_line, f"the first line names the columns, each once, mac too: {','.join(COLUMNS)}")])
    return list(_rows(records, names))


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line where it starts, cells) of each record that is not empty; raises BadTable."""
    lines = list(io.StringIO(text, newline=""))
    skipped = 0
    if lines and lines[0].lower().startswith("sep=") and len(lines[0].rstrip()) <= 5:
        skipped = 1  # Excel's own word about the delimiter
    head = next((line for line in lines[skipped:] if line.strip()), "")
    delimiter = max(_DELIMITERS, key=head.count)
    reader = csv.reader(lines[skipped:], delimiter=delimiter, strict=True)
    while True:
        start = skipped + reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            raise BadTable([(start, f"not CSV ({problem}): put cells with quotes or line ends in quotes")]) from None
        if any(cell.strip() for cell in record):
            yield start, record


def _rows(records: Iterable[tuple[int, list[str]]], names: Sequence[str]) -> Iterator[Row]:
    for line, record in records:
        headless = [cell for name, cell in zip_longest(names, record, fillvalue="") if not name]
        if any(cell.strip() for cell in headless):
            raise BadTable([(line, "more cells than columns: put a cell that holds the separator in quotes")])
        cells = {name: _bare(cell.strip()) for name, cell in zip(names, record, strict=False) if name}
        yield Row(line, {name: cell for name, cell in cells.items() if cell})


def _bare(cell: str) -> str:
    """Without the quote that `write_table` puts in front of what looks like a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


# ---------------------------------------------------------------------------------------------- import


def import_table(
    ctx: Context, rows: Sequence[Row], *, known_roles: Sequence[str], dry_run: bool = False, who: str
) -> list[dict[str, Any]]:
    """What each line does: {line, host, action: create|change|none, changes: {key: [before, after]}}.

    One transaction: every line, or none (BadTable names each that is wrong). `dry_run` takes everything back.
    """
    wrong = _twice(rows)
    done = []
    try:
        with ctx.database.write() as session:
            for row in rows:
                try:
                    with session.begin_nested():
                        done.append(_import_row(session, ctx, row, known_roles, who))
                except Problem as problem:
                    wrong.append((row.line, str(problem)))
            if wrong or dry_run:
                raise _Undone
    except _Undone:
        if wrong:
            raise BadTable(sorted(dict(reversed(wrong)).items())) from None
    return done


def _twice(rows: Sequence[Row]) -> list[tuple[int, str]]:
    """Lines that speak of what an earlier line spoke of."""
    first: dict[tuple[str, str], int] = {}
    wrong = []
    for row in rows:
        keys = [("MAC address", str(mac)) for mac in _macs(row, strict=False)]
        keys += [("name", row.cells["name"])] if row.cells.get("name") else []
        for kind, value in dict.fromkeys(keys):
            if (kind, value) in first:
                wrong.append((row.line, f"the {kind} {value} is already in line {first[kind, value]}"))
            first.setdefault((kind, value), row.line)
    return wrong


def _import_row(
    session: Session, ctx: Context, row: Row, known_roles: Sequence[str], who: str
) -> dict[str, Any]:  # fmt: skip
    macs = _macs(row, strict=True)
    found = next((host for mac in macs if (host := hosts.by_mac(session, mac))), None)
    before = _comparable(hosts.view(found)) if found else {}
    roles = _words(row, "roles")
    unknown = [role for role in roles or () if role not in known_roles]
    if unknown:
        raise NotFound(f"there is no role {unknown[0]!r}: known are {', '.join(sorted(known_roles))}")
    host = hosts.put(
        session, ctx, macs, who=who, name=_value(row, "name"), tags=_words(row, "tags"), roles=roles,
        loader="auto" if row.cells.get("loader") == _CLEAR else _value(row, "loader"),
        settings=_settings(row, found.settings if found else {}),
        reserve=_reserve(row, macs),
    )  # fmt: skip
    after = _comparable(hosts.view(host))
    changes = {key: [before.get(key), after[key]] for key in after if before.get(key) != after[key]}
    action = "none" if not changes else "change" if found else "create"
    return {"line": row.line, "host": host.name or str(macs[0]), "action": action, "changes": changes}


def _comparable(view: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "state": view["state"], "macs": sorted(view["macs"]), "name": view["name"], "tags": sorted(view["tags"]),
        "roles": sorted(view["roles"]), "disk": view["settings"].get("disk"), "wipe": view["settings"].get("wipe"),
        "loader": view["loader"], "address": _address_cell(view) or None,
        "rack": str(place) if (place := position_of(view["settings"])) else None,
        "profile": view["settings"].get("profile"),
    }  # fmt: skip


def _macs(row: Row, *, strict: bool) -> list[MacAddress]:
    """The MAC addresses of the line; what is none of them raises Problem, or is passed over."""
    found = []
    for word in row.cells.get("mac", "").replace(",", " ").split():
        try:
            found.append(MacAddress.parse(word))
        except NotAMac as problem:
            if strict:
                raise Problem(str(problem)) from None
    if strict and not found:
        raise Problem("the mac is missing: a host is known by it")
    return found


def _value(row: Row, column: str) -> str | None:
    value = row.cells.get(column)
    if value == _CLEAR:
        raise Problem(f"{column} cannot be cleared: leave the cell empty to keep it")
    return value


def _words(row: Row, column: str) -> list[str] | None:
    cell = row.cells.get(column)
    return None if cell is None else [] if cell == _CLEAR else cell.replace(",", " ").split()


def _settings(row: Row, present: Mapping[str, Any]) -> dict[str, Any] | None:
    """The host's settings that the line speaks of; None for one that is cleared. `present`: those it has."""
    settings: dict[str, Any] = {}
    if "disk" in row.cells:
        settings["disk"] = None if row.cells["disk"] == _CLEAR else row.cells["disk"]
    if "wipe" in row.cells:
        cell = row.cells["wipe"]
        settings["wipe"] = None if cell == _CLEAR else _TRUTH.get(cell.lower(), cell.split())
    if "profile" in row.cells:
        settings["profile"] = None if row.cells["profile"] == _CLEAR else row.cells["profile"]
    if any(column in row.cells for column in ("rack", "unit", "height")):
        settings["rack"] = _rack(row, position_of(present))
    return settings or None


def _rack(row: Row, before: Position | None) -> dict[str, Any] | None:
    """Where the host stands by the line; what it leaves empty is as before, in another rack the unit must be told."""
    name = row.cells.get("rack", before.rack if before else None)
    if name is None:
        raise Problem("unit and height need a rack: name it in the column rack")
    if name == _CLEAR:
        return None
    same = before if before is not None and before.rack == name else None
    unit = _number(row, "unit", same.unit if same else None)
    return {"name": name, "unit": unit, "height": _number(row, "height", before.height if before else None)}


def _number(row: Row, column: str, before: int | None) -> int | None:
    cell = row.cells.get(column)
    if cell is None or cell == _CLEAR:
        return before if cell is None else None
    if not cell.isdecimal() or len(cell) > 4:
        raise Problem(f"{cell!r} in column {column} is no whole number")
    return int(cell)


def _reserve(row: Row, macs: Sequence[MacAddress]) -> dict[str, str | None] | None:
    """The addresses that the line reserves, by MAC; a single `-` clears them all."""
    words = row.cells.get("address", "").replace(",", " ").split()
    if words == [_CLEAR]:
        return {"": None}
    if len(words) > len(macs):
        raise Problem(f"{len(words)} addresses for {len(macs)} MAC addresses: name each NIC in the column mac")
    return {str(mac): None if word == _CLEAR else word for mac, word in zip(macs, words, strict=False)} or None


# ---------------------------------------------------------------------------------------------- export


def write_table(views: Iterable[Mapping[str, Any]]) -> str:
    """The hosts as CSV, as `import_table` reads it; `views` as of `hosts.list_hosts`."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for view in views:
        disk, wipe = view["settings"].get("disk"), view["settings"].get("wipe")
        cells = (
            " ".join(view["macs"]), view["name"], " ".join(view["tags"]), " ".join(view["roles"]), disk,
            _wipe_cell(wipe), view["loader"], _address_cell(view), *_rack_cells(view["settings"]),
            view["settings"].get("profile"),
        )  # fmt: skip
        writer.writerow([_inert(str(cell or "")) for cell in cells])
    return stream.getvalue()


def _rack_cells(settings: Mapping[str, Any]) -> tuple[object, object, object]:
    place = position_of(settings)
    return (place.rack, place.unit, place.height) if place else (None, None, None)


def _wipe_cell(wipe: Any) -> str:
    if isinstance(wipe, list):
        return " ".join(map(str, wipe)) or _CLEAR
    return "" if wipe is None else str(wipe).lower()


def _address_cell(view: Mapping[str, Any]) -> str:
    words = [nic["reserved_address"] or _CLEAR for nic in view["nics"]]
    return " ".join(words) if any(word != _CLEAR for word in words) else ""


def _inert(cell: str) -> str:
    """In one line, and with a quote in front when a spreadsheet would run it."""
    plain = "".join(char if char.isprintable() else " " for char in cell)
    return f"'{plain}" if plain.startswith(_FORMULA) and plain != _CLEAR else plain
