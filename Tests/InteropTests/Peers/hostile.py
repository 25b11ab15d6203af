# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""Attacks on a running server, each followed by a look at it: a good client must be served as before, over both carriers,
and the server's memory and descriptors must be bounded. hostile.py --help."""

from __future__ import annotations

import asyncio
import os
import random
import struct
import sys
import time
import traceback

import wire
from client import PATIENCE, Client, Refused, Target
from message_client import arguments, name, target_of
from wire import Frame, Message, encode_name, encode_varint

#: Random, but the same in every run.
dice = random.Random(20260601)

#: By name: the attack and how many mebibytes the server may have more afterwards than before it.
ATTACKS = {}


def attack(carriers: str = "quic tls", mebibytes: int = 48):
    def enter(function):
        ATTACKS[function.__name__.replace("_", "-")] = (function, carriers.split(), mebibytes)
        return function

    return enter


class Watch:
    """Memory and descriptors of the server's process."""

    def __init__(self, process: int) -> None:
        self.process = process
        self.descriptors = self.count()
        self.memory = self.resident()
        self.peak = 0

    def resident(self) -> int:
        """In KiB."""
        with open(f"/proc/{self.process}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    def count(self) -> int:
        return len(os.listdir(f"/proc/{self.process}/fd"))

    async def observe(self) -> None:
        """Remembers the peak, until it is cancelled."""
        while True:
            self.peak = max(self.peak, self.resident())
            await asyncio.sleep(0.05)

    async def settled(self, extra: int, seconds: float) -> int:
        """The number of descriptors when it came down to what it was, or when time is up."""
        end = time.monotonic() + seconds
        while self.count() > self.descriptors + extra and time.monotonic() < end:
            await asyncio.sleep(0.1)
        return self.count()


async def good_client(target: Target) -> float:
    """How long a client that does everything right needs on the slower carrier."""
    slowest = 0.0
    for carrier in ("quic", "tls"):
        start = time.monotonic()
        client = await asyncio.wait_for(friend(target, carrier), PATIENCE)
        await client.echo()
        answer = await client.send(client.text(client.user, b"a note"))
        assert answer.sequence == 1
        log = await client.history((client.user, client.user))
        assert [message.payload for message in log] == [b"a note"]
        await client.leave()
        slowest = max(slowest, time.monotonic() - start)
    return slowest


async def friend(target: Target, carrier: str | None = None) -> Client:
    user = name("good")
    token = wire.json_web_token(target.secret, sub=user, aud="tern", exp=wire.in_seconds(600)) if target.secret \
        else f"dev:{user}"
    return await target.client(token, carrier)


async def closes_with(client: Client, *codes: int) -> None:
    ending = await client.wait_ending()
    assert ending.code in codes and ending.by_application, f"{ending} instead of {[hex(code) for code in codes]}"


async def quietly(awaitable) -> None:
    try:
        await asyncio.wait_for(awaitable, PATIENCE)
    except Exception:
        pass


# Streams and messages.


def good_message(client: Client, receiver: int | None = None) -> bytes:
    return client.text(receiver or client.user, b"hello, hello").encode()


@attack()
async def truncated_streams(target: Target) -> None:
    """Every kind of stream ends at every length, by FIN and by reset."""
    client = await friend(target)
    bodies = {
        wire.CHANNEL_SEND: good_message(client),
        wire.REQUESTS: Frame(1, wire.RESOLVE_USER, 0, b"\x01" + encode_name("somebody")).encode(),
    }
    for kind, body in bodies.items():
        data = encode_varint(kind) + body
        for length in range(len(data)):
            stream = client.carrier.open_stream()
            client.carrier.write(stream, data[:length], True)
            how, code = await asyncio.wait_for(client.ended(stream), PATIENCE)
            if length == 0:
                assert (how, code) == ("reset", wire.STREAM_MALFORMED), (kind, length, how, code)
            else:
                assert how == "finished", (kind, length, how, hex(code))
            answer = bytes(client.buffers[stream])
            if length <= 1:
                assert not answer, (kind, length, answer)
            elif kind == wire.REQUESTS:
                frame, _ = wire.decode_frame(answer)
                assert (frame.identifier, frame.resource, frame.status) == (0, 0, wire.MALFORMED), (length, frame)
            else:
                message, _ = wire.decode_message(answer)
                assert message.error_code == wire.MALFORMED, (length, message)
            stream = client.carrier.open_stream()
            client.carrier.write(stream, data[:length])
            client.carrier.reset(stream, wire.STREAM_CANCELLED)
    await client.echo()
    await client.leave()


@attack()
async def truncated_control(target: Target) -> None:
    """The control stream ends inside its first message."""
    whole = encode_varint(wire.CONTROL) + Message(wire.AUTHENTICATION, payload=b"dev:someone").encode()
    for length in list(range(0, len(whole), 5)) + [len(whole) - 1]:
        client = await target.stranger()
        stream = client.carrier.open_stream()
        client.readers[stream] = wire.CONTROL
        client.carrier.write(stream, whole[:length], True)
        await client.wait_ending()


@attack()
async def oversized_messages(target: Target) -> None:
    client = await friend(target)
    for size in (client.maximum_payload + 1, (1 << 20) - 1):
        stream = client.open(wire.CHANNEL_SEND)
        message = client.text(client.user, bytes(size), sequence=9)
        client.carrier.write(stream, message.encode() + good_message(client))
        error = await client.next(client.answers[stream])
        assert (error.error_code, error.sequence) == (wire.PAYLOAD_TOO_LARGE, 9), error
        assert error.extensions[wire.CLIENT_MESSAGE_ID] == message.extensions[wire.CLIENT_MESSAGE_ID]
        assert (await client.next(client.answers[stream])).type == wire.ACKNOWLEDGEMENT
        client.say(Message(wire.ECHO, sequence=3, payload=bytes(size)))
        error = await client.heard(wire.ERROR)
        assert (error.error_code, error.sequence) == (wire.PAYLOAD_TOO_LARGE, 3), error
        await client.echo()
    # A header alone that promises a mebibyte, on many streams: promises cost nothing.
    for _ in range(90):
        stream = client.open(wire.CHANNEL_SEND)
        client.carrier.write(stream, client.text(client.user, b"").header(0, (1 << 20) - 1))
    await client.echo()
    # A token over its limit.
    stranger = await target.stranger()
    for size in (8193, (1 << 20) - 1):
        stranger = await target.stranger()
        try:
            await stranger.authenticate("x" * size)
            raise AssertionError("a token of that size")
        except Refused as error:
            assert error.code in (wire.UNAUTHENTICATED, wire.PAYLOAD_TOO_LARGE), error
        await closes_with(stranger, wire.AUTHENTICATION_FAILED)
    await client.leave()


@attack()
async def other_versions(target: Target) -> None:
    client = await friend(target)
    stream = client.open(wire.CHANNEL_SEND)
    unknown = client.text(client.user, b"from the future")
    unknown.version = 2
    client.carrier.write(stream, good_message(client) + unknown.encode())
    assert (await client.next(client.answers[stream])).type == wire.ACKNOWLEDGEMENT
    error = await client.next(client.answers[stream])
    assert error.error_code == wire.UNSUPPORTED_VERSION and error.extensions[wire.SUPPORTED_VERSIONS] == b"\x01\x01"
    assert await asyncio.wait_for(client.ended(stream), PATIENCE) == ("finished", 0)
    assert await asyncio.wait_for(client.stopped(stream), PATIENCE) == wire.STREAM_UNSUPPORTED_VERSION
    for version in (0, 2, 63):
        client.carrier.send_datagram(Message(wire.TYPING, version=version, payload=b"\x01").encode())
    await client.echo()
    client.say(Message(wire.ECHO, version=63))
    assert (await client.heard(wire.ERROR)).error_code == wire.UNSUPPORTED_VERSION
    await closes_with(client, wire.CLOSE_UNSUPPORTED_VERSION)
    stranger = await target.stranger()
    stranger.control = stranger.open(wire.CONTROL)
    stranger.say(Message(wire.AUTHENTICATION, version=0, payload=b"dev:x"))
    assert (await stranger.heard(wire.ERROR)).error_code == wire.UNSUPPORTED_VERSION
    await closes_with(stranger, wire.CLOSE_UNSUPPORTED_VERSION)


@attack()
async def broken_extensions(target: Target) -> None:
    client = await friend(target)
    stream = client.open(wire.CHANNEL_SEND)
    identifier = bytes([0x80 | wire.CLIENT_MESSAGE_ID, 16]) + os.urandom(16)
    areas = {
        identifier + b"\xff\x00": wire.UNKNOWN_CRITICAL_EXTENSION,
        identifier + b"\x8c\x00": wire.UNKNOWN_CRITICAL_EXTENSION,
        b"\x81\xff" + bytes(18): wire.MALFORMED,
        b"\x81\x0f" + bytes(15) + bytes(3): wire.MALFORMED,
        identifier + identifier: wire.MALFORMED,
        identifier + b"\x7f\xff": wire.MALFORMED,
        identifier + b"\x00\x01": wire.MALFORMED,
        bytes(20): wire.MALFORMED,
        b"": wire.MALFORMED,
        b"\x7f\x00" * 126: wire.MALFORMED,
    }
    for number, (area, code) in enumerate(areas.items(), 1):
        area += bytes(-len(area) % 4)
        message = Message(wire.TEXT, receiver=client.user, sequence=number)
        client.carrier.write(stream, message.header(len(area), 2) + area + b"hi")
        error = await client.next(client.answers[stream])
        assert (error.error_code, error.sequence) == (code, number), (area.hex(), hex(code), error)
        client.say(Message(wire.ECHO))
        assert (await client.heard()).type == wire.ECHO
    for area in list(areas)[:8]:
        area += bytes(-len(area) % 4)
        client.carrier.write(client.control, Message(wire.RECEIPT, receiver=client.user).header(len(area), 0) + area)
        assert (await client.heard()).type == wire.ERROR
        client.carrier.send_datagram(Message(wire.TYPING, receiver=client.user).header(len(area), 1) + area + b"\x01")
    await client.echo()
    await client.leave()


@attack()
async def before_authentication(target: Target) -> None:
    for first in (wire.PING, wire.ECHO, wire.RECEIPT, wire.GO_OFFLINE, wire.TEXT, 4095):
        client = await target.stranger()
        client.control = client.open(wire.CONTROL)
        client.say(Message(first, receiver=1, payload=b"x"))
        error = await client.heard(wire.ERROR)
        assert error.error_code == wire.UNAUTHENTICATED, (first, error)
        await closes_with(client, wire.AUTHENTICATION_FAILED)
    # Streams and datagrams full of bytes, and no token: nothing of it is kept for long.
    clients = [await target.stranger() for _ in range(8)]
    for client in clients:
        for number in range(40):
            stream = client.open(wire.CHANNEL_SEND if number % 2 else wire.REQUESTS)
            client.carrier.write(stream, os.urandom(64 << 10))
        for _ in range(50):
            client.carrier.send_datagram(Message(wire.TYPING, receiver=1, payload=b"\x01").encode())
    for client in clients:
        await closes_with(client, wire.AUTHENTICATION_TIMEOUT)


@attack()
async def control_streams(target: Target) -> None:
    client = await friend(target)
    client.open(wire.CONTROL)
    await closes_with(client, wire.PROTOCOL_VIOLATION)
    client = await friend(target)
    client.carrier.write(client.control, b"", True)
    await closes_with(client, 0)
    client = await friend(target)
    client.carrier.reset(client.control, wire.STREAM_CANCELLED)
    await closes_with(client, 0)
    client = await friend(target)
    client.carrier.stop(client.control, wire.STREAM_CANCELLED)
    client.say(Message(wire.PING))
    await closes_with(client, 0)
    client = await target.stranger()
    stream = client.carrier.open_stream()
    client.carrier.write(stream, b"")
    client.carrier.reset(stream, 77)
    await closes_with(client, wire.AUTHENTICATION_TIMEOUT)


@attack()
async def unknown_stream_kinds(target: Target) -> None:
    client = await friend(target)
    for kind in (wire.CHANNEL_PUSH, 4, 63, 64, 16383, 1 << 30, (1 << 62) - 1):
        stream = client.carrier.open_stream()
        client.carrier.write(stream, encode_varint(kind) + b"whatever this is")
        assert await asyncio.wait_for(client.ended(stream), PATIENCE) == ("reset", wire.UNKNOWN_STREAM_KIND), kind
        assert await asyncio.wait_for(client.stopped(stream), PATIENCE) == wire.UNKNOWN_STREAM_KIND
    for kind in (0, 1, 2, 3, 4, (1 << 62) - 1):
        stream = client.carrier.open_stream(bidirectional=False)
        client.carrier.write(stream, encode_varint(kind) + b"whatever this is")
        assert await asyncio.wait_for(client.stopped(stream), PATIENCE) == wire.UNKNOWN_STREAM_KIND, kind
    # The kind's other encodings mean the same; a kind may come in pieces.
    stream = client.carrier.open_stream()
    client.readers[stream] = wire.REQUESTS
    for byte in b"\xc0\x00\x00\x00\x00\x00\x00\x03":
        client.carrier.write(stream, bytes([byte]))
        await asyncio.sleep(0)
    client.responses[5] = asyncio.get_running_loop().create_future()
    client.carrier.write(stream, Frame(5, wire.NO_OPERATION).encode())
    assert (await asyncio.wait_for(client.responses[5], PATIENCE)).status == 0
    await client.echo()
    await client.leave()


@attack()
async def stream_flood(target: Target) -> None:
    """Streams that are opened and reset, and streams that are opened and ended, as many as the server lets us."""
    client = await friend(target)
    for number in range(4000):
        stream = client.carrier.open_stream()
        client.carrier.write(stream, encode_varint(dice.choice([1, 3, 4, 50])) + bytes(dice.randrange(40)))
        client.carrier.reset(stream, wire.STREAM_CANCELLED)
        if number % 50 == 49:
            await client.echo()
    await client.leave()


@attack()
async def datagram_flood(target: Target) -> None:
    client = await friend(target)
    for number in range(20_000):
        if number % 3 == 0:
            data = os.urandom(dice.randrange(1, 1100))
        elif number % 3 == 1:
            data = Message(wire.TYPING, receiver=dice.choice([0, 1, client.user, 1 << 36, (1 << 46) - 1]),
                           payload=b"\x01").encode()
        else:
            data = Message(dice.randrange(4096), receiver=client.user, payload=os.urandom(dice.randrange(600))).encode()
        client.carrier.send_datagram(data)
        if number % 500 == 0:
            await client.echo()
    await client.echo()
    await client.leave()


@attack()
async def random_messages(target: Target) -> None:
    """Headers of random words that say version 1 and short lengths, and every field at its edges."""
    client = await friend(target)
    other = await friend(target)
    edges = [0, 1, other.user, client.user, (1 << 36) - 1, 1 << 36, (1 << 46) - 1]
    for stream, kinds in ((None, range(96, 107)), (client.open(wire.CHANNEL_SEND), range(0, 70))):
        for number in range(600):
            area = dice.choice([b"", b"\x81\x10" + os.urandom(16) + bytes(2), b"\x89\x01\x02\x00", b"\x89\x01\x01\x00"])
            message = Message(
                dice.choice(list(kinds) + [4095]) if number % 4 else dice.randrange(4096),
                sender=dice.choice([0, client.user] + edges), receiver=dice.choice(edges),
                sequence=dice.choice([0, 1, (1 << 44) - 1, dice.getrandbits(44)]), flags=dice.getrandbits(12),
                timestamp=dice.choice([0, (1 << 46) - 1]), node=dice.choice([0, (1 << 18) - 1]))
            if stream is None and message.type in (wire.GO_OFFLINE,):
                continue
            payload = os.urandom(dice.choice([0, 1, 2, 30]))
            client.carrier.write(
                client.control if stream is None else stream, message.header(len(area), len(payload)) + area + payload)
            client.carrier.send_datagram(message.header(len(area), len(payload)) + area + payload)
        client.say(Message(wire.ECHO, sequence=77))
        while (await client.heard()).sequence != 77:
            continue
    await other.echo()
    await client.leave()
    await other.leave()


@attack()
async def random_requests(target: Target) -> None:
    """Every resource with bodies that are cut at every length, random, and at their edges."""
    client = await friend(target)
    group = await client.create_group(name("g"))
    edges = [0, 1, client.user, group, (1 << 46) - 1, 1 << 63, (1 << 64) - 1]
    identifier = 1_000_000
    stream = client.open(wire.REQUESTS)
    waiting = []

    def ask(resource: int, body: bytes) -> None:
        nonlocal identifier
        identifier += 1
        client.responses[identifier] = asyncio.get_running_loop().create_future()
        waiting.append(client.responses[identifier])
        client.carrier.write(stream, Frame(identifier, resource, 0, body).encode())

    for resource in [0] + list(range(2, 60)) + [65535]:
        for size in range(0, 48, 3):
            ask(resource, os.urandom(size))
        for size in (0, 1, 2, 8, 16, 18, 26, 27, 30):
            ask(resource, bytes([0xFF]) * size)
            ask(resource, bytes(size))
        for first in edges:
            for second in edges:
                ask(resource, struct.pack(">QQ", first, second) + struct.pack(">QBH", second, dice.randrange(3), 0xFFFF))
            ask(resource, struct.pack(">QIH", first, 0xFFFFFFFF, 0xFFFF))
        while waiting:
            await asyncio.wait_for(waiting.pop(), PATIENCE)
    # An identifier in flight twice, a status, a body over the limit.
    twice = Frame(7, wire.HISTORY, 0, wire.encode_channel((group, group)) + struct.pack(">QBH", 1, 0, 0)).encode()
    other = client.open(wire.REQUESTS)
    client.carrier.write(other, twice * 3 + Frame(8, 0, 9).encode() + Frame(9, wire.CANCEL, 0).encode())
    client.carrier.write(other, struct.pack(">IQHH", 0xFFFFFFFF, 10, 0, 0) + bytes(5000))
    await asyncio.wait_for(client.stopped(other), PATIENCE)
    assert client.stopped(other).result() == wire.STREAM_FRAME_TOO_LARGE
    assert await asyncio.wait_for(client.ended(other), PATIENCE) == ("finished", 0)
    statuses = {frame.identifier: frame.status for frame in client.stray_responses}
    assert statuses == {7: statuses[7], 8: wire.MALFORMED, 10: wire.PAYLOAD_TOO_LARGE}, client.stray_responses
    await client.echo()
    await client.leave()


@attack(mebibytes=8)
async def deep_tokens(target: Target) -> None:
    """Nested JSON where a token's header or claims are expected."""
    import base64

    nested = base64.urlsafe_b64encode(b"[" * 3000).rstrip(b"=").decode()
    closed = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 1400 + b"]" * 1400 + b"}").rstrip(b"=").decode()
    head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=").decode()
    for text in (f"{nested}.{nested}.x", f"{closed}.{closed}.x", f"{head}.{nested}.x", f"{head}.{closed}.AAAA"):
        client = await target.stranger()
        try:
            await client.authenticate(text[:8192])
            raise AssertionError("this is no token")
        except Refused as error:
            assert error.code == wire.UNAUTHENTICATED, error
        await closes_with(client, wire.AUTHENTICATION_FAILED)


