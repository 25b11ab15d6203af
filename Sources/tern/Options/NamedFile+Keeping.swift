// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Files that the command makes in a data directory.
extension NamedFile {
    /// Puts the file in place whole: it never has another mode or half of its bytes under its name, nor is it lost with the power.
    ///
    /// - Parameter isSecret: whether nobody but its owner may read it.
    func keep(_ bytes: [UInt8], isSecret: Bool) throws(CommandError) {
        let unfinished = self.path + ".new"
        // Whatever lies there, a link too, makes way for a file of its own.
        guard unsafe unlink(unfinished) == 0 || errno == ENOENT else { throw Self.uncreatable(unfinished) }
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        let descriptor = unsafe open(unfinished, flags, (isSecret ? 0o600 : 0o644) as mode_t)
        guard descriptor >= 0 else { throw Self.uncreatable(unfinished) }
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        do {
            try handle.write(contentsOf: Data(bytes))
            try handle.synchronize()
            try handle.close()
        } catch {
            throw CommandError(.cannotCreate, "cannot write \(unfinished): \(Self.reason(of: error))")
        }
        guard unsafe rename(unfinished, self.path) == 0 else { throw Self.uncreatable(self.path) }
        try self.synchronizeDirectory()
    }

    /// Takes the file away, if it is there; a loss of power does not bring it back.
    func removeKept() throws(CommandError) {
        guard unsafe unlink(self.path) == 0 || errno == ENOENT else {
            throw CommandError(.cannotCreate, "cannot remove \(self.path): \(errorText(errno))")
        }
        try self.synchronizeDirectory()
    }

    private func synchronizeDirectory() throws(CommandError) {
        let path = URL(filePath: self.path).deletingLastPathComponent().path
        let descriptor = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw CommandError(.cannotCreate, "cannot open \(path): \(errorText(errno))") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else {
            throw CommandError(.cannotCreate, "cannot sync \(path): \(errorText(errno))")
        }
    }

    private static func uncreatable(_ path: String) -> CommandError {
        CommandError(.cannotCreate, "cannot create \(path): \(errorText(errno))")
    }
}
