// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging
internal import TernQUICCore
internal import TernTransport

#if canImport(Darwin)
internal import Darwin
#else
internal import Glibc
#endif

/// The qlog of one connection in a file of its own: `<original destination connection ID>_<client|server>.sqlog`.
///
/// Confined to its connection's event loop. Writes go to the kernel's cache in pieces of 64 KiB; a file that can't be written
/// is given up with one line in the log, and the connection goes on.
final class QlogFile: QUICQlogSink {
    private let directory: String
    private let logger: Logger
    private var buffer: [UInt8] = []
    private var descriptor: CInt = -1
    private var hasFailed = false

    private static let pieceSize = 64 << 10

    init(directory: String, logger: Logger) {
        self.directory = directory
        self.logger = logger
    }

    deinit {
        self.flush()
        if self.descriptor >= 0 { close(self.descriptor) }
    }

    func begin(_ original: QUICConnectionID, role: ConnectionRole) {
        let path = "\(self.directory)/\(original)_\(role == .client ? "client" : "server").sqlog"
        // Nobody else's file, and nobody else's to read: it shows addresses.
        self.descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o640)
        if self.descriptor < 0 { self.fail(path) }
    }

    func write(_ bytes: UnsafeRawBufferPointer) {
        guard !self.hasFailed else { return }
        self.buffer.append(contentsOf: bytes)
        if self.buffer.count >= Self.pieceSize { self.flush() }
    }

    private func flush() {
        guard self.descriptor >= 0, !self.hasFailed else { return }
        var rest = self.buffer[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { bytes in
                #if canImport(Darwin)
                Darwin.write(self.descriptor, bytes.baseAddress, bytes.count)
                #else
                Glibc.write(self.descriptor, bytes.baseAddress, bytes.count)
                #endif
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return self.fail(self.directory) }
            rest = rest.dropFirst(count)
        }
        self.buffer.removeAll(keepingCapacity: true)
    }

    private func fail(_ path: String) {
        self.hasFailed = true
        self.buffer = []
        self.logger.warning(
            "qlog cannot be written", metadata: ["path": "\(path)", "error": "\(String(cString: strerror(errno)))"])
    }
}
