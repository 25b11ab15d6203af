// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS
internal import Synchronization
package import TernTLS
package import TernTransport

/// The secrets of TLS sessions that a test looks into.
package enum TLSSecretLog {
    private static let secrets = Mutex<[UInt: [String: [UInt8]]]>([:])

    /// From now on the secrets of `session` are written down. A server's session is not retired then.
    package static func watch(_ session: TLSSession) {
        let handle = session.handle
        self.secrets.withLock { $0[UInt(bitPattern: handle)] = [:] }
        gnutls_session_set_keylog_function(handle) { session, label, secret in
            guard let session, let label, let secret else { return 0 }
            let bytes = Array(UnsafeBufferPointer(start: secret.pointee.data, count: Int(secret.pointee.size)))
            TLSSecretLog.secrets.withLock {
                $0[UInt(bitPattern: session), default: [:]][String(cString: label)] = bytes
            }
            return 0
        }
    }

    /// What protects the 1-RTT packets that `sender` writes; `nil` before TLS has agreed on it.
    package static func keys(of session: TLSSession, sentBy sender: ConnectionRole) -> QUICPacketKeys? {
        let label = sender == .client ? "CLIENT_TRAFFIC_SECRET_0" : "SERVER_TRAFFIC_SECRET_0"
        let handle = UInt(bitPattern: session.handle)
        return self.secrets.withLock { $0[handle]?[label] }.map { QUICPacketKeys(secret: $0) }
    }
}
