# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""A client of the message protocol, written from Docs/PROTOCOL.md alone. It runs over both carriers."""

from __future__ import annotations

import asyncio
import os
import struct
from collections import defaultdict
from dataclasses import dataclass

import wire
from qmux import QMuxCarrier
from wire import Frame, Message, Reader, decode_frame, decode_message, decode_varint, encode_name, encode_varint

#: Nothing that a server does in a test takes longer than this.
PATIENCE = 60.0


@dataclass
class Target:
    """The server under test."""

    host: str
    port: int
    authority: str
    carrier: str
    #: Empty for a server in development mode.
    secret: bytes
    process: int

    async def carry(self, handler, carrier: str | None = None):
        if (carrier or self.carrier) == "tls":
            return await QMuxCarrier.connect(handler, self.host, self.port, self.authority)
        from quic import QUICCarrier

        return await QUICCarrier.connect(handler, self.host, self.port, self.authority)

    async def login(self, user: str, device: str = "default") -> Client:
        """A client of this user, by a token of the kind that the server wants."""
        return await self.client(token(self, user, dev=device) if self.secret else f"dev:{user}/{device}")

    async def client(self, token: str, carrier: str | None = None) -> Client:
        client = await self.stranger(carrier)
        await client.authenticate(token)
        return client

    async def stranger(self, carrier: str | None = None) -> Client:
        """A connection on which nothing was said yet."""
        client = Client()
        client.carrier = await asyncio.wait_for(self.carry(client, carrier), PATIENCE)
        return client


def token(target: Target, user: str, **claims: object) -> str:
    """A signed one; a claim that is None is left out."""
    values = {"sub": user, "aud": "tern", "exp": wire.in_seconds(600), **claims}
    return wire.json_web_token(target.secret, **{key: value for key, value in values.items() if value is not None})


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, code: int, text: str = "", message: Message | None = None) -> None:
        super().__init__(f"{code:#x} {text}")
        self.code = code
        self.message = message


@dataclass
class Closed(Exception):
    code: int | None
    by_application: bool
    reason: str


