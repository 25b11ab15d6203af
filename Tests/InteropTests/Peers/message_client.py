# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""Scenarios of the message protocol against a running server: message_client.py --help."""

from __future__ import annotations

import argparse
import asyncio
import os
import struct
import sys
import traceback
from pathlib import Path

import wire
from client import Client, Closed, Refused, Target, token
from wire import Message, channel_of

SCENARIOS = {}


def scenario(function):
    SCENARIOS[function.__name__.replace("_", "-")] = function
    return function


def name(stem: str) -> str:
    """A name that no other run uses."""
    return f"{stem}-{os.urandom(6).hex()}"


async def refused(awaitable, code: int) -> Refused:
    try:
        await awaitable
    except Refused as error:
        assert error.code == code, f"refused with {error}, not {code:#x}"
        return error
    raise AssertionError(f"this should have been refused with {code:#x}")


@scenario
async def authenticates(target: Target) -> None:
    user = name("ann")
    first = await target.login(user, "phone")
    if target.secret:
        second = await target.client(token(target, user, dev="phone", aud=["other", "tern"], iat=wire.in_seconds(0)))
        third = await target.client(token(target, user, exp=wire.in_seconds(-30)))
    else:
        second, third = await target.login(user, "phone"), await target.client(f"dev:{user}")
    assert first.user == second.user == third.user > 0
    assert first.device == second.device != third.device
    assert (first.user_name, first.device_name, third.device_name) == (user, "phone", "default")
    assert first.server == "tern" and first.maximum_payload >= 1024 and first.window > 0
    for client in (first, second, third):
        await client.leave()


@scenario
async def tokens_are_refused(target: Target) -> None:
    user = name("eve")
    other = b"another secret, of more than 32 bytes"
    claims = {"sub": user, "aud": "tern", "exp": wire.in_seconds(600)}
    bad_name = wire.UNAUTHENTICATED if target.secret else wire.INVALID_NAME
    signed = [] if not target.secret else [
        ("dev:eve", wire.UNAUTHENTICATED),
        (token(target, user, exp=wire.in_seconds(-120)), wire.TOKEN_EXPIRED),
        (token(target, user, exp=None), wire.UNAUTHENTICATED),
        (token(target, user, exp="tomorrow"), wire.UNAUTHENTICATED),
        (token(target, user, exp=1e300), None),
        (token(target, user, exp=-1e300), None),
        (token(target, user, exp=0), wire.TOKEN_EXPIRED),
        (token(target, user, sub=None), wire.UNAUTHENTICATED),
        (token(target, user, sub="x" * 65), wire.INVALID_NAME),
        (token(target, user, aud=None), wire.UNAUTHENTICATED),
        (token(target, user, aud="elsewhere"), wire.WRONG_AUDIENCE),
        (token(target, user, aud=["elsewhere"]), wire.WRONG_AUDIENCE),
        (token(target, user, nbf=wire.in_seconds(600)), wire.TOKEN_NOT_YET_VALID),
        (wire.json_web_token(other, **claims), wire.UNAUTHENTICATED),
        (wire.json_web_token(target.secret, "none", **claims), wire.UNAUTHENTICATED),
        (wire.json_web_token(target.secret, "HS512", **claims), wire.UNAUTHENTICATED),
        (token(target, user)[:-2], wire.UNAUTHENTICATED),
    ]
    for text, code in signed + [
        ("", wire.UNAUTHENTICATED),
        ("dev:", bad_name),
        ("dev:\x07", bad_name),
        ("dev:" + "x" * 65, bad_name),
        ("three.small.parts", wire.UNAUTHENTICATED),
        ("....", wire.UNAUTHENTICATED),
        ("x" * 8192, wire.UNAUTHENTICATED),
        ("x" * 8193, wire.UNAUTHENTICATED),
        ("x" * 70_000, wire.UNAUTHENTICATED),
    ]:
        client = await target.stranger()
        if code is None:
            try:
                await client.authenticate(text)
            except Refused:
                pass
            client.carrier.close()
            continue
        try:
            error = await refused(client.authenticate(text), code)
        except (AssertionError, Closed) as problem:
            raise AssertionError(f"token {text[:60]!r}: {problem!r}") from problem
        assert error.message.payload, "a sentence for people"
        ending = await client.wait_ending()
        assert (ending.code, ending.by_application) == (wire.AUTHENTICATION_FAILED, True), (text[:60], ending)


