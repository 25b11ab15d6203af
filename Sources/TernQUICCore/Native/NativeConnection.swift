// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// Nothing of it is named here: the import makes the linker find what CTernSystem calls.
internal import CNgtcp2
internal import CTernSystem
internal import NIOCore
internal import TernTLS
internal import TernTransport

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// The owner of one ngtcp2 connection. Every call into it goes through here; facts come out of ``inbox``.
final class NativeConnection {
    let inbox: NativeInbox
    /// Kept because ngtcp2 uses it to the end, unless it is retired.
    private let tls: TLSSession
    let quic: OpaquePointer
    private var readPath: QUICPath
    private var writePath: QUICPath
    private var writePathNumber: UInt64 = 0

    /// - Parameter initial: the client's first packet, for a server; `nil` for a client.
    init(
        configuration: QUICConfiguration, tls: TLSSession, initial: QUICInitial?, path: QUICPath,
        packetSizes: PacketSizeSearch, now: UInt64
    ) throws(TransportError) {
        let qlog = configuration.makeQlogSink?()
        let inbox = NativeInbox(
            role: initial == nil ? .client : .server, randomness: configuration.randomness,
            qlog: qlog)
        var settings = tern_quic_settings(configuration, now: now)
        settings.context = Unmanaged.passUnretained(inbox).toOpaque()
        settings.events = NativeInbox.events
        settings.writes_qlog = qlog != nil
        settings.caller_sizes_packets = packetSizes.searches
        settings.maximum_udp_payload = packetSizes.largest
        let handle = UnsafeMutableRawPointer(tls.handle)
        let original = settings.originalDestination(of: initial)
        let quic = (initial.map(\.provenToken) ?? configuration.addressToken).withUnsafeBufferPointer { token in
            settings.token = token.baseAddress
            settings.token_length = token.count
            return path.withNative { path in
                if let initial {
                    tern_quic_server(
                        &settings, path, handle, initial.version, original, initial.sourceConnectionID.native)
                } else {
                    tern_quic_client(&settings, path, handle)
                }
            }
        }
        guard let quic else {
            throw TransportError(.misuse, message: "ngtcp2 does not take these settings", isRetrySafe: true)
        }
        qlog?.begin(QUICConnectionID(tern_quic_original_cid(quic)), role: initial == nil ? .client : .server)
        if initial.map({ !$0.provenToken.isEmpty }) ?? true { inbox.peerIsProven() }
        self.quic = quic
        self.inbox = inbox
        self.tls = tls
        self.readPath = path
        self.writePath = path
    }

    deinit {
        tern_quic_free(self.quic)
    }

    /// The handshake is done, and what TLS has to say is said.
    func retireTLS() {
        guard self.tls.mayRetire else { return }
        tern_quic_forget_tls(self.quic)
        self.tls.retire()
    }

    var hasHeardFromPeer: Bool { tern_quic_has_decrypted(self.quic) }
    var sourceConnectionID: QUICConnectionID { QUICConnectionID(tern_quic_source_cid(self.quic)) }

    // MARK: Packets and time

    func read(_ datagram: UnsafeRawBufferPointer, path: QUICPath, ecn: ECN, now: UInt64) -> tern_quic_result {
        guard let base = datagram.baseAddress, datagram.count > 0 else { return TERN_QUIC_OK }
        if path != self.readPath {
            path.withNative { tern_quic_set_read_path(self.quic, $0) }
            self.readPath = path
        }
        return tern_quic_read(
            self.quic, ecn.rawValue, base.assumingMemoryBound(to: UInt8.self), datagram.count, now)
    }

    /// Packets wait that came before the client had answered the handshake, and can be read now.
    var hasHeldPackets: Bool { tern_quic_has_held(self.quic) }
    /// Reads one of them.
    func readHeldPacket(now: UInt64) -> tern_quic_result { tern_quic_read_held(self.quic, now) }

    private static let vectorsPerPacket = 16

    /// Writes a packet with bytes of `stream`, or with what is due anyway; leaves it open for more frames in the former
    /// case.
    func write(_ stream: QUICStream?, into packet: UnsafeMutableRawBufferPointer, now: UInt64) -> tern_quic_written {
        let bytes = packet.baseAddress?.assumingMemoryBound(to: UInt8.self)
        guard let stream else {
            return tern_quic_write_stream(self.quic, bytes, packet.count, -1, nil, 0, false, false, now)
        }
        var finish = false
        let written = withUnsafeTemporaryAllocation(of: tern_quic_vec.self, capacity: Self.vectorsPerPacket) {
            vectors in
            let count: Int
            (count, finish) = stream.queue.fill(vectors)
            return tern_quic_write_stream(
                self.quic, bytes, packet.count, Int64(bitPattern: stream.id.rawValue), vectors.baseAddress, count,
                finish,
                true, now)
        }
        if written.taken >= 0 {
            stream.queue.markSent(written.taken)
            if finish, stream.queue.unsentBytes == 0 {
                stream.queue.markFinished(alone: written.taken == 0, path: self.lastWritePathNumber)
            }
        }
        return written
    }

