# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""A foreign endpoint of the quic-interop-runner on aioquic: files over HTTP/0.9 (ALPN "hq-interop"), or HTTP/3 in its case.

hq.py server --listen HOST:PORT --root DIR --certificate PEM --key PEM
    Prints "QUIC on port N" when clients can connect.
hq.py client --downloads DIR --ca FILE [URL ...]

Both read TESTCASE, SSLKEYLOGFILE and QLOGDIR, the client REQUESTS too. Exit code 1: a file did not come; 127: not supported.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pathlib
import signal
import ssl
import sys
import urllib.parse

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import HandshakeCompleted, ProtocolNegotiated, StreamDataReceived, StreamReset
from aioquic.quic.logger import QuicFileLogger
from aioquic.tls import CipherSuite

#: What aioquic cannot do: it neither marks packets nor counts marks.
UNSUPPORTED = {"ecn", "v2"}


def configuration(is_client: bool, case: str) -> QuicConfiguration:
    settings = QuicConfiguration(
        is_client=is_client, alpn_protocols=H3_ALPN if case == "http3" else ["hq-interop"], max_data=16 << 20, max_stream_data=8 << 20, idle_timeout=60)
    if os.environ.get("SSLKEYLOGFILE"):
        settings.secrets_log_file = open(os.environ["SSLKEYLOGFILE"], "a", buffering=1)
    if os.environ.get("QLOGDIR"):
        settings.quic_logger = QuicFileLogger(os.environ["QLOGDIR"])
    if case == "chacha20":
        settings.cipher_suites = [CipherSuite.CHACHA20_POLY1305_SHA256]
    return settings


# The server.


class FileServer(QuicConnectionProtocol):
    root: pathlib.Path

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.requests: dict[int, bytearray] = {}
        self.http: H3Connection | None = None

    def quic_event_received(self, event) -> None:
        if isinstance(event, ProtocolNegotiated) and event.alpn_protocol in H3_ALPN:
            self.http = H3Connection(self._quic)
        if self.http is not None:
            for request in self.http.handle_event(event):
                if isinstance(request, HeadersReceived):
                    self.answer_http3(request)
            return
        if not isinstance(event, StreamDataReceived) or event.stream_id % 4:
            return
        request = self.requests.setdefault(event.stream_id, bytearray())
        request += event.data
        if not (event.end_stream or b"\n" in request):
            return
        if not request:
            return  # The end of a stream whose request came before.
        path = request.decode().removeprefix("GET ").strip().lstrip("/")
        request.clear()
        file = self.root / path
        if file.is_file():
            self._quic.send_stream_data(event.stream_id, file.read_bytes(), end_stream=True)
        else:
            self._quic.reset_stream(event.stream_id, 1)
        self.transmit()

    def answer_http3(self, request: HeadersReceived) -> None:
        file = self.root / dict(request.headers)[b":path"].decode().lstrip("/")
        found = file.is_file()
        self.http.send_headers(request.stream_id, [(b":status", b"200" if found else b"404")], end_stream=not found)
        if found:
            self.http.send_data(request.stream_id, file.read_bytes(), end_stream=True)
        self.transmit()


