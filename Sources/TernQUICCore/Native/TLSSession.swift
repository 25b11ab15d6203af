// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernTransport

/// Stands here until TernTLS brings its own of the same shape.
package final class TLSSession {
    package var handle: OpaquePointer
    package var applicationProtocol: String? { nil }
    package var peerCertificates: [[UInt8]] { [] }
    package init(handle: OpaquePointer) { self.handle = handle }
    package func verifyPeer() throws(TransportError) {}
}
