"""The prompt string: what is a flag, what is text, and that the canonical form means the same."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest_bot.command_line import (
    ORIGINAL_FLAGS,
    CommandLine,
    Flag,
    canonical,
    clean,
    parse,
    value_of,
)
from services.ingest_bot.refusals import CommandError

KNOWN = ("ar", "cfg", "imagedenoise", "images", "model", "neg", "raw", "sampler", "seed", "steps", "workflow")

#: Typed text, the prompt, and the flags in it.
READINGS: list[tuple[str, str, dict[str, str | None]]] = [
    ("a lighthouse", "a lighthouse", {}),
    ("a cat --ar 16:9 --raw", "a cat", {"ar": "16:9", "raw": None}),
    ("a cat --raw --ar 16:9", "a cat", {"ar": "16:9", "raw": None}),
    ("--ar 16:9", "", {"ar": "16:9"}),
    ("", "", {}),
    ("a cat --AR 16:9", "a cat", {"ar": "16:9"}),
    ("a cat --ar=16:9", "a cat", {"ar": "16:9"}),
    ("a cat --ar: 16:9", "a cat", {"ar": "16:9"}),
    ("a cat --raw, --ar 16:9,", "a cat", {"raw": None, "ar": "16:9,"}),
    ("a cat ---ar 16:9", "a cat", {"ar": "16:9"}),
    ("a cat --seed -5", "a cat", {"seed": "-5"}),
    ("a cat --cfg −3", "a cat", {"cfg": "−3"}),
    ("a cat --ar", "a cat", {"ar": None}),
    ("a cat --ar --neg blurry, low", "a cat", {"ar": None, "neg": "blurry, low"}),
    ("a cat --seed 5 --seed 5", "a cat", {"seed": "5"}),
    ("a cat,--raw", "a cat,", {"raw": None}),
    # Dashes that start no flag.
    ("a -- b", "a -- b", {}),
    ("a --5 b", "a --5 b", {}),
    ("well--known --raw", "well--known", {"raw": None}),
    ("a -ar 16:9", "a -ar 16:9", {}),
    ("a cat --", "a cat --", {}),
    # What phones make of two hyphens.
    ("a cat —ar 16:9", "a cat", {"ar": "16:9"}),
    ("a cat –ar 16:9 ―raw", "a cat", {"ar": "16:9", "raw": None}),
    ("a cat —-ar 16:9", "a cat", {"ar": "16:9"}),
    ("a cat —sitting on a mat", "a cat —sitting on a mat", {}),
    ("a cat — ar 16:9", "a cat — ar 16:9", {}),
    # Quotes.
    ('a cat --neg "blurry, low"', "a cat", {"neg": "blurry, low"}),
    ('a cat --neg "a --raw b" --raw', "a cat", {"neg": "a --raw b", "raw": None}),
    ('a sign "--help" --raw', 'a sign "--help"', {"raw": None}),
    ('a cat --neg ""', "a cat", {"neg": ""}),
    ('a cat --neg " a "', "a cat", {"neg": "a"}),
    ('a cat --neg "a" and "b"', "a cat", {"neg": '"a" and "b"'}),
    ("a cat --neg “blurry —raw”", "a cat", {"neg": "blurry —raw"}),
    ("it’s --raw", "it's", {"raw": None}),
    ('6" tall and 8" wide --ar 1:1', '6" tall and 8" wide', {"ar": "1:1"}),
    ('a "cat --raw', "a cat", {"raw": None}),
    ('a ("cat --raw', "a (cat", {"raw": None}),
    # White space and what nobody sees.
    ("a\ncat\t\r\n --ar\n16:9 ", "a cat", {"ar": "16:9"}),
    ("a\x00 c\x1bat --r\x07aw", "a cat", {"raw": None}),
    ("a\u200b cat\ufeff \u202e--raw", "a cat", {"raw": None}),
    ("\u00a0a\u3000cat\u2028--raw", "a cat", {"raw": None}),
    ("a \ud800cat", "a cat", {}),
    ("cafe\u0301", "café", {}),
    ("👩\u200d🚀", "👩\u200d🚀", {}),
]


@pytest.mark.parametrize(("typed", "prompt", "flags"), READINGS)
def test_a_command_is_read_as_prompt_and_flags(typed: str, prompt: str, flags: dict[str, str | None]) -> None:
    """The prompt is what stands before the first flag; a value reaches to the next flag."""
    line = parse(typed, KNOWN)
    assert (line.prompt, {flag.name: flag.value for flag in line.flags}) == (prompt, flags)


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("a --aar 16:9", "ar"),
        ("a --ar16:9", "ar"),
        ("a --sede 5", "seed"),
        ("a --negative x", "neg"),
        ("a --image-denoise 1", "imagedenoise"),
        ("a --work sdxl", "workflow"),
    ],
)
def test_an_unknown_flag_names_the_nearest_known_one(typed: str, nearest: str) -> None:
    """A typo is answered with what was probably meant."""
    with pytest.raises(CommandError, match=rf"There is no flag `--.*`; did you mean `--{nearest}`\?"):
        parse(typed, KNOWN)


def test_an_unknown_flag_like_no_other_lists_all_flags() -> None:
    """Without a near one the user sees what there is."""
    with pytest.raises(CommandError, match=r"no flag `--xyzzy`; there are `--ar`, .*`--workflow`\."):
        parse("a --xyzzy", KNOWN)


@pytest.mark.parametrize("name", sorted(ORIGINAL_FLAGS.keys() - set(KNOWN)))
def test_a_flag_of_the_original_that_no_workflow_has_is_named_as_such(name: str) -> None:
    """Who knows the original is told plainly that this flag does nothing here, not offered another."""
    with pytest.raises(CommandError, match=rf"`--{name}` \(.+\) is supported by no workflow"):
        parse(f"a cat --{name} 0.3", KNOWN)


def test_a_flag_given_twice_with_different_values_is_refused() -> None:
    """No rule of first or last wins: the sentence shows both values."""
    with pytest.raises(CommandError, match=r"`--ar` was given twice, as `16:9` and as `1:1`; keep one"):
        parse("a --ar 16:9 --ar 1:1", KNOWN)


def test_a_typed_option_counts_as_a_flag() -> None:
    """An option and a flag of the same value agree; of different values they conflict."""
    assert parse("a --ar 16:9", KNOWN, [Flag("ar", "16:9")]).flags == (Flag("ar", "16:9"),)
    with pytest.raises(CommandError, match="given twice"):
        parse("a --ar 16:9", KNOWN, [Flag("ar", "1:1")])


def test_a_typed_option_is_read_like_a_flags_value() -> None:
    """Quotes around the whole go, white space is one space."""
    assert value_of("neg", '"a  --raw\nb"', KNOWN) == Flag("neg", "a --raw b")
    assert value_of("raw", None, KNOWN) == Flag("raw")


def test_a_typed_option_that_holds_a_flag_is_refused() -> None:
    """Else its text could set what the option does not stand for."""
    with pytest.raises(CommandError, match="The option neg holds the flag `--cfg`"):
        value_of("neg", "blurry --cfg 20", KNOWN)


def test_a_long_dash_before_almost_a_flag_is_noted() -> None:
    """It stays text, and the user is told, since no error stops them."""
    line = parse("a cat —seeed 5", KNOWN)
    assert line == CommandLine(
        prompt="a cat —seeed 5", notes=("`—seeed` was read as text; the flag is `--seed`.",)
    )


def test_many_words_that_look_like_flags_make_few_notes() -> None:
    """The notes have to fit into one message."""
    typed = " ".join(f"—see{'e' * n}d" for n in range(1, 30))
    assert len(parse(typed, KNOWN).notes) <= 3


def test_a_refusal_quotes_little_of_a_long_text_and_no_backtick() -> None:
    """What is quoted cannot end its code span or fill the message."""
    with pytest.raises(CommandError) as caught:
        parse("a --" + "x`" * 2000, KNOWN)
    assert len(caught.value.message) < 300
    assert "x'x'" in caught.value.message


def test_values_that_hold_dashes_are_quoted_in_the_canonical_form() -> None:
    """Written bare they would be read as flags."""
    assert canonical("a", [Flag("neg", "b --c"), Flag("raw"), Flag("ar", "3:2")], KNOWN) == (
        'a --neg "b --c" --raw --ar 3:2'
    )


_PIECES = st.sampled_from(
    [
        "a", "cat", "é", '"', '"', "“", "”", "'", "(", ")", "[", ",", ".", ":", "=", "-", "--", "—", "–", " ", "\n",
        "\x00", "\u0301", "\u200b", "--neg", "--raw", " --ar ", "—seed", "--seed=", " —sitting", '--neg "', '"--raw',
    ]
)  # fmt: skip
_TEXT = st.one_of(st.lists(_PIECES, max_size=25).map("".join), st.text(max_size=60))


@settings(max_examples=1500, deadline=None)
@given(_TEXT)
def test_parsing_the_canonical_form_gives_the_same_again(typed: str) -> None:
    """Whatever was typed: its canonical form means the same, and is its own canonical form."""
    try:
        line = parse(typed, KNOWN)
    except CommandError:
        return
    written = canonical(line.prompt, line.flags, KNOWN)
    again = parse(written, KNOWN)
    assert (again.prompt, again.flags) == (line.prompt, line.flags)
    assert canonical(again.prompt, again.flags, KNOWN) == written


@settings(max_examples=500, deadline=None)
@given(_TEXT, _TEXT)
def test_an_options_text_survives_the_canonical_form(prompt: str, negative: str) -> None:
    """The text of a typed option is written such that it is read back as the flag's value."""
    try:
        line = parse(prompt, KNOWN, [value_of("neg", negative, KNOWN)])
    except CommandError:
        return
    again = parse(canonical(line.prompt, line.flags, KNOWN), KNOWN)
    assert (again.prompt, again.flags) == (line.prompt, line.flags)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80))
def test_cleaning_is_idempotent_and_leaves_one_visible_line(typed: str) -> None:
    """Nothing that is dropped can come back together from what is left."""
    cleaned = clean(typed)
    assert clean(cleaned) == cleaned
    assert "\n" not in cleaned
    assert "\x00" not in cleaned


@pytest.mark.parametrize("unit", [' "a', " --", "—a ", '"', ' "a" ', ' "--a"', "( ", "—see "])
def test_hostile_text_takes_linear_time(unit: str) -> None:
    """A text as long as Discord allows is read in well under the time that an interaction has."""
    typed = (unit * 6000)[:6000]
    started = time.perf_counter()
    line = parse(typed, KNOWN)
    canonical(line.prompt, [*line.flags, Flag("neg", line.prompt)], KNOWN)
    assert time.perf_counter() - started < 0.25
