# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""What Examples/Echo/README.md promises of the echo server, asked by foreign clients: aioquic over QUIC, and QMux over TLS.

echo_contract.py PORT CA SERVER_PROCESS quic|tls
    Prints "ok NAME" for each promise that was kept; at the end the server is sent SIGINT and must close the connection.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import defaultdict

#: Nothing here takes longer.
PATIENCE = 60.0


class Client:
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.carrier = None
        self.bytes: dict[int, bytearray] = defaultdict(bytearray)
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.datagrams: list[bytes] = []
        self.close: tuple[int, bool] | None = None
        self.changed = asyncio.Condition()

    def stream_data(self, stream: int, data: bytes, fin: bool) -> None:
        self.bytes[stream] += data
        if fin:
            self.ended.add(stream)
        self.notify()

    def stream_reset(self, stream: int, code: int) -> None:
        self.resets[stream] = code
        self.notify()

    def stream_stopped(self, stream: int, code: int) -> None:
        pass

    def datagram(self, data: bytes) -> None:
        self.datagrams.append(data)
        self.notify()

    def closed(self, code: int, by_application: bool, reason: str) -> None:
        self.close = (code, by_application)
        self.notify()

    def notify(self) -> None:
        asyncio.ensure_future(self._notify())

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition) -> None:
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(condition), PATIENCE)

    def answer_to(self, data: bytes) -> int | None:
        """The stream of the server's that carries this."""
        return next((stream for stream, came in self.bytes.items() if stream % 4 == 3 and came == data), None)


async def streams(client: Client) -> None:
    """Many at once, each in pieces that alternate with those of the others."""
    dice = random.Random(1)
    sent = {client.carrier.open_stream(): dice.randbytes(dice.randrange(1, 20_000)) for _ in range(90)}
    for start in range(0, 20_000, 1_000):
        for stream, data in sent.items():
            if start < len(data):
                client.carrier.write(stream, data[start:start + 1_000], fin=start + 1_000 >= len(data))
        await asyncio.sleep(0)
    await client.until(lambda: client.ended >= sent.keys())
    for stream, data in sent.items():
        assert client.bytes[stream] == data, f"stream {stream} came back changed"


async def nothing_is_answered_by_nothing(client: Client) -> None:
    stream = client.carrier.open_stream()
    client.carrier.write(stream, b"", fin=True)
    await client.until(lambda: stream in client.ended)
    assert not client.bytes[stream]


async def a_waiting_stream_holds_up_no_other(client: Client) -> None:
    waiting, other = client.carrier.open_stream(), client.carrier.open_stream()
    client.carrier.write(waiting, b"begun")
    client.carrier.write(other, b"whole", fin=True)
    await client.until(lambda: other in client.ended)
    client.carrier.write(waiting, b", ended", fin=True)
    await client.until(lambda: waiting in client.ended)
    assert client.bytes[waiting] == b"begun, ended"


async def one_way(client: Client) -> None:
    texts = [f"one way {number}".encode() * (1 + number * 50) for number in range(40)]
    for text in texts:
        client.carrier.write(client.carrier.open_stream(bidirectional=False), text, fin=True)
    await client.until(lambda: all(client.answer_to(text) in client.ended for text in texts))


async def datagrams(client: Client) -> None:
    wanted = {f"datagram {number}".encode() * 20 for number in range(20)}
    while not wanted <= set(client.datagrams):
        for text in wanted - set(client.datagrams):
            client.carrier.send_datagram(text)
        try:
            async with client.changed:
                await asyncio.wait_for(client.changed.wait_for(lambda: wanted <= set(client.datagrams)), 1)
        except asyncio.TimeoutError:
            pass  # They may be lost.


async def resets(client: Client) -> None:
    for code in (0, 7, 0x1234, (1 << 62) - 1):
        stream = client.carrier.open_stream()
        client.carrier.write(stream, b"some")
        await client.until(lambda: client.bytes[stream] == b"some")
        client.carrier.reset(stream, code)
        await client.until(lambda: stream in client.resets)
        assert client.resets[stream] == code, f"reset with {client.resets[stream]} instead of {code}"


async def one_way_resets(client: Client) -> None:
    stream = client.carrier.open_stream(bidirectional=False)
    client.carrier.write(stream, b"one way, given up")
    await client.until(lambda: client.answer_to(b"one way, given up") is not None)
    client.carrier.reset(stream, 99)
    answer = client.answer_to(b"one way, given up")
    await client.until(lambda: answer in client.resets)
    assert client.resets[answer] == 99


async def stops(client: Client) -> None:
    """RFC 9000, section 3.5: STOP_SENDING is answered by RESET_STREAM, with the same code if there is no better one."""
    stream = client.carrier.open_stream()
    client.carrier.write(stream, b"stop")
    await client.until(lambda: client.bytes[stream] == b"stop")
    client.carrier.stop(stream, 77)
    await client.until(lambda: stream in client.resets)
    assert client.resets[stream] == 77
    # What still comes is dropped, and harms nothing.
    client.carrier.write(stream, b"more", fin=True)


PROMISES = [
    streams, nothing_is_answered_by_nothing, a_waiting_stream_holds_up_no_other, one_way, datagrams, resets, one_way_resets,
    stops, streams,
]


async def main(port: str, authority: str, server: str, carrier: str) -> None:
    client = Client()
    if carrier == "tls":
        from qmux import QMuxCarrier

        client.carrier = await QMuxCarrier.connect(client, "127.0.0.1", int(port), authority, alpn="echo-qx02")
    else:
        from quic import QUICCarrier

        client.carrier = await QUICCarrier.connect(client, "127.0.0.1", int(port), authority, alpn="echo")
    for promise in PROMISES:
        await asyncio.wait_for(promise(client), 2 * PATIENCE)
        print("ok", promise.__name__, flush=True)
    os.kill(int(server), signal.SIGINT)
    await client.until(lambda: client.close is not None)
    assert client.close == (0, True), f"the server closed with {client.close}"
    print("ok close", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
