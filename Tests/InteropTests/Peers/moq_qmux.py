# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""QMux with a foreign implementation: the client of moq-rs (the crate qmux inside) against our echo server.

moq-rs speaks QMux on plain TCP, our server on TLS; a pipe in between adds TLS and reads the records that pass. The echo is no
MoQ server, so moq-rs leaves when its own first message comes back; until then the layer below must have worked in both directions.

moq_qmux.py ECHO_SERVER CERTIFICATE KEY AUTHORITY
    Needs the package moq-rs. Prints "ok NAME" for each thing that was seen, and exits with 0 if all were.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from collections import defaultdict

import moq
from qmux import CLOSE_TRANSPORT, MAGIC, PING_REQUEST, PING_RESPONSE
from wire import decode_varint

PATIENCE = 60


class Records:
    """What went one way: record by record, frame by frame."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.frames: list[int] = []
        self.streams: dict[int, bytearray] = defaultdict(bytearray)

    def receive(self, data: bytes) -> None:
        self.buffer += data
        while True:
            head = decode_varint(self.buffer, 0)
            if head is None or len(self.buffer) < head[1] + head[0]:
                return
            record = bytes(self.buffer[head[1]:head[1] + head[0]])
            del self.buffer[:head[1] + head[0]]
            self.read(record)

    def read(self, record: bytes) -> None:
        position = 0

        def number() -> int:
            nonlocal position
            value, position = decode_varint(record, position)
            return value

        while position < len(record):
            kind = number()
            self.frames.append(kind)
            if kind == MAGIC:
                position += number()
            elif 0x08 <= kind <= 0x0F:
                stream = number()
                if kind & 4:
                    number()
                size = number() if kind & 2 else len(record) - position
                self.streams[stream] += record[position:position + size]
                position += size
            elif kind in (PING_REQUEST, PING_RESPONSE):
                number()
            elif kind in (0x1C, 0x1D):
                number()
                if kind == CLOSE_TRANSPORT:
                    number()
                position += number()
            elif kind in (0x30, 0x31):
                position = position + number() if kind == 0x31 else len(record)
            else:
                for _ in range({0x00: 0, 0x04: 3, 0x24: 4}.get(kind, 2 if kind in (0x05, 0x11, 0x15) else 1)):
                    number()


async def pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter, records: Records) -> None:
    try:
        while data := await source.read(1 << 16):
            records.receive(data)
            target.write(data)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()


async def converse(port: int, authority: str) -> tuple[Records, Records]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(authority)
    context.set_alpn_protocols(["echo-qx02"])
    sent, received = Records(), Records()
    done = asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        await asyncio.gather(pipe(reader, server[1], sent), pipe(server[0], writer, received))
        done.set()

    relay = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        async with moq.Client(f"tcp://127.0.0.1:{relay.sockets[0].getsockname()[1]}/echo", reconnect=False):
            pass
    except Exception as error:
        print("moq-rs:", error, file=sys.stderr)
    await done.wait()
    relay.close()
    return sent, received


def check(name: str, condition: bool) -> bool:
    print("ok" if condition else "FAILED", name, flush=True)
    return condition


def main(program: str, certificate: str, key: str, authority: str) -> int:
    server = subprocess.Popen(
        [program, "--listen", "127.0.0.1:0", "--certificate", certificate, "--key", key], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline().split()[-1])
        sent, received = asyncio.run(asyncio.wait_for(converse(port, authority), PATIENCE))
    finally:
        server.terminate()
        server.wait()
    opened = [stream for stream, data in sent.streams.items() if data]
    return 0 if all([
        check("transport parameters first, both ways", sent.frames[:1] == [MAGIC] and received.frames[:1] == [MAGIC]),
        check("moq-rs opened streams", bool(opened)),
        check("their bytes came back", any(
            data and any(other.startswith(data) for other in sent.streams.values())
            for data in received.streams.values())),
        check("pings are answered", sent.frames.count(PING_RESPONSE) == received.frames.count(PING_REQUEST)
              and received.frames.count(PING_RESPONSE) == sent.frames.count(PING_REQUEST)),
        check("nobody found an error of QMux", CLOSE_TRANSPORT not in sent.frames + received.frames),
    ]) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
