# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""Runs clients against servers through the cases of the quic-interop-runner and prints the matrix. matrix.py --help.

Exit code 1: a cell failed that is not listed in `KNOWN`.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import datetime
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import aioquic
import cases
from certificates import Identity
from link import Link
from packets import Trace

HERE = pathlib.Path(__file__).parent

#: Cells that may fail for a reason that lies with the foreign program, and the reason: (case, client, server).
KNOWN = {
    ("rebind-port", "tern", "ngtcp2"):
        "while its congestion window is full, its server acknowledges at the new port before it sends a PATH_CHALLENGE there",
    ("rebind-addr", "tern", "aioquic"):
        "its server sends what it had ready to the new address, now and then before the PATH_CHALLENGE",
}


class Unsupported(Exception):
    pass


class Failed(Exception):
    pass


class Peer:
    """A program that can be client, server or both. `protocol` is what it speaks on its streams."""

    name = ""
    protocols: tuple[str, ...] = ("hq",)
    version = ""

    def server(self, setup: Setup) -> list[str]:
        raise Unsupported

    def clients(self, setup: Setup, urls: list[str]) -> list[list[str]]:
        """The commands to run one after the other."""
        raise Unsupported

    async def port(self, process: asyncio.subprocess.Process) -> int:
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        if not line:
            if await process.wait() == 127:
                raise Unsupported
            raise Failed("the server ended before it listened")
        return int(line.split()[-1])


class Tern(Peer):
    name = "tern"
    protocols = ("hq", "h3")

    def __init__(self, programs: pathlib.Path) -> None:
        self.programs = programs
        described = subprocess.run(
            ["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True)
        self.version = described.stdout.strip()

    def server(self, setup: Setup) -> list[str]:
        return [str(self.programs / "interop-server"), "--listen", setup.listen(), "--root", setup.root,
                "--certificate", setup.identity.certificate, "--key", setup.identity.key, *self.http3(setup)]

    def clients(self, setup: Setup, urls: list[str]) -> list[list[str]]:
        return [[str(self.programs / "interop-client"), "--downloads", setup.downloads, "--ca", setup.identity.authority,
                 *self.http3(setup)]]

    def http3(self, setup: Setup) -> list[str]:
        return ["--http3"] if setup.protocol == "h3" else []


class Aioquic(Peer):
    name = "aioquic"
    #: HTTP/3 in its own case only.
    protocols = ("hq", "h3")
    version = aioquic.__version__

    def server(self, setup: Setup) -> list[str]:
        return [sys.executable, str(HERE / "hq.py"), "server", "--listen", setup.listen(), "--root", setup.root,
                "--certificate", setup.identity.certificate, "--key", setup.identity.key]

    def clients(self, setup: Setup, urls: list[str]) -> list[list[str]]:
        return [[sys.executable, str(HERE / "hq.py"), "client", "--downloads", setup.downloads,
                 "--ca", setup.identity.authority]]


class GTLS(Peer):
    """ngtcp2's own programs as the distribution packages them. They speak HTTP/3 only, and do not know the contract."""

    name = "ngtcp2"
    protocols = ("h3",)
    CHACHA20 = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305"

    def __init__(self) -> None:
        path = os.environ.get("PATH", "") + ":/usr/sbin"
        self.programs = {name: shutil.which(name, path=path) for name in ("gtlsserver", "gtlsclient")}
        found = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "ngtcp2-server"], capture_output=True, text=True)
        self.version = found.stdout.strip() or "unknown version"

    def program(self, name: str) -> str:
        if not self.programs[name]:
            raise Unsupported
        return self.programs[name]

    def server(self, setup: Setup) -> list[str]:
        if setup.case.name == "v2":
            raise Unsupported  # It speaks a draft of it.
        options = ["-q", "-d", setup.root, "--timeout=60s", "--handshake-timeout=60s"]
        if setup.case.name == "retry":
            options.append("-V")
        if setup.case.name == "chacha20":
            options.append(f"--ciphers={self.CHACHA20}")
        return [self.program("gtlsserver"), *options, setup.case.host, "0", setup.identity.key,
                setup.identity.certificate]

    async def port(self, process: asyncio.subprocess.Process) -> int:
        """It does not say where it listens, so the kernel is asked until it does."""
        while process.returncode is None:
            if port := udp_port(process.pid):
                return port
            await asyncio.sleep(0.01)
        raise Failed("the server ended before it listened")

    def clients(self, setup: Setup, urls: list[str]) -> list[list[str]]:
        name = setup.case.name
        options = ["-q", "--exit-on-all-streams-close", "--download", setup.downloads, "--sni", "localhost",
                   "--timeout=60s", "--handshake-timeout=60s"]
        if name == "chacha20":
            options.append(f"--ciphers={self.CHACHA20}")
        if name == "keyupdate":
            options.append("--key-update=20ms")
        if name == "connectionmigration":
            options.append("--change-local-addr=100ms")
        groups = [urls]
        if name in ("resumption", "zerortt"):
            options += ["--session-file", setup.path("session"), "--tp-file", setup.path("parameters")]
            options += ["--disable-early-data"] if name == "resumption" else []
            groups = [urls[:1], urls[1:]]
        if setup.case.client == "multiconnect":
            groups = [[url] for url in urls]
        where = [setup.case.host, str(setup.port)]
        return [[self.program("gtlsclient"), *options, *where, *group] for group in groups]


