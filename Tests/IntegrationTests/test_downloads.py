"""Image Builders over a network that misbehaves: nginx where it can, and a server of our own for lies that nginx does not tell."""
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import socketserver
import subprocess
import threading

import pytest
from practice_builder import SigningKey, make_server_tree
from practice_card import wait_until

TRIPLE = {"release": "24.10.2", "target": "x86", "subtarget": "64"}
PADDING = 24 << 20


class Library:
    """The real station-library, asked as stationd asks it."""

    def __init__(self, programs, directory):
        self.program = os.path.join(programs, "station-library")
        self.directory = pathlib.Path(directory)
        for name in ("images", "builders", "builds", "keys"):
            (self.directory / name).mkdir(mode=0o750, exist_ok=True)

    def start(self, request):
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = subprocess.Popen(
            [self.program, "--vault", self.directory / "images", "--builders", self.directory / "builders", "--builds",
             self.directory / "builds", "--keys", self.directory / "keys", "--connected", str(theirs.fileno())],
            pass_fds=[theirs.fileno()])
        theirs.close()
        mine.sendmsg([json.dumps(request).encode()])
        return process, mine

    def ensure(self, mirrors, **source):
        """Asks for the builder; returns its facts or the error's code, and all that was said before."""
        process, connection = self.start(self.request(mirrors, **source))
        said = []
        with connection:
            while message := connection.recv(1 << 18):
                said.append(json.loads(message))
        assert process.wait() == 0
        last = said.pop()
        return (last["builder"]["_0"] if "builder" in last else last["failed"]["_0"]["code"]), said

    @staticmethod
    def request(mirrors, **source):
        return {"ensureBuilder": {"_0": {"triple": TRIPLE, "isRefresh": False, "byteLimit": 1 << 34, "source": {
            "mirrors": mirrors, "signaturePolicy": "require", "isOffline": False, "retryCount": 2, "stallSeconds": 3,
            **source}}}}

    def visible(self):
        return [path for path in (self.directory / "builders").iterdir() if not path.name.startswith(".")]

    def part(self):
        return next((self.directory / "builders").glob(".*.part"), None)


@pytest.fixture
def tree(tmp_path):
    """A mirror's files; the archive is large enough to be cut."""
    key = SigningKey(tmp_path / "keys")
    noise = random.Random(7).randbytes(PADDING)
    directory, name, digest = make_server_tree(tmp_path / "mirror", key=key, extra_files={"dl/noise": noise})
    return tmp_path / "mirror", directory / name, digest, key


@pytest.fixture
def library(programs, tmp_path, tree):
    library = Library(programs, tmp_path)
    tree[3].publish(tmp_path / "keys")
    return library


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def nginx(place, root, lines="", scheme="http", server=""):
    """nginx on a free port; `lines` stand in its location."""
    port = free_port()
    tls = f"listen 127.0.0.1:{port} ssl; {server}" if scheme == "https" else f"listen 127.0.0.1:{port};"
    # A directory of its own: nginx gives what it is told to write into to its own user.
    place = pathlib.Path(place) / f"nginx-{port}"
    place.mkdir()
    configuration = place / "nginx.conf"
    configuration.write_text(f"""
        user root; daemon off; master_process off; pid {place}/nginx-{port}.pid; error_log {place}/nginx-{port}.log;
        events {{ }}
        http {{ access_log off; client_body_temp_path {place}; proxy_temp_path {place}; fastcgi_temp_path {place};
            uwsgi_temp_path {place}; scgi_temp_path {place};
            server {{ {tls} root {root}; location / {{ {lines} }} }} }}
        """)
    process = subprocess.Popen([shutil.which("nginx", path="/usr/sbin:/usr/bin"), "-c", configuration],
                               stderr=subprocess.DEVNULL)

    def answers():
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        return False

    wait_until(answers, 10, "nginx")
    try:
        yield f"{scheme}://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


