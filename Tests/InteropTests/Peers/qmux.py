# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""A small client of QMux (draft-ietf-quic-qmux-02) over TLS 1.3 over TCP, written from the draft."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field

from wire import decode_varint, encode_varint

MAGIC = 0x3F5153300D0A0D0A
PING_REQUEST, PING_RESPONSE = 0x348C67529EF8C7BD, 0x348C67529EF8C7BE
MAX_RECORD_SIZE = 16382
RESET_STREAM, STOP_SENDING, STREAM, MAX_DATA, MAX_STREAM_DATA = 0x04, 0x05, 0x08, 0x10, 0x11
MAX_STREAMS_BIDI, MAX_STREAMS_UNI, DATA_BLOCKED, STREAM_DATA_BLOCKED = 0x12, 0x13, 0x14, 0x15
STREAMS_BLOCKED_BIDI, STREAMS_BLOCKED_UNI, CLOSE_TRANSPORT, CLOSE_APPLICATION = 0x16, 0x17, 0x1C, 0x1D
DATAGRAM, DATAGRAM_WITH_LENGTH = 0x30, 0x31
IDLE, DATA, DATA_BIDI_LOCAL, DATA_BIDI_REMOTE, DATA_UNI, STREAMS_BIDI, STREAMS_UNI = 0x01, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09
DATAGRAM_SIZE = 0x20
WINDOW = 1 << 20


class QMuxError(Exception):
    """The peer broke the draft."""


@dataclass
class Sending:
    """What waits to be sent on a stream, and how far the peer allows it."""

    limit: int
    offset: int = 0
    waiting: bytearray = field(default_factory=bytearray)
    fin: bool = False
    ended: bool = False


@dataclass
class Receiving:
    offset: int = 0
    limit: int = WINDOW
    ended: bool = False


def record(frames: bytes) -> bytes:
    return encode_varint(len(frames)) + frames


def varints(*values: int) -> bytes:
    return b"".join(encode_varint(value) for value in values)


def transport_parameters(streams: int = 100, window: int = WINDOW) -> bytes:
    """The first frame of a connection."""
    values = {
        IDLE: 30_000, DATA: 4 * window, DATA_BIDI_LOCAL: window, DATA_BIDI_REMOTE: window, DATA_UNI: window,
        STREAMS_BIDI: streams, STREAMS_UNI: streams, DATAGRAM_SIZE: MAX_RECORD_SIZE,
    }
    body = b"".join(varints(key, len(encode_varint(value)), value) for key, value in values.items())
    return varints(MAGIC, len(body)) + body


def tls_context(authority: str, alpn: str = "tern/1-qx02") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(authority)
    context.set_alpn_protocols([alpn])
    return context


