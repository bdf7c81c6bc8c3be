"""One suite for the object store, on the fake, a folder, and S3 as moto and as rclone serve it."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from services.chassis.clock import system_clock
from services.chassis.object_store import (
    InvalidObjectKey,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreDenied,
    ObjectStoreUnreachable,
)
from services.chassis.object_store.folder import FolderObjectStore
from services.chassis.object_store.s3 import S3Location, S3ObjectStore
from tests.fakes.object_store import FakeObjectStore
from tests.harness.waiting import eventually
from tests.ports.s3_servers import BUCKET, CREDENTIALS, SECRET_KEY, moto_server, rclone_server

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
S3_SERVERS = {"moto": moto_server, "rclone": rclone_server}


@pytest.fixture(scope="session")
def s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Starts each S3 server once, when the first test asks for it."""
    running = {}

    def start(name: str) -> str:
        if name not in running:
            manager = S3_SERVERS[name](tmp_path_factory.mktemp(name))
            running[name] = (manager, manager.__enter__())
        return running[name][1]

    yield start
    for manager, _ in running.values():
        manager.__exit__(None, None, None)


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives boto3's own chain the loopback servers' key pair, and nothing else."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture(params=["moto", "rclone"])
def s3(request: pytest.FixtureRequest, s3_address: Callable[[str], str], credentials: None) -> S3ObjectStore:
    """An S3 store on a real server, under a prefix of the test's own."""
    return S3ObjectStore(location(s3_address(request.param), prefix=f"t{time.monotonic_ns()}"))


