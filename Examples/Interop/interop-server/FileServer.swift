// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import InteropCommon
import NIOCore
import Tern

/// Answers every request of every connection, each stream in a task of its own.
struct FileServer: Sendable {
    let root: Folder
    let fileProtocol: FileProtocol

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
                let control = try await self.fileProtocol.openControlStream(on: connection)
                defer { withExtendedLifetime(control) {} }
                for try await stream in connection.inboundStreams {
                    group.addTask {
                        if stream.direction == .bidirectional {
                            await self.answer(stream)
                        } else {
                            // What HTTP/3 says there changes nothing here.
                            while let _ = try? await stream.read() {}
                        }
                    }
                }
            } catch {
                Log.say("a connection broke: \(error)")
            }
        }
    }

    private func answer(_ stream: Stream) async {
        do {
            guard let path = try await self.fileProtocol.readRequest(from: stream) else {
                Log.say("refused: something that is no request")
                return self.refuse(stream)
            }
            guard let file = self.root.open(path) else {
                Log.say("refused: \(path)")
                guard let answer = self.fileProtocol.noSuchFile else { return self.refuse(stream) }
                return try await stream.finish(answer)
            }
            try await self.fileProtocol.answer(with: file, on: stream)
        } catch {
            // The client gave up, or the file can't be read to its end: it must not look whole.
            self.refuse(stream)
        }
    }

    private func refuse(_ stream: Stream) {
        stream.stopSending(code: self.fileProtocol.rejected)
        stream.reset(code: self.fileProtocol.rejected)
    }
}
