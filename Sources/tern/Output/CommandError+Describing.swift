// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import NIOCore
internal import Tern
internal import TernClient
internal import TernMessages
internal import TernStore

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// What the parts below say, in the exit codes of the command.
extension CommandError {
    init(describing error: any Error) {
        switch error {
        case let error as CommandError: self = error
        case let error as TransportError where error.cause is TLSError:
            self.init((error.cause as? TLSError).map(Self.code) ?? .configuration, error.message)
        case let error as TransportError:
            self.init(.unavailable, error.message.isEmpty ? error.description : error.message)
        case let error as TLSError: self.init(Self.code(of: error), error.message)
        case let error as StoreError: self.init(Self.code(of: error), error.message)
        case let error as ClientError: self.init(Self.code(of: error), Self.text(of: error))
        case let error as Failure:
            self.init(Self.code(of: error.code), "the server refused: \(error.text) (\(error.code))")
        case let error as WireError: self.init(.unavailable, "the server does not speak the protocol: \(error.message)")
        case let error as IOError where Self.addressErrors.contains(error.errnoCode):
            self.init(.cannotListen, errorText(error.errnoCode))
        case let error as IOError: self.init(.inputOutput, errorText(error.errnoCode))
        case is CancellationError: self.init(.unavailable, "interrupted")
        default: self.init(.internal, String(describing: error))
        }
    }

    private static let addressErrors: Set<Int32> = [EADDRINUSE, EADDRNOTAVAIL, EACCES]

    private static func code(of error: TLSError) -> Code {
        switch error.code {
        case .unreadableFile: .unreadableFile
        case .generationFailed: .internal
        default: .configuration
        }
    }

    private static func code(of error: StoreError) -> Code {
        switch error.code {
        case .inUse, .unusable: .cannotCreate
        case .otherVersion, .notADatabase, .corrupt: .configuration
        case .readOnly, .lost: .inputOutput
        default: .internal
        }
    }

    private static func code(of error: ClientError) -> Code {
        // Also a name that the token carries and the server does not take.
        if error.code == .authenticationRefused, error.failure?.code != .unsupportedVersion { return .notPermitted }
        return error.failure.map { Self.code(of: $0.code) } ?? .unavailable
    }

    private static func text(of error: ClientError) -> String {
        guard let failure = error.failure else { return error.message }
        return "the server refused: \(failure.text.isEmpty ? "" : "\(failure.text) ")(\(failure.code))"
    }

    private static func code(of error: ErrorCode) -> Code {
        switch error {
        case .unauthenticated, .tokenExpired, .tokenNotYetValid, .wrongAudience: .notPermitted
        case .internal, .draining, .unsupportedVersion, .storageFull, .rateLimited, .tooManyRequests: .unavailable
        default: .badInput
        }
    }
}
