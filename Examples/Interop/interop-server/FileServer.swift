// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import InteropCommon
import NIOCore
import Tern

/// Answers every request of every connection, each stream in a task of its own.
struct FileServer: Sendable {
    let root: Folder

    func serve(_ connections: AsyncStream<any LoopConnection>) async {
        await withDiscardingTaskGroup { group in
            for await loopConnection in connections {
                let connection = Connection(adopting: loopConnection)
                group.addTask { await self.serve(connection) }
            }
        }
    }

    private func serve(_ connection: Connection) async {
        await withDiscardingTaskGroup { group in
            do {
                for try await stream in connection.inboundStreams {
                    guard stream.direction == .bidirectional else { continue }
                    group.addTask { await self.answer(stream) }
                }
            } catch {
                Log.say("a connection broke: \(error)")
            }
        }
    }

    private func answer(_ stream: Stream) async {
        do {
            let path = try await HTTP09.readRequest(from: stream)
            guard let path, let file = self.root.open(path) else {
                Log.say("refused: \(path ?? "something that is no request")")
                stream.stopSending(code: HTTP09.noSuchFile)
                stream.reset(code: HTTP09.noSuchFile)
                return
            }
            while case let bytes = try file.read(), bytes.readableBytes > 0 { try await stream.write(bytes) }
            try await stream.finish()
        } catch {
            // The client gave up, or the file can't be read to its end: it must not look whole.
            stream.reset(code: HTTP09.noSuchFile)
        }
    }
}