def udp_port(process: int) -> int | None:
    """Where a process listens."""
    try:
        links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{process}/fd")]
    except OSError:
        return None
    sockets = {link[len("socket:["):-1] for link in links if link.startswith("socket:[")}
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        with open(table) as lines:
            for line in list(lines)[1:]:
                fields = line.split()
                if fields[9] in sockets:
                    return int(fields[1].rpartition(":")[2], 16)
    return None


class Setup:
    """The folder of one cell: what is served, what came, who is believed."""

    def __init__(self, folder: pathlib.Path, case: cases.Case, protocol: str, identity: Identity) -> None:
        self.folder, self.case, self.protocol, self.identity = folder, case, protocol, identity
        self.root, self.downloads = self.path("www"), self.path("downloads")
        self.key_log, self.qlog = folder / "keys", self.path("qlog")
        for path in (self.root, self.downloads, self.qlog):
            os.makedirs(path)
        dice = random.Random(case.name)
        self.names = case.names(len(case.files))
        for name, size in zip(self.names, case.files):
            (pathlib.Path(self.root) / name).write_bytes(dice.randbytes(size))
        #: Where clients go: the link.
        self.port = 0

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def listen(self) -> str:
        return f"[{self.case.host}]:0" if ":" in self.case.host else f"{self.case.host}:0"

    def urls(self) -> list[str]:
        host = f"[{self.case.host}]" if ":" in self.case.host else self.case.host
        return [f"https://{host}:{self.port}/{name}" for name in self.names]

    def environment(self, testcase: str | None, **more: str) -> dict[str, str]:
        return {**os.environ, "TESTCASE": testcase or self.case.name, "SSLKEYLOGFILE": str(self.key_log),
                "QLOGDIR": self.qlog, "PYTHONDONTWRITEBYTECODE": "1", **more}

    def compare(self) -> None:
        for name in self.names:
            wanted = (pathlib.Path(self.root) / name).read_bytes()
            came = pathlib.Path(self.downloads) / name
            if not came.is_file():
                raise Failed(f"{name[:12]} did not come")
            if came.read_bytes() != wanted:
                raise Failed(f"{name[:12]} came changed")