class Liar:
    """An HTTP server whose answer about the archive is a function's; about everything else it is honest."""

    def __init__(self, root, about_archive):
        outer = self
        self.asked = []

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                request = self.rfile.readline().decode().split()
                headers = {}
                while (line := self.rfile.readline().decode().strip()):
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                path = pathlib.Path(root, request[1].lstrip("/"))
                if not path.is_file():
                    self.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    return
                content = path.read_bytes()
                if "imagebuilder" in path.name:
                    start = int(headers["range"].removeprefix("bytes=").rstrip("-")) if "range" in headers else 0
                    outer.asked.append(start)
                    about_archive(self.wfile, content, start, len(outer.asked))
                else:
                    honest(self.wfile, content, 0)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def header(out, status, length, extra=""):
    out.write(f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{extra}\r\n".encode())


def honest(out, content, start):
    if start:
        header(out, "206 Partial Content", len(content) - start,
               f"Content-Range: bytes {start}-{len(content) - 1}/{len(content)}\r\n")
    else:
        header(out, "200 OK", len(content))
    with contextlib.suppress(OSError):
        out.write(content[start:])


def cut_in_the_middle(out, content, start, number):
    """Ends at half of what is left, twice; then goes on as asked."""
    if number > 2:
        return honest(out, content, start)
    status = "206 Partial Content" if start else "200 OK"
    header(out, status, len(content) - start,
           f"Content-Range: bytes {start}-{len(content) - 1}/{len(content)}\r\n" if start else "")
    with contextlib.suppress(OSError):
        out.write(content[start:start + (len(content) - start) // 2])


def cut_then(other):
    def answer(out, content, start, number):
        if number == 1:
            return cut_in_the_middle(out, content, 0, 1)
        return other(out, content, start, number)
    return answer


def lying_range(out, content, start, number):
    """Asked for the rest it sends another part, and says so."""
    if not start:
        return honest(out, content, 0)
    header(out, "206 Partial Content", len(content) - 100, f"Content-Range: bytes 100-{len(content) - 1}/{len(content)}\r\n")
    with contextlib.suppress(OSError):
        out.write(content[100:])


def lying_bytes(out, content, start, number):
    """Asked for the rest it says that it sends that, and sends the beginning; asked for all it is honest."""
    if not start:
        return honest(out, content, 0)
    header(out, "206 Partial Content", len(content) - start,
           f"Content-Range: bytes {start}-{len(content) - 1}/{len(content)}\r\n")
    with contextlib.suppress(OSError):
        out.write(content[:len(content) - start])


def no_ranges(out, content, start, number):
    """Knows no parts: sends all of it whatever is asked for."""
    header(out, "200 OK", len(content))
    with contextlib.suppress(OSError):
        out.write(content)


def another_file(out, content, start, number):
    """What is there now is another archive than the list's."""
    honest(out, content[:-1] + bytes([content[-1] ^ 1]), start)


def too_long(out, content, start, number):
    header(out, "200 OK", len(content) + 10)
    with contextlib.suppress(OSError):
        out.write(content)


@pytest.mark.parametrize("behaviour, outcome, restarts", [
    (cut_in_the_middle, None, False), (cut_then(lying_range), None, True), (cut_then(lying_bytes), None, True),
    (cut_then(no_ranges), None, True), (another_file, "hash_mismatch", False), (too_long, "download_failed", False)])
def test_what_a_server_sends_is_resumed_or_refused_and_never_half_a_builder(
        library, tree, behaviour, outcome, restarts):
    with Liar(tree[0], behaviour) as server:
        result, said = library.ensure([server.url])
        if outcome:
            assert result == outcome and library.visible() == []
            return
        assert result["archiveSHA256"] == tree[2], result
        assert [path.name for path in library.visible()] == [tree[2]]
        assert any(start > 0 for start in server.asked), "it went on where it had been cut"
        assert not restarts or 0 in server.asked[1:] or behaviour.__name__ == "answer"
        assert any("buildProgress" in message and message["buildProgress"]["_0"] == "downloading" for message in said)
    assert library.part() is None


@pytest.mark.parametrize("lines, code", [
    ("return 404;", "builder_unknown"), ("return 500;", "download_failed"), ("return 403;", "download_refused"),
    ("return 302 $request_uri;", "download_refused"), ("return 302 file:///etc/passwd;", "download_refused"),
    ("return 302 ftp://127.0.0.1/x;", "download_refused")])
def test_errors_of_the_server_are_said(library, tree, tmp_path, lines, code):
    with nginx(tmp_path, tree[0], lines) as url:
        assert library.ensure([url], retryCount=1)[0] == code
    assert library.visible() == []


def test_the_next_mirror_is_asked_and_a_dead_one_is_no_harm(library, tree, tmp_path):
    dead = f"http://127.0.0.1:{free_port()}"
    with nginx(tmp_path, tree[0], "return 404;") as bad, nginx(tmp_path, tree[0]) as good:
        result, _ = library.ensure([dead, bad, good + "/"])
        assert result["mirror"] == good + "/"


def test_a_proxy_is_asked_where_one_is_named(library, tree):
    """The mirror's name is none that anybody could resolve: whoever got the file asked the proxy."""
    asked = []

    class Proxy(socketserver.StreamRequestHandler):
        def handle(self):
            words = self.rfile.readline().decode().split()
            while self.rfile.readline().strip():
                pass
            asked.append(words[1])
            path = tree[0] / words[1].removeprefix("http://mirror.invalid/")
            if path.is_file():
                honest(self.wfile, path.read_bytes(), 0)
            else:
                self.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = "http://mirror.invalid"
        assert library.ensure([url], retryCount=0)[0] == "download_failed"
        result, _ = library.ensure([url], proxy=f"http://127.0.0.1:{server.server_address[1]}")
        assert result["archiveSHA256"] == tree[2] and all(name.startswith(url) for name in asked) and asked
        server.shutdown()


def test_a_slow_server_is_waited_for_and_one_that_stands_still_is_not(library, tree, tmp_path):
    with nginx(tmp_path, tree[0], "limit_rate 8m;") as url:
        result, said = library.ensure([url])
        assert result["archiveSHA256"] == tree[2]
    assert sum("buildProgress" in message for message in said) > 5
    shutil.rmtree(library.directory / "builders")
    (library.directory / "builders").mkdir(mode=0o750)
    still = threading.Event()

    def stands_still(out, content, start, number):
        header(out, "200 OK", len(content))
        with contextlib.suppress(OSError):
            out.write(content[:100_000])
            out.flush()
            still.wait(60)

    with Liar(tree[0], stands_still) as server:
        assert library.ensure([server.url], retryCount=0, stallSeconds=2)[0] == "download_failed"
        still.set()


def test_tls_needs_an_authority_that_is_trusted(library, tree, tmp_path):
    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=tmp_path)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out",
            "ca.pem", "-days", "2", "-subj", "/CN=practice authority")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "server.key", "-out",
            "server.csr", "-subj", "/CN=127.0.0.1")
    (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-out", "server.pem", "-extfile", "names")
    keys = f"ssl_certificate {tmp_path}/server.pem; ssl_certificate_key {tmp_path}/server.key;"
    with nginx(tmp_path, tree[0], scheme="https", server=keys) as url:
        assert library.ensure([url])[0] == "tls_failed"
        result, _ = library.ensure([url], certificateAuthority=str(tmp_path / "ca.pem"))
        assert result["archiveSHA256"] == tree[2]


def test_a_disk_without_room_is_said_before_anything_is_fetched(library, tree, tmp_path):
    with nginx(tmp_path, tree[0]) as url:
        request = library.request([url])
        request["ensureBuilder"]["_0"]["byteLimit"] = 1 << 20
        process, connection = library.start(request)
        last = None
        with connection:
            while message := connection.recv(1 << 18):
                last = json.loads(message)
        assert process.wait() == 0 and last["failed"]["_0"]["code"] == "storage_full"
    assert library.part() is None or library.part().stat().st_size == 0


def test_two_who_want_one_builder_download_it_once(library, tree):
    with Liar(tree[0], lambda out, content, start, number: honest(out, content, start)) as server:
        asking = [library.start(library.request([server.url])) for _ in range(4)]
        for process, connection in asking:
            with connection:
                last = None
                while message := connection.recv(1 << 18):
                    last = json.loads(message)
            assert process.wait() == 0 and last["builder"]["_0"]["archiveSHA256"] == tree[2]
        assert len(server.asked) == 1


def test_killed_at_twenty_moments_it_never_leaves_half_a_builder(library, tree, tmp_path):
    chance = random.Random(20261127)
    with nginx(tmp_path, tree[0], "limit_rate 60m;") as url:
        for _ in range(20):
            process, connection = library.start(library.request([url]))
            goal = chance.randrange(1, 14)
            with connection:
                # Moments are counted in what it says, not in time: downloading, unpacking and examining all come to it.
                for _ in range(goal):
                    if not connection.recv(1 << 18):
                        break
                process.send_signal(signal.SIGKILL)
                process.wait()
            for path in library.visible():
                assert (path / "builder.json").exists() and (path / "tree" / "dl" / "noise").stat().st_size == PADDING
        result, _ = library.ensure([url])
        assert result["archiveSHA256"] == tree[2]
    hidden = {path.name for path in (library.directory / "builders").iterdir()} - {tree[2]}
    assert all(name.endswith(".lock") for name in hidden) or library.ensure([url])[0], hidden


def test_one_who_hangs_up_stops_it_at_once(library, tree):
    endless = threading.Event()

    def slow(out, content, start, number):
        header(out, "200 OK", len(content))
        with contextlib.suppress(OSError):
            out.write(content[:1 << 20])
            out.flush()
            endless.wait(30)

    with Liar(tree[0], slow) as server:
        process, connection = library.start(library.request([server.url], stallSeconds=60))
        wait_until(lambda: library.part() and library.part().stat().st_size > 0, 20, "the download")
        connection.close()
        assert process.wait(5) == 1
        endless.set()
    assert library.part().stat().st_size > 0, "what came is kept"