# Who does not read.


def freeze(client: Client) -> None:
    """From now on this client takes no more bytes of streams than it has allowed so far."""
    if client.carrier.name == "tls":
        client.carrier.writer.transport.pause_reading()
    else:
        client.carrier.connection._write_stream_limits = lambda **_: None
        client.carrier.connection._write_connection_limits = lambda **_: None


async def pour(client: Client, stream: int, data: bytes, count: int) -> None:
    """Writes as fast as the server takes it, for ten seconds at most without progress."""
    for _ in range(count):
        client.carrier.write(stream, data)
        patience = 100
        while waits(client, stream) > 4 << 20 and patience and not client.ending.done():
            await asyncio.sleep(0.02)
            patience -= 1
        if not patience:
            return
        await asyncio.sleep(0)


def waits(client: Client, stream: int) -> int:
    """Bytes that were written and are not sent."""
    if client.carrier.name == "tls":
        return len(client.carrier.sending[stream].waiting) + client.carrier.writer.transport.get_write_buffer_size()
    sender = client.carrier.connection._streams[stream].sender
    return len(sender._buffer)


@attack(mebibytes=64)
async def pushes_are_not_read(target: Target) -> None:
    """100 MB to a client that reads nothing."""
    lazy = await friend(target)
    freeze(lazy)
    busy = await friend(target, "tls")
    for _ in range(1600):
        busy.write(busy.text(lazy.user, os.urandom(65_000)))
        while waits(busy, busy.senders[lazy.user]) > 2 << 20:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
    for _ in range(1600):
        answer = await busy.next(busy.answers[busy.senders[lazy.user]])
        assert answer.type == wire.ACKNOWLEDGEMENT, answer
    await good_client(target)
    lazy.carrier.abort()
    await busy.leave()


