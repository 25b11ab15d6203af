// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS
package import TernTransport

// Tickets, 0-RTT and what both ends can derive from the handshake.
extension TLSSession {
    /// Whether the handshake resumed an earlier session.
    package var isResumed: Bool { self.outcome?.isResumed ?? (gnutls_session_is_resumed(self.handle) != 0) }

    /// Client: what the carrier kept beside the ticket that this session tries to resume; `nil` without a ticket.
    package var carrierState: [UInt8]? { self.resumption?.entry?.carrierState }

    /// Client: whether there is a ticket that lets us send early, and something to send was announced.
    package var mayOfferEarlyData: Bool { self.earlyDataLimit > 0 }

    /// Client: how many bytes may be sent early.
    package var earlyDataLimit: Int {
        guard let resumption, resumption.offersEarlyData else { return 0 }
        return resumption.entry?.earlyDataLimit ?? 0
    }

    /// Whether 0-RTT was accepted: at a client known when the handshake is done, at a server from the ClientHello on.
    package var wasEarlyDataAccepted: Bool {
        if let outcome { return outcome.wasEarlyDataAccepted }
        return UInt32(bitPattern: Int32(gnutls_session_get_flags(self.handle))) & GNUTLS_SFLAGS_EARLY_DATA.rawValue != 0
    }

    /// Server: the handshake was told to be done before the client had finished it.
    var didStartEarly: Bool {
        UInt32(bitPattern: Int32(gnutls_session_get_flags(self.handle))) & GNUTLS_SFLAGS_EARLY_START.rawValue != 0
    }

    /// Client: whether tickets came that ``rememberTickets(carrierState:)`` should keep.
    package var hasNewTickets: Bool { !self.newTickets.isEmpty }

    /// Client: keeps the tickets that came for later connections.
    ///
    /// - Parameter carrierState: what the next connection needs to know beside the ticket.
    package func rememberTickets(carrierState: [UInt8]) {
        guard let resumption = self.resumption else { return }
        defer { self.newTickets.removeAll() }
        // A resumed connection proves nothing of the server anew: its tickets are as old as the handshake that did.
        guard let proof = self.isResumed ? resumption.entry?.proof : resumption.proof else { return }
        for ticket in self.newTickets {
            resumption.cache.store(
                TLSSessionCache.Entry(
                    session: ticket.session, carrierState: carrierState, proof: proof,
                    earlyDataLimit: ticket.earlyDataLimit, applicationProtocol: self.applicationProtocol),
                for: resumption.key)
        }
    }

    /// Server: sends a ticket; after the handshake, and only where GnuTLS does not by itself (over QUIC, and where clients are
    /// asked for certificates).
    ///
    /// Where clients are asked who they are a resumed connection brings no new tickets: a client that came by its ticket without
    /// the key could live on them for ever. So it proves that it has the key after the lifetime of one ticket at the latest.
    package func sendTicket() {
        guard case .server(_, .some) = self.side, self.outcome == nil else { return }
        if self.side.asksForCertificates, self.isResumed { return }
        // It fails only where it does not matter: the client will do a full handshake.
        _ = gnutls_session_ticket_send(self.handle, self.flavour == .quic ? 1 : Self.ticketsOverStreams, 0)
    }

    /// As many as GnuTLS sends by itself.
    private static var ticketsOverStreams: UInt32 { 2 }

    /// Derives bytes that only the two ends can (RFC 8446, section 7.5).
    package func exportKeyingMaterial(
        label: String, context: [UInt8], count: Int
    ) throws(TransportError) -> [UInt8] {
        // HKDF-Expand gives at most 255 blocks of the hash (RFC 5869, section 2.3).
        guard (1...8160).contains(count), (1...249).contains(label.utf8.count), context.count <= 65_535 else {
            throw TransportError(.misuse, message: "an exporter gives 1 to 8160 bytes for a label of 1 to 249")
        }
        if let outcome {
            return try outcome.exportKeyingMaterial(
                from: self.exporterSecret, label: label, context: context, count: count)
        }
        var bytes = [CChar](repeating: 0, count: count)
        let status = context.withUnsafeBytes { context in
            gnutls_prf_rfc5705(
                self.handle, label.utf8.count, label, context.count,
                context.baseAddress?.assumingMemoryBound(to: CChar.self), count, &bytes)
        }
        guard status == 0 else {
            throw TransportError(.misuse, message: "no keys can be exported: \(describe(status))")
        }
        return bytes.map { UInt8(bitPattern: $0) }
    }

    /// The object that owns a session; for callbacks.
    static func owner(of session: OpaquePointer?) -> TLSSession? {
        guard let session, let pointer = gnutls_db_get_ptr(session) else { return nil }
        return Unmanaged<TLSSession>.fromOpaque(pointer).takeUnretainedValue()
    }

    /// Puts the ticket into the ClientHello to be, and listens for new ones.
    func resume() {
        guard let resumption = self.resumption else { return }
        if let session = resumption.entry?.session {
            // A ticket that can't be read is no ticket: the handshake will be a full one.
            _ = session.withUnsafeBytes { gnutls_session_set_data(self.handle, $0.baseAddress, $0.count) }
        }
        gnutls_handshake_set_hook_function(
            self.handle, UInt32(GNUTLS_HANDSHAKE_NEW_SESSION_TICKET.rawValue), Int32(GNUTLS_HOOK_POST)
        ) { session, _, _, _, _ in
            TLSSession.owner(of: session)?.noteTicket()
            return 0
        }
    }

    /// The most tickets that one connection keeps of those a server sends.
    private static var ticketLimit: Int { 4 }

    private func noteTicket() {
        guard self.newTickets.count < Self.ticketLimit else { return }
        var datum = gnutls_datum_t()
        guard gnutls_session_get_data2(self.handle, &datum) == 0, let data = datum.data else { return }
        defer { CGnuTLS_free(data) }
        // A client starts with 2^32-1. Over QUIC a ticket says that (RFC 9001, section 4.6.1) or nothing, and the two can't be
        // told apart: a server that wanted nothing early refuses it.
        let limit = gnutls_record_get_max_early_data_size(self.handle)
        let says = limit < Int(UInt32.max) || self.flavour == .quic
        self.newTickets.append(
            (Array(UnsafeBufferPointer(start: data, count: Int(datum.size))), earlyDataLimit: says ? limit : 0))
    }
}