class QMuxCarrier:
    """One connection. `handler` gets what arrives: stream_data, stream_reset, stream_stopped, datagram, closed."""

    name = "tls"

    def __init__(self, handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handler = handler
        self.reader = reader
        self.writer = writer
        self.parameters: dict[int, int] | None = None
        self.sending: dict[int, Sending] = {}
        self.receiving: dict[int, Receiving] = {}
        self.next_stream = {True: 0, False: 2}
        self.data_limit = self.data_sent = self.data_received = 0
        self.data_granted = 4 * WINDOW
        self.is_closed = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.ensure_future(self._read())

    @classmethod
    async def connect(cls, handler, host: str, port: int, authority: str, alpn: str = "tern/1-qx02") -> QMuxCarrier:
        reader, writer = await asyncio.open_connection(
            host, port, ssl=tls_context(authority, alpn), server_hostname="localhost", limit=1 << 20)
        if writer.get_extra_info("ssl_object").selected_alpn_protocol() != alpn:
            raise QMuxError("the server chose no application protocol")
        carrier = cls(handler, reader, writer)
        writer.write(record(transport_parameters()))
        await carrier.ready
        return carrier

    # What the application does.

    def open_stream(self, bidirectional: bool = True) -> int:
        stream = self.next_stream[bidirectional]
        self.next_stream[bidirectional] += 4
        self.sending[stream] = Sending(self.parameters.get(DATA_BIDI_REMOTE if bidirectional else DATA_UNI, 0))
        if bidirectional:
            self.receiving[stream] = Receiving()
        return stream

    def write(self, stream: int, data: bytes, fin: bool = False) -> None:
        sending = self.sending[stream]
        if sending.ended:
            return
        sending.waiting += data
        sending.fin = sending.fin or fin
        self._flush(stream)

    def reset(self, stream: int, code: int) -> None:
        sending = self.sending[stream]
        if not sending.ended:
            sending.ended = True
            self.write_frames(varints(RESET_STREAM, stream, code, sending.offset))

    def stop(self, stream: int, code: int) -> None:
        self.write_frames(varints(STOP_SENDING, stream, code))

    def send_datagram(self, data: bytes) -> None:
        self.write_frames(varints(DATAGRAM_WITH_LENGTH, len(data)) + data)

    def close(self, code: int = 0, reason: str = "") -> None:
        if not self.is_closed:
            self.is_closed = True
            self.write_frames(varints(CLOSE_APPLICATION, code, len(reason.encode())) + reason.encode())
            self.writer.close()

    async def wait_closed(self) -> None:
        await self.task

    def abort(self) -> None:
        """Ends it as a cut cable does: nothing is said to the peer."""
        self.is_closed = True
        self.writer.transport.abort()

    def write_frames(self, frames: bytes) -> None:
        if not self.writer.is_closing():
            self.writer.write(record(frames))

    # The wire.

    def _flush(self, stream: int) -> None:
        sending = self.sending[stream]
        while not sending.ended:
            room = min(
                len(sending.waiting), sending.limit - sending.offset, self.data_limit - self.data_sent,
                MAX_RECORD_SIZE - 32)
            last = sending.fin and room == len(sending.waiting)
            if room <= 0 and not last:
                return
            data = bytes(sending.waiting[:room])
            del sending.waiting[:room]
            self.write_frames(varints(STREAM | 0x06 | last, stream, sending.offset, room) + data)
            sending.offset += room
            self.data_sent += room
            sending.ended = last

    async def _read(self) -> None:
        closing = (None, False, "the byte stream ended")
        buffer = bytearray()
        try:
            while True:
                chunk = await self.reader.read(1 << 16)
                if not chunk:
                    break
                buffer += chunk
                closing = self._records(buffer) or closing
        except (OSError, ssl.SSLError) as error:
            closing = closing if closing[0] is not None else (None, False, str(error))
        except QMuxError as error:
            closing = (0x0A, False, f"refused by this client: {error}")
        finally:
            self.is_closed = True
            self.writer.close()
            if not self.ready.done():
                self.ready.set_exception(QMuxError(f"closed before the transport parameters: {closing}"))
            self.handler.closed(*closing)

    def _records(self, buffer: bytearray) -> tuple[int, bool, str] | None:
        closing = None
        while (size := decode_varint(buffer)) is not None:
            length, start = size
            if length > MAX_RECORD_SIZE:
                raise QMuxError(f"a record of {length} bytes")
            if len(buffer) < start + length:
                break
            frames = bytes(buffer[start : start + length])
            del buffer[: start + length]
            closing = self._frames(frames) or closing
        return closing

    def _frames(self, data: bytes) -> tuple[int, bool, str] | None:
        position = 0

        def number() -> int:
            nonlocal position
            found = decode_varint(data, position)
            if found is None:
                raise QMuxError("a frame that goes on after its record")
            position = found[1]
            return found[0]

        def take(count: int) -> bytes:
            nonlocal position
            if position + count > len(data):
                raise QMuxError("a frame that goes on after its record")
            position += count
            return data[position - count : position]

        while position < len(data):
            kind = number()
            if (self.parameters is None) != (kind == MAGIC):
                raise QMuxError(f"frame {kind:#x} instead of, or after, the transport parameters")
            if kind == MAGIC:
                self._accept_parameters(take(number()))
            elif STREAM <= kind < STREAM + 8:
                stream = number()
                offset = number() if kind & 4 else 0
                self._stream(stream, offset, take(number() if kind & 2 else len(data) - position), bool(kind & 1))
            elif kind == RESET_STREAM:
                stream, code, _ = number(), number(), number()
                self.receiving.setdefault(stream, Receiving()).ended = True
                self.handler.stream_reset(stream, code)
            elif kind == STOP_SENDING:
                stream, code = number(), number()
                self.handler.stream_stopped(stream, code)
                if stream in self.sending:
                    self.reset(stream, code)
            elif kind == MAX_DATA:
                self.data_limit = max(self.data_limit, number())
                for stream in list(self.sending):
                    self._flush(stream)
            elif kind == MAX_STREAM_DATA:
                stream, limit = number(), number()
                if stream in self.sending:
                    self.sending[stream].limit = max(self.sending[stream].limit, limit)
                    self._flush(stream)
            elif kind in (DATAGRAM, DATAGRAM_WITH_LENGTH):
                self.handler.datagram(take(number() if kind & 1 else len(data) - position))
            elif kind in (CLOSE_TRANSPORT, CLOSE_APPLICATION):
                code = number()
                if kind == CLOSE_TRANSPORT:
                    number()
                return code, kind == CLOSE_APPLICATION, take(number()).decode(errors="replace")
            elif kind == PING_REQUEST:
                self.write_frames(varints(PING_RESPONSE, number()))
            elif kind == STREAM_DATA_BLOCKED:
                number(), number()
            elif kind in (
                MAX_STREAMS_BIDI, MAX_STREAMS_UNI, DATA_BLOCKED, STREAMS_BLOCKED_BIDI, STREAMS_BLOCKED_UNI,
                PING_RESPONSE,
            ):
                number()
            elif kind != 0:
                raise QMuxError(f"frame {kind:#x}")
        return None

    def _accept_parameters(self, body: bytes) -> None:
        position = 0
        self.parameters = {}
        while position < len(body):
            key, position = decode_varint(body, position)
            length, position = decode_varint(body, position)
            value = decode_varint(body[position : position + length])
            self.parameters[key] = value[0] if value else 0
            position += length
        self.data_limit = self.parameters.get(DATA, 0)
        if not self.ready.done():
            self.ready.set_result(None)

    def _stream(self, stream: int, offset: int, data: bytes, fin: bool) -> None:
        receiving = self.receiving.setdefault(stream, Receiving())
        if offset != receiving.offset or receiving.ended:
            raise QMuxError(f"stream {stream} goes on at {offset} instead of {receiving.offset}")
        receiving.offset += len(data)
        self.data_received += len(data)
        receiving.ended = fin
        if receiving.offset > receiving.limit or self.data_received > self.data_granted:
            raise QMuxError("more than was allowed")
        if not fin and receiving.limit - receiving.offset < WINDOW // 2:
            receiving.limit = receiving.offset + WINDOW
            self.write_frames(varints(MAX_STREAM_DATA, stream, receiving.limit))
        if self.data_granted - self.data_received < 2 * WINDOW:
            self.data_granted = self.data_received + 4 * WINDOW
            self.write_frames(varints(MAX_DATA, self.data_granted))
        if fin and stream & 0x03 == 3:
            # Each push stream that ended makes room for another one.
            self.ended_push = getattr(self, "ended_push", 0) + 1
            self.write_frames(varints(MAX_STREAMS_UNI, 100 + self.ended_push))
        self.handler.stream_data(stream, data, fin)
