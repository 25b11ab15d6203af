// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// The file that `SSLKEYLOGFILE` names: the secrets of all connections, with which Wireshark decrypts captures.
///
/// GnuTLS would write it by itself, but readable for whoever the umask lets, and nothing of servers over QUIC, whose secrets we
/// take for exports. Each line is one call of `write` on a descriptor that only appends, so any thread may write.
final class KeyLog: Sendable {
    private let descriptor: CInt

    /// That of the process; opened when the first session is made.
    static let ofProcess: KeyLog? = {
        // A program that runs with more rights than its caller takes no file names of the caller.
        guard getuid() == geteuid(), getgid() == getegid(), let name = getenv("SSLKEYLOGFILE"), name.pointee != 0 else {
            return nil
        }
        let path = String(cString: name)
        let logger = Logger(label: "tern.tls")
        do throws(TLSError) {
            let log = try KeyLog(path: path)
            logger.warning(
                "SSLKEYLOGFILE is set: whoever reads this file can read all that this process sends and receives",
                metadata: ["file": "\(path)"])
            return log
        } catch {
            logger.error("SSLKEYLOGFILE is set, and no secrets are written: \(error.message)")
            return nil
        }
    }()

    /// Makes the file, or opens it to append, for this user alone.
    init(path: String) throws(TLSError) {
        // A pipe that nobody reads must not hold the process up: it is an error here, and loses lines later.
        self.descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0o600)
        guard self.descriptor >= 0 else { throw Self.error(path, String(cString: strerror(errno))) }
        do throws(TLSError) {
            try Self.keepPrivate(self.descriptor, path)
        } catch {
            close(self.descriptor)
            throw error
        }
    }

    deinit { close(self.descriptor) }

    private static func keepPrivate(_ descriptor: CInt, _ path: String) throws(TLSError) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Self.error(path, String(cString: strerror(errno))) }
        let kind = status.st_mode & S_IFMT
        // A terminal, or another device, is what it is.
        guard kind == S_IFREG || kind == S_IFIFO else { return }
        guard status.st_uid == geteuid() else { throw Self.error(path, "it belongs to another user") }
        guard status.st_mode & 0o077 != 0 else { return }
        guard fchmod(descriptor, 0o600) == 0 else { throw Self.error(path, String(cString: strerror(errno))) }
    }

    private static func error(_ path: String, _ reason: String) -> TLSError {
        TLSError(.unreadableFile, message: "cannot append to \(path): \(reason)")
    }

    /// In NSS's format: label, the client's random, and the secret.
    func write(_ label: String, clientRandom: UnsafeBufferPointer<UInt8>, secret: UnsafeBufferPointer<UInt8>) {
        var line = Array("\(label) ".utf8)
        Self.append(clientRandom, to: &line)
        line.append(UInt8(ascii: " "))
        Self.append(secret, to: &line)
        line.append(UInt8(ascii: "\n"))
        line.withUnsafeBytes { bytes in
            // What a full disk does not take is missing from a capture, nothing more.
            #if canImport(Glibc)
            _ = Glibc.write(self.descriptor, bytes.baseAddress, bytes.count)
            #elseif canImport(Musl)
            _ = Musl.write(self.descriptor, bytes.baseAddress, bytes.count)
            #else
            _ = Darwin.write(self.descriptor, bytes.baseAddress, bytes.count)
            #endif
        }
    }

    private static func append(_ bytes: UnsafeBufferPointer<UInt8>, to line: inout [UInt8]) {
        let digits = Array("0123456789abcdef".utf8)
        for byte in bytes {
            line.append(digits[Int(byte >> 4)])
            line.append(digits[Int(byte & 0xf)])
        }
    }
}
