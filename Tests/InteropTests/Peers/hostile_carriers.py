# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""Attacks on the carriers: bytes at the ports that are no client's, and QMux that breaks its rules."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import socket
import ssl
import struct
import sys

import hostile
import qmux
from client import PATIENCE, Client, Target
from hostile import attack, friend, good_client, quietly
from message_client import arguments, target_of
from qmux import record, tls_context, transport_parameters, varints
from wire import encode_varint

dice = random.Random(20260602)
hostile.ATTACKS.clear()

NO_ERROR, FLOW_CONTROL, STREAM_LIMIT, STREAM_STATE, FINAL_SIZE, FRAME_ENCODING, TRANSPORT_PARAMETER, VIOLATION = (
    0, 3, 4, 5, 6, 7, 8, 10)


# UDP.


def udp(target: Target) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((target.host, target.port))
    sock.setblocking(False)
    return sock


async def throw(sock: socket.socket, data: bytes) -> None:
    try:
        sock.send(data)
    except OSError:
        pass
    if dice.randrange(32) == 0:
        await asyncio.sleep(0)


def long_header(version: int, kind: int, size: int, destination: int = 8, source: int = 8, rest: bytes = b"") -> bytes:
    data = bytes([0xC0 | kind << 4]) + struct.pack(">I", version)
    data += bytes([destination]) + os.urandom(destination) + bytes([source]) + os.urandom(source) + rest
    return data + os.urandom(max(0, size - len(data)))


@attack("quic")
async def random_datagrams(target: Target) -> None:
    with udp(target) as sock:
        for _ in range(3000):
            await throw(sock, os.urandom(dice.choice([0, 1, 2, 5, 20, 21, 41, 43, 100, 1199, 1200, 1472, 9000, 60000])))


@attack("quic")
async def look_like_packets(target: Target) -> None:
    """Long headers of every kind, version and length, short headers, version negotiation, tokens that are none."""
    with udp(target) as sock:
        for _ in range(1500):
            version = dice.choice([0, 1, 1, 1, 0x6B3343CF, 0x0A0A0A0A, 0xFF00001D, dice.getrandbits(32)])
            size = dice.choice([7, 20, 40, 1199, 1200, 1452])
            rest = dice.choice([b"", b"\x00\x44\x9e", b"\x40\x20" + os.urandom(32) + b"\x44\x00", b"\xff" * 8])
            await throw(sock, long_header(
                version, dice.randrange(4), size, dice.choice([0, 1, 7, 8, 18, 20]), dice.choice([0, 8, 20]), rest))
            await throw(sock, bytes([0xC0]) + struct.pack(">I", version) + bytes([dice.randrange(256)]) + os.urandom(30))
            await throw(sock, bytes([0x40 | dice.randrange(64)]) + os.urandom(dice.choice([1, 17, 18, 20, 40, 41, 1200])))
            await throw(sock, long_header(0, 0, 0) + struct.pack(">II", 1, 0x0A0A0A0A))


@attack("quic")
async def version_negotiation(target: Target) -> None:
    """An unknown version is answered when the datagram is large enough, never amplified, and never as an answer."""
    with udp(target) as sock:
        async def answer(data: bytes) -> bytes | None:
            await throw(sock, data)
            try:
                return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 65536), 0.5)
            except asyncio.TimeoutError:
                return None

        bait = long_header(0x0A1A2A3A, 0, 1200)
        said = await answer(bait)
        assert said is not None and said[1:5] == bytes(4), said
        assert said[5] == 8 and said[6:14] == bait[15:23] and said[15:23] == bait[6:14], "connection IDs are swapped"
        assert b"\x00\x00\x00\x01" in [said[i : i + 4] for i in range(23, len(said), 4)]
        assert await answer(long_header(0x0A1A2A3A, 0, 200)) is None, "too small to be answered"
        assert await answer(long_header(0, 0, 1200)) is None, "a version negotiation is never answered"


@attack("quic")
async def forged_sources(target: Target) -> None:
    """From port 0, and from the server's own address: it must not talk to itself for ever."""
    try:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    except PermissionError:
        print("   forged-sources: raw sockets need privileges, only half of it was tried", flush=True)
        return
    with raw:
        for source in (0, target.port, 53):
            for data in [long_header(0x0A1A2A3A, 0, 1200), long_header(1, 0, 1200), b"\x40" + os.urandom(60),
                         b"\x41" + os.urandom(1200)] * 25:
                raw.sendto(struct.pack(">HHHH", source, target.port, 8 + len(data), 0) + data, (target.host, 0))
                await asyncio.sleep(0)
    await asyncio.sleep(0.5)
    with open(f"/proc/{target.process}/stat") as stat:
        before = sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13]))
    await asyncio.sleep(1)
    with open(f"/proc/{target.process}/stat") as stat:
        spent = sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13])) - before
    assert spent < 50, f"the server is still busy: {spent} ticks in a second"