class Client:
    def __init__(self) -> None:
        self.carrier = None
        self.control: int | None = None
        self.requests: int | None = None
        self.user = self.device = 0
        self.welcome: Message | None = None
        self.buffers: dict[int, bytearray] = defaultdict(bytearray)
        self.readers: dict[int, int] = {}
        self.controls: asyncio.Queue[Message] = asyncio.Queue()
        self.answers: dict[int, asyncio.Queue[Message]] = defaultdict(asyncio.Queue)
        self.pushes: asyncio.Queue[Message] = asyncio.Queue()
        self.datagrams: asyncio.Queue[Message] = asyncio.Queue()
        self.responses: dict[int, asyncio.Future[Frame]] = {}
        self.endings: dict[int, asyncio.Future[tuple[str, int]]] = {}
        self.stops: dict[int, asyncio.Future[int]] = {}
        self.stray_responses: list[Frame] = []
        self.senders: dict[int, int] = {}
        self.next_identifier = 1
        self.ending: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()

    # What arrives; the carriers call these.

    def stream_data(self, stream: int, data: bytes, fin: bool) -> None:
        buffer = self.buffers[stream]
        buffer += data
        if stream not in self.readers and stream % 4 == 3 and buffer:
            kind, end = decode_varint(buffer)
            del buffer[:end]
            if kind != wire.CHANNEL_PUSH:
                self.carrier.stop(stream, wire.UNKNOWN_STREAM_KIND)
            self.readers[stream] = kind
        kind = self.readers.get(stream)
        if kind == wire.REQUESTS:
            self._frames(buffer)
        elif kind is not None:
            self._messages(stream, kind, buffer)
        if fin:
            self._end(stream, "finished", 0)

    def stream_reset(self, stream: int, code: int) -> None:
        self._end(stream, "reset", code)

    def stream_stopped(self, stream: int, code: int) -> None:
        stopped = self.stopped(stream)
        if not stopped.done():
            stopped.set_result(code)

    def datagram(self, data: bytes) -> None:
        found = decode_message(data)
        if found is None or found[1] != len(data):
            raise wire.WireError("a datagram that is not one message")
        self.datagrams.put_nowait(found[0])

    def closed(self, code: int | None, by_application: bool, reason: str) -> None:
        if not self.ending.done():
            self.ending.set_result(Closed(code, by_application, reason))

    def _end(self, stream: int, how: str, code: int) -> None:
        ended = self.ended(stream)
        if not ended.done():
            ended.set_result((how, code))

    def _messages(self, stream: int, kind: int, buffer: bytearray) -> None:
        while (found := decode_message(buffer)) is not None:
            message, end = found
            del buffer[:end]
            if kind == wire.CONTROL:
                self.controls.put_nowait(message)
            elif kind == wire.CHANNEL_SEND:
                self.answers[stream].put_nowait(message)
            else:
                self.pushes.put_nowait(message)

    def _frames(self, buffer: bytearray) -> None:
        while (found := decode_frame(buffer)) is not None:
            frame, end = found
            del buffer[:end]
            waiting = self.responses.pop(frame.identifier, None)
            if waiting is None:
                self.stray_responses.append(frame)
            elif not waiting.done():
                waiting.set_result(frame)

    # Streams.

    def open(self, kind: int) -> int:
        stream = self.carrier.open_stream()
        self.readers[stream] = kind
        self.carrier.write(stream, encode_varint(kind))
        return stream

    def ended(self, stream: int) -> asyncio.Future[tuple[str, int]]:
        """How the server ended its side of the stream."""
        return self.endings.setdefault(stream, asyncio.get_running_loop().create_future())

    def stopped(self, stream: int) -> asyncio.Future[int]:
        return self.stops.setdefault(stream, asyncio.get_running_loop().create_future())

    # Control.

    async def authenticate(self, token: str) -> None:
        self.control = self.open(wire.CONTROL)
        self.say(Message(
            wire.AUTHENTICATION, payload=token.encode(), extensions={wire.CLIENT_PROGRAM: b"interop 1"}))
        answer = await self.heard()
        if answer.type == wire.ERROR:
            raise Refused(answer.error_code, answer.payload.decode(), answer)
        assert answer.type == wire.AUTHENTICATION, answer
        body = Reader(answer.payload)
        self.user, self.device = body.number(8), body.number(4)
        self.maximum_payload, self.maximum_request, self.maximum_page = (body.number(4) for _ in range(3))
        self.window, self.durability = body.number(4), body.number(1)
        self.server, self.user_name, self.device_name = body.name(), body.name(), body.name()
        assert answer.receiver == self.user and answer.sender == 0 and answer.timestamp > 0
        self.welcome = answer

    def say(self, message: Message) -> None:
        self.carrier.write(self.control, message.encode())

    async def heard(self, *types: int) -> Message:
        """The next message on the control stream, of these types if any are named."""
        while True:
            message = await self.next(self.controls)
            if not types or message.type in types:
                return message

    async def next(self, queue: asyncio.Queue[Message]) -> Message:
        getting = asyncio.ensure_future(queue.get())
        await asyncio.wait({getting, self.ending}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            return getting.result()
        getting.cancel()
        raise self.ending.result() if self.ending.done() else asyncio.TimeoutError("nothing came in time")

    async def wait_ending(self) -> Closed:
        return await asyncio.wait_for(asyncio.shield(self.ending), PATIENCE)

    async def echo(self, payload: bytes = b"still here?") -> None:
        self.say(Message(wire.ECHO, sequence=77, payload=payload))
        answer = await self.heard(wire.ECHO, wire.ERROR)
        assert (answer.type, answer.payload, answer.sequence) == (wire.ECHO, payload, 77), answer

    # Sending.

    def text(self, receiver: int, payload: bytes, identifier: bytes | None = None, sequence: int = 0) -> Message:
        return Message(
            wire.TEXT, sender=self.user, receiver=receiver, sequence=sequence, payload=payload,
            extensions={wire.CLIENT_MESSAGE_ID: identifier or os.urandom(16)})

    def write(self, message: Message) -> int:
        """Writes it to the stream of its receiver; the answer comes on that stream."""
        if message.receiver not in self.senders:
            self.senders[message.receiver] = self.open(wire.CHANNEL_SEND)
        stream = self.senders[message.receiver]
        self.carrier.write(stream, message.encode())
        return stream

    async def send(self, message: Message) -> Message:
        """The acknowledgement."""
        answer = await self.next(self.answers[self.write(message)])
        return self.acknowledged(message, answer)

    def acknowledged(self, message: Message, answer: Message) -> Message:
        if answer.type == wire.ERROR:
            raise Refused(answer.error_code, answer.payload.decode(), answer)
        assert answer.type == wire.ACKNOWLEDGEMENT, answer
        assert answer.extensions[wire.CLIENT_MESSAGE_ID] == message.extensions[wire.CLIENT_MESSAGE_ID]
        assert (answer.sender, answer.receiver) == (self.user, message.receiver)
        assert answer.sequence > 0 and answer.number(wire.EPOCH) > 0 and answer.timestamp > 0
        assert answer.number(wire.DURABILITY) in (1, 2)
        return answer

    # Requests.

    async def request(self, resource: int, body: bytes = b"") -> Reader:
        if self.requests is None:
            self.requests = self.open(wire.REQUESTS)
        identifier, self.next_identifier = self.next_identifier, self.next_identifier + 1
        self.responses[identifier] = asyncio.get_running_loop().create_future()
        self.carrier.write(self.requests, Frame(identifier, resource, 0, body).encode())
        response = await asyncio.wait_for(self.responses[identifier], PATIENCE)
        assert response.resource == resource, response
        if response.status:
            failure = Reader(response.body)
            failure.take(5)
            raise Refused(response.status, failure.take(failure.number(2)).decode())
        return Reader(response.body)

    async def resolve(self, name: str, create: bool = True) -> int:
        return (await self.request(wire.RESOLVE_USER, bytes([create]) + encode_name(name))).number(8)

    async def create_group(self, name: str, open: bool = False, shares_history: bool = False) -> int:
        rules = bytes([open | shares_history << 1])
        return (await self.request(wire.CREATE_GROUP, encode_name(name) + rules)).number(8)

    async def invite(self, user: int, group: int) -> None:
        await self.request(wire.INVITE_MEMBER, struct.pack(">QQ", group, user))

    async def join(self, group: int) -> None:
        await self.request(wire.JOIN_GROUP, struct.pack(">Q", group))

    async def index(self, limit: int = 0) -> list[wire.ChannelState]:
        states, cursor = [], 0
        while True:
            page = await self.request(wire.SYNC_INDEX, struct.pack(">QH", cursor, limit))
            cursor = page.number(8)
            states += [wire.ChannelState.decode(entry) for entry in page.entries()]
            if cursor == 0:
                return states

    async def state(self, channel: tuple[int, int]) -> wire.ChannelState:
        return wire.ChannelState.decode(await self.request(wire.CHANNEL_STATE, wire.encode_channel(channel)))

    async def page(
        self, channel: tuple[int, int], first: int, backward: bool = False, limit: int = 0
    ) -> tuple[bool, list[Message]]:
        body = await self.request(
            wire.HISTORY, wire.encode_channel(channel) + struct.pack(">QBH", first, backward, limit))
        more, epoch, head, _, count = (
            bool(body.number(1) & 1), body.number(8), body.number(8), body.number(8), body.number(2))
        messages: list[Message] = []
        for _ in range(count):
            message, body.position = decode_message(body.data, body.position)
            assert message.number(wire.EPOCH) == epoch and message.sequence <= head
            assert not messages or message.sequence == messages[-1].sequence + 1, "history has no gaps"
            messages.append(message)
        return more, messages

    async def history(self, channel: tuple[int, int], first: int = 1, limit: int = 0) -> list[Message]:
        """Everything from `first` on."""
        messages: list[Message] = []
        while True:
            more, page = await self.page(channel, first, limit=limit)
            messages += page
            if not more:
                return messages
            first = page[-1].sequence + 1

    # The end.

    async def leave(self) -> None:
        self.carrier.close(0)
        await asyncio.wait_for(self.carrier.wait_closed(), PATIENCE)
