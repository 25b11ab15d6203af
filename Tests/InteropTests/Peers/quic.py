# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""The QUIC carrier, on aioquic; the same surface as qmux.QMuxCarrier."""

from __future__ import annotations

import asyncio
import socket

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection


class _Protocol(QuicConnectionProtocol):
    handler = None

    def quic_event_received(self, event: events.QuicEvent) -> None:
        if isinstance(event, events.StreamDataReceived):
            self.handler.stream_data(event.stream_id, event.data, event.end_stream)
        elif isinstance(event, events.StreamReset):
            self.handler.stream_reset(event.stream_id, event.error_code)
        elif isinstance(event, events.StopSendingReceived):
            self.handler.stream_stopped(event.stream_id, event.error_code)
        elif isinstance(event, events.DatagramFrameReceived):
            self.handler.datagram(event.data)
        elif isinstance(event, events.ConnectionTerminated):
            self.handler.closed(event.error_code, event.frame_type is None, event.reason_phrase)


class QUICCarrier:
    name = "quic"

    def __init__(self, protocol: _Protocol, transport: asyncio.DatagramTransport) -> None:
        self.protocol = protocol
        self.transport = transport
        self.connection = protocol._quic

    @classmethod
    async def connect(cls, handler, host: str, port: int, authority: str, alpn: str = "tern/1", **options) -> QUICCarrier:
        configuration = QuicConfiguration(
            is_client=True, alpn_protocols=[alpn], server_name="localhost", max_datagram_frame_size=65536,
            idle_timeout=30, **options)
        configuration.load_verify_locations(authority)

        def protocol() -> _Protocol:
            made = _Protocol(QuicConnection(configuration=configuration))
            made.handler = handler
            return made

        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        transport, made = await asyncio.get_running_loop().create_datagram_endpoint(
            protocol, local_addr=("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        made.connect((host, port))
        try:
            await made.wait_connected()
        except BaseException:
            transport.close()
            raise
        return cls(made, transport)

    def open_stream(self, bidirectional: bool = True) -> int:
        stream = self.connection.get_next_available_stream_id(is_unidirectional=not bidirectional)
        self.connection.send_stream_data(stream, b"")
        return stream

    def write(self, stream: int, data: bytes, fin: bool = False) -> None:
        try:
            self.connection.send_stream_data(stream, data, fin)
        except AssertionError:
            return  # The server stopped the stream, and aioquic has reset it.
        self.protocol.transmit()

    def reset(self, stream: int, code: int) -> None:
        self.connection.reset_stream(stream, code)
        self.protocol.transmit()

    def stop(self, stream: int, code: int) -> None:
        self.connection.stop_stream(stream, code)
        self.protocol.transmit()

    def send_datagram(self, data: bytes) -> None:
        self.connection.send_datagram_frame(data)
        self.protocol.transmit()

    def close(self, code: int = 0, reason: str = "") -> None:
        self.connection.close(error_code=code, reason_phrase=reason)
        self.protocol.transmit()

    async def wait_closed(self) -> None:
        await self.protocol.wait_closed()
        self.transport.close()

    def abort(self) -> None:
        """Ends it as a cut cable does: nothing is said to the peer."""
        self.protocol.transmit = lambda: None
        self.transport.abort()
