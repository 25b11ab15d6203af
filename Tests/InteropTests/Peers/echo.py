# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""An echo over aioquic, as server or as client; facts go to standard output as JSON lines.

echo.py server CERTIFICATE KEY ALPN
    Prints {"port": N}, echoes streams and datagrams of one connection, prints how it ended, and ends.
echo.py client PORT CA ALPN
    Sends what the tests want back, checks every byte, closes with application code 7, and prints what it saw.
"""
import asyncio
import json
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import stream_is_unidirectional
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    HandshakeCompleted,
    StreamDataReceived,
    StreamReset,
)


def tell(**facts):
    print(json.dumps(facts), flush=True)


def configuration(is_client, alpn):
    return QuicConfiguration(
        is_client=is_client, alpn_protocols=[alpn], max_datagram_frame_size=65535,
        max_data=16 << 20, max_stream_data=8 << 20)


class EchoServer(QuicConnectionProtocol):
    """Bidirectional streams come back as they came, unidirectional ones on a stream of our own."""

    ended = None
    answers = {}

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            tell(alpn=event.alpn_protocol)
        elif isinstance(event, StreamDataReceived):
            stream = event.stream_id
            if stream_is_unidirectional(stream):
                if stream not in self.answers:
                    self.answers[stream] = self._quic.get_next_available_stream_id(is_unidirectional=True)
                stream = self.answers[stream]
            self._quic.send_stream_data(stream, event.data, event.end_stream)
        elif isinstance(event, DatagramFrameReceived):
            self._quic.send_datagram_frame(event.data)
        elif isinstance(event, StreamReset):
            self._quic.reset_stream(event.stream_id, event.error_code)
        elif isinstance(event, ConnectionTerminated):
            tell(closed=event.error_code, reason=event.reason_phrase)
            if not EchoServer.ended.done():
                EchoServer.ended.set_result(None)


async def run_server(certificate, key, alpn):
    EchoServer.ended = asyncio.get_running_loop().create_future()
    settings = configuration(False, alpn)
    settings.load_cert_chain(certificate, key)
    server = await serve("127.0.0.1", 0, configuration=settings, create_protocol=EchoServer)
    tell(port=server._transport.get_extra_info("sockname")[1])
    await EchoServer.ended
    server.close()


class EchoClient(QuicConnectionProtocol):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.datagrams = asyncio.Queue()
        self.answer = asyncio.get_running_loop().create_future()
        self.answered = bytearray()

    def quic_event_received(self, event):
        if isinstance(event, DatagramFrameReceived):
            self.datagrams.put_nowait(event.data)
        elif isinstance(event, HandshakeCompleted):
            tell(alpn=event.alpn_protocol)
        elif isinstance(event, StreamDataReceived) and event.stream_id % 4 == 3:
            self.answered += event.data
            if event.end_stream:
                self.answer.set_result(bytes(self.answered))
        else:
            super().quic_event_received(event)

    async def echo(self, size):
        sent = bytes((31 * i + 17) % 251 for i in range(min(size, 251))) * (size // 251 + 1)
        sent = sent[:size]
        reader, writer = await self.create_stream()
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == sent, f"{size} bytes came back changed"


async def run_client(port, authority, alpn):
    settings = configuration(True, alpn)
    settings.load_verify_locations(authority)
    settings.verify_mode = ssl.CERT_REQUIRED
    settings.server_name = "localhost"
    async with connect("127.0.0.1", port, configuration=settings, create_protocol=EchoClient) as client:
        for size in (1, 1 << 20, 4 << 20):
            await client.echo(size)
        await asyncio.gather(*(client.echo(1000 + index) for index in range(30)))
        client._quic.send_datagram_frame(b"datagram")
        client.transmit()
        assert await client.datagrams.get() == b"datagram"
        stream = client._quic.get_next_available_stream_id(is_unidirectional=True)
        client._quic.send_stream_data(stream, b"one way", True)
        client.transmit()
        assert await client.answer == b"one way"
        tell(echoed=True)
        client.close(error_code=7, reason_phrase="enough")
        await client.wait_closed()


if __name__ == "__main__":
    if sys.argv[1] == "server":
        asyncio.run(run_server(*sys.argv[2:5]))
    else:
        asyncio.run(run_client(int(sys.argv[2]), *sys.argv[3:5]))