def end_with_parent() -> None:
    """A child must not outlive a matrix that was killed (PR_SET_PDEATHSIG of Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


async def run(case: cases.Case, client: Peer, server: Peer, protocol: str, setup: Setup) -> None:
    """One cell."""
    with open(setup.folder / "server.log", "wb") as log:
        process = await asyncio.create_subprocess_exec(
            *server.server(setup), env=setup.environment(case.server), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=log, preexec_fn=end_with_parent)
    link = None
    try:
        port = await server.port(process)
        link = Link((case.host, port), case.link)
        setup.port = link.address[1]
        await run_clients(case, client, setup)
        setup.compare()
    finally:
        if link:
            # A last CONNECTION_CLOSE may still be on its way.
            await asyncio.sleep(2 * case.link.delay + 0.02)
            link.close()
        await end(process)
    key_log = setup.key_log.read_text() if setup.key_log.exists() else ""
    case.check(Trace(link.seen, key_log), link)


async def run_clients(case: cases.Case, client: Peer, setup: Setup) -> None:
    urls = setup.urls()
    deadline = time.monotonic() + case.patience
    for command in client.clients(setup, urls):
        with open(setup.folder / "client.log", "ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, env=setup.environment(case.client, REQUESTS=" ".join(urls)), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, preexec_fn=end_with_parent)
        try:
            status = await asyncio.wait_for(process.wait(), deadline - time.monotonic())
        except asyncio.TimeoutError:
            raise Failed(f"the client was not done after {case.patience:.0f} s") from None
        finally:
            await end(process)
        if status == 127:
            raise Unsupported
        if status != 0:
            log = (setup.folder / "client.log").read_text(errors="replace").strip().splitlines()
            raise Failed(f"the client ended with {status}: {log[-1] if log else 'without a word'}")


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), 5)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()


class Matrix:
    def __init__(self, options, peers: dict[str, Peer]) -> None:
        self.options, self.peers = options, peers
        self.cells: dict[tuple[str, str, str], tuple[str, str]] = {}
        self.kept: dict[str, list[str]] = {}
        if options.results and options.results.exists():
            self.kept = json.loads(options.results.read_text())
        self.pairs = [
            (client, server) for client in options.clients for server in options.servers
            # The foreign programs among themselves are none of our business.
            if "tern" in (client, server)]

    async def fill(self) -> None:
        for case in self.options.cases:
            for client, server in self.pairs:
                began = time.monotonic()
                word, note = await self.cell(case, self.peers[client], self.peers[server])
                self.cells[case.name, client, server] = (word, note)
                self.keep(case.name, client, server)
                print(f"{word:12} {case.name:20} {client} -> {server}, {time.monotonic() - began:.1f} s"
                      + (f": {note}" if note else ""), flush=True)

    def keep(self, case: str, client: str, server: str) -> None:
        self.kept[f"{case} {client} {server}"] = list(self.cells[case, client, server])
        if self.options.results:
            self.options.results.write_text(json.dumps(self.kept, indent=1))

    def recall(self, names: list[str]) -> None:
        """Adds the cells of earlier runs, for the table."""
        for key, (word, note) in self.kept.items():
            self.cells.setdefault(tuple(key.split()), (word, note))
        pairs = {(client, server) for _, client, server in self.cells}
        self.pairs = [(client, server) for client in names for server in names if (client, server) in pairs]
        self.options.cases = [case for case in cases.CASES if any(key[0] == case.name for key in self.cells)]

    async def cell(self, case: cases.Case, client: Peer, server: Peer) -> tuple[str, str]:
        common = [name for name in client.protocols if name in server.protocols]
        protocol = "h3" if case.name == "http3" else next(iter(common), None)
        if protocol not in common:
            return "unsupported", "no common protocol"
        folder = pathlib.Path(tempfile.mkdtemp(prefix=f"tern-{case.name}-{client.name}-{server.name}-"))
        keeps = False
        try:
            identity = Identity(folder, case.intermediates)
            await run(case, client, server, protocol, Setup(folder, case, protocol, identity))
            return "ok", ""
        except Unsupported:
            return "unsupported", ""
        except cases.Unverified as doubt:
            return "ok?", str(doubt)
        except (Failed, cases.Wrong) as failure:
            known = KNOWN.get((case.name, client.name, server.name))
            keeps = self.options.keep and not known
            if known:
                return "known", known
            return "failed", f"{failure}" + (f" (kept in {folder})" if keeps else "")
        finally:
            if not keeps:
                shutil.rmtree(folder)

    def table(self) -> str:
        heads = [f"{client} → {server}" for client, server in self.pairs]
        rows = [["case", *heads], ["---"] * (1 + len(heads))]
        rows += [[case.name] + [self.cells.get((case.name, *pair), ("",))[0] for pair in self.pairs] for case in self.options.cases]
        text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
        notes = [f"- {case}, {client} → {server}: {note}" for (case, client, server), (_, note) in self.cells.items()
                 if note]
        return text + ("\n\n" + "\n".join(notes) if notes else "")

    @property
    def failures(self) -> int:
        return sum(word == "failed" for word, _ in self.cells.values())


def arguments(names: list[str]) -> argparse.Namespace:
    by_name = {case.name: case for case in cases.CASES}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="where interop-server and interop-client are")
    parser.add_argument("--cases", nargs="+", choices=by_name, default=list(by_name), metavar="CASE")
    parser.add_argument("--clients", nargs="+", choices=names, default=names)
    parser.add_argument("--servers", nargs="+", choices=names, default=names)
    parser.add_argument("--quick", action="store_true", help="small files over fast links")
    parser.add_argument("--keep", action="store_true", help="keep the folders of what failed")
    parser.add_argument("--moq", type=pathlib.Path, help="a Python with moq-rs: its QMux client meets our echo server")
    parser.add_argument(
        "--results", type=pathlib.Path, help="a JSON file that keeps the cells: those that do not run now stay as they were")
    parser.add_argument("--document", type=pathlib.Path, help="where the matrix is renewed, with date and versions")
    options = parser.parse_args()
    options.cases = [by_name[name].quick() if options.quick else by_name[name] for name in options.cases]
    return options


def main() -> int:
    options = arguments(["tern", "aioquic", "ngtcp2"])
    peers = {"tern": Tern(options.programs), "aioquic": Aioquic(), "ngtcp2": GTLS()}
    matrix = Matrix(options, peers)
    asyncio.run(matrix.fill())
    failures = matrix.failures
    matrix.recall(list(peers))
    qmux = qmux_with_moq(options) if options.moq else ""
    versions = ", ".join(f"{peer.name} {peer.version}" for peer in peers.values())
    text = f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}, client → server; {versions}\n\n{matrix.table()}\n{qmux}"
    print(f"\n{text}")
    if options.document:
        renew(options.document, text)
    return 1 if failures or "FAILED" in qmux else 0


def qmux_with_moq(options: argparse.Namespace) -> str:
    with tempfile.TemporaryDirectory(prefix="tern-moq-") as folder:
        identity = Identity(pathlib.Path(folder))
        found = subprocess.run(
            [options.moq, HERE / "moq_qmux.py", options.programs / "echo-server", identity.certificate, identity.key,
             identity.authority], capture_output=True, text=True, timeout=60)
    version = subprocess.run(
        [options.moq, "-c", "from importlib.metadata import version; print(version('moq-rs'), 'on moq-ffi', version('moq-ffi'))"],
        capture_output=True, text=True).stdout.strip()
    lines = found.stdout.splitlines()
    if found.returncode != 0 or not lines:
        lines.append(f"FAILED with exit code {found.returncode}: {found.stderr.strip()[-500:]}")
    return "\nQMux: the client of moq-rs " + version + " → tern\n\n" + "".join(f"- {line}\n" for line in lines)


def renew(document: pathlib.Path, text: str) -> None:
    """Puts `text` between the lines that mark its place."""
    before, _, rest = document.read_text().partition("<!-- matrix -->\n")
    _, _, after = rest.partition("<!-- end of the matrix -->\n")
    document.write_text(f"{before}<!-- matrix -->\n{text}<!-- end of the matrix -->\n{after}")


if __name__ == "__main__":
    sys.exit(main())
