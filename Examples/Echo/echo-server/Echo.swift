// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Tern

/// Sends back whatever comes on `connection`: each stream in a task of its own, datagrams in another.
func echo(_ connection: Connection) async {
    await withDiscardingTaskGroup { group in
        group.addTask { await echoDatagrams(on: connection) }
        // A one-way stream is answered on a stream of ours, which may have to wait for the client's permission; no more of them
        // wait than the client may have open.
        let (oneWay, answering) = AsyncStream.makeStream(
            of: Stream.self, bufferingPolicy: .bufferingOldest(connection.limits.unidirectionalStreams))
        group.addTask { await echoOneWay(oneWay, on: connection) }
        do {
            for try await stream in connection.inboundStreams {
                if stream.direction == .unidirectional {
                    answering.yield(stream)
                } else {
                    group.addTask { await echo(stream, to: stream) }
                }
            }
        } catch {
            // The connection broke, and every stream with it.
        }
        answering.finish()
    }
}

// README.md: from here
/// Copies at the pace of the slower side: `write` waits while the client does not read, and what is not read here the client
/// may not send. A client that gives up is noticed all the same.
private func echo(_ stream: Stream, to answer: Stream) async {
    await withTaskGroup(of: Void.self) { group in
        group.addTask {
            if let code = await stream.resetByPeer() { answer.reset(code: code) }
        }
        do {
            while let bytes = try await stream.read() { try await answer.write(bytes) }
            try await answer.finish()
        } catch {
            // The client wants no more of the answer, so the rest goes nowhere; or the connection is gone.
            while let _ = try? await stream.read() {}
        }
        group.cancelAll()
    }
}
// README.md: to here

private func echoOneWay(_ streams: AsyncStream<Stream>, on connection: Connection) async {
    await withDiscardingTaskGroup { group in
        for await stream in streams {
            guard let answer = try? await connection.openStream(.unidirectional) else { return }
            group.addTask { await echo(stream, to: answer) }
        }
    }
}

private func echoDatagrams(on connection: Connection) async {
    do {
        for try await datagram in connection.inboundDatagrams {
            // One that does not fit the way back is lost, as datagrams may be.
            _ = try? await connection.sendDatagram(datagram)
        }
    } catch {
        // The connection broke.
    }
}
