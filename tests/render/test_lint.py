"""What d-i would swallow in silence is found; what is right is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pxeforge.render.lint import Severity, errors_of, lint_kernel_args, lint_preseed

GOOD = """\
# A comment
d-i preseed/late_command string wget -O /tmp/x http://192.0.2.1/late && \\
  sh /tmp/x; \\
  true

d-i mirror/http/proxy string
d-i passwd/root-password-crypted password $6$saltsalt$abcdefghijklmnop
d-i passwd/user-password-crypted password *
d-i partman-lvm/confirm boolean true
tasksel tasksel/first multiselect standard, ssh-server
d-i mirror/country seen true
"""


def messages(text: str) -> list[str]:
    return [str(finding) for finding in lint_preseed(text)]


def test_a_good_file_has_no_findings() -> None:
    assert messages(GOOD) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("d-ilocalechooser/translation/warn-light boolean true", "no owner"),
        ("localechooser/x boolean true", "no owner"),
        ("d-ifoo a/b string x", "no owner"),
        ("d-i clock-setup/ntp-server", "too few words"),
        ("d-i clock-setup/ntp-server 210.72.145.44", "no debconf type"),
        ("d-i partman/confirm booleantrue", "a blank is missing behind 'boolean'"),
        ("d-i partman boolean true", "no question name"),
        ("d-i partman/confirm boolean yes", "must be true or false"),
        (
            "d-i partman/confirm boolean true\nd-i partman/confirm boolean true",
            "line 2: error: d-i partman/confirm is already in line 1",
        ),
        ("d-i preseed/late_command string a; true\nd-i preseed/late_command string b; true", "merge both commands"),
        ("d-i a/b string {{ hostname }}", "was not rendered"),
        ("d-i a/b string {% if x %}", "was not rendered"),
        ("d-i a/b string x \\ \nd-i c/d string y", "blanks behind the backslash"),
        ("d-i a/b string x \\", "nothing to join"),
        ("d-i a/b string x\r\n", "control character"),
        ("d-i passwd/root-password password r00tme", "plain text"),
        ("d-i passwd/root-password-again password r00tme", "plain text"),
        ("d-i passwd/user-password string r00tme", "plain text"),
        ("d-i grub-installer/password password r00tme", "plain text"),
        ("d-i passwd/root-password-crypted password r00tme", "no crypt hash"),
        ("d-i passwd/root-password-crypted password $1$salt$r00tme", "no crypt hash"),
        ("d-i passwd/root-password passwordr00tme", "no debconf type"),
    ],
)
def test_each_mistake_is_an_error(text: str, expected: str) -> None:
    findings = errors_of(lint_preseed(text))
    assert any(expected in str(finding) for finding in findings), findings
    assert not any("r00tme" in str(finding) for finding in findings)


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("d-i a/early_command string x; \\\n# why\ny; true", 2, "dropped in silence"),
        ("d-i preseed/late_command string a \\\n b; true", 1, "end this one with ';'"),
        ("d-i preseed/late_command string wget x", 1, "end it with '; true'"),
        ("d-i a/b string Zürich", 1, "not ASCII"),
    ],
)
def test_each_trap_is_a_warning(text: str, line: int, expected: str) -> None:
    findings = lint_preseed(text)
    assert [finding.severity for finding in findings] == [Severity.WARNING]
    assert findings[0].line == line
    assert expected in findings[0].message


def test_a_joined_line_is_one_entry_at_its_first_line() -> None:
    assert messages("\n\nd-i a/b \\\n  boolean \\\n  maybe\n") == [
        "line 3: error: a/b is a boolean: its value must be true or false"
    ]


def test_one_question_of_two_owners_is_no_duplicate() -> None:
    assert messages("d-i a/b string x\ngrub-pc a/b string x") == []


@given(st.text())
def test_the_linter_reads_anything(text: str) -> None:
    for finding in lint_preseed(text):
        assert 1 <= finding.line <= text.count("\n") + 1
    lint_kernel_args(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("url=http://x\nfoo=1", "one line"),
        ("url=http://x --quiet", "glues dashes"),
        ("url=http://x ---quiet", "glues dashes"),
        ("url=http://x --- a --- b", "more than once"),
        ("url=http://x a=${b}", "'$'"),
        ("url=http://x a=1;b", "';'"),
        ('url=http://x a="1"', "'\"'"),
        ("url=http://x " + "x" * 2000, "shorten"),
        ("url=http://x " + " ".join(f"a{n}=1" for n in range(40)), "panics"),
    ],
)
def test_each_mistake_in_kernel_args_is_an_error(text: str, expected: str) -> None:
    assert any(expected in finding.message for finding in errors_of(lint_kernel_args(text)))


def test_kernel_args_without_answers_or_with_two_of_a_kind_are_warned_about() -> None:
    assert [f.severity for f in lint_kernel_args("auto=true --- url=http://x")] == [Severity.WARNING]
    assert "last one wins" in lint_kernel_args("url=http://x url=http://y console=a console=b")[0].message