@attack(mebibytes=96)
async def answers_are_not_read(target: Target) -> None:
    """Echoes, errors, acknowledgements and pages that nobody takes."""
    client = await friend(target)
    for number in range(8):
        await client.send(client.text(client.user, os.urandom(65_000)))
    freeze(client)
    await pour(client, client.control, Message(wire.ECHO, payload=os.urandom(65_000)).encode(), 1000)
    page = wire.encode_channel((client.user, client.user)) + struct.pack(">QBH", 1, 0, 0)
    for _ in range(4):
        stream = client.open(wire.REQUESTS)
        await pour(client, stream, b"".join(Frame(i, wire.HISTORY, 0, page).encode() for i in range(100)), 20)
    stream = client.open(wire.CHANNEL_SEND)
    await pour(client, stream, b"".join(good_message(client) for _ in range(100)), 200)
    stream = client.open(wire.CHANNEL_SEND)
    await pour(client, stream, Message(99, receiver=client.user).encode() * 1000, 200)
    await good_client(target)
    client.carrier.abort()


# Connections.


@attack(mebibytes=64)
async def connections_that_vanish(target: Target) -> None:
    for _ in range(150):
        client = await friend(target)
        client.carrier.abort()


@attack()
async def after_going_offline(target: Target) -> None:
    client = await friend(target)
    client.say(Message(wire.GO_OFFLINE))
    client.say(Message(wire.GO_OFFLINE))
    client.say(Message(wire.ECHO))
    client.write(client.text(client.user, b"and another thing"))
    await quietly(client.request(wire.NO_OPERATION))
    client.carrier.abort()


