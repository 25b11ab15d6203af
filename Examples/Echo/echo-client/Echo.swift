// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Tern

// README.md: from here
/// Sends `text` on a stream of its own and hands out what comes back.
func echoStream(_ text: String, over connection: Connection, receive: (ByteBuffer) -> Void) async throws {
    let stream = try await connection.openStream()
    try await stream.finish(ByteBuffer(string: text))
    while let bytes = try await stream.read() { receive(bytes) }
}
// README.md: to here

/// The same one way: the answer comes on a stream that the server opens.
func echoOneWay(_ text: String, over connection: Connection, receive: (ByteBuffer) -> Void) async throws {
    let stream = try await connection.openStream(.unidirectional)
    try await stream.finish(ByteBuffer(string: text))
    for try await answer in connection.inboundStreams {
        while let bytes = try await answer.read() { receive(bytes) }
        return
    }
}

/// The same in a datagram, which is sent again until an answer comes.
func echoDatagram(_ text: String, over connection: Connection, receive: @escaping (ByteBuffer) -> Void) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
            while true {
                try await connection.sendDatagram(ByteBuffer(string: text))
                try await Task.sleep(for: .seconds(1))
            }
        }
        for try await datagram in connection.inboundDatagrams where datagram == ByteBuffer(string: text) {
            receive(datagram)
            break
        }
        group.cancelAll()
    }
}
