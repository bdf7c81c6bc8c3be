"""Opening the object store that the settings describe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from services.chassis.object_store import ObjectStoreSettings, ObjectStoreUnreachable, open_object_store
from services.chassis.object_store.folder import FolderObjectStore
from services.chassis.object_store.open import default_folder
from services.chassis.settings import SettingsError, load


def test_a_folder_is_opened_where_no_bucket_is_named(tmp_path: Path) -> None:
    """The folder of the setting is made and used."""
    store = open_object_store(
        load(ObjectStoreSettings, {"OBJECT_STORE_DIR": str(tmp_path / "new" / "images")})
    )
    assert isinstance(store, FolderObjectStore)
    store.put("a.png", b"image", "image/png")
    assert (tmp_path / "new" / "images" / "a.png").exists()


def test_a_named_bucket_is_used_even_where_a_folder_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are set; the bucket's server is away, and the error says so instead of using the folder."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "loopback-access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "loopback-secret")
    env = {
        "OBJECT_STORE_DIR": str(tmp_path),
        "S3_BUCKET": "distillery-images",
        "S3_ENDPOINT_URL": "http://127.0.0.1:9",
    }
    with pytest.raises(ObjectStoreUnreachable, match=r"distillery-images at http://127\.0\.0\.1:9"):
        open_object_store(load(ObjectStoreSettings, env))
    assert list(tmp_path.iterdir()) == []


def test_users_of_a_folder_do_not_pay_for_boto3(tmp_path: Path) -> None:
    """A process that opens a folder and uses it imports neither boto3 nor botocore."""
    script = (
        "import sys; from services.chassis.object_store import *;"
        "store = open_object_store(ObjectStoreSettings(object_store_dir=sys.argv[1]));"
        "store.put('a.png', b'', 'image/png'); store.get('a.png'); store.exists('b.png');"
        "sys.exit(bool({'boto3', 'botocore'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("S3_ENDPOINT_URL", "minio:9000", "expected an address like"),
        ("S3_ENDPOINT_URL", "http://key:secret@127.0.0.1:9", "user name or password"),
        ("PUBLIC_BASE_URL", "ftp://images.example.org", "expected an address like"),
        ("PUBLIC_BASE_URL", "https://", "expected an address like"),
    ],
)
def test_an_address_that_cannot_be_is_refused_by_name(name: str, value: str, why: str) -> None:
    """The error names the setting; one that holds a password is not quoted."""
    settings = load(ObjectStoreSettings, {"S3_BUCKET": "distillery-images", name: value})
    with pytest.raises(SettingsError, match=f"{name} .*{why}") as caught:
        open_object_store(settings)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("bucket", ["UPPER", "a", "has_underscore", "s3://bucket", "a/b", "-dash"])
def test_a_name_that_no_bucket_has_is_refused(bucket: str) -> None:
    """S3's own rule: 3 to 63 of lower-case letters, digits, dots and dashes."""
    with pytest.raises(SettingsError, match="S3_BUCKET"):
        load(ObjectStoreSettings, {"S3_BUCKET": bucket})


@pytest.mark.parametrize(
    ("platform", "env", "below_home"),
    [
        ("linux", {}, ".local/share/distillery/objects"),
        ("darwin", {"XDG_DATA_HOME": "/ignored"}, "Library/Application Support/distillery/objects"),
        ("win32", {}, "AppData/Local/distillery/objects"),
    ],
)
def test_images_lie_where_the_system_keeps_a_user_s_data(
    platform: str, env: dict[str, str], below_home: str
) -> None:
    """Without any setting nothing is written into the working directory."""
    assert default_folder(env, platform) == Path.home() / below_home


def test_the_xdg_folder_is_honoured() -> None:
    """Linux users who moved their data find the images there."""
    assert default_folder({"XDG_DATA_HOME": "/data"}, "linux") == Path("/data/distillery/objects")
