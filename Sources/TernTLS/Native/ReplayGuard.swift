// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import CGnuTLS
internal import NIOCore
internal import TernTransport

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Owns the `gnutls_anti_replay_t` of a server, which refuses tickets that are older than itself, and what remembers for it.
///
/// With a window that never passes GnuTLS changes nothing in the object after its set-up, so that sessions on any thread share it.
final class AntiReplay {
    let handle: gnutls_anti_replay_t
    fileprivate let memory: any TLSReplayMemory
    fileprivate let ticketLifetime: Int

    /// With a shorter window GnuTLS begins a new period each time it has passed, and from then on refuses every ticket of the
    /// period before: a server with more than a few clients would take next to nothing. Without one, all that bounds the age
    /// of a copy is the ticket's lifetime, so that is how long each ticket is remembered. In milliseconds.
    private static let window = UInt32.max

    init(_ memory: any TLSReplayMemory, ticketLifetime: Int) throws(TLSError) {
        var handle: gnutls_anti_replay_t?
        guard gnutls_anti_replay_init(&handle) == 0, let handle else {
            throw TLSError(.generationFailed, message: "cannot allocate the memory against replays")
        }
        self.handle = handle
        self.memory = memory
        self.ticketLifetime = ticketLifetime
        gnutls_anti_replay_set_window(handle, Self.window)
        gnutls_anti_replay_set_ptr(handle, Unmanaged.passUnretained(self).toOpaque())
        gnutls_anti_replay_set_add_function(handle) { pointer, _, key, _ in
            guard let pointer, let key = key?.pointee else { return GNUTLS_E_DB_ERROR }
            let bytes = UnsafeBufferPointer(start: key.data, count: Int(key.size))
            return Unmanaged<AntiReplay>.fromOpaque(pointer).takeUnretainedValue().admits(bytes)
                ? 0 : GNUTLS_E_DB_ENTRY_EXISTS
        }
    }

    deinit { gnutls_anti_replay_deinit(self.handle) }

    /// GnuTLS puts the beginning of its period before the PSK binder, which depends on the whole ClientHello.
    private static let periodSize = 12

    /// Whether the ticket of the ClientHello that this thread is at is used for the first time.
    private func admits(_ key: UnsafeBufferPointer<UInt8>) -> Bool {
        let guardian = ReplayGuard.ofThisThread
        let key = guardian?.ticket ?? Array(key.dropFirst(Self.periodSize))
        return self.memory.insert(
            key, of: guardian?.client ?? [], until: SystemClock.secondsSince1970 + self.ticketLifetime)
    }
}

/// What one server session knows of the ClientHello that it looks at: GnuTLS tells the memory against replays neither the ticket
/// nor the session. So that a ticket is good for 0-RTT once (RFC 8446, section 8.1), and no client takes all of the memory.
///
/// Confined to the event loop of its session, which owns it.
final class ReplayGuard {
    fileprivate let client: [UInt8]
    /// SHA-256 of the ticket that the client brought.
    fileprivate var ticket: [UInt8]?

    /// Whose ClientHello the thread is at: from GnuTLS's hook before it until the one behind it.
    ///
    /// `nil` when the process has used up all keys: then first flights are told apart as a whole.
    private static let current: pthread_key_t? = {
        var key = pthread_key_t()
        return pthread_key_create(&key, nil) == 0 ? key : nil
    }()

    private static var pointerOfThisThread: UnsafeMutableRawPointer? {
        Self.current.flatMap { pthread_getspecific($0) }
    }

    /// Only between the two hooks: behind a ClientHello that GnuTLS refused, the pointer stays until the next one, and what it points
    /// to may be gone by then.
    fileprivate static var ofThisThread: ReplayGuard? {
        Self.pointerOfThisThread.map { Unmanaged<ReplayGuard>.fromOpaque($0).takeUnretainedValue() }
    }

    init(of session: TLSSession, client: ClientNetwork?) {
        self.client = client?.bytes ?? []
        gnutls_handshake_set_hook_function(
            session.handle, UInt32(GNUTLS_HANDSHAKE_CLIENT_HELLO.rawValue), Int32(GNUTLS_HOOK_BOTH)
        ) { session, _, when, isIncoming, message in
            guard isIncoming != 0, let replayGuard = TLSSession.owner(of: session)?.replayGuard else { return 0 }
            if when == UInt32(bitPattern: Int32(GNUTLS_HOOK_PRE)), let message = message?.pointee {
                replayGuard.begin(UnsafeBufferPointer(start: message.data, count: Int(message.size)))
            } else {
                replayGuard.end()
            }
            return 0
        }
    }

    deinit { self.end() }

    private func begin(_ message: UnsafeBufferPointer<UInt8>) {
        if let key = Self.current { pthread_setspecific(key, Unmanaged.passUnretained(self).toOpaque()) }
        guard let identity = ClientHello.firstTicket(in: ByteBuffer(bytes: message)) else { return }
        var digest = [UInt8](repeating: 0, count: 32)
        let status = gnutls_hash_fast(GNUTLS_DIG_SHA256, identity, identity.count, &digest)
        if status == 0 { self.ticket = digest }
    }

    private func end() {
        guard let key = Self.current, Self.pointerOfThisThread == Unmanaged.passUnretained(self).toOpaque() else {
            return
        }
        pthread_setspecific(key, nil)
    }
}

/// Finds what GnuTLS does not show.
enum ClientHello {
    private static let preSharedKey: UInt16 = 41

    /// The first identity of the extension pre_shared_key, the one that early data belongs to (RFC 8446, sections 4.1.2, 4.2.10
    /// and 4.2.11); `nil` where there is none.
    static func firstTicket(in message: ByteBuffer) -> [UInt8]? {
        var message = message
        // The version and the random, then the session ID, the cipher suites and the compression methods.
        guard message.readSlice(length: 34) != nil, message.readLengthPrefixedSlice(as: UInt8.self) != nil,
            message.readLengthPrefixedSlice(as: UInt16.self) != nil,
            message.readLengthPrefixedSlice(as: UInt8.self) != nil,
            var extensions = message.readLengthPrefixedSlice(as: UInt16.self)
        else { return nil }
        while let kind = extensions.readInteger(as: UInt16.self),
            var content = extensions.readLengthPrefixedSlice(as: UInt16.self)
        {
            guard kind == Self.preSharedKey else { continue }
            guard var identities = content.readLengthPrefixedSlice(as: UInt16.self),
                let identity = identities.readLengthPrefixedSlice(as: UInt16.self)
            else { return nil }
            return Array(buffer: identity)
        }
        return nil
    }
}