@attack("quic", mebibytes=320)
async def half_open_quic(target: Target) -> None:
    """2,000 first flights of QUIC clients that never go on; with them under way a good client is served."""
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection

    configuration = QuicConfiguration(is_client=True, alpn_protocols=["tern/1"], server_name="localhost")
    with udp(target) as sock:
        for number in range(2000):
            connection = QuicConnection(configuration=configuration)
            connection.connect((target.host, target.port), now=0.0)
            for data, _ in connection.datagrams_to_send(now=0.0):
                await throw(sock, data)
                if number % 4 == 0:
                    await throw(sock, data)  # And a copy.
                mangled = bytearray(data)
                mangled[dice.randrange(len(mangled))] ^= 1 << dice.randrange(8)
                await throw(sock, bytes(mangled))
            if number % 1000 == 999:
                await good_client(target)


@attack("quic", mebibytes=64)
async def frames_out_of_place(target: Target) -> None:
    """Frames that a client may not send, limits that it does not keep: the connection ends with the right code."""
    from aioquic.buffer import Buffer
    from aioquic.quic.packet import QuicFrameType

    frames = {
        b"\x1e": VIOLATION,  # HANDSHAKE_DONE
        b"\x07\x01\x00": VIOLATION,  # NEW_TOKEN
        b"\x3f": FRAME_ENCODING,  # unknown
        b"\x08\x03" + b"x": STREAM_STATE,  # a stream of the server's that it did not open
        b"\x08\x80\x00\xff\x00" + b"x": STREAM_LIMIT,
        b"\x0c\x00\xc0\x00\x00\xff\xff\xff\xff\xff" + b"x": FLOW_CONTROL,
        b"\x04\x00\x00\x00": FINAL_SIZE,  # RESET_STREAM of the control stream, below what was sent
        b"\x19\x40\xff": VIOLATION,  # RETIRE_CONNECTION_ID that was never issued
        b"\x02\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00": None,  # ACK of what was never sent
    }
    failures = []
    for frame, code in frames.items():
        client = await friend(target, "quic")
        connection = client.carrier.connection
        inject(connection, frame)
        client.carrier.protocol.transmit()
        try:
            ending = await asyncio.wait_for(asyncio.shield(client.ending), 5)
        except asyncio.TimeoutError:
            failures.append(f"{frame.hex()}: the connection lives")
            continue
        allowed = (code,) if code is not None else (VIOLATION, FRAME_ENCODING)
        if ending.by_application or ending.code not in allowed + (VIOLATION,):
            failures.append(f"{frame.hex()}: {ending}")
    assert not failures, "\n".join(failures)


def inject(connection, frame: bytes) -> None:
    """Puts a frame into the next packet."""
    original = connection._write_application

    def write(builder, network_path, now):
        from aioquic.quic.packet import QuicPacketType

        builder.start_packet(QuicPacketType.ONE_RTT, connection._cryptos[
            next(epoch for epoch in connection._cryptos if epoch.name == "ONE_RTT")])
        buffer = builder.start_frame(frame[0], capacity=len(frame))
        buffer.push_bytes(frame[1:])
        connection._write_application = original
        original(builder, network_path, now)

    connection._write_application = write


# TCP.


async def tcp(target: Target, source: str | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(target.host, target.port, local_addr=source and (source, 0))


async def until_closed(reader: asyncio.StreamReader, seconds: float = PATIENCE) -> None:
    async def drain() -> None:
        try:
            while await reader.read(65536):
                continue
        except OSError:
            pass

    await asyncio.wait_for(drain(), seconds)


def client_hello(target: Target) -> bytes:
    outgoing = ssl.MemoryBIO()
    session = tls_context(target.authority).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


@attack("tls")
async def bytes_that_are_not_tls(target: Target) -> None:
    hello = client_hello(target)
    garbage = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(100), b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff",
        b"\x17\x03\x03\x40\x00" + bytes(1 << 14), b"\x15\x03\x03\x00\x02\x02\x28", b"\x80\x2e\x01\x00\x02" + bytes(60),
    ] + [os.urandom(dice.choice([1, 5, 50, 500, 50000])) for _ in range(60)]
    for position in range(0, len(hello), 7):
        mangled = bytearray(hello)
        mangled[position] ^= 1 << dice.randrange(8)
        garbage.append(bytes(mangled))
    for data in garbage:
        reader, writer = await tcp(target)
        writer.write(data)
        if writer.can_write_eof():
            await quietly(asyncio.sleep(0))
            try:
                writer.write_eof()
            except OSError:
                pass
        await until_closed(reader)
        writer.close()


