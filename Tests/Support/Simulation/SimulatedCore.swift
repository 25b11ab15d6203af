// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernQMuxCore
package import TernQUICCore
package import TernTransport

/// What a connection told, alike for both carriers.
package enum Fact: Sendable {
    case established
    case confirmed
    case opened(StreamID)
    case received(StreamID, ByteBuffer, finished: Bool)
    case wasReset(StreamID, code: UInt64)
    case wasStopped(StreamID, code: UInt64)
    case writable(StreamID)
    case closed(StreamID)
    case available(StreamDirection)
    case datagram(ByteBuffer)
    case ended(TransportError)
    case other
}

/// One end's protocol code, alike for both carriers.
package protocol SimulatedCore: AnyObject {
    var limits: ConnectionLimits { get }
    var maximumDatagramSize: Int { get }
    func nextFact() -> Fact?
    func openStream(_ direction: StreamDirection) throws(TransportError) -> StreamID?
    func write(_ bytes: ByteBuffer, to stream: StreamID, finish: Bool) throws(TransportError) -> Bool
    func reset(_ stream: StreamID, code: UInt64)
    func stopSending(_ stream: StreamID, code: UInt64)
    func setPriority(_ priority: StreamPriority, of stream: StreamID)
    func take(_ count: Int, of stream: StreamID)
    func send(datagram: ByteBuffer) throws(TransportError) -> DatagramOutcome
    func close(code: UInt64, reason: String, now: NIODeadline)
    func statistics() -> ConnectionStatistics
}

extension QUICConnectionCore: SimulatedCore {
    package var limits: ConnectionLimits { self.configuration.limits }
    package func take(_ count: Int, of stream: StreamID) { self.consumed(count, of: stream) }
    package func send(datagram: ByteBuffer) throws(TransportError) -> DatagramOutcome {
        try self.sendDatagram(datagram, tag: nil)
    }
    package func close(code: UInt64, reason: String, now: NIODeadline) { self.close(code: code, reason: reason) }

    package func nextFact() -> Fact? {
        guard let event = self.nextEvent() else { return nil }
        switch event {
        case .handshakeCompleted: return .established
        case .handshakeConfirmed: return .confirmed
        case .streamOpened(let id): return .opened(id)
        case .streamReceived(let id, let bytes, let finished): return .received(id, bytes, finished: finished)
        case .streamWasReset(let id, let code): return .wasReset(id, code: code)
        case .streamWasStopped(let id, let code): return .wasStopped(id, code: code)
        case .streamWritable(let id): return .writable(id)
        case .streamClosed(let id): return .closed(id)
        case .streamsAvailable(let direction): return .available(direction)
        case .datagramReceived(let bytes): return .datagram(bytes)
        case .closed(let error): return .ended(error)
        default: return .other
        }
    }
}

extension QMuxConnectionCore: SimulatedCore {
    package func take(_ count: Int, of stream: StreamID) { self.consumed(count, of: stream) }
    package func send(datagram: ByteBuffer) throws(TransportError) -> DatagramOutcome {
        try self.sendDatagram(datagram)
    }

    package func nextFact() -> Fact? {
        guard let event = self.nextEvent() else { return nil }
        switch event {
        case .streamOpened(let id): return .opened(id)
        case .streamReceived(let id, let bytes, let finished): return .received(id, bytes, finished: finished)
        case .streamWasReset(let id, let code): return .wasReset(id, code: code)
        case .streamWasStopped(let id, let code): return .wasStopped(id, code: code)
        case .streamWritable(let id): return .writable(id)
        case .streamClosed(let id): return .closed(id)
        case .streamsAvailable(let direction): return .available(direction)
        case .datagramReceived(let bytes): return .datagram(bytes)
        case .connectionClosed(let error): return .ended(error)
        default: return .other
        }
    }
}
