"""The moderation policy: rules over normalised words, bans and quotas, as frozen values from a YAML text.  Pure.

Matching takes time linear in the prompt whatever the policy's author wrote, since the expressions are RE2's;
Python's own engine can be made to run for minutes by one nested quantifier.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
import re2
import yaml
from msgspec import Meta

from services.moderator.normalise import plain, readings

T = TypeVar("T")


class PolicyError(Exception):
    """A policy cannot be used; the message names the file and the field, and says what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Refuses a prompt in which a term of every one of ``all_of`` occurs."""

    category: str
    all_of: frozenset[str]  #: names of term lists
    message: str  #: the sentence that the user reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One version of the rules."""

    version: str  #: the author's version and a hash of the whole text, so that no edit goes unnoticed
    max_prompt_characters: int
    default_quota: int | None  #: requests per user and UTC day for plans not in ``quotas``; none = no limit
    quotas: Mapping[str, int | None]  #: the same by plan
    banned_users: frozenset[str]
    banned_guilds: frozenset[str]
    rules: tuple[Rule, ...]  #: the gravest first: its sentence is the one that a user reads
    terms: Mapping[str, Any]  #: a compiled RE2 expression by name of term list
    innocent: re.Pattern[str] | None  #: phrases whose words count for nothing, such as "naked eye"

    def quota(self, plan: str) -> int | None:
        """Requests per user and UTC day on ``plan``; none = no limit."""
        return self.quotas.get(plan, self.default_quota)

    def broken_rules(self, prompt: str) -> list[Rule]:
        """The rules that the prompt breaks, gravest first."""
        texts = [self.innocent.sub("·", text) if self.innocent else text for text in readings(prompt)]
        found = {name for name, terms in self.terms.items() if any(map(terms.search, texts))}
        return [rule for rule in self.rules if rule.all_of <= found]


class _Terms(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One list of terms."""

    words: list[str] = []  #: words and phrases
    rot13: list[str] = []  #: the same in ROT13, for words that the repository should not print
    patterns: list[str] = []  #: RE2 expressions over normalised words, each word between two spaces


class _RuleText(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    category: Annotated[str, Meta(pattern=r"^[a-z][a-z_]{0,39}$")]
    all_of: Annotated[list[str], Meta(min_length=1)]
    message: Annotated[str, Meta(min_length=1, max_length=300)]


class _PolicyText(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The shape of a policy file."""

    version: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,40}$")]
    max_prompt_characters: Annotated[int, Meta(ge=1, le=6000)]
    default_quota: Annotated[int, Meta(ge=0)] | None
    quotas: dict[str, Annotated[int, Meta(ge=0)] | None] = {}
    banned_users: list[int | str] = []
    banned_guilds: list[int | str] = []
    innocent: list[str] = []
    terms: dict[str, Any] = {}
    rules: list[_RuleText] = []


def parse_policy(text: str, source: str) -> Policy:
    """Read, check and compile a policy; ``source`` names it in errors.

    Raises:
        PolicyError: it is not YAML, has an unknown or malformed field, or an expression that RE2 refuses.
    """
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PolicyError(f"{source} is not YAML: {_one_line(error)}.") from error
    parsed = _convert(raw, _PolicyText, source)
    _check_references(parsed, source)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Policy(
        version=f"{parsed.version}+{digest}",
        max_prompt_characters=parsed.max_prompt_characters,
        default_quota=parsed.default_quota,
        quotas=parsed.quotas,
        banned_users=_snowflakes(parsed.banned_users, f"{source}: banned_users"),
        banned_guilds=_snowflakes(parsed.banned_guilds, f"{source}: banned_guilds"),
        rules=tuple(_rule(rule) for rule in parsed.rules),
        terms={
            name: _terms(raw_terms, f"{source}: terms.{name}") for name, raw_terms in parsed.terms.items()
        },
        innocent=_innocent(parsed.innocent, f"{source}: innocent"),
    )


def _convert(raw: object, kind: type[T], field: str) -> T:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$")
        inner = place.strip(".`")
        before_inner = "." if ": " in field else ": "  # within a field, or within the whole file
        raise PolicyError(f"{field}{before_inner if inner else ''}{inner}: {what}.") from error


def _rule(rule: _RuleText) -> Rule:
    return Rule(category=rule.category, all_of=frozenset(rule.all_of), message=rule.message)


def _check_references(parsed: _PolicyText, source: str) -> None:
    used = {name for rule in parsed.rules for name in rule.all_of}
    for number, rule in enumerate(parsed.rules):
        if unknown := set(rule.all_of) - parsed.terms.keys():
            raise PolicyError(
                f"{source}: rules[{number}].all_of names {sorted(unknown)}, which terms does not define."
            )
    if unused := parsed.terms.keys() - used:
        raise PolicyError(f"{source}: terms.{min(unused)} is used by no rule; use it or remove it.")


def _terms(raw: object, field: str) -> Any:
    """One expression that finds any term of a list."""
    terms = _convert(raw, _Terms, field)
    words = [_word(word, f"{field}.words") for word in terms.words]
    words += [_word(codecs.decode(word, "rot13"), f"{field}.rot13") for word in terms.rot13]
    alternatives = [re2.escape(f" {word} ") for word in words]
    for number, pattern in enumerate(terms.patterns):
        _compile(pattern, f"{field}.patterns[{number}]")
        alternatives.append(f"(?:{pattern})")
    if not alternatives:
        raise PolicyError(f"{field} is empty; give it words, rot13 or patterns.")
    return _compile("|".join(alternatives), field)


def _compile(pattern: str, field: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        compiled = re2.compile(pattern, options=options)
    except re2.error as error:
        raise PolicyError(f"{field} is not an RE2 expression: {_one_line(error)}") from error
    if compiled.search("") or compiled.search(" "):
        raise PolicyError(f"{field} matches any prompt at all; it would refuse every request.")
    return compiled


def _innocent(phrases: list[str], field: str) -> re.Pattern[str] | None:
    """An alternation of fixed phrases, which Python's engine also takes in linear time."""
    words = sorted((_word(phrase, field) for phrase in phrases), key=len, reverse=True)
    return re.compile(rf"(?<= )(?:{'|'.join(map(re.escape, words))})(?= )") if words else None


def _word(word: str, field: str) -> str:
    normal = plain(word)
    if not normal:
        raise PolicyError(f"{field} holds {word!r}, in which there is no letter, digit or emoji.")
    return normal


def _snowflakes(ids: Iterable[int | str], field: str) -> frozenset[str]:
    for identifier in ids:
        if not re.fullmatch(r"[0-9]{1,20}", str(identifier)):
            raise PolicyError(f"{field} holds {identifier!r}; expected a Discord id, which is a number.")
    return frozenset(map(str, ids))


def _one_line(error: Exception) -> str:
    text = error.args[0] if isinstance(error, re2.error) and error.args else error
    return " ".join((text.decode(errors="replace") if isinstance(text, bytes) else str(text)).split())
