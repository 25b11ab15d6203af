// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS
internal import NIOCore
package import TernTransport

/// Owns a `gnutls_session_t`: one end of one TLS 1.3 handshake.
///
/// Confined to the event loop of its connection. The peer is verified inside the handshake, which fails with the right alert
/// when the peer can't be trusted; ``verifyPeer()`` says afterwards that this has happened.
package final class TLSSession {
    enum Side {
        case client(serverName: String, TLSTrust)
        case server(ServerResumption?)
    }

    /// For the QUIC core and the TLS stream; valid as long as this object.
    package let handle: OpaquePointer
    private let credentials: Credentials
    let side: Side
    private var pinResult: Bool?
    private var expectedServer: ExpectedServer?
    let resumption: ClientResumption?
    /// Packed sessions that came with tickets and are not in the cache yet.
    var newTickets: [[UInt8]] = []

    init(
        _ side: Side, _ flavour: TLSFlavour, credentials: Credentials, applicationProtocols: [String],
        resumption: ClientResumption? = nil
    ) throws(TransportError) {
        self.resumption = resumption
        var session: gnutls_session_t?
        let status = gnutls_init(&session, Self.flags(side, flavour, resumption))
        guard status == 0, let session else { throw Self.setUpError(status) }
        self.handle = session
        self.credentials = credentials
        self.side = side
        try self.setUp(flavour, applicationProtocols: applicationProtocols)
    }

    deinit {
        gnutls_deinit(self.handle)
    }

    package var role: ConnectionRole {
        if case .server = self.side { .server } else { .client }
    }

    /// The negotiated ALPN identifier.
    package var applicationProtocol: String? {
        var datum = gnutls_datum_t()
        guard gnutls_alpn_get_selected_protocol(self.handle, &datum) == 0, let bytes = datum.data else { return nil }
        return String(decoding: UnsafeBufferPointer(start: bytes, count: Int(datum.size)), as: UTF8.self)
    }

    /// The peer's certificates, leaf first, each DER.
    package var peerCertificates: [[UInt8]] {
        var count: UInt32 = 0
        guard let list = gnutls_certificate_get_peers(self.handle, &count) else { return [] }
        return (0..<Int(count)).map { Array(UnsafeBufferPointer(start: list[$0].data, count: Int(list[$0].size))) }
    }

    /// Confirms, after the handshake, that the peer was verified and that an application protocol was agreed on.
    package func verifyPeer() throws(TransportError) {
        guard self.applicationProtocol != nil else {
            throw TransportError(
                .handshakeFailed, message: "the peer agreed to no application protocol", wireCode: Self.wireCode(120),
                isRetrySafe: true)
        }
        guard case .client(_, let trust) = self.side else { return }
        // The ticket was kept under this very name and trust, which the server proved when it made it.
        if self.isResumed { return }
        if case .pins = trust.source {
            guard self.pinResult == true else { throw self.rejection("its public key is not pinned") }
        } else {
            let status = gnutls_session_get_verify_cert_status(self.handle)
            guard status == 0, !self.peerCertificates.isEmpty else { throw self.rejection(Self.reasons(status)) }
        }
    }

    /// Translates what `gnutls_handshake` or a record function returned.
    package func error(for status: Int32) -> TransportError {
        switch status {
        case GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR, GNUTLS_E_CERTIFICATE_ERROR, GNUTLS_E_NO_CERTIFICATE_FOUND:
            if self.pinResult == false { return self.rejection("its public key is not pinned") }
            return self.rejection(Self.reasons(gnutls_session_get_verify_cert_status(self.handle)))
        case GNUTLS_E_FATAL_ALERT_RECEIVED:
            return Self.error(
                forAlert: UInt8(truncatingIfNeeded: gnutls_alert_get(self.handle).rawValue), initiator: .peer)
        case GNUTLS_E_PREMATURE_TERMINATION:
            return TransportError(
                .carrierLost, message: "the TLS connection ended without a close", initiator: .peer, isRetrySafe: false)
        default:
            var level: Int32 = 0
            let alert = gnutls_error_to_alert(status, &level)
            return TransportError(
                .handshakeFailed, message: describe(status),
                wireCode: alert >= 0 ? Self.wireCode(UInt8(alert & 0xff)) : nil,
                isRetrySafe: true)
        }
    }

    /// Translates a TLS alert (RFC 8446, section 6); over QUIC it is the CRYPTO_ERROR 0x100 + alert (RFC 9001, section 4.8).
    package static func error(forAlert alert: UInt8, initiator: TransportError.Initiator) -> TransportError {
        let name = gnutls_alert_get_name(gnutls_alert_description_t(rawValue: UInt32(alert))).map {
            String(cString: $0)
        }
        // bad_certificate 42 to certificate_unknown 46, unknown_ca 48
        let isAboutCertificate = (42...46).contains(alert) || alert == 48
        return TransportError(
            isAboutCertificate ? .certificateRejected : .handshakeFailed,
            message: "TLS alert: \(name ?? "number \(alert)")",
            wireCode: self.wireCode(alert), initiator: initiator, isRetrySafe: true)
    }

    // MARK: Set-up

    private static func flags(_ side: Side, _ flavour: TLSFlavour, _ client: ClientResumption?) -> UInt32 {
        var common: UInt32
        switch side {
        case .server(let resumption):
            common = CGnuTLS_server_flags() | (resumption == nil ? GNUTLS_NO_TICKETS.rawValue : 0)
            if resumption?.takesEarlyData == true { common |= GNUTLS_ENABLE_EARLY_DATA.rawValue }
        case .client:
            common = CGnuTLS_client_flags() | (client == nil ? GNUTLS_NO_TICKETS.rawValue : 0)
            if client?.offersEarlyData == true { common |= GNUTLS_ENABLE_EARLY_DATA.rawValue }
        }
        switch flavour {
        case .quic:
            return common | GNUTLS_NO_END_OF_EARLY_DATA.rawValue | GNUTLS_NO_AUTO_SEND_TICKET.rawValue
        case .stream:
            // Early start: a server speaks right after its Finished, which saves a round trip to a client that waits for
            // the server's first words (RFC 8446, section 2). A client's flag does nothing.
            return common | GNUTLS_NONBLOCK.rawValue | GNUTLS_NO_SIGNAL.rawValue | GNUTLS_ENABLE_EARLY_START.rawValue
        }
    }

    /// TLS 1.3 only; AES first, because ChaCha20 costs seven times as much where AES instructions exist.
    private static func priorities(_ flavour: TLSFlavour) -> String {
        let common =
            "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305"
            + ":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1"
        // RFC 9001, section 8.4: QUIC does not use the middlebox compatibility mode.
        return flavour == .quic ? common + ":%DISABLE_TLS13_COMPAT_MODE" : common
    }

    private func setUp(_ flavour: TLSFlavour, applicationProtocols: [String]) throws(TransportError) {
        var status = gnutls_priority_set_direct(self.handle, Self.priorities(flavour), nil)
        guard status == 0 else { throw Self.setUpError(status) }
        status = gnutls_credentials_set(
            self.handle, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(self.credentials.handle))
        guard status == 0 else { throw Self.setUpError(status) }
        status = self.offer(applicationProtocols)
        guard status == 0 else { throw Self.setUpError(status) }
        // ngtcp2 owns the session's user pointer; that of the session database is free, as no database is used.
        gnutls_db_set_ptr(self.handle, Unmanaged.passUnretained(self).toOpaque())
        switch self.side {
        case .client(let serverName, let trust):
            try self.requireProof(of: serverName, trust)
            self.resume()
        case .server(let resumption):
            status = resumption?.enable(on: self.handle, flavour) ?? 0
            guard status == 0 else { throw Self.setUpError(status) }
        }
    }

    private func offer(_ applicationProtocols: [String]) -> Int32 {
        let names = applicationProtocols.map { Array($0.utf8) }
        let all = names.flatMap { $0 }
        return withDatum(all) { whole in
            guard var next = whole.data else { return GNUTLS_E_INVALID_REQUEST }
            let data = names.map { name in
                defer { next += name.count }
                return gnutls_datum_t(data: next, size: UInt32(name.count))
            }
            return gnutls_alpn_set_protocols(self.handle, data, UInt32(data.count), GNUTLS_ALPN_MANDATORY.rawValue)
        }
    }

    private func requireProof(of serverName: String, _ trust: TLSTrust) throws(TransportError) {
        // RFC 6066, section 3: literal addresses are not permitted in the server name.
        if (try? SocketAddress(ipAddress: serverName, port: 0)) == nil {
            let status = gnutls_server_name_set(self.handle, GNUTLS_NAME_DNS, serverName, serverName.utf8.count)
            guard status == 0 else { throw Self.setUpError(status) }
        }
        if case .pins = trust.source {
            gnutls_session_set_verify_function(self.handle) { session in
                TLSSession.owner(of: session)?.checkPins() ?? GNUTLS_E_CERTIFICATE_ERROR
            }
        } else {
            let expected = ExpectedServer(name: serverName)
            expected.require(of: self.handle)
            self.expectedServer = expected
        }
    }

    private func checkPins() -> Int32 {
        guard case .client(_, let trust) = self.side, case .pins(let pins) = trust.source,
            let leaf = self.peerCertificates.first, let digest = try? LeafCertificate(der: leaf).publicKeyDigest
        else { return GNUTLS_E_CERTIFICATE_ERROR }
        // Every pin is compared, each in constant time.
        let matches = pins.reduce(false) { gnutls_memcmp($1, digest, digest.count) == 0 || $0 }
        self.pinResult = matches
        return matches ? 0 : GNUTLS_E_CERTIFICATE_ERROR
    }

    // MARK: Errors

    private func rejection(_ reason: String) -> TransportError {
        let name = if case .client(let serverName, _) = self.side { serverName } else { "the client" }
        return TransportError(
            .certificateRejected, message: "the certificate of \(name) is not trusted: \(reason)",
            wireCode: Self.wireCode(42), isRetrySafe: true)
    }

    private static func reasons(_ status: UInt32) -> String {
        guard status != 0 else { return "no certificate was shown" }
        var datum = gnutls_datum_t()
        guard gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &datum, 0) == 0,
            let data = datum.data
        else { return "status \(status)" }
        defer { CGnuTLS_free(data) }
        let text = String(decoding: UnsafeBufferPointer(start: data, count: Int(datum.size)), as: UTF8.self)
        return text.split(whereSeparator: { $0.isWhitespace || $0 == "\0" }).joined(separator: " ")
    }

    static func setUpError(_ status: Int32) -> TransportError {
        TransportError(.handshakeFailed, message: "TLS could not be set up: \(describe(status))", isRetrySafe: true)
    }

    private static func wireCode(_ alert: UInt8) -> UInt64 { 0x100 + UInt64(alert) }
}