@scenario
async def sends_and_is_pushed(target: Target) -> None:
    ann, bob = await target.login(name("ann")), await target.login(name("bob"))
    assert await ann.resolve(bob.user_name, create=False) == bob.user
    await refused(ann.resolve(name("nobody"), create=False), wire.NO_SUCH_USER)

    async def known() -> list[tuple[int, str]]:
        names = await ann.request(wire.USER_NAMES, struct.pack(">HQQQ", 3, ann.user, bob.user, (1 << 36) - 1))
        return [(entry.number(8), entry.name()) for entry in names.entries()]

    # Only those with whom she shares a channel.
    assert await known() == [(ann.user, ann.user_name)]

    # Many at once, without waiting for an answer.
    sent = [ann.text(bob.user, f"message {i}".encode(), sequence=i) for i in range(1, 301)]
    streams = {ann.write(message) for message in sent}
    assert len(streams) == 1
    for number, message in enumerate(sent, 1):
        answer = ann.acknowledged(message, await ann.next(ann.answers[next(iter(streams))]))
        assert answer.sequence == number and not answer.flags & wire.DUPLICATE
    previous = None
    for number, message in enumerate(sent, 1):
        pushed = await bob.next(bob.pushes)
        assert (pushed.type, pushed.sequence, pushed.payload) == (wire.TEXT, number, message.payload)
        assert (pushed.sender, pushed.receiver) == (ann.user, bob.user)
        assert pushed.extensions[wire.CLIENT_MESSAGE_ID] == message.extensions[wire.CLIENT_MESSAGE_ID]
        assert pushed.number(wire.SENDER_DEVICE) == ann.device
        assert pushed.number(wire.PREVIOUS_SEQUENCE) == previous, (previous, pushed)
        previous = number
    assert await known() == [(ann.user, ann.user_name), (bob.user, bob.user_name)]

    # The same id again is a duplicate; with something else in it, a conflict.
    again = await ann.send(sent[9])
    assert again.flags & wire.DUPLICATE and again.sequence == 10
    identifier = sent[9].extensions[wire.CLIENT_MESSAGE_ID]
    error = await refused(ann.send(ann.text(bob.user, b"not that", identifier, sequence=42)), wire.CONFLICT)
    assert error.message.sequence == 42 and error.message.extensions[wire.CLIENT_MESSAGE_ID] == identifier
    await refused(ann.send(ann.text(ann.user, sent[9].payload, identifier)), wire.CONFLICT)
    # A refused message holds nothing up, and the stream is for one receiver.
    stream = ann.senders[bob.user]
    ann.carrier.write(stream, ann.text(ann.user, b"elsewhere").encode() + ann.text(bob.user, b"on").encode())
    assert (await ann.next(ann.answers[stream])).error_code == wire.WRONG_CHANNEL
    assert (await ann.next(ann.answers[stream])).sequence == 301
    ann.carrier.write(stream, ann.text(bob.user, b"the last one").encode(), True)
    assert (await ann.next(ann.answers[stream])).sequence == 302
    assert await asyncio.wait_for(ann.ended(stream), 60) == ("finished", 0)
    # To oneself: acknowledged, and not pushed to the connection that sent it.
    note = await ann.send(ann.text(ann.user, b"a note"))
    assert [m.payload for m in await ann.history((ann.user, ann.user))] == [b"a note"] and note.sequence == 1
    assert ann.pushes.empty()
    await ann.leave()
    await bob.leave()


