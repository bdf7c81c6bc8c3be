"""The words of a prompt, however they are disguised."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.moderator.normalise import plain, readings

#: Any text at all, half surrogate pairs included, and text that is likely to be a disguise.
ANY_TEXT = st.text() | st.text(st.characters()) | st.text("nude 0143$@!|+._-*​́ａА𝓃ⓝ👩1\t,", max_size=60)


def reads(text: str, word: str) -> bool:
    """Whether some reading of the text holds the word as a whole."""
    return any(f" {word} " in reading for reading in readings(text))


@pytest.mark.parametrize(
    "disguise",
    [
        "nude",
        "NUDE",
        "NuDe",
        "nüdé",
        "ńṳḑȩ",
        "n̶u̶d̶e̶",
        "n̷̡̛u̸͓͝d̴e",
        "ｎｕｄｅ",
        "𝓃𝓊𝒹𝑒",
        "𝐧𝐮𝐝𝐞",
        "𝕹𝖚𝖉𝖊",
        "ⓝⓤⓓⓔ",
        "🅽🆄🅳🅴",
        "🇳🇺🇩🇪",
        "ɴᴜᴅᴇ",
        "ᑎᑌᗪᗴ",
        "nudе",  # Cyrillic e
        "ηυԁε",  # Greek and Cyrillic
        "ոսԁе",  # Armenian and Cyrillic
        "₦ude",
        "n​u​d​e",
        "nu­de",
        "n\u2060u\ufeffde",
        "n\u3164ude",
        "n\u2800ude",
        "\u202en\u202cude",
        "n u d e",
        "n  u  d  e",
        "n\tu\td\te",
        "n\nu\nd\ne",
        "n.u.d.e",
        "n-u-d-e",
        "n_u_d_e",
        "n*u*d*e",
        "n, u, d, e",
        "n / u / d / e",
        "nu.de",
        "nu-de",
        "nu*de",
        "nu~de",
        "nuuude",
        "nnnuuudddeee",
        "nudeeeeeeeeeeee",
        "nud3",
        "nud€",
        "n.u.d.3",
        "n u d 3",
        "nuuud3",
        "N.Ü.D.Ë",
        "n u u u u d e",
        "«nude»",
        "(nude:1.3)",
        "((nude))",
        "[nude|clothed]",
        "nude!!!",
        "!nude",
        "girl,nude,tree",
        "nude4k",
        "2nude",
        "a n u d e tree",
        "tree n u d e",
        "cat n u d e, 8 k",
        "a  n u d e",
    ],
)
def test_a_disguised_word_is_read(disguise: str) -> None:
    """Case, accents, look-alikes, invisible characters, spacing, stretching, leetspeak, and some of them at once."""
    assert reads(disguise, "nude")


@pytest.mark.parametrize(
    ("disguise", "word"),
    [
        ("n4k3d", "naked"),
        ("n@ked", "naked"),
        ("@$$", "ass"),
        ("a$$", "ass"),
        ("a$$!", "ass"),
        ("$ex", "sex"),
        ("s3x", "sex"),
        ("5ex", "sex"),
        ("p0rn", "porn"),
        ("pr0n", "pron"),
        ("b00b5", "boobs"),
        ("t!t", "tit"),
        ("t1t", "tit"),
        ("t|t", "tit"),
        ("1o1i", "loli"),
        ("l01i", "loli"),
        ("|oli", "oli"),
        ("slu+", "slu"),
        ("s|ut", "slut"),
        ("7een", "teen"),
        ("+een", "een"),
        ("u9ly", "ugly"),
        ("8all", "ball"),
        ("asssss", "ass"),
        ("a s s", "ass"),
        ("boooobs", "boobs"),
        ("сосk", "cock"),
        ("СОСК", "cock"),
        ("ﬁre", "fire"),
        ("ＧＩＲＬ１４", "girl"),
    ],
)
def test_digits_and_signs_are_read_as_letters(disguise: str, word: str) -> None:
    """Each sign as the letter that it looks like; 1, ! and | as i and as l."""
    assert reads(disguise, word)


@pytest.mark.parametrize(
    "innocent", ["class", "grass", "assassin", "glass", "bass guitar", "passage", "assess"]
)
@pytest.mark.parametrize("disguised", [str, str.upper, " ".join, ".".join])
def test_a_word_inside_another_is_not_read(innocent: str, disguised: object) -> None:
    """Words match whole, also when a whole other word is spelled out."""
    assert callable(disguised)
    assert not reads(disguised(innocent), "ass")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Scunthorpe", "cunt"),
        ("S c u n t h o r p e", "cunt"),
        ("cockatoo", "cock"),
        ("Essex", "sex"),
        ("sextant", "sex"),
        ("therapist", "rapist"),
        ("the rapist's victim", "therapist"),
        ("as sand", "ass"),
        ("pen is mighty", "penis"),
        ("an alley", "anal"),
        ("us exit", "sex"),
        ("455", "ass"),
        ("audi a55", "ass"),
        ("85mm @55", "ass"),
        ("5 3 x", "sex"),
        ("1920x1080", "i92oxio8o"),
        ("annals", "anals"),
        ("nnude", "nude"),
        ("as", "ass"),
        ("a s", "as"),
    ],
)
def test_words_that_only_resemble_are_not_read(text: str, word: str) -> None:
    """Neighbours are not glued together, plain numbers stay numbers, a doubled letter is a spelling."""
    assert not reads(text, word)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a lighthouse at dusk, 8k --ar 16:9", "a lighthouse at dusk 8 k ar 16 9"),
        ("Nüde, 14yo", "nude 14 yo"),
        ("13-year-old", "13 year old"),
        ("f/1.8 50mm", "f 1 8 50 mm"),
        ("🍆 party", "🍆 party"),
        ("❤️🔥", "❤ 🔥"),
        ("👩‍👧", "👩 👧"),
        ("", ""),
        (" \u200b ", ""),
        ("½ ① ²", "1 2 1 2"),
        ("ЖИВОПИСЬ", plain("живопись")),
    ],
)
def test_the_plain_words_keep_digits_apart(text: str, words: str) -> None:
    """What patterns such as an age are written for: one space between words, digits and emoji on their own."""
    assert plain(text) == words


@pytest.mark.parametrize(
    "prompt", ["a lighthouse at dusk", "red fox, oil on canvas, by the sea", "", "café Émile"]
)
def test_an_ordinary_prompt_has_one_reading(prompt: str) -> None:
    """So judging one costs little."""
    assert readings(prompt) == (f" {plain(prompt)} ",)


@given(ANY_TEXT)
def test_plain_words_stay_as_they_are(text: str) -> None:
    """Normalising twice changes nothing, whatever the text."""
    assert plain(plain(text)) == plain(text)


@given(ANY_TEXT)
def test_any_text_has_readings(text: str) -> None:
    """It never raises; the plain words come first, each word has its spaces, and there are at most 18."""
    found = readings(text)
    assert found[0].split(" ") == f" {plain(text)} ".split(" ")
    assert len(found) <= 18
    assert all(reading.startswith(" ") and reading.endswith(" ") for reading in found)


@given(ANY_TEXT)
def test_case_hides_nothing(text: str) -> None:
    """Upper and lower case of a text are the same words, but for letters that have no partner of the other case."""
    if text.isascii():
        assert readings(text.upper()) == readings(text.lower())


HOSTILE = {
    "spelled out": "n u d e. " * 445,
    "leetspeak": "n4k3d!" * 667,
    "stretched": "a" * 4000,
    "dotted": "a." * 2000,
    "everything": "ａ.1@ааа " * 500,
    "marks": "n" + "̶" * 3999,
    "alternating gaps": "a b  " * 800,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_costs_time_in_proportion_to_its_length(text: str) -> None:
    """Four times the text takes about four times as long, where a quadratic step would take sixteen."""
    assert cheapest(text * 4) < 10 * max(cheapest(text), 0.0005)


def cheapest(text: str) -> float:
    """Seconds of the quickest of five runs, so that a busy machine does not count."""
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        readings(text)
        seconds.append(time.perf_counter() - began)
    return min(seconds)
