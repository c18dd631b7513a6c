"""The reference page of template variables tells of every variable, and of no other."""

from pxeforge.render.answers_words import FAMILY_WORDS, VARIABLE_WORDS
from tests.render.families import context_of


def test_every_variable_has_its_words(make_context) -> None:
    assert set(VARIABLE_WORDS) == set(make_context().variables())


def test_every_variable_of_a_family_has_its_words() -> None:
    for folder, system in (("kickstart", "rocky-9"), ("autoinstall", "ubuntu-24.04")):
        assert set(context_of(system, {}).variables()) == set(VARIABLE_WORDS) | set(FAMILY_WORDS[folder])
