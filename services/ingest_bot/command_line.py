"""One ``prompt`` string with ``--flags`` in it, taken apart and written back in its canonical form.  Pure.

The grammar is the original's: the prompt is everything before the first flag, a flag's value everything up to
the next one.

- A flag starts a word, or follows one of ``,;:=``: ``--ar 16:9``, also ``--ar=16:9`` and ``--AR: 16:9``.
  Dashes inside or between words, a lone ``--`` and ``--5`` are text.
- Phones turn ``--`` into one long dash.  ``—ar`` is a flag where ``ar`` is a known one, else text, since a dash
  also opens ordinary words (``a cat —sitting``).
- Between double quotes nothing is a flag.  A quote opens at the start of a word and closes at the end of one,
  so that ``6" tall`` opens nothing; one that opens and never closes is dropped.  Quotes around a whole
  value are not part of it, quotes in the prompt are.
- What a reader cannot see (control characters, zero-width and direction marks) is dropped; white space of any
  kind and length is one space; curly quotes are straight ones.

`canonical` and `parse` are inverse: parsing a canonical string gives the same prompt and flags again.
Both take linear time.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from services.ingest_bot.refusals import CommandError, shown

#: Flags of the original and what each did, for a plain answer where no installed workflow has them.
ORIGINAL_FLAGS: dict[str, str] = {
    "neg": "what to keep out",
    "seed": "the start of the noise",
    "cfg": "how closely to follow the prompt",
    "ar": "the aspect ratio",
    "power": "the strength of the second pass",
    "model": "the checkpoint",
    "lora": "trained styles",
    "image": "an image to start from",
    "imagedenoise": "how far to leave the start image",
    "control": "an image whose edges to follow",
    "controlweight": "how closely to follow the edges",
    "inpaint": "a masked image to repaint",
    "inpaintmaskgrow": "growing the mask",
    "inpaintmaskfeather": "softening the mask",
    "inpaintcontrol": "control while repainting",
    "force-model": "repainting with an ordinary checkpoint",
    "adapt": "an image whose look to take over",
    **{f"adapt{n}": "a further image whose look to take over" for n in (2, 3, 4)},
    "adaptweight": "how much of the look to take over",
    **{f"adaptweight{n}": "how much of one look to take over" for n in (1, 2, 3, 4)},
    "adaptface": "taking over a face",
    "sharpen": "sharpening",
    "sampler": "the sampler",
    "lcmweight": "the weight of the LCM sampler",
    "upscalemethod": "the way of enlarging",
    "refinerpass": "the refiner",
    "cutoffweight": "the weight of cutoff regions",
    "llm": "rewriting the prompt",
    "raw": "no added quality words",
}

# Cc but white space, lone surrogates, soft hyphen, zero-width space, word joiner, byte order mark, direction
# marks and overrides, tag characters.  The zero-width joiners stay: emoji and Persian need them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]+"
)
_SPACE = re.compile(r"\s+")
_STRAIGHT = str.maketrans({"“": '"', "”": '"', "„": '"', "‟": '"', "‘": "'", "’": "'", "‚": "'", "‛": "'"})

#: A text may hold hundreds of words that look like flags.
_MOST_NOTES = 3

_OPENING = re.compile(r'(?<![^\s(\[{=:,;])"')
_OPENING_RUN = re.compile(r'(?<![^\s(\[{=:,;])"+')
_CLOSING = re.compile(r'"(?=[\s.,;:!?)\]}]|$)')
_FLAG = re.compile(r"(?<![^\s=:,;])(?P<dash>-{2,}|-?[—–―]-?)(?P<name>[A-Za-z][^\s=:,;]*)[=:,;]?")


@dataclass(frozen=True, slots=True)
class Flag:
    """One ``--name value`` as typed; ``value`` is none where nothing follows the name."""

    name: str  #: lower case, without dashes
    value: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """A command taken apart: each flag once, in the order of first mention."""

    prompt: str
    flags: tuple[Flag, ...] = ()
    notes: tuple[str, ...] = ()  #: sentences about what was read otherwise than it may have been meant


def parse(text: str, known: Collection[str], options: Iterable[Flag] = ()) -> CommandLine:
    """Take ``text`` apart; ``options`` are flags given by other means and count as if typed at its end.

    Args:
        known: names of the flags that some installed workflow has.

    Raises:
        CommandError: an unknown flag, or one given twice with different values.
    """
    cleaned, starts, notes = _scan(clean(text), known)
    prompt = cleaned[: starts[0].start()] if starts else cleaned
    flags: dict[str, Flag] = {}
    for flag in (*_flags(cleaned, starts), *options):
        _require_known(flag.name, known)
        earlier = flags.setdefault(flag.name, flag)
        if earlier.value != flag.value:
            raise CommandError(
                f"`--{flag.name}` was given twice, as {_said(earlier)} and as {_said(flag)}; keep one of them."
            )
    return CommandLine(prompt=prompt.strip(), flags=tuple(flags.values()), notes=notes)


def value_of(name: str, text: str | None, known: Collection[str]) -> Flag:
    """The flag ``--name text``: what a typed option says, read as if it stood in the prompt string.

    Raises:
        CommandError: the text itself holds a flag.
    """
    if text is None:
        return Flag(name)
    cleaned, starts, _ = _scan(clean(f"--{name} {text}"), known)
    if len(starts) > 1:
        raise CommandError(
            f"The option {name} holds the flag {shown(starts[1].group())}; flags belong into the prompt."
        )
    return next(_flags(cleaned, starts))


def canonical(prompt: str, flags: Iterable[Flag], known: Collection[str]) -> str:
    """The prompt, then the flags in the given order, such that `parse` with ``known`` gives the same again."""
    return " ".join([prompt, *(_written(flag, known) for flag in flags)]).strip()


def clean(text: str) -> str:
    """What a reader sees of ``text``, in one line; idempotent."""
    visible = unicodedata.normalize("NFC", _INVISIBLE.sub("", text)).translate(_STRAIGHT)
    return _SPACE.sub(" ", visible).strip()


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that ``name`` was most likely meant to be."""
    if close := difflib.get_close_matches(name, known, n=1, cutoff=0.6):
        return close[0]
    longer = [k for k in known if name.startswith(k)]  # `ar16`
    shorter = [k for k in known if k.startswith(name)]  # `im`
    return max(longer, key=len, default=None) or min(shorter, key=len, default=None)