@attack("tls", mebibytes=96)
async def handshakes_that_stop(target: Target) -> None:
    """Connections that say nothing, cut their ClientHello, or send it byte by byte: the server does not wait for ever."""
    hello = client_hello(target)
    opened = []
    for length in [0, 1, 5, len(hello) // 2, len(hello) - 1, len(hello)] * 10:
        reader, writer = await tcp(target)
        writer.write(hello[:length])
        opened.append((reader, writer))

    async def loris() -> None:
        reader, writer = await tcp(target)
        closing = asyncio.ensure_future(until_closed(reader, 60))
        for byte in hello:
            writer.write(bytes([byte]))
            await asyncio.wait({closing}, timeout=0.25)
            if closing.done() or writer.is_closing():
                break
        assert closing.done(), "a ClientHello of a byte per 250 ms was waited for"
        closing.result()
        writer.close()

    await asyncio.gather(loris(), loris(), *(until_closed(reader, 30) for reader, _ in opened), good_client(target))
    for _, writer in opened:
        writer.close()


@attack("tls", mebibytes=220)
async def half_open_tls(target: Target) -> None:
    """2,000 connections of another host whose handshake stops after the ClientHello; with them open a good client is served."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2300 if hard == resource.RLIM_INFINITY else min(2300, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    hello = client_hello(target)
    opened = []
    try:
        for number in range(min(2000, wanted - 100)):
            try:
                reader, writer = await asyncio.wait_for(tcp(target, "127.0.0.2"), PATIENCE)
            except OSError:
                continue
            writer.write(hello)
            opened.append(writer)
            if number % 500 == 499:
                await good_client(target)
    finally:
        for writer in opened:
            writer.transport.abort()


# QMux.


async def naked(target: Target, first: bytes | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TLS connection whose records are up to the test."""
    reader, writer = await asyncio.open_connection(
        target.host, target.port, ssl=tls_context(target.authority), server_hostname="localhost")
    writer.write(record(transport_parameters()) if first is None else first)
    return reader, writer


async def code_of(reader: asyncio.StreamReader) -> int | None:
    """The code of the CONNECTION_CLOSE with which the server ended the connection."""
    data = b""
    try:
        while chunk := await asyncio.wait_for(reader.read(65536), PATIENCE):
            data += chunk
    except (OSError, ssl.SSLError):
        pass
    code, position = None, 0
    while (size := qmux.decode_varint(data, position)) is not None:
        length, start = size
        frames, position = data[start : start + length], start + length
        kind, at = qmux.decode_varint(frames)
        if kind in (qmux.CLOSE_TRANSPORT, qmux.CLOSE_APPLICATION):
            code = qmux.decode_varint(frames, at)[0]
    return code


@attack("tls")
async def broken_qmux(target: Target) -> None:
    hello = transport_parameters()

    def parameter(*values: int, raw: bytes = b"") -> bytes:
        body = varints(*values) + raw
        return record(varints(qmux.MAGIC, len(body)) + body)

    cases = {
        "no transport parameters first": (record(varints(qmux.MAX_DATA, 1)), b"", [VIOLATION]),
        "transport parameters twice": (None, record(hello), [VIOLATION]),
        "a prohibited parameter": (parameter(0x03, 2, 1200), b"", [TRANSPORT_PARAMETER]),
        "a parameter twice": (parameter(4, 1, 5, 4, 1, 5), b"", [TRANSPORT_PARAMETER]),
        "a small record limit": (parameter(0x0571C59429CD0845, 1, 60), b"", [TRANSPORT_PARAMETER]),
        "parameters that are cut": (parameter(4, 8, 5), b"", [TRANSPORT_PARAMETER, FRAME_ENCODING]),
        "a record over the limit": (None, encode_varint(16383) + bytes(16383), [FRAME_ENCODING]),
        "a record of 2^62 bytes": (None, b"\xff" * 8, [FRAME_ENCODING]),
        "an empty record": (None, b"\x00", [VIOLATION, FRAME_ENCODING]),
        "a frame that is cut": (None, record(b"\x11\x00"), [FRAME_ENCODING]),
        "a stream frame that is cut": (None, record(b"\x0a\x00\x20abc"), [FRAME_ENCODING]),
        "an unknown frame": (None, record(b"\x2f"), [FRAME_ENCODING]),
        "PING": (None, record(b"\x01"), [FRAME_ENCODING]),
        "ACK": (None, record(b"\x02\x00\x00\x00\x00"), [FRAME_ENCODING]),
        "CRYPTO": (None, record(b"\x06\x00\x01x"), [FRAME_ENCODING]),
        "NEW_CONNECTION_ID": (None, record(b"\x18" + bytes(30)), [FRAME_ENCODING]),
        "HANDSHAKE_DONE": (None, record(b"\x1e"), [FRAME_ENCODING]),
        "a gap": (None, record(b"\x0e\x00\x05\x01x"), [VIOLATION]),
        "a repetition": (None, record(b"\x0a\x00\x02\x03a") + record(b"\x0e\x00\x01\x01a"), [VIOLATION]),
        "data after the end": (None, record(b"\x0b\x00\x01\x03") + record(b"\x0e\x00\x01\x01a"),
                               [FINAL_SIZE, STREAM_STATE, VIOLATION]),
        "a reset with another size": (None, record(b"\x0a\x00\x02\x03a") + record(b"\x04\x00\x00\x01"), [FINAL_SIZE]),
        "the server's stream": (None, record(b"\x0a\x01\x01x"), [STREAM_STATE]),
        "a stream over the limit": (None, record(varints(0x0A, 4 * 100_000, 1) + b"x"), [STREAM_LIMIT]),
        "data on a stream of the server's that goes one way": (None, record(b"\x0a\x03\x01x"), [STREAM_STATE]),
        "MAX_STREAM_DATA for nothing": (None, record(b"\x11\x01\x05"), [STREAM_STATE]),
        "too many streams allowed": (None, record(varints(qmux.MAX_STREAMS_UNI, 1 << 61)), [FRAME_ENCODING]),
        "a ping that goes back": (
            None, record(varints(qmux.PING_REQUEST, 5)) + record(varints(qmux.PING_REQUEST, 5)), [VIOLATION]),
        "an answer to no ping": (None, record(varints(qmux.PING_RESPONSE, 1 << 40)), [VIOLATION]),
        "a close": (None, record(varints(qmux.CLOSE_APPLICATION, 7, 3) + b"\xff\xfe\xfd"), [None, 0, 7]),
    }
    failures = []
    for label, (first, then, codes) in cases.items():
        reader, writer = await naked(target, first)
        writer.write(then)
        code = await code_of(reader)
        if code not in codes:
            failures.append(f"{label}: closed with {code}, not {codes}")
        writer.close()
    assert not failures, "\n".join(failures)


@attack("tls")
async def random_qmux(target: Target) -> None:
    """Random records after a valid handshake, of random bytes and of frames with random fields."""
    kinds = [0, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 28, 29, 48, 49]
    for number in range(250):
        reader, writer = await naked(target)
        for _ in range(30):
            if number % 2:
                frames = os.urandom(dice.randrange(1, 300))
            else:
                values = [dice.choice([0, 1, 2, 3, 4, 5, 7, 8, 100, 1 << 20, (1 << 62) - 1]) for _ in range(4)]
                frames = varints(dice.choice(kinds), *values[: dice.randrange(1, 5)]) + os.urandom(dice.randrange(9))
            writer.write(record(frames))
        ending = asyncio.ensure_future(code_of(reader))
        writer.write(record(b"\x2f"))
        await asyncio.wait_for(ending, PATIENCE)
        writer.close()


@attack("tls", mebibytes=96)
async def silent_after_handshake(target: Target) -> None:
    """TLS is done, transport parameters never come; or they do, and nothing else."""
    connections = [await naked(target, b"" if number % 2 else None) for number in range(60)]
    await asyncio.gather(*(asyncio.wait_for(code_of(reader), PATIENCE + 40) for reader, _ in connections),
                         good_client(target), return_exceptions=False)
    for _, writer in connections:
        writer.close()


@attack("tls", mebibytes=64)
async def pings_without_end(target: Target) -> None:
    """QX_PING requests, blocked notices and resets of small records, whose answers are not read."""
    reader, writer = await naked(target)
    writer.transport.pause_reading()
    for number in range(1, 200_000):
        if writer.is_closing():
            break
        writer.write(record(varints(qmux.PING_REQUEST, number)))
        if number % 1000 == 0:
            await quietly(asyncio.wait_for(writer.drain(), 2))
            await asyncio.sleep(0)
            if writer.is_closing() or writer.transport.get_write_buffer_size() > 1 << 20:
                break
    await good_client(target)
    writer.transport.abort()


def main() -> None:
    options = arguments(list(hostile.ATTACKS), __doc__)
    sys.exit(1 if asyncio.run(hostile.run(options.names or list(hostile.ATTACKS), target_of(options))) else 0)


if __name__ == "__main__":
    main()
