// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import NIOConcurrencyHelpers
import NIOCore
import TernTransport

/// Writes a long pattern to a stream and heeds backpressure.
final class PatternSource {
    private let connection: any LoopConnection
    private let stream: StreamID
    private let count: Int
    private var offset = 0
    private(set) var pauses = 0
    var written: Int { self.offset }

    init(_ connection: any LoopConnection, stream: StreamID, count: Int) {
        self.connection = connection
        self.stream = stream
        self.count = count
    }

    func resume() {
        while self.offset < self.count {
            let size = min(64 << 10, self.count - self.offset)
            let bytes = Pattern.bytes(at: self.offset, count: size)
            self.offset += size
            let finish = self.offset == self.count
            guard let goOn = try? self.connection.write(bytes, to: self.stream, finish: finish) else { return }
            if !goOn {
                self.pauses += 1
                return
            }
        }
    }
}

/// Compares what comes with the pattern.
struct PatternSink {
    private(set) var received = 0
    private(set) var isIntact = true

    mutating func take(_ bytes: ByteBuffer) {
        if bytes != Pattern.bytes(at: self.received, count: bytes.readableBytes) { self.isIntact = false }
        self.received += bytes.readableBytes
    }
}

/// A variable that several threads see.
final class NIOLockedBox<Value: Sendable>: Sendable {
    private let box: NIOLockedValueBox<Value>

    init(_ value: Value) {
        self.box = NIOLockedValueBox(value)
    }

    var value: Value {
        get { self.box.withLockedValue { $0 } }
        set { self.box.withLockedValue { $0 = newValue } }
    }

    func update(_ body: (inout Value) -> Void) {
        self.box.withLockedValue { body(&$0) }
    }
}
