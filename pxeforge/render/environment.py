"""The one sandbox in which every template of pxeforge is rendered, and the filters that keep values in their place."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound, TemplateSyntaxError
from jinja2.loaders import split_template_path

from pxeforge.engine.bounded_sandbox import BoundedSandbox

LOOK_EVERY_S: Final = 1.0  # each look is some system calls, for each part of each text
_MOST_VERDICTS: Final = 4096
MAX_RENDERED_BYTES: Final = 1 << 20  # the largest answer file of a real rack is below 100 kB
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\u0085\u2028\u2029]")
# What a kernel argument may hold: no blank, quote, comment sign, or anything iPXE, GRUB or a shell would read.
_KERNEL_WORD = re.compile(r"[A-Za-z0-9_.,/:=@%+~?*^\[\]-]+", re.ASCII)
_KERNEL_LINE = re.compile(rf"{_KERNEL_WORD.pattern}(?: {_KERNEL_WORD.pattern})*", re.ASCII)
# Where cloud-init finds its files. The only word with a semicolon: iPXE and PXELINUX take it as it is, and for GRUB
# every word is quoted. The last slash belongs to it: file names are put behind it.
SEED_WORD: Final = re.compile(r"ds=nocloud(?:-net)?;s=https?://[A-Za-z0-9_.:/~%\[\]-]+/", re.ASCII)
_NOT_DISPLAYABLE = re.compile(r"[^A-Za-z0-9 _.,:/=@%+()\[\]-]", re.ASCII)


class TemplateProblem(Exception):
    """A template cannot be rendered; `str()` reads `preseed/debian.cfg.j2:12: 'disk_rule' is undefined`."""

    def __init__(self, template: str, line: int | None, message: str) -> None:
        super().__init__(f"{template}:{line}: {message}" if line is not None else f"{template}: {message}")
        self.template, self.line, self.message = template, line, message


class FolderLoader(BaseLoader):
    """Loads templates from the given folders only; neither `..` nor a symbolic link leads out of them."""

    def __init__(self, dirs: Sequence[Path]) -> None:
        self.dirs = tuple(dirs)

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        """The text of the first folder that has the template; raises TemplateNotFound."""
        del environment
        pieces = split_template_path(template)  # raises TemplateNotFound for '..'
        earlier: list[Path] = []  # where a file of the same name would come first
        for folder in self.dirs:
            path = folder.joinpath(*pieces)
            if not path.exists():
                earlier.append(path)
                continue
            real = path.resolve()
            if not real.is_relative_to(folder.resolve()) or not stat.S_ISREG(real.stat().st_mode):
                raise TemplateNotFound(template, f"{path} leads out of {folder} or is no plain file")
            unchanged = _Unchanged(path, earlier)
            return real.read_text(encoding="utf-8"), f"{folder.name}/{template}", unchanged
        places = ", ".join(map(str, self.dirs)) or "no folder"
        raise TemplateNotFound(template, f"template not found in {places}")


class _Unchanged:
    """Whether a compiled template still stands for its file: an edited one is compiled anew within LOOK_EVERY_S."""

    def __init__(self, path: Path, earlier: list[Path]) -> None:
        self._path, self._earlier = str(path), [str(place) for place in earlier]
        self._stamp, self._looked_at = self._now(), time.monotonic()

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY_S:
            return True
        self._looked_at = now
        return self._now() == self._stamp and not any(map(os.path.exists, self._earlier))

    def _now(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - asked for each rendered text
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def quote_for_shell(value: object) -> str:
    """Filter `sh`: one word for a POSIX shell. Raises ValueError for a NUL."""
    text = str(value)
    if "\0" in text:
        raise ValueError("a shell word cannot hold a NUL")
    return shlex.quote(text)


def debconf_value(value: object) -> str:
    """Filter `debconf`: the value of a preseed line. Raises ValueError for control characters and a last `\\`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if _CONTROL.search(text):
        raise ValueError(f"a preseed value must be one line without control characters, not {text!r}")
    if text.endswith("\\"):
        raise ValueError(f"a preseed value must not end with a backslash (it would join the next line): {text!r}")
    return text


def kickstart_word(value: object) -> str:
    """Filter `ks`: one word of a kickstart command, which is read like a shell's. Raises ValueError."""
    text = str(value)
    if _CONTROL.search(text) or not text.isascii():
        raise ValueError(f"a kickstart value must be one line of ASCII without control characters, not {text!r}")
    return shlex.quote(text)


