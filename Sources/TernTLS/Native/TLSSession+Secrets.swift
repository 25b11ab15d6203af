// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS
internal import TernTransport

// GnuTLS tells its secrets only to whoever writes logs of them, and has one place for both purposes.
extension TLSSession {
    /// Hears of the secrets: for the key log, and for what a QUIC server derives when GnuTLS's session is gone.
    func hearSecrets() {
        gnutls_session_set_keylog_function(self.handle) { session, label, secret in
            guard let label, let secret = secret?.pointee, let owner = TLSSession.owner(of: session) else { return 0 }
            // Without a log only the exporter's is of interest.
            guard owner.keyLog != nil || label.pointee == CChar(UInt8(ascii: "E")) else { return 0 }
            owner.secretBecameKnown(
                String(cString: label), UnsafeBufferPointer(start: secret.data, count: Int(secret.size)))
            return 0
        }
    }

    private func secretBecameKnown(_ label: String, _ secret: UnsafeBufferPointer<UInt8>) {
        if label == "EXPORTER_SECRET", self.flavour == .quic, self.role == .server {
            self.exporterSecret = Array(secret)
        }
        // Over TLS later keys come under the first one's label; readers of the log compute them (RFC 8446, section 7.2).
        guard let keyLog, self.loggedLabels.insert(label).inserted else { return }
        var (client, server) = (gnutls_datum_t(), gnutls_datum_t())
        gnutls_session_get_random(self.handle, &client, &server)
        keyLog.write(
            label, clientRandom: UnsafeBufferPointer(start: client.data, count: Int(client.size)), secret: secret)
    }
}
