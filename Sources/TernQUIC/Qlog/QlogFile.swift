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

/// The qlog of one connection in a file of its own: `<original destination connection ID>_<client|server>.sqlog`, or with a number
/// behind it where there is one of that name: clients choose these IDs.
///
/// Confined to its connection's event loop. Writes go to the kernel's cache in pieces of 64 KiB; a file that can't be written
/// is given up, and the connection goes on. There is no file before the peer's address is proven: until then strangers would
/// make files and take descriptors with a packet each.
final class QlogFile: QUICQlogSink {
    private enum Phase {
        /// What comes is kept, up to ``QlogFile/mostUnproven`` bytes.
        case waiting(name: String?)
        case open(CInt)
        case givenUp
    }

    private let directory: String
    private let budget: QlogBudget
    private let logger: Logger
    private var buffer: [UInt8] = []
    private var phase = Phase.waiting(name: nil)

    private static let pieceSize = 64 << 10
    /// Handshakes write a few thousand bytes.
    private static let mostUnproven = 16 << 10
    /// A client that uses its connection IDs more often than that wants something else than a log.
    private static let mostOfOneName = 16

    init(directory: String, budget: QlogBudget = .ofTheProcess, logger: Logger) {
        self.directory = directory
        self.budget = budget
        self.logger = logger
    }

    deinit {
        self.flush()
        self.close()
    }

    func begin(_ original: QUICConnectionID, role: ConnectionRole) {
        self.phase = .waiting(name: "\(original)_\(role == .client ? "client" : "server")")
    }

    func peerIsProven() {
        guard case .waiting(let name?) = self.phase else { return }
        guard self.budget.take() else {
            self.phase = .givenUp
            self.buffer = []
            return self.warn(
                "a connection goes without its qlog: others have as many descriptors as logs may take",
                metadata: ["most": "\(self.budget.most)"])
        }
        var (path, descriptor): (String, CInt) = ("", -1)
        for number in 1...Self.mostOfOneName {
            path = "\(self.directory)/\(name)\(number == 1 ? "" : "_\(number)").sqlog"
            // Nobody else's file, and nobody else's to read: it shows addresses.
            descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o640)
            guard descriptor < 0, errno == EEXIST else { break }
        }
        guard descriptor >= 0 else {
            let number = errno
            self.budget.giveBack()
            return self.fail(path, number)
        }
        self.phase = .open(descriptor)
    }

    func write(_ bytes: UnsafeRawBufferPointer) {
        switch self.phase {
        case .givenUp: return
        case .waiting:
            guard self.buffer.count + bytes.count <= Self.mostUnproven else { return }
            self.buffer.append(contentsOf: bytes)
        case .open:
            self.buffer.append(contentsOf: bytes)
            if self.buffer.count >= Self.pieceSize { self.flush() }
        }
    }

    private func flush() {
        guard case .open(let descriptor) = self.phase else { return }
        var rest = self.buffer[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { bytes in
                #if canImport(Darwin)
                Darwin.write(descriptor, bytes.baseAddress, bytes.count)
                #else
                Glibc.write(descriptor, bytes.baseAddress, bytes.count)
                #endif
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                let number = errno
                self.close()
                return self.fail(self.directory, number)
            }
            rest = rest.dropFirst(count)
        }
        self.buffer.removeAll(keepingCapacity: true)
    }

    private func close() {
        guard case .open(let descriptor) = self.phase else { return }
        #if canImport(Darwin)
        _ = Darwin.close(descriptor)
        #else
        _ = Glibc.close(descriptor)
        #endif
        self.phase = .givenUp
        self.budget.giveBack()
    }

    private func fail(_ path: String, _ number: CInt) {
        self.phase = .givenUp
        self.buffer = []
        self.warn(
            "qlog cannot be written", metadata: ["path": "\(path)", "error": "\(String(cString: strerror(number)))"])
    }

    private func warn(_ text: String, metadata: Logger.Metadata) {
        guard self.budget.mayWarn() else { return }
        self.logger.warning("\(text); not said again for \(RareWarning.interval.inWords)", metadata: metadata)
    }
}