def json_text(value: object) -> str:
    """Filter `json`: any value as JSON on one line, which is YAML as well."""
    return json.dumps(value)


def kernel_word(value: object) -> str:
    """Filter `karg`: one word of a kernel command line. Raises ValueError for what a boot loader would interpret."""
    text = str(value)
    if not _KERNEL_WORD.fullmatch(text) and not SEED_WORD.fullmatch(text):
        raise ValueError(f"{text!r} cannot be a kernel argument: only letters, digits and _.,/:=@%+~?*^[]- are allowed")
    return text


def kernel_line(value: object) -> str:
    """Filter `kargs`: a whole kernel command line, words joined by one blank. Raises ValueError like `karg`."""
    text = str(value)
    if _KERNEL_LINE.fullmatch(text):
        return text  # the same as below, for most lines, in one step
    if _CONTROL.search(text) or "\t" in text:
        raise ValueError(f"kernel arguments must be one line without control characters, not {text!r}")
    return " ".join(kernel_word(word) for word in text.split(" ") if word)


def display_text(value: object) -> str:
    """Filter `display`: text shown in a boot menu. Whatever a boot loader could interpret becomes `?`; at most 70."""
    return _NOT_DISPLAYABLE.sub("?", str(value))[:70]


FILTERS: Final[Mapping[str, Callable[[object], str]]] = {
    "sh": quote_for_shell,
    "debconf": debconf_value,
    "ks": kickstart_word,
    "json": json_text,
    "karg": kernel_word,
    "kargs": kernel_line,
    "display": display_text,
}


class Sandbox(BoundedSandbox):
    """The sandbox's verdict on an attribute hangs on the value's type and the name only: it is asked once for each.

    (That is what jinja2's is_internal_attribute and modifies_known_mutable look at.) Half of a menu's time went there.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._verdicts: dict[tuple[type, str], bool] = {}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        key = (type(obj), attr)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = super().is_safe_attribute(obj, attr, value)
            if len(self._verdicts) < _MOST_VERDICTS:  # a template may make up names without end
                self._verdicts[key] = verdict
        return verdict


@functools.lru_cache(maxsize=32)
def make_environment(dirs: tuple[Path, ...]) -> Sandbox:
    """A sandboxed environment over `dirs`: undefined names are errors, nothing is HTML, no global but `range`.

    It keeps compiled templates (compiling costs ten times what rendering does) as long as their files stay the same.
    """
    environment = Sandbox(
        loader=FolderLoader(dirs),
        undefined=StrictUndefined,
        # These are shell scripts, boot menus and preseed files: each context has its own filter, HTML has none here.
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name in [name for name in environment.globals if name != "range"]:
        del environment.globals[name]
    environment.filters.update(FILTERS)
    return environment


def render_template(template: str, context: Mapping[str, object], dirs: Sequence[Path]) -> str:
    """Renders one template (name relative to `dirs`); every error becomes TemplateProblem."""
    try:
        environment = make_environment(tuple(dirs))
        environment.begin()
        return _joined(template, environment.get_template(template).generate(context))
    except TemplateProblem:
        raise
    except TemplateSyntaxError as error:
        shown = error.filename or error.name or template
        raise TemplateProblem(shown, error.lineno, error.message or "syntax error") from error
    except TemplateNotFound as error:
        where = _template_line(error.__traceback__)
        message = error.message or "template not found"
        if where is not None and error.name != template:
            raise TemplateProblem(*where, f"cannot include {error.name}: {message}") from error
        raise TemplateProblem(template, None, message) from error
    except Exception as error:  # a filter, an operator or the sandbox: whatever it is, it belongs to a line
        shown, line = _template_line(error.__traceback__) or (template, None)
        raise TemplateProblem(shown, line, str(error) or type(error).__name__) from error


def _joined(template: str, pieces: Iterable[str]) -> str:
    """The pieces as one text; a template that runs away is stopped."""
    done: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_RENDERED_BYTES:
            raise TemplateProblem(template, None, f"renders to more than {MAX_RENDERED_BYTES} bytes: shorten its loops")
        done.append(piece)
    return "".join(done)


def _template_line(traceback: TracebackType | None) -> tuple[str, int | None] | None:
    """The innermost template frame: jinja rewrites tracebacks so that frames carry template names and lines."""
    found: tuple[str, int | None] | None = None
    while traceback is not None:
        if "__jinja_exception__" in traceback.tb_frame.f_globals:
            found = (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found
