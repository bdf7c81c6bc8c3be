"""A prompt as the words that a reader would see in it, however they are written.  Pure.

A disguise has several plausible undoings (``1`` may be i, l or one; ``as.s`` may be one word or two), so a text
has several readings.  Each is a string of words with one space before and after every word; a term matches
where it stands between two spaces, which is why ``class`` and ``Scunthorpe`` match nothing.

Look-alike letters are decancer's job (Unicode's confusables and the fancy alphabets of chat users), since
such a table is never finished; what is left here is what a table of letters cannot know.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

import decancer_py

#: Letters; or digits, so that ``14yo`` is two words; or one emoji.
_EMOJI = r"[\u2600-\u2775\u2794-\u27bf\U0001f300-\U0001faff]"  #: without the ringed digits
_IS_EMOJI = re.compile(_EMOJI)
_WORD = re.compile(rf"[^\W\d_]+|\d+|{_EMOJI}")
#: As `_WORD`, with the signs that stand for letters and not split from digits.
_PIECE = re.compile(rf"(?:[^\W_]|[@$!|+])+|{_EMOJI}")
_LEET = re.compile(r"[0-9@$!|+]")
_SIGNS = frozenset("@$!|+")
_AT_ENDS = "!|+"  #: punctuation at the end of a word, a letter inside one
_LETTERS = {
    one: str.maketrans({**dict(zip("0345789@$+", "oeastbgast", strict=True)), "1": one, "!": one, "|": one})
    for one in "il"
}
#: What separates the items of a prompt; any other sign between two letters may be there to hide a word.
_SEPARATORS = frozenset(',;:!?()[]{}<>|/"')
#: Letters and symbols by category, but drawn as nothing: Hangul fillers and the empty Braille cell.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_STRETCHED = re.compile(r"([^\W\d_])\1{2,}")  #: no English word has three of a letter in a row

Piece = tuple[str, str]  #: what stands before it, and itself


def plain(text: str) -> str:
    """The words as they stand: folded to lower case and to Latin look-alikes, joined by one space.  Idempotent.

    Digits stay digits and become words of their own: ``"Nüde, 14yo"`` is ``"nude 14 yo"``.
    """
    return " ".join(_WORD.findall(_fold(text)))


def readings(text: str) -> tuple[str, ...]:
    """Every way in which the text can be read, without repetitions; the first is ``plain(text)``.

    Each starts and ends with a space.  At most 18, and one for an ordinary prompt; the time is linear in the text.
    """
    folded = _fold(text)
    pieces = _pieces(folded)
    joined = _join(pieces)
    ways = [_WORD.findall(folded)]
    for variant in dict.fromkeys((tuple(pieces), tuple(joined))):
        ways.append(_words(piece for _, piece in variant))
        if _LEET.search(folded):
            ways += [_words(_decode(piece, one) for _, piece in variant) for one in "il"]
    spoken = (f" {' '.join(words)} " for words in ways)
    return tuple(dict.fromkeys(reading for way in spoken for reading in _unstretched(way)))


def _fold(text: str) -> str:
    """Lower case, without accents and invisible characters, look-alikes replaced."""
    if text.isascii():
        return text.lower()
    # Decomposed again, since folding the case of a letter may bring a mark back (Turkish capital I).
    lower = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(map(_fold_character, lower))


@lru_cache(maxsize=4096)
def _fold_character(character: str) -> str:
    if character.isascii():
        return character
    if character.isspace():
        return " "
    # Invisible format characters, which would otherwise split words, and half surrogate pairs, which are no text.
    if unicodedata.category(character) in ("Cf", "Cs") or character in _BLANK:
        return ""
    if _IS_EMOJI.fullmatch(
        character
    ):  # decancer reads some as what they picture: the sign "no one under 18" as 18
        return character
    return str(decancer_py.parse(character))


def _pieces(folded: str) -> list[Piece]:
    found, end = [], 0
    for match in _PIECE.finditer(folded):
        found.append((folded[end : match.start()], match[0]))
        end = match.end()
    return found


def _words(pieces: Iterable[str]) -> list[str]:
    return [word for piece in pieces for word in _WORD.findall(piece)]


def _decode(piece: str, one: str) -> str:
    """Read digits and signs as letters, unless the piece is a number or a size such as ``4k`` or ``a55``."""
    core = piece.strip(_AT_ENDS)
    letters = sum(map(str.isalpha, core))
    if letters + core.count("@") + core.count("$") >= 2 or (letters and not _SIGNS.isdisjoint(core)):
        return core.translate(_LETTERS[one])
    return piece


def _join(pieces: list[Piece]) -> list[Piece]:
    """Join what was torn apart: ``n u d e`` (also with other even gaps) and ``nu-de``."""
    joined: list[Piece] = []
    for gap, piece in _spelled_out(pieces):
        if joined and not any(sign.isspace() or sign in _SEPARATORS for sign in gap):
            joined[-1] = (joined[-1][0], joined[-1][1] + piece)
        else:
            joined.append((gap, piece))
    return joined


def _spelled_out(pieces: list[Piece]) -> Iterator[Piece]:
    """Make three or more single characters with equal gaps one piece."""
    run: list[Piece] = []
    for gap, piece in pieces:
        if len(piece) > 1:
            yield from _finish(run)
            yield gap, piece
            run = []
        elif len(run) < 2 or run[-1][0] == gap:
            run.append((gap, piece))
        elif len(run) == 2:  # the second belongs to the new gap as well as to the old
            yield run[0]
            run = [run[1], (gap, piece)]
        else:
            yield from _finish(run)
            run = [(gap, piece)]
    yield from _finish(run)


def _finish(run: list[Piece]) -> Iterator[Piece]:
    if len(run) < 3:
        yield from run
        return
    word = "".join(piece for _, piece in run)
    yield run[0][0], word
    if word[0] in "ai":  # one of the two English words of one letter: "a n u d e"
        yield " ", word[1:]


def _unstretched(reading: str) -> Iterator[str]:
    """As written, and ``nuuude`` with one and with two of the letter."""
    yield reading
    if _STRETCHED.search(reading):
        yield from (_STRETCHED.sub(kept, reading) for kept in (r"\1", r"\1\1"))