@scenario
async def groups(target: Target) -> None:
    ann, bob, eve = [await target.login(name(stem)) for stem in ("ann", "bob", "eve")]
    title = name("team")
    other = await target.login(bob.user_name, "tablet")
    group = await ann.create_group(title)
    assert group >= wire.FIRST_GROUP
    await refused(ann.create_group(title), wire.ALREADY_EXISTS)
    await refused(ann.create_group("bad\nname"), wire.INVALID_NAME)
    await refused(bob.request(wire.FIND_GROUP, wire.encode_name(name("none"))), wire.NO_SUCH_CHANNEL)
    await refused(bob.request(wire.FIND_GROUP, wire.encode_name(title)), wire.NO_SUCH_CHANNEL)
    await refused(bob.join(group), wire.NOT_INVITED)
    await refused(bob.join(group + 1_000_000), wire.NOT_INVITED)
    await refused(bob.invite(bob.user, group), wire.NOT_A_MEMBER)
    await refused(bob.send(bob.text(group, b"let me in")), wire.NOT_A_MEMBER)
    await refused(bob.page((group, group), 1), wire.NOT_A_MEMBER)

    assert (await ann.send(ann.text(group, b"before"))).sequence == 1
    await ann.invite(bob.user, group)
    await ann.invite(bob.user, group)
    found = await bob.request(wire.FIND_GROUP, wire.encode_name(title))
    assert (found.number(8), found.number(1), found.number(4), found.name()) == (group, 8, 1, title)
    await refused(bob.send(bob.text(group, b"let me in")), wire.NOT_A_MEMBER)
    await bob.join(group)
    await bob.join(group)
    notice = await other.heard(wire.INBOX)
    assert (notice.sender, notice.receiver, notice.sequence) == (0, group, 1) and not notice.flags & wire.PULL
    assert bob.controls.empty(), "the one that asked knows"
    assert await bob.history((group, group)) == [], "what was before the joining"
    assert (await bob.send(bob.text(group, b"hello"))).sequence == 2
    pushed = await ann.next(ann.pushes)
    assert (pushed.receiver, pushed.sender, pushed.sequence) == (group, bob.user, 2)
    members = await ann.request(wire.LIST_MEMBERS, struct.pack(">QQH", group, 0, 0))
    assert members.number(1) == 0
    assert {e.number(8) for e in members.entries()} == {ann.user, bob.user}
    page = await ann.request(wire.LIST_MEMBERS, struct.pack(">QQH", group, 0, 1))
    assert page.number(1) == 1 and len(page.entries()) == 1
    await refused(eve.request(wire.LIST_MEMBERS, struct.pack(">QQH", group, 0, 0)), wire.NOT_A_MEMBER)
    await bob.request(wire.LEAVE_GROUP, struct.pack(">Q", group))
    await refused(bob.send(bob.text(group, b"gone")), wire.NOT_A_MEMBER)
    await refused(bob.join(group), wire.NOT_INVITED)

    # Open, and with a history for everybody.
    square = name("square")
    group = await ann.create_group(square, open=True, shares_history=True)
    assert (await ann.send(ann.text(group, b"before"))).sequence == 1
    found = await bob.request(wire.FIND_GROUP, wire.encode_name(square))
    assert (found.number(8), found.number(1), found.number(4), found.name()) == (group, 6, 1, square)
    await bob.join(group)
    assert [m.payload for m in await bob.history((group, group))] == [b"before"]
    assert eve.pushes.empty()
    for client in (ann, bob, other, eve):
        await client.leave()


@scenario
async def catches_up(target: Target) -> None:
    ann, reader = await target.login(name("ann")), name("bob")
    bob = await ann.resolve(reader)
    group = await ann.create_group(name("room"), open=True)
    for number in range(1, 101):
        ann.write(ann.text(bob, f"{number}".encode() * 10))
    for _ in range(100):
        assert (await ann.next(ann.answers[ann.senders[bob]])).type == wire.ACKNOWLEDGEMENT

    late = await target.login(reader)
    assert late.user == bob
    await late.join(group)
    assert (await ann.send(ann.text(group, b"to all"))).sequence == 1
    index = {state.channel: state for state in await late.index()}
    assert index == {state.channel: state for state in await late.index(limit=1)}, "pages make up the whole"
    direct = channel_of(ann.user, bob)
    assert (index[direct].head, index[direct].first, index[direct].unread) == (100, 1, 100)
    assert index[direct].name == ann.user_name and set(index) == {direct, (group, group)}
    assert index[(group, group)].head in (0, 1)

    # Forward in pages, while new messages come in.
    write = asyncio.ensure_future(write_more(ann, bob, 50))
    log = {m.sequence: m for m in await late.history(direct, 1, limit=7)}
    await write
    while len(log) < 150:
        message = await late.next(late.pushes)
        if message.receiver == bob:
            log[message.sequence] = message
    assert sorted(log) == list(range(1, 151))
    assert all(m.payload == f"{s}".encode() * 10 for s, m in log.items())
    assert all(wire.PREVIOUS_SEQUENCE not in m.extensions for m in await late.history(direct))

    # Backward, from the head and from beyond it.
    for start in (0, 1 << 40):
        more, page = await late.page(direct, start, backward=True, limit=10)
        assert more and page[-1].sequence == 150 and page[0].sequence >= 141
    more, page = await late.page(direct, 3, backward=True)
    assert not more and [m.sequence for m in page] == [1, 2, 3]
    more, page = await late.page(direct, 151)
    assert not more and not page
    await refused(late.page(channel_of(ann.user, ann.user), 1), wire.NOT_A_MEMBER)
    await ann.leave()
    await late.leave()