async def run_server(options, case: str) -> None:
    FileServer.root = pathlib.Path(options.root)
    settings = configuration(False, case)
    settings.load_cert_chain(options.certificate, options.key)
    tickets: dict[bytes, object] = {}
    host, _, port = options.listen.rpartition(":")
    server = await serve(
        host.strip("[]"), int(port), configuration=settings, create_protocol=FileServer, retry=case == "retry",
        session_ticket_handler=lambda ticket: tickets.__setitem__(ticket.ticket, ticket),
        # Each ticket once: a copy of an early request is not answered again.
        session_ticket_fetcher=lambda name: tickets.pop(name, None))
    print("QUIC on port", server._transport.get_extra_info("sockname")[1], flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    server.close()


# The client.


class FileClient(QuicConnectionProtocol):
    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.answers: dict[int, asyncio.Future] = {}
        self.bytes: dict[int, bytearray] = {}
        self.is_resumed = self.is_early = False
        self.http: H3Connection | None = None

    def quic_event_received(self, event) -> None:
        if isinstance(event, ProtocolNegotiated) and event.alpn_protocol in H3_ALPN:
            self.http = H3Connection(self._quic)
        if self.http is not None:
            for answer in self.http.handle_event(event):
                self.received_http3(answer)
            if isinstance(event, StreamDataReceived):
                return
        if isinstance(event, HandshakeCompleted):
            self.is_resumed, self.is_early = event.session_resumed, event.early_data_accepted
        elif isinstance(event, StreamDataReceived) and event.stream_id in self.answers:
            self.bytes[event.stream_id] += event.data
            answer = self.answers[event.stream_id]
            if event.end_stream and not answer.done():
                answer.set_result(bytes(self.bytes.pop(event.stream_id)))
        elif isinstance(event, StreamReset) and event.stream_id in self.answers:
            self.answers[event.stream_id].set_exception(FileNotFoundError(f"stream reset with {event.error_code}"))
        elif not isinstance(event, (StreamDataReceived, StreamReset)):
            super().quic_event_received(event)

    def request(self, path: str) -> asyncio.Future:
        stream = self._quic.get_next_available_stream_id()
        self.bytes[stream] = bytearray()
        answer = self.answers[stream] = asyncio.get_running_loop().create_future()
        if self.http is not None:
            fields = {":method": "GET", ":scheme": "https", ":authority": "localhost", ":path": path}
            self.http.send_headers(
                stream, [(name.encode(), value.encode()) for name, value in fields.items()], end_stream=True)
            return answer
        self._quic.send_stream_data(stream, f"GET {path}\r\n".encode(), end_stream=True)
        return answer

    def received_http3(self, event) -> None:
        answer = self.answers.get(event.stream_id)
        if isinstance(event, HeadersReceived) and dict(event.headers)[b":status"] != b"200":
            answer.set_exception(FileNotFoundError(str(event.headers)))
        elif isinstance(event, DataReceived):
            self.bytes[event.stream_id] += event.data
        if event.stream_ended and not answer.done():
            answer.set_result(bytes(self.bytes.pop(event.stream_id)))

    async def move(self) -> None:
        """Goes on from another port, with another connection ID."""
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Inlet(self), local_addr=("::", 0))
        before, self._transport = self._transport, transport
        self.change_connection_id()
        await self.ping()
        before.close()


class Inlet(asyncio.DatagramProtocol):
    """What comes to a client's new port."""

    def __init__(self, client: FileClient) -> None:
        self.client = client

    def datagram_received(self, data: bytes, address: tuple) -> None:
        self.client.datagram_received(data, address)


class Client:
    def __init__(self, options, case: str) -> None:
        self.options, self.case = options, case
        self.ticket = None

    async def fetch(self, urls: list[str]) -> None:
        parts = [urllib.parse.urlsplit(url) for url in urls]
        settings = configuration(True, self.case)
        settings.load_verify_locations(self.options.ca)
        settings.verify_mode = ssl.CERT_REQUIRED
        settings.session_ticket = self.ticket
        is_early = self.ticket is not None and self.case == "zerortt"
        tickets: asyncio.Queue = asyncio.Queue()
        async with connect(
                parts[0].hostname, parts[0].port or 443, configuration=settings, create_protocol=FileClient,
                session_ticket_handler=tickets.put_nowait, wait_connected=not is_early) as client:
            answers = [client.request(part.path) for part in parts]
            client.transmit()
            if is_early:
                await client.wait_connected()
            if self.case == "keyupdate":
                client.request_key_update()
                await client.ping()
            if self.case == "connectionmigration":
                # The server's other connection IDs are there when it has answered.
                await client.ping()
                await client.move()
            for part, answer in zip(parts, answers):
                self.store(part.path, await answer)
            if self.case in ("resumption", "zerortt"):
                if self.ticket is None:
                    self.ticket = await asyncio.wait_for(tickets.get(), 10)
                elif not client.is_resumed:
                    raise RuntimeError("the session was not resumed")

    def store(self, path: str, data: bytes) -> None:
        if self.options.downloads != "-":
            (pathlib.Path(self.options.downloads) / os.path.basename(path)).write_bytes(data)

    async def run(self, urls: list[str]) -> None:
        if self.case in ("resumption", "zerortt"):
            groups = [urls[:1], urls[1:]]
        elif self.case in ("multiconnect", "handshakeloss", "handshakecorruption"):
            groups = [[url] for url in urls]
        else:
            groups = [urls]
        for group in groups:
            await self.fetch(group)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("--listen", default="[::]:443")
    parser.add_argument("--root", default="/www")
    parser.add_argument("--certificate", default="/certs/cert.pem")
    parser.add_argument("--key", default="/certs/priv.key")
    parser.add_argument("--downloads", default="/downloads")
    parser.add_argument("--ca", default="/certs/ca.pem")
    parser.add_argument("urls", nargs="*")
    options = parser.parse_args()
    case = os.environ.get("TESTCASE") or "transfer"
    if case in UNSUPPORTED:
        return 127
    if options.role == "server":
        asyncio.run(run_server(options, case))
        return 0
    try:
        asyncio.run(Client(options, case).run(options.urls + os.environ.get("REQUESTS", "").split()))
        return 0
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