    /// - Parameter number: what the fact of its fate tells; 0 if nobody asks.
    func write(
        datagram: ByteBuffer, number: UInt64, into packet: UnsafeMutableRawBufferPointer, now: UInt64
    ) -> tern_quic_written {
        datagram.withUnsafeReadableBytes { payload in
            tern_quic_write_datagram(
                self.quic, packet.baseAddress?.assumingMemoryBound(to: UInt8.self), packet.count,
                payload.baseAddress?.assumingMemoryBound(to: UInt8.self), payload.count, number, now)
        }
    }

    func writeClose(
        isApplication: Bool, code: UInt64, reason: String, into packet: UnsafeMutableRawBufferPointer, now: UInt64
    ) -> tern_quic_written {
        var reason = reason
        return reason.withUTF8 { text in
            tern_quic_write_close(
                self.quic, packet.baseAddress?.assumingMemoryBound(to: UInt8.self), packet.count, isApplication, code,
                text.baseAddress, text.count, now)
        }
    }

    /// Differs when the packet that was written last goes elsewhere than the one before.
    var lastWritePathNumber: UInt64 { tern_quic_write_path_number(self.quic) }

    /// Where the packet that was written last goes.
    var lastWritePath: QUICPath {
        if self.lastWritePathNumber != self.writePathNumber {
            var local = sockaddr_storage()
            var remote = sockaddr_storage()
            self.writePathNumber = tern_quic_write_path(self.quic, &local, &remote)
            // Mostly the first path, whose addresses are there already.
            if !self.writePath.isNative(local: &local, remote: &remote),
                let path = QUICPath(local: &local, remote: &remote)
            {
                self.writePath = path
            }
        }
        return self.writePath
    }

    var currentPath: QUICPath? {
        var local = sockaddr_storage()
        var remote = sockaddr_storage()
        tern_quic_current_path(self.quic, &local, &remote)
        return QUICPath(local: &local, remote: &remote)
    }

    func pace(now: UInt64) { tern_quic_pace(self.quic, now) }
    var sendQuantum: Int { Int(clamping: tern_quic_send_quantum(self.quic)) }
    var expiry: UInt64 { tern_quic_expiry(self.quic) }
    func expire(now: UInt64) -> tern_quic_result { tern_quic_expire(self.quic, now) }
    var probeTimeout: UInt64 { tern_quic_probe_timeout(self.quic) }
    func keepAlive(every interval: UInt64) { tern_quic_keep_alive(self.quic, interval) }

    /// Gives the client a token for its next connection.
    func submit(token: [UInt8]) {
        _ = token.withUnsafeBufferPointer { tern_quic_submit_token(self.quic, $0.baseAddress, $0.count) }
    }

    // MARK: 0-RTT

