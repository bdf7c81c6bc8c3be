"""The tree keeps its own rules: sizes, names, reasons, and nothing of the machine that it was made on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.repo import guards
from tests.repo.guards import Source

#: Places that may break a rule, each with its reason; one that no longer breaks it must leave the list.
EXEMPT: dict[str, dict[str, str]] = {
    "long_functions": {},
    "long_module": {},
    "vague_names": {},
    "bare_reasons": {},
    "undescribed_module": {},
    "broad_excepts": {"services/chassis/edge.py": "the guarded edge: nothing escapes an agent"},
}
#: Hosts that the tree may name: public ones that a reader can look up, with their subdomains.
KNOWN_HOSTS = frozenset(
    {
        "apache.org",
        "discord.com",
        "discordapp.com",
        "docker.com",
        "github.com",
        "githubusercontent.com",
        "grafana.com",
        "keepachangelog.com",
        "kubernetes.io",
        "librdkafka.org",
        "maven.org",
        "mozilla.org",
        "openjdk.org",
        "prometheus.io",
        "pypi.org",
        "python.org",
        "semver.org",
        "w3.org",
    }
)


@pytest.mark.parametrize("rule", sorted(EXEMPT))
def test_every_python_file_keeps_the_rule(rule: str) -> None:
    """No file breaks the rule but those exempted by name, and each of those still needs its exemption."""
    guard: Callable[[Source], list[str]] = getattr(guards, rule)
    complaints = [complaint for source in guards.python_files() for complaint in guard(source)]
    unexcused = [c for c in complaints if not c.startswith(tuple(f"{place}:" for place in EXEMPT[rule]))]
    assert not unexcused, "\n".join(unexcused)
    needless = [place for place in EXEMPT[rule] if not any(c.startswith(f"{place}:") for c in complaints)]
    assert not needless, f"{needless} keep the rule {rule} now: take them off its exemptions"


def test_every_test_is_a_sentence_with_a_docstring() -> None:
    """A reader learns the behaviour from a test's name and docstring."""
    complaints = [c for source in _test_modules() for c in guards.terse_tests(source)]
    assert not complaints, "\n".join(complaints)


def test_no_test_waits_on_a_duration() -> None:
    """Tests wait on conditions, by the one function that pauses between two looks."""
    complaints = [c for source in _test_modules() for c in guards.sleeping_tests(source)]
    assert not complaints, "\n".join(complaints)


def test_no_file_leads_out_of_the_repository_or_names_its_machine() -> None:
    """A clone means the same on every machine."""
    complaints = [
        c
        for source in guards.text_files()
        for c in guards.links_outside(source) + guards.machine_paths(source)
    ]
    assert not complaints, "\n".join(complaints)


def test_only_public_hosts_are_named() -> None:
    """An address in the tree is loopback, reserved for examples, or a public one of the list above."""
    complaints = [c for source in guards.text_files() for c in guards.unknown_hosts(source, KNOWN_HOSTS)]
    assert not complaints, "\n".join(complaints)


def test_no_file_is_empty() -> None:
    """A file without content has no reason to be, except markers such as ``py.typed``."""
    empty = [
        source.path
        for source in guards.text_files()
        if not source.text.strip() and not source.path.endswith(("py.typed", ".gitkeep"))
    ]
    assert not empty


def _test_modules() -> list[Source]:
    return [source for source in guards.python_files() if source.path.split("/")[-1].startswith("test_")]
