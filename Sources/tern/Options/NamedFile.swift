// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import Foundation

/// A file that the command line names, and what it is for: an error names both.
struct NamedFile {
    let path: String
    let role: String

    init(_ path: String, role: String) {
        self.path = path
        self.role = role
    }

    /// An empty name is none; the system would take it for the folder in which the command runs.
    ///
    /// - Throws: `ValidationError`.
    static func checkName(_ path: String?, option: String) throws {
        if path?.isEmpty == true { throw ValidationError("\(option) takes the name of a file") }
    }

    /// For messages.
    var name: String { "the \(self.role) file \(self.path)" }

    /// - Throws: ``CommandError/Code/unreadableFile``.
    func read(atMost limit: Int = 1 << 20) throws(CommandError) -> [UInt8] {
        do {
            let handle = try FileHandle(forReadingFrom: URL(filePath: self.path))
            defer { try? handle.close() }
            let bytes = try handle.read(upToCount: limit + 1) ?? Data()
            guard bytes.count <= limit else {
                throw CommandError(.unreadableFile, "\(self.name) is larger than \(limit) bytes")
            }
            return Array(bytes)
        } catch let error as CommandError {
            throw error
        } catch {
            throw CommandError(
                .unreadableFile, "cannot read \(self.name): \(Self.reason(of: error))")
        }
    }

    /// The system's words, without Foundation's wrapping.
    static func reason(of error: any Error) -> String {
        let error = error as NSError
        // Not "as? NSError", which a POSIXError is not everywhere.
        let beneath = (error.userInfo[NSUnderlyingErrorKey] as? any Error).map { $0 as NSError }
        if let beneath, beneath.domain == NSPOSIXErrorDomain {
            return errorText(Int32(beneath.code))
        }
        if error.domain == NSPOSIXErrorDomain { return errorText(Int32(error.code)) }
        switch CocoaError.Code(rawValue: error.code) {
        case .fileReadNoSuchFile, .fileNoSuchFile: return errorText(ENOENT)
        case .fileReadNoPermission, .fileWriteNoPermission: return errorText(EACCES)
        default: return error.localizedDescription
        }
    }
}
