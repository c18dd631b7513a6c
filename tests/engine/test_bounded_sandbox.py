from __future__ import annotations

import pytest

from pxeforge.engine.templates import TemplateEngine, TemplateProblem

VALUES = {"vars": {"a": "x", "n": 2000000000, "long": "y" * 1000, "list": ["z" * 1000] * 1000}}


@pytest.mark.parametrize(
    "template",
    [
        '{{ "x" * 2000000000 }}',
        '{{ 2000000000 * "x" }}',
        "{{ vars.a * vars.n }}",
        "{{ [1] * 2000000000 }}",
        "{{ 10 ** 100000000 }}",
        "{{ 2 ** (2 ** 60) }}",
        "{{ range(2000000000) | list }}",
        '{{ "%2000000000d" % 1 }}',
        '{{ "%*d" % (2000000000, 1) }}',
        '{{ "%2000000000d" | format(1) }}',
        '{{ "{:2000000000}".format(1) }}',
        '{{ "{:{}}".format(1, 2000000000) }}',
        '{{ "x".ljust(2000000000) }}',
        '{{ "x".center(width) }}'.replace("width", "2000000000"),
        '{{ "x" | center(2000000000) }}',
        '{{ "x" | indent(2000000000, true) }}',
        '{{ "x" | batch(2000000000, "y") | list }}',
        "{{ vars.long | replace('y', vars.long * 100) }}",
        "{{ vars.long.replace('y', vars.long * 100) }}",
        "{{ vars.list | join(vars.long * 100) }}",
        "{{ (vars.long * 100).join(vars.list) }}",
        "{% for i in range(100000) %}{{ vars.long }}{% endfor %}",
        "{% set text %}{% for i in range(100000) %}{{ vars.long }}{% endfor %}{% endset %}{{ text | length }}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% macro m(x, n) %}{% if n %}{{ m(x ~ x, n - 1) }}{% endif %}{% endmacro %}{{ m(vars.long, 30) }}",
        "{{ vars.list | tojson(indent=2000000000) }}",
        "{{ vars.long | wordwrap(1, true, vars.long * 1000) }}",
    ],
)
def test_what_would_take_all_memory_or_hours_is_refused_with_a_reason(template: str) -> None:
    with pytest.raises(TemplateProblem, match=r": make it smaller$"):
        TemplateEngine().render(template, VALUES)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ '=' * 20 }}", "=" * 20),
        ("{{ vars.a ~ 1 ~ vars.a }}", "x1x"),
        ("{{ 3 + 4 * 2 ** 10 }}{{ 7 % 4 }}", "40993"),
        ("{{ ['a', 1] | join('-') }}{{ '-'.join(['a', 'b']) }}", "a-1a-b"),
        ("{{ [{'n': 'a'}, {'n': 'b'}] | join(',', attribute='n') }}", "a,b"),
        ("{{ 'a b' | replace(' ', '-') }}{{ 'a b'.replace(' ', '_') }}", "a-ba_b"),
        ("{{ 'a\nb' | indent(2) }}", "a\n  b"),
        ("{{ '%05d' | format(7) }}{{ '%s*%s' % (1, 2) }}{{ '{:>3}'.format(1) }}", "000071*2  1"),
        ("{% for i in range(3) %}{{ i }}{% endfor %}{{ range(2, 5) | list }}", "012[2, 3, 4]"),
        ("{{ [1, 2, 3] | batch(2, 0) | list }}{{ [1, 2, 3] | slice(2) | list }}", "[[1, 2], [3, 0]][[1, 2], [3]]"),
        ("{{ 'ab' | center(4) }}{{ 'ab'.zfill(4) }}{{ {'a': 1} | tojson(indent=1) }}", ' ab 00ab{\n "a": 1\n}'),
        ("{{ {'b': 1, 'c': 2} | join(' ') }}", "b c"),
    ],
)
def test_what_templates_do_every_day_is_as_it_was(template: str, expected: str) -> None:
    assert TemplateEngine().render(template, VALUES) == expected


def test_each_text_has_turns_of_its_own() -> None:
    engine = TemplateEngine()
    for _ in range(50):
        assert engine.render("{% for i in range(100000) %}{% endfor %}", {}) == ""
