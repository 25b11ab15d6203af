// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS
package import TernTransport

/// Owns a `gnutls_session_t`: one end of one TLS 1.3 handshake.
///
/// Confined to the event loop of its connection. The peer is verified inside the handshake, which fails with the right alert
/// when the peer can't be trusted; ``verifyPeer()`` says afterwards that this has happened. A session that will hear no more
/// is retired: see ``retire()``.
package final class TLSSession {
    enum Side {
        case client(serverName: ServerName, TLSTrust)
        case server(TLSClientAuthentication, ServerResumption?)

        /// A server that wants to know who its clients are.
        var asksForCertificates: Bool {
            if case .server(let authentication, _) = self { authentication != .none } else { false }
        }
    }

    /// `nil` when the session is retired.
    private var session: OpaquePointer?
    /// What is left of a retired session.
    var outcome: TLSOutcome?
    /// From which both ends derive keys for the application (RFC 8446, section 7.1); kept where GnuTLS will not be asked.
    var exporterSecret: [UInt8] = []
    /// Where the secrets are logged, if they are, and which were.
    let keyLog: KeyLog?
    var loggedLabels: Set<String> = []
    private let credentials: Credentials
    /// What this end offers, or takes (ALPN).
    private let applicationProtocols: [String]
    let side: Side
    let flavour: TLSFlavour
    /// What the peer must prove; `nil` for a server that asks nothing.
    private let requirement: PeerRequirement?
    /// The peer was judged inside the handshake, and is trusted.
    private var wasPeerTrusted = false
    /// The peer was judged inside the handshake, and has heard why it is not trusted.
    private var rejection: PeerRejection?
    let resumption: ClientResumption?
    /// A server's that takes 0-RTT.
    private(set) var replayGuard: ReplayGuard?
    /// Packed sessions that came with tickets and are not in the cache yet, and how much each lets us send early.
    var newTickets: [(session: [UInt8], earlyDataLimit: Int)] = []

    init(
        _ side: Side, _ flavour: TLSFlavour, credentials: Credentials, priorities: Priorities,
        applicationProtocols: [String], resumption: ClientResumption? = nil, keyLog: KeyLog?,
        client: ClientNetwork? = nil
    ) throws(TransportError) {
        self.resumption = resumption
        self.keyLog = keyLog
        var session: gnutls_session_t?
        let status = gnutls_init(&session, Self.flags(side, flavour, resumption))
        guard status == 0, let session else { throw Self.setUpError(status) }
        self.session = session
        self.credentials = credentials
        self.applicationProtocols = applicationProtocols
        self.side = side
        self.flavour = flavour
        self.requirement = Self.requirement(of: side)
        try self.setUp(flavour, priorities, applicationProtocols: applicationProtocols, client: client)
        self.hearSecrets()
    }

    deinit {
        self.endSession()
        gnutls_memset(&self.exporterSecret, 0, self.exporterSecret.count)
    }

    /// For the QUIC core and the TLS stream; valid until the session is retired, at the longest as long as this object.
    package var handle: OpaquePointer {
        // Who retires a session has said that nobody uses it any more.
        guard let session else { preconditionFailure("the TLS session is retired") }
        return session
    }

    func endSession() {
        if let session { gnutls_deinit(session) }
        self.session = nil
    }

    package var role: ConnectionRole {
        if case .server = self.side { .server } else { .client }
    }

    /// The negotiated ALPN identifier.
    package var applicationProtocol: String? {
        if let outcome { return outcome.applicationProtocol }
        var datum = gnutls_datum_t()
        guard gnutls_alpn_get_selected_protocol(self.handle, &datum) == 0, let bytes = datum.data else { return nil }
        return String(decoding: UnsafeBufferPointer(start: bytes, count: Int(datum.size)), as: UTF8.self)
    }

    /// What protects the connection; `nil` before it is agreed on.
    package var cipherSuite: TLSCipherSuite? {
        if let outcome { return outcome.cipherSuite }
        return switch gnutls_cipher_get(self.handle) {
        case GNUTLS_CIPHER_AES_128_GCM: .aes128GCM
        case GNUTLS_CIPHER_AES_256_GCM: .aes256GCM
        case GNUTLS_CIPHER_CHACHA20_POLY1305: .chaCha20Poly1305
        default: nil
        }
    }

    /// The peer's certificates, leaf first, each DER.
    package var peerCertificates: [[UInt8]] {
        if let outcome { return outcome.peerCertificates }
        var count: UInt32 = 0
        guard let list = gnutls_certificate_get_peers(self.handle, &count) else { return [] }
        return (0..<Int(count)).map { Array(UnsafeBufferPointer(start: list[$0].data, count: Int(list[$0].size))) }
    }

    /// Confirms, after the handshake, that the peer was verified and that an application protocol was agreed on.
    package func verifyPeer() throws(TransportError) {
        // It was before.
        guard self.outcome == nil else { return }
        guard self.applicationProtocol != nil else {
            throw TransportError(
                .handshakeFailed, message: "the peer agreed to no application protocol", wireCode: Self.wireCode(120),
                isRetrySafe: true)
        }
        if let rejection { throw self.error(for: rejection) }
        try self.checkMeaningOfEarlyData()
        guard let requirement, !self.wasPeerTrusted else { return }
        // What the peer proved when the ticket was made counts only if it would today: GnuTLS keeps its certificates with
        // the session, at a client in the cache, at a server in the ticket.
        if let rejection = requirement.rejection(of: self.handle, certificates: self.peerCertificates) {
            throw self.error(for: rejection)
        }
    }

    /// RFC 8446, section 4.2.10: early data belongs to the application protocol of the connection that brought the ticket.
    private func checkMeaningOfEarlyData() throws(TransportError) {
        guard self.role == .client, self.mayOfferEarlyData, self.wasEarlyDataAccepted,
            self.applicationProtocol != self.resumption?.entry?.applicationProtocol
        else { return }
        throw TransportError(
            .handshakeFailed, message: "the server took early data of another application protocol",
            wireCode: Self.wireCode(47), initiator: .local)
    }

    /// Translates what `gnutls_handshake` or a record function returned.
    package func error(for status: Int32) -> TransportError {
        if let rejection { return self.error(for: rejection) }
        switch status {
        case GNUTLS_E_CERTIFICATE_REQUIRED, GNUTLS_E_NO_CERTIFICATE_FOUND:
            return self.error(for: PeerRejection(reason: "no certificate was shown", alert: .certificateRequired))
        case GNUTLS_E_FATAL_ALERT_RECEIVED:
            return self.error(forPeersAlert: UInt8(truncatingIfNeeded: gnutls_alert_get(self.handle).rawValue))
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
        // bad_certificate 42 to certificate_unknown 46, unknown_ca 48, certificate_required 116
        let isAboutCertificate = (42...46).contains(alert) || alert == 48 || alert == 116
        return TransportError(
            isAboutCertificate ? .certificateRejected : .handshakeFailed,
            message: "TLS alert: \(name ?? "number \(alert)")",
            wireCode: self.wireCode(alert), initiator: initiator, isRetrySafe: true)
    }

    /// The same for an alert of the peer: with what it means for this end, and what this end had offered.
    package func error(forPeersAlert alert: UInt8) -> TransportError {
        var error = Self.error(forAlert: alert, initiator: .peer)
        if let meaning = self.meaning(ofPeersAlert: alert) { error.message += ": \(meaning)" }
        return error
    }

    /// RFC 8446, section 6.2; RFC 7301, section 3.2.
    private func meaning(ofPeersAlert alert: UInt8) -> String? {
        switch alert {
        case 40: return "no cipher suite, key exchange or signature algorithm in common"
        case 42...46: return "it does not accept the certificate that this end showed"
        case 48: return "it does not know the authority that signed this end's certificate"
        case 70: return "it does not speak TLS 1.3"
        case 112: return "it has no certificate for the name that was asked for"
        case 116: return "it asks for a certificate, and this end showed none"
        case 120:
            let offered = self.applicationProtocols.map { "\"\($0)\"" }.joined(separator: ", ")
            return "it speaks none of the application protocols of this end (\(offered))"
        default: return nil
        }
    }

    // MARK: Set-up

    private static func flags(_ side: Side, _ flavour: TLSFlavour, _ client: ClientResumption?) -> UInt32 {
        var common: UInt32
        switch side {
        case .server(_, let resumption):
            common = CGnuTLS_server_flags() | (resumption == nil ? GNUTLS_NO_TICKETS.rawValue : 0)
            // See sendTicket().
            if side.asksForCertificates { common |= GNUTLS_NO_AUTO_SEND_TICKET.rawValue }
            if resumption?.takesEarlyData == true { common |= GNUTLS_ENABLE_EARLY_DATA.rawValue }
        case .client:
            // The one identity that was configured is shown to whoever asks: a server that does not want it says so more clearly
            // than one that gets nothing.
            common = CGnuTLS_client_flags() | GNUTLS_FORCE_CLIENT_CERT.rawValue
            common |= (client == nil ? GNUTLS_NO_TICKETS.rawValue : 0)
            if client?.offersEarlyData == true, client?.entry?.earlyDataLimit ?? 0 > 0 {
                common |= GNUTLS_ENABLE_EARLY_DATA.rawValue
            }
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

    private static func requirement(of side: Side) -> PeerRequirement? {
        switch side {
        case .client(let name, let trust):
            PeerRequirement(trust: trust, name: name, purpose: .server, isOptional: false)
        case .server(.none, _): nil
        case .server(.optional(let trust), _):
            PeerRequirement(trust: trust, name: nil, purpose: .client, isOptional: true)
        case .server(.required(let trust), _):
            PeerRequirement(trust: trust, name: nil, purpose: .client, isOptional: false)
        }
    }

    private func setUp(
        _ flavour: TLSFlavour, _ priorities: Priorities, applicationProtocols: [String], client: ClientNetwork?
    ) throws(TransportError) {
        var status = gnutls_priority_set(self.handle, priorities.handle)
        guard status == 0 else { throw Self.setUpError(status) }
        status = gnutls_credentials_set(
            self.handle, GNUTLS_CRD_CERTIFICATE, UnsafeMutableRawPointer(self.credentials.handle))
        guard status == 0 else { throw Self.setUpError(status) }
        status = self.offer(applicationProtocols)
        guard status == 0 else { throw Self.setUpError(status) }
        // ngtcp2 owns the session's user pointer; that of the session database is free, as no database is used.
        gnutls_db_set_ptr(self.handle, Unmanaged.passUnretained(self).toOpaque())
        if self.requirement != nil {
            gnutls_session_set_verify_function(self.handle) { session in
                TLSSession.owner(of: session)?.judgePeer() ?? GNUTLS_E_CERTIFICATE_ERROR
            }
        }
        switch self.side {
        case .client(let serverName, _):
            try self.name(serverName)
            self.resume()
        case .server(let clientAuthentication, let resumption):
            self.ask(clientAuthentication)
            status = resumption?.enable(on: self.handle, flavour, applicationProtocols: applicationProtocols) ?? 0
            guard status == 0 else { throw Self.setUpError(status) }
            if resumption?.takesEarlyData == true { self.replayGuard = ReplayGuard(of: self, client: client) }
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
            // The server's order counts.
            let flags = GNUTLS_ALPN_MANDATORY.rawValue | GNUTLS_ALPN_SERVER_PRECEDENCE.rawValue
            return gnutls_alpn_set_protocols(self.handle, data, UInt32(data.count), flags)
        }
    }

    private func name(_ serverName: ServerName) throws(TransportError) {
        // RFC 6066, section 3: literal addresses are not permitted in the server name.
        guard !serverName.isAddress else { return }
        let name = serverName.text
        let status = gnutls_server_name_set(self.handle, GNUTLS_NAME_DNS, name, name.utf8.count)
        guard status == 0 else { throw Self.setUpError(status) }
    }

    private func ask(_ clientAuthentication: TLSClientAuthentication) {
        switch clientAuthentication {
        case .none: break
        case .optional: gnutls_certificate_server_set_request(self.handle, GNUTLS_CERT_REQUEST)
        case .required: gnutls_certificate_server_set_request(self.handle, GNUTLS_CERT_REQUIRE)
        }
    }

    // MARK: The peer's certificate

    private func judgePeer() -> Int32 {
        guard let requirement else { return GNUTLS_E_CERTIFICATE_ERROR }
        guard let rejection = requirement.rejection(of: self.handle, certificates: self.peerCertificates) else {
            self.wasPeerTrusted = true
            self.resumption?.peerWasVerified(self.peerCertificates.first)
            return GNUTLS_E_SUCCESS
        }
        self.rejection = rejection
        // For most of what can be wrong with a certificate GnuTLS has one error only, and one alert, bad_certificate. The
        // right one goes out here, and an error follows for which nobody sends another.
        _ = gnutls_alert_send(
            self.handle, GNUTLS_AL_FATAL, gnutls_alert_description_t(rawValue: UInt32(rejection.alert.rawValue)))
        return GNUTLS_E_FATAL_ALERT_RECEIVED
    }

    // MARK: Errors

    private func error(for rejection: PeerRejection) -> TransportError {
        let name = if case .client(let serverName, _) = self.side { serverName.text } else { "the client" }
        return TransportError(
            .certificateRejected, message: "the certificate of \(name) is not trusted: \(rejection.reason)",
            wireCode: Self.wireCode(rejection.alert.rawValue), isRetrySafe: true)
    }

    static func setUpError(_ status: Int32) -> TransportError {
        TransportError(.handshakeFailed, message: "TLS could not be set up: \(describe(status))", isRetrySafe: true)
    }

    private static func wireCode(_ alert: UInt8) -> UInt64 { 0x100 + UInt64(alert) }
}