async def write_more(client: Client, receiver: int, count: int) -> None:
    for number in range(101, 101 + count):
        await client.send(client.text(receiver, f"{number}".encode() * 10))


@scenario
async def receipts(target: Target) -> None:
    ann = await target.login(name("ann"))
    reader = name("bob")
    phone, tablet = await target.login(reader, "phone"), await target.login(reader, "tablet")
    for number in range(5):
        await ann.send(ann.text(phone.user, b"%d" % number))

    def receipt(client: Client, kind: int, sequence: int) -> Message:
        return Message(
            wire.RECEIPT, sender=client.user, receiver=ann.user, sequence=sequence,
            extensions={wire.RECEIPT_KIND: bytes([kind])})

    phone.say(receipt(phone, wire.DELIVERED, 4))
    for listener in (ann, tablet):
        heard = await listener.heard(wire.RECEIPT)
        assert (heard.sender, heard.receiver, heard.sequence) == (phone.user, ann.user, 4), heard
        assert heard.number(wire.RECEIPT_KIND) == wire.DELIVERED and heard.number(wire.SENDER_DEVICE) == phone.device
    tablet.say(receipt(tablet, wire.READ, 3))
    heard = await ann.heard(wire.RECEIPT)
    assert (heard.number(wire.RECEIPT_KIND), heard.sequence) == (wire.READ, 3), heard
    phone.say(receipt(phone, wire.READ, 1 << 40))
    heard = await ann.heard(wire.RECEIPT)
    assert (heard.number(wire.RECEIPT_KIND), heard.sequence) == (wire.READ, 5), "one beyond the head is the head"
    channel = channel_of(ann.user, phone.user)
    state = await tablet.state(channel)
    assert (state.delivered, state.read, state.unread) == (3, 5, 0), state
    rows = await ann.request(
        wire.OFFSETS, wire.encode_channel(channel) + struct.pack(">QIH", 0, 0, 0))
    assert rows.number(1) == 0
    found = [(e.number(8), e.number(4), e.number(8), e.number(8)) for e in rows.entries()]
    assert sorted(r for r in found if r[0] == phone.user) == sorted(
        [(phone.user, phone.device, 5, 5), (phone.user, tablet.device, 3, 3)]), found
    phone.say(receipt(phone, 9, 1))
    assert (await phone.heard(wire.ERROR)).error_code == wire.MALFORMED
    for client in (ann, phone, tablet):
        await client.leave()


