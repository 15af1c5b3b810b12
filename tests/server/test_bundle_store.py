"""One store of bundles by their hashes, filled by a gateway, read by workers: by folder and by HTTP."""

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.bundles import write_tiny_bundle

from dimstream_models.bundle import read_bundle
from dimstream_server.cluster.bundle_store import StoreError, fetch, publish


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """The address at which the folder `store` is read."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "store"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield lambda: f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_folder_is_published_and_fetched_as_the_same_bundle(
    bundle: Path, tmp_path: Path, served: Callable[[], str]
) -> None:
    digest = publish(bundle, tmp_path / "store")
    assert publish(bundle, tmp_path / "store") == digest
    assert publish(tmp_path / "store" / f"{digest}.zip", None) == digest
    for number, store in enumerate((str(tmp_path / "store"), served())):
        fetched = fetch(digest, store, tmp_path / f"cache{number}")
        assert read_bundle(fetched).sha256 == read_bundle(bundle).sha256
    (tmp_path / "store" / f"{digest}.zip").unlink()
    assert fetch(digest, str(tmp_path / "store"), tmp_path / "cache0").is_file(), "the cache has it"


def test_what_is_damaged_or_missing_is_not_used(
    bundle: Path, tmp_path: Path, served: Callable[[], str]
) -> None:
    store, cache = tmp_path / "store", tmp_path / "cache"
    digest = publish(bundle, store)
    place = store / f"{digest}.zip"
    whole = place.read_bytes()
    fetch(digest, str(store), cache)
    (cache / place.name).write_bytes(whole[:-1])
    assert fetch(digest, str(store), cache).read_bytes() == whole, "a damaged copy is fetched again"
    place.write_bytes(whole[:-1] + b"?")
    for where in (str(store), served()):
        with pytest.raises(StoreError, match=f"expected a bundle with SHA-256 {digest} in"):
            fetch(digest, where, tmp_path / "other")
    place.unlink()
    for where in (str(store), served()):
        with pytest.raises(StoreError, match="cannot be fetched"):
            fetch(digest, where, tmp_path / "other")
    assert not list((tmp_path / "other").glob("*")), "nothing wrong is kept"
