"""The live view's page before a server that wants tokens: the dialog, the ticket, files to keep."""

from pathlib import Path
from typing import Any

import pytest
from browsers import browsing

from dimstream_client.keys import TOKEN, make_token, read_only_entry

pytestmark = pytest.mark.slow
SHAPE = (24, 32)


def test_the_page_asks_for_a_token_and_keeps_it_in_its_tab(
    start_server: Any, connect: Any, make_counts: Any, tmp_path: Path
) -> None:
    make_token(tmp_path / "tokens", "script")
    office = read_only_entry(make_token(tmp_path / "viewers", "office"), TOKEN).value
    tables = {"tokens": str(tmp_path / "tokens"), "viewer_tokens": str(tmp_path / "viewers")}
    server = start_server("blur", http=tables)
    peer = connect(server)
    stream = peer.open(SHAPE).stream
    peer.denoise(stream, 0, make_counts(SHAPE))
    with browsing() as page:
        page.goto(f"{server.addresses.http}/live")
        page.wait_for_selector("#login[open]")
        page.fill("#token", "wrong" * 9)
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('#token').value === ''")
        page.wait_for_selector("#login[open]")
        page.fill("#token", office)
        page.click("#login button")
        page.wait_for_function("() => document.querySelector('#seq').value === '0'")
        assert not page.is_visible("#login")
        with page.expect_download() as download:
            page.click("#tiff")
        assert download.value.suggested_filename.endswith(".ome.tif")
        page.reload()
        page.wait_for_function("() => document.querySelector('#seq').value === '0'")