@scenario
async def small_talk(target: Target) -> None:
    ann, bob = await target.login(name("ann")), await target.login(name("bob"))
    ann.say(Message(wire.PING, sequence=5, payload=b"hi"))
    pong = await ann.heard()
    assert (pong.type, pong.sequence, pong.payload) == (wire.PONG, 5, b"hi")
    await ann.echo(os.urandom(ann.maximum_payload))
    ann.say(Message(wire.PING, sequence=6, payload=bytes(257)))
    error = await ann.heard()
    assert (error.error_code, error.sequence) == (wire.PAYLOAD_TOO_LARGE, 6), error
    for kind in (64, 102, 128, 200, wire.TEXT, wire.ACKNOWLEDGEMENT):
        ann.say(Message(kind, sequence=kind))
        error = await ann.heard()
        assert (error.error_code, error.sequence) == (wire.UNSUPPORTED_TYPE, kind), error
    ann.say(Message(wire.PONG, sequence=1))  # Nobody asked: the server ignores it.
    await refused(ann.request(999), wire.UNSUPPORTED_RESOURCE)
    await ann.request(wire.NO_OPERATION)
    # Datagrams may be lost on QUIC: the client repeats them, as the page asks.
    for kind, value in ((wire.TYPING, 1), (wire.PRESENCE, 2)):
        for _ in range(20):
            ann.carrier.send_datagram(Message(kind, receiver=bob.user, payload=bytes([value])).encode())
            try:
                heard = await asyncio.wait_for(bob.datagrams.get(), 1)
                break
            except asyncio.TimeoutError:
                continue
        else:
            raise AssertionError("no datagram came through")
        assert (heard.type, heard.sender, heard.receiver, heard.payload) == (
            kind, ann.user, bob.user, bytes([value])), heard
        while not bob.datagrams.empty():
            bob.datagrams.get_nowait()
    await ann.leave()
    await bob.leave()


@scenario
async def goes_offline(target: Target) -> None:
    ann, bob = await target.login(name("ann")), await target.login(name("bob"))
    await ann.send(ann.text(bob.user, b"one"))
    await bob.next(bob.pushes)
    bob.say(Message(wire.GO_OFFLINE))
    assert await asyncio.wait_for(bob.ended(bob.control), 60) == ("finished", 0)
    await ann.send(ann.text(bob.user, b"two"))
    assert bob.pushes.empty()
    await bob.leave()
    await ann.leave()


@scenario
async def comes_back(target: Target) -> None:
    """The connection is cut with messages under way; they are sent again under their ids."""
    user = name("ann")
    ann, bob = await target.login(user), await target.login(name("bob"))
    messages = [ann.text(bob.user, b"%d" % number) for number in range(200)]
    for message in messages:
        stream = ann.write(message)
    await ann.next(ann.answers[stream])
    ann.carrier.abort()
    back = await target.login(user, "other")
    sequences = [(await back.send(message)).sequence for message in messages]
    assert sorted(sequences) == list(range(1, 201)), "each is stored once"
    log = await bob.history(channel_of(bob.user, back.user))
    stored = [m.extensions[wire.CLIENT_MESSAGE_ID] for m in log]
    assert sorted(stored) == sorted(m.extensions[wire.CLIENT_MESSAGE_ID] for m in messages)
    pushed = {(await bob.next(bob.pushes)).sequence for _ in range(200)}
    assert pushed == set(range(1, 201))
    await back.leave()
    await bob.leave()


async def run(names: list[str], target: Target) -> int:
    failures = 0
    for each in names:
        try:
            await asyncio.wait_for(SCENARIOS[each](target), 300)
            print(f"ok {target.carrier} {each}", flush=True)
        except Exception:
            failures += 1
            print(f"FAILED {target.carrier} {each}\n{traceback.format_exc()}", flush=True)
    return failures


def arguments(kinds: list[str], description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--address", required=True, help="HOST:PORT")
    parser.add_argument("--ca", required=True, help="the authority of the server's certificate, in PEM")
    parser.add_argument("--secret", help="the file of the secret that signs tokens; a development server without it")
    parser.add_argument("--process", type=int, default=0, help="of the server")
    parser.add_argument("--carrier", choices=["quic", "tls"], required=True)
    parser.add_argument("names", nargs="*", help=", ".join(kinds))
    return parser.parse_args()


def target_of(options: argparse.Namespace) -> Target:
    host, _, port = options.address.rpartition(":")
    secret = Path(options.secret).read_bytes().strip() if options.secret else b""
    return Target(host.strip("[]"), int(port), options.ca, options.carrier, secret, options.process)


def main() -> None:
    options = arguments(list(SCENARIOS), __doc__)
    sys.exit(1 if asyncio.run(run(options.names or list(SCENARIOS), target_of(options))) else 0)


if __name__ == "__main__":
    main()