def _scan(text: str, known: Collection[str]) -> tuple[str, list[re.Match[str]], tuple[str, ...]]:
    """The text without stray quotes, where its flags start, and notes about words that look like flags."""
    text, quoted = _quoted(text)
    starts: list[re.Match[str]] = []
    notes: dict[str, str] = {}
    for match in _unquoted_flags(text, quoted):
        name = match["name"].lower()
        if _is_flag(match, known):
            starts.append(match)
        elif len(notes) < _MOST_NOTES and (meant := difflib.get_close_matches(name, known, n=1, cutoff=0.8)):
            notes[name] = f"{shown(match.group())} was read as text; the flag is `--{meant[0]}`."
    return text, starts, tuple(notes.values())


def _is_flag(match: re.Match[str], known: Collection[str]) -> bool:
    return match["dash"].startswith("--") or match["name"].lower() in known


def _unquoted_flags(text: str, quoted: Iterable[tuple[int, int]]) -> Iterator[re.Match[str]]:
    """What looks like a flag and does not stand between quotes."""
    spans = iter(quoted)
    span = next(spans, None)
    for match in _FLAG.finditer(text):
        while span and span[1] <= match.start():
            span = next(spans, None)
        if span is None or match.start() <= span[0]:
            yield match


def _quoted(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without quotes that open and never close, and its spans between paired ones, quotes included."""
    while True:
        spans, stray = _pairs(text)
        if stray is None:
            return text, spans
        # Without them words and white space meet anew, so look again.
        text = _SPACE.sub(" ", text[:stray] + _OPENING_RUN.sub("", text[stray:])).strip()


def _pairs(text: str) -> tuple[list[tuple[int, int]], int | None]:
    """The spans between paired quotes, and where the first quote opens that never closes."""
    spans: list[tuple[int, int]] = []
    at = 0
    while opening := _OPENING.search(text, at):
        closing = _CLOSING.search(text, opening.end())
        if closing is None:  # then none closes anything further on either, which keeps this linear
            return spans, opening.start()
        spans.append((opening.start(), closing.end()))
        at = closing.end()
    return spans, None


def _flags(text: str, starts: list[re.Match[str]]) -> Iterator[Flag]:
    ends = [*(match.start() for match in starts[1:]), len(text)]
    for match, end in zip(starts, ends, strict=False):
        written = text[match.end() : end].strip()
        yield Flag(match["name"].lower(), _unquoted(written) if written else None)


def _unquoted(written: str) -> str:
    _, spans = _quoted(written)
    return written[1:-1].strip() if spans == [(0, len(written))] else written


def _written(flag: Flag, known: Collection[str]) -> str:
    if flag.value is None:
        return f"--{flag.name}"
    value = flag.value if _stands_alone(flag.value, known) else f'"{flag.value}"'
    return f"--{flag.name} {value}"


def _stands_alone(value: str, known: Collection[str]) -> bool:
    """Whether the value, written without quotes, is read back as itself."""
    text, spans = _quoted(value)
    whole = spans == [(0, len(value))]
    flags = any(_is_flag(match, known) for match in _unquoted_flags(value, spans))
    return bool(value) and text == value and not whole and not flags


def _require_known(name: str, known: Collection[str]) -> None:
    if name in known:
        return
    if name in ORIGINAL_FLAGS:
        raise CommandError(
            f"`--{name}` ({ORIGINAL_FLAGS[name]}) is supported by no workflow that is installed here; leave it out."
        )
    all_flags = ", ".join(f"`--{flag}`" for flag in sorted(known))
    meant = nearest(name, known)
    hint = f"did you mean `--{meant}`?" if meant else f"there are {all_flags}."
    raise CommandError(f"There is no flag {shown('--' + name)}; {hint}")


def _said(flag: Flag) -> str:
    return "a flag without a value" if flag.value is None else shown(flag.value)