    /// What a later connection must know to send 0-RTT data.
    var rememberedParameters: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 512) { buffer, count in
            count = tern_quic_remember_parameters(self.quic, buffer.baseAddress, buffer.count)
        }
    }

    /// - Returns: whether 0-RTT data may be sent under them.
    func recall(parameters: [UInt8]) -> Bool {
        tern_quic_recall_parameters(self.quic, parameters, parameters.count)
    }

    // MARK: Streams

    func openStream(_ direction: StreamDirection) -> Result<StreamID, NativeFailure> {
        var id: Int64 = -1
        let result = tern_quic_open_stream(self.quic, direction == .bidirectional, &id)
        guard result == TERN_QUIC_OK else { return .failure(NativeFailure(result: result)) }
        return .success(StreamID(rawValue: UInt64(bitPattern: id)))
    }

    func reset(_ stream: StreamID, code: UInt64) {
        _ = tern_quic_reset_stream(self.quic, Int64(bitPattern: stream.rawValue), code)
    }

    func stop(_ stream: StreamID, code: UInt64) {
        _ = tern_quic_stop_stream(self.quic, Int64(bitPattern: stream.rawValue), code)
    }

    func credit(_ stream: StreamID, _ count: Int) {
        tern_quic_credit_stream(self.quic, Int64(bitPattern: stream.rawValue), UInt64(count))
    }

    func creditConnection(_ count: Int) { tern_quic_credit_connection(self.quic, UInt64(count)) }
    func allowStream(_ direction: StreamDirection) { tern_quic_allow_stream(self.quic, direction == .bidirectional) }

    // MARK: Facts

    /// - Parameter capacity: the largest packet that may be written.
    func maximumDatagramSize(capacity: Int) -> Int {
        Int(clamping: tern_quic_maximum_datagram(self.quic, max(capacity, 0)))
    }
    /// Bytes that the peer allows to be sent on all streams together.
    var connectionCredit: UInt64 { tern_quic_connection_credit(self.quic) }
    /// The peer's idle timeout in nanoseconds; `nil` if it has none, or has not told it yet.
    var peerIdleTimeout: UInt64? {
        let timeout = tern_quic_peer_idle_timeout(self.quic)
        return timeout == 0 ? nil : timeout
    }
    func updateKeys(now: UInt64) -> tern_quic_result { tern_quic_update_keys(self.quic, now) }
    /// The largest UDP payload that ngtcp2 writes on this path.
    var pathPayload: Int { Int(clamping: tern_quic_path_payload(self.quic)) }
    var peerMaximumPayload: Int { Int(clamping: tern_quic_peer_maximum_payload(self.quic)) }
    /// The bytes that ngtcp2 has allocated.
    var memory: Int { Int(clamping: tern_quic_memory_in_use(self.quic)) }
    /// A client: ngtcp2 could not write the server's transport parameters to a qlog safely.
    var refusedToLog: Bool { tern_quic_refused_to_log(self.quic) }
    var tlsAlert: UInt8 { tern_quic_tls_alert(self.quic) }

    /// The transport error code and the text that fit the last failure.
    var lastFailure: (code: UInt64, text: String) {
        let error = tern_quic_last_error(self.quic)
        return (tern_quic_error_code(error), String(cString: tern_quic_error_text(error)))
    }

    var peerClose: (isApplication: Bool, code: UInt64, frameType: UInt64, reason: String) {
        var close = tern_quic_peer_close()
        tern_quic_get_peer_close(self.quic, &close)
        let reason = withUnsafeBytes(of: close.reason) { bytes in
            String(decoding: bytes.prefix(close.reason_length), as: UTF8.self)
        }
        return (close.application, close.code, close.frame_type, reason)
    }

    var nativeStatistics: tern_quic_statistics {
        var statistics = tern_quic_statistics()
        tern_quic_get_statistics(self.quic, &statistics)
        return statistics
    }
}

struct NativeFailure: Error {
    let result: tern_quic_result
}

extension QUICInitial {
    fileprivate var provenToken: [UInt8] { self.validation == .none ? [] : self.token }
}

extension tern_quic_settings {
    /// After a Retry the client's first Initial had another destination, and both must be told (RFC 9000, section 7.3).
    fileprivate mutating func originalDestination(of initial: QUICInitial?) -> tern_quic_cid {
        guard let initial else { return tern_quic_cid() }
        guard case .retry(let original) = initial.validation else { return initial.destinationConnectionID.native }
        self.retry_source = initial.destinationConnectionID.native
        return original.native
    }

    fileprivate init(_ configuration: QUICConfiguration, now: UInt64) {
        let limits = configuration.limits
        // Transport parameters are varints, and stream counts at most 2^60 (RFC 9000, sections 16 and 4.6).
        func positive(_ value: Int) -> UInt64 { min(UInt64(max(value, 0)), 1 << 60) }
        func nanoseconds(_ amount: TimeAmount?) -> UInt64 { UInt64(max(amount?.nanoseconds ?? 0, 0)) }
        self.init()
        self.now = now
        self.handshake_timeout = nanoseconds(limits.handshakeTimeout)
        self.idle_timeout = nanoseconds(limits.idleTimeout)
        self.connection_window = positive(limits.connectionWindow)
        self.stream_window = positive(limits.streamWindow)
        self.bidirectional_streams = positive(limits.bidirectionalStreams)
        self.unidirectional_streams = positive(limits.unidirectionalStreams)
        self.datagram_frame_size = positive(limits.datagramFrameSize)
        self.maximum_udp_payload = configuration.maximumUDPPayloadSize
        self.discovers_mtu = configuration.discoversPathMTU
        self.take(configuration.paths)
        self.congestion =
            switch configuration.congestionControl {
            case .reno: TERN_QUIC_RENO
            case .cubic: TERN_QUIC_CUBIC
            case .bbr: TERN_QUIC_BBR
            }
        let ids = configuration.connectionIDs
        let prefix = ids.prefix.prefix(min(ids.length - 8, 12))
        self.cid_length = UInt8(ids.length)
        self.cid_prefix_length = UInt8(prefix.count)
        withUnsafeMutableBytes(of: &self.cid_prefix) { $0.copyBytes(from: prefix) }
        withUnsafeMutableBytes(of: &self.reset_secret) { $0.copyBytes(from: ids.resetSecret.bytes.prefix(32)) }
    }
}