async def look(target: Target, watch: Watch, label: str, mebibytes: int, before: int) -> None:
    elapsed = await good_client(target)
    count = await watch.settled(2, 25)
    grown = (watch.resident() - before) / 1024
    print(
        f"ok {label} good client {elapsed * 1000:.0f} ms, {grown:+.1f} MiB, peak {(watch.peak - before) / 1024:+.1f}"
        f" MiB, descriptors {count - watch.descriptors:+d}", flush=True)
    assert count <= watch.descriptors + 2, f"{count} descriptors, {watch.descriptors} before"
    assert grown <= mebibytes, f"{grown:.1f} MiB more than before"
    assert (watch.peak - before) / 1024 <= 2 * mebibytes, "the peak"


async def run(names: list[str], target: Target) -> int:
    failures = 0
    await good_client(target)
    for each in names:
        function, carriers, mebibytes = ATTACKS[each]
        if target.carrier not in carriers:
            continue
        label = f"{target.carrier} {each}"
        try:
            watch = Watch(target.process)
            before = watch.resident()
            observing = asyncio.ensure_future(watch.observe())
            try:
                await asyncio.wait_for(function(target), 600)
            finally:
                observing.cancel()
            await look(target, watch, label, mebibytes, before)
        except Exception:
            failures += 1
            print(f"FAILED {label}\n{traceback.format_exc()}", flush=True)
    return failures


def main() -> None:
    options = arguments(list(ATTACKS), __doc__)
    sys.exit(1 if asyncio.run(run(options.names or list(ATTACKS), target_of(options))) else 0)


if __name__ == "__main__":
    main()
