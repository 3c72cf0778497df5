import hashlib
import http.server
import threading

import pytest

from sw.datasets.download import download
from sw.errors import PopstreamError

CONTENT = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: 5000 if self.path == "/short" else None])

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_writes_what_the_first_good_mirror_serves(site, tmp_path):
    path = tmp_path / "new" / "file.gz"
    download([f"{site}/missing", f"{site}/file.gz"], path, sha256=DIGEST)
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "page, digest, message",
    [
        ("missing", DIGEST, "missing: (HTTP Error 404|Not Found)"),
        ("short", DIGEST, "SHA-256 is"),
        ("file.gz", "0" * 64, "SHA-256 is .*, not 000000000000"),
    ],
)
def test_leaves_nothing_behind_on_failure(site, tmp_path, page, digest, message):
    with pytest.raises(PopstreamError, match=message):
        download([f"{site}/{page}"], tmp_path / "file.gz", sha256=digest)
    assert list(tmp_path.iterdir()) == []


def test_names_every_mirror_that_refused(tmp_path):
    urls = ["http://127.0.0.1:9/a", "http://127.0.0.1:9/b"]
    with pytest.raises(PopstreamError, match=r"9/a: .*refused.*; .*9/b: .*refused"):
        download(urls, tmp_path / "file.gz", sha256=DIGEST)


def test_refuses_a_folder_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PopstreamError, match="cannot write to"):
        download(["http://127.0.0.1:9/a"], tmp_path / "file" / "x.gz", sha256=DIGEST)