@pytest.fixture(params=["fake", "folder", "moto", "rclone"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of each kind."""
    if request.param == "fake":
        return FakeObjectStore()
    if request.param == "folder":
        return FolderObjectStore(tmp_path / "objects")
    address = request.getfixturevalue("s3_address")(request.param)
    request.getfixturevalue("credentials")
    return S3ObjectStore(location(address, prefix=f"t{time.monotonic_ns()}"))


def location(address: str, *, bucket: str = BUCKET, prefix: str = "", public: str = "") -> S3Location:
    """Where a loopback server keeps the tests' objects."""
    return S3Location(bucket=bucket, endpoint_url=address, prefix=prefix, public_base_url=public)


def test_what_was_put_is_got_byte_for_byte(store: ObjectStore) -> None:
    """Content, size, type and time come back."""
    before = system_clock() - timedelta(seconds=2)
    store.put("images/7/0.png", PNG, "image/png", {"job": "7"})
    stored = store.get("images/7/0.png")
    assert stored.data == PNG
    assert (stored.info.key, stored.info.bytes) == ("images/7/0.png", len(PNG))
    assert stored.info.content_type == "image/png"
    assert before < stored.info.modified_at < system_clock() + timedelta(seconds=2)


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    """No bytes is not the same as no object."""
    store.put("empty.txt", b"", "text/plain")
    assert store.exists("empty.txt")
    assert store.get("empty.txt").data == b""


def test_a_large_object_survives(store: ObjectStore) -> None:
    """Nothing cuts off at a buffer's or a part's size (6 MiB is over S3's least part)."""
    data = PNG * 6000
    store.put("large.png", data, "image/png")
    assert store.get("large.png").data == data


def test_the_last_put_wins(store: ObjectStore) -> None:
    """A job that runs again may store its images again."""
    store.put("a.json", b"1", "application/json")
    store.put("a.json", b"22", "application/json")
    assert store.get("a.json").data == b"22"
    assert list(store.list()) == ["a.json"]


def test_a_missing_object_is_told_apart(store: ObjectStore) -> None:
    """``get`` raises and names the key, ``head`` and ``exists`` answer, ``delete`` does not mind."""
    with pytest.raises(ObjectNotFound, match=r"images/none\.png"):
        store.get("images/none.png")
    assert store.head("images/none.png") is None
    assert not store.exists("images/none.png")
    store.delete("images/none.png")


def test_a_directory_of_keys_is_no_object(store: ObjectStore) -> None:
    """The part of a key before a slash is not itself there."""
    store.put("images/7/0.png", PNG, "image/png")
    assert store.head("images/7") is None
    assert not store.exists("images/7")
    with pytest.raises(ObjectNotFound):
        store.get("images/7")


def test_head_tells_without_reading(store: ObjectStore) -> None:
    """Size and type agree with what ``get`` says."""
    store.put("x/y.webp", b"RIFF0000WEBP", "image/webp")
    info = store.head("x/y.webp")
    assert info is not None
    assert (info.key, info.bytes, info.content_type) == ("x/y.webp", 12, "image/webp")


def test_a_deleted_object_is_gone(store: ObjectStore) -> None:
    """And deleting it again changes nothing."""
    store.put("a/b.png", PNG, "image/png")
    store.delete("a/b.png")
    store.delete("a/b.png")
    assert not store.exists("a/b.png")
    assert list(store.list("a/")) == []


def test_keys_are_listed_by_prefix_in_key_order(store: ObjectStore) -> None:
    """A prefix may end inside a name, and ``a.b`` comes before ``a/b`` as in S3."""
    for key in ("jobs/12/1.png", "jobs/12/0.png", "jobs/1/0.png", "jobs/12.json", "other.png"):
        store.put(key, PNG, "image/png")
    assert list(store.list("jobs/12")) == ["jobs/12.json", "jobs/12/0.png", "jobs/12/1.png"]
    assert list(store.list("jobs/12/")) == ["jobs/12/0.png", "jobs/12/1.png"]
    assert list(store.list("jobs/9")) == []
    assert list(store.list("none/at/all")) == []
    everything = ["jobs/1/0.png", "jobs/12.json", "jobs/12/0.png", "jobs/12/1.png", "other.png"]
    assert list(store.list()) == everything


BAD_KEYS = [
    "",
    "/etc/passwd",
    "../outside.png",
    "a/../../outside.png",
    "a/./b.png",
    "a//b.png",
    "a/",
    ".incoming/x",
    "a/.hidden",
    "nul\0byte.png",
    "line\nbreak.png",
    "back\\slash.png",
    "C:/windows.png",
    "CON",
    "a/aux.png",
    "a/trailing.",
    "a b.png",
    "ümlaut.png",
    "-option.png",
    "a" * 201,
    "/".join(["a" * 100] * 6),
]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_key_that_some_system_would_change_is_refused(store: ObjectStore, key: str) -> None:
    """Every method refuses it before it touches anything."""
    calls: list[Callable[[], object]] = [
        lambda: store.put(key, PNG, "image/png"),
        lambda: store.get(key),
        lambda: store.head(key),
        lambda: store.exists(key),
        lambda: store.url(key, 60),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(InvalidObjectKey):
            call()


@pytest.mark.parametrize("prefix", ["/", "../", "a/../b", "a/..", "a//", "ü", "a\0"])
def test_a_prefix_that_climbs_is_refused(store: ObjectStore, prefix: str) -> None:
    """Listing never leaves the store either."""
    with pytest.raises(InvalidObjectKey):
        list(store.list(prefix))


@pytest.mark.parametrize("seconds", [0, -1, 604_801])
def test_a_link_has_a_term_that_s3_can_sign(store: ObjectStore, seconds: int) -> None:
    """More than a week, or no time at all, is the caller's mistake."""
    with pytest.raises(ValueError, match="1 to 604800"):
        store.url("a.png", seconds)


def test_readers_never_see_half_an_object(store: ObjectStore) -> None:
    """While one thread overwrites, others read either the old content or the new."""
    old, new = b"o" * 300_000, b"n" * 300_000
    store.put("race.txt", old, "text/plain")
    done = threading.Event()

    def read() -> set[bytes]:
        seen = {store.get("race.txt").data}
        while not done.is_set():
            seen.add(store.get("race.txt").data)
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for turn in range(12):
            store.put("race.txt", new if turn % 2 else old, "text/plain")
        done.set()
        assert set().union(*(reader.result() for reader in readers)) <= {old, new}


def test_a_signed_link_opens_without_credentials(s3: S3ObjectStore) -> None:
    """It serves the object's bytes under its own type."""
    s3.put("shared.png", PNG, "image/png")
    link = s3.url("shared.png", 60)
    assert link is not None
    with urllib.request.urlopen(link, timeout=10) as reply:
        assert reply.read() == PNG
        assert reply.headers["Content-Type"] == "image/png"


def test_a_signed_link_holds_no_secret(s3: S3ObjectStore) -> None:
    """The access key's name is part of every signed link; its secret never is."""
    assert SECRET_KEY not in (s3.url("a.png", 60) or "")


def test_a_signed_link_ends_when_its_term_is_over(
    s3_address: Callable[[str], str], credentials: None
) -> None:
    """rclone enforces expiry; the link opens at first and is refused after its 3 seconds."""
    store = S3ObjectStore(location(s3_address("rclone"), prefix="expiry"))
    store.put("brief.png", PNG, "image/png")
    link = store.url("brief.png", 3)
    assert link is not None
    assert open_status(link) == 200
    assert eventually(lambda: open_status(link) != 200, 20.0)
    assert open_status(link) in (400, 403)


def test_a_tampered_link_is_refused(s3_address: Callable[[str], str], credentials: None) -> None:
    """A link to one object opens no other."""
    store = S3ObjectStore(location(s3_address("rclone"), prefix="tamper"))
    store.put("mine.png", PNG, "image/png")
    store.put("other.png", PNG, "image/png")
    link = store.url("mine.png", 60)
    assert link is not None
    assert open_status(link.replace("mine.png", "other.png")) == 403


def test_a_public_bucket_is_linked_without_a_signature(
    s3_address: Callable[[str], str], credentials: None
) -> None:
    """With a public address, links are that address, the prefix and the key."""
    public = location(s3_address("moto"), prefix="live/", public="https://images.example.org/")
    assert S3ObjectStore(public).url("a/b.png", 60) == "https://images.example.org/live/a/b.png"


def test_a_prefix_keeps_two_installations_of_one_bucket_apart(
    s3_address: Callable[[str], str], credentials: None
) -> None:
    """Neither sees the other's keys, nor its own prefix in them."""
    blue = S3ObjectStore(location(s3_address("moto"), prefix="blue"))
    green = S3ObjectStore(location(s3_address("moto"), prefix="blue-green/"))
    blue.put("a.png", PNG, "image/png")
    green.put("b.png", PNG, "image/png")
    assert list(blue.list()) == ["a.png"]
    assert list(green.list()) == ["b.png"]


def test_a_listing_goes_over_more_than_one_page(s3_address: Callable[[str], str], credentials: None) -> None:
    """S3 lists a thousand keys at a time."""
    store = S3ObjectStore(location(s3_address("moto"), prefix="pages"))
    keys = [f"k{number:04}" for number in range(1001)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: store.put(key, b"", "text/plain"), keys))
    assert list(store.list("k")) == keys


def test_metadata_reaches_the_bucket(s3_address: Callable[[str], str], credentials: None) -> None:
    """People who look into the bucket see the labels of an object."""
    import boto3

    store = S3ObjectStore(location(s3_address("moto"), prefix="labels"))
    store.put("a.png", PNG, "image/png", {"workflow": "sd15"})
    client = boto3.client("s3", endpoint_url=s3_address("moto"), region_name="us-east-1")
    assert client.head_object(Bucket=BUCKET, Key="labels/a.png")["Metadata"] == {"workflow": "sd15"}


@pytest.mark.parametrize("server", ["moto", "rclone"])
def test_a_missing_bucket_is_named_when_the_store_opens(
    s3_address: Callable[[str], str], credentials: None, server: str
) -> None:
    """A wrong name is found at start and not at the first finished image."""
    with pytest.raises(ObjectStoreDenied, match=r"no-such-bucket.*there is no such bucket"):
        S3ObjectStore(location(s3_address(server), bucket="no-such-bucket"))


def test_wrong_credentials_are_refused_without_being_quoted(
    s3_address: Callable[[str], str], credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the bucket and neither the key nor the secret."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger-access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "stranger-secret")
    with pytest.raises(ObjectStoreDenied, match=BUCKET) as caught:
        S3ObjectStore(location(s3_address("rclone")))
    assert "stranger" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_missing_credentials_are_said_so(
    s3_address: Callable[[str], str], credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says which variables boto3 looks for."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ObjectStoreDenied, match="AWS_ACCESS_KEY_ID"):
        S3ObjectStore(location(s3_address("moto")))


def test_a_server_that_is_away_is_worth_another_try(credentials: None) -> None:
    """Nothing listens on port 9 of loopback: the error is of the retryable kind and names the address."""
    with pytest.raises(ObjectStoreUnreachable, match=r"http://127\.0\.0\.1:9"):
        S3ObjectStore(location("http://127.0.0.1:9"))


def test_a_server_that_dies_later_is_worth_another_try(tmp_path: Path, credentials: None) -> None:
    """Each method says so, and none of them reports a missing object instead."""
    with moto_server(tmp_path) as address:
        store = S3ObjectStore(location(address))
    calls: list[Callable[[], object]] = [
        lambda: store.put("a.png", PNG, "image/png"),
        lambda: store.get("a.png"),
        lambda: store.exists("a.png"),
        lambda: store.delete("a.png"),
        lambda: list(store.list()),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        failures = [pool.submit(call).exception() for call in calls]
    assert [type(failure) for failure in failures] == [ObjectStoreUnreachable] * len(calls)


def open_status(link: str) -> int:
    """The HTTP status that a browser would see."""
    try:
        with urllib.request.urlopen(link, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
