"""The notifier's rules as frozen values."""

from __future__ import annotations

from dataclasses import dataclass

#: Characters of a Discord message.
CONTENT_LIMIT = 2000
#: Characters of a message's nonce.
NONCE_LIMIT = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """One way to make a picture smaller."""

    format: str  #: as Pillow names it
    extension: str
    quality: int  #: 1..100


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the notifier decides by; times in seconds, sizes in bytes."""

    edit_spacing: float = 2.0  #: least time between two progress edits of one message
    #: Before a message's first progress edit: a job that is over by then needs none, and the bot's own first answer
    #: is there by then.
    first_edit_wait: float = 0.5
    #: For so long after the next answer, an edit that was not answered may still land.
    settling: float = 5.0
    window: float = (
        48 * 3600.0
    )  #: how far back deliveries are known; older requests are not delivered any more
    notes_window: float = 3600.0  #: how far back notes of open requests are read
    unknown_until: float = (
        5.0  #: a younger interaction that Discord does not know may not have been answered yet
    )
    unknown_wait: float = 0.05  #: the first wait for that answer
    unknown_growth: float = 1.5
    token_margin: float = 2.0  #: a token that ends so soon is not used any more
    unreachable_wait: float = 2.0  #: before an object store that is away is asked again
    denied_wait: float = 10.0  #: before one that refuses is
    #: Discord's limit is each file's own (its documentation, "Uploading files"); a request as a whole is refused above
    #: some 25 MB where no file may be larger, which users found and nothing documents.
    request_limit: int = 25_000_000
    request_overhead: int = 16 * 1024  #: of that, left for the text and the multipart frames
    shrink_after_refusal: float = (
        0.7  #: of a request that Discord refused as too large, the next one has at most this part
    )
    link_life: int = 7 * 24 * 3600  #: of links to pictures that are too large; S3 signs for a week at most
    #: Tried in order once the pictures as stored are too large.
    encodings: tuple[Encoding, ...] = (
        Encoding(format="WEBP", extension="webp", quality=90),
        Encoding(format="WEBP", extension="webp", quality=75),
        Encoding(format="WEBP", extension="webp", quality=50),
        Encoding(format="JPEG", extension="jpg", quality=60),
        Encoding(format="JPEG", extension="jpg", quality=35),
        Encoding(format="JPEG", extension="jpg", quality=15),
    )
