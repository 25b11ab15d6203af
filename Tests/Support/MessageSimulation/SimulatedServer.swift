// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import TernMessages

/// One connection as the server knows it.
package typealias SessionNumber = UInt64

/// What a server wants to be done.
package enum ServerEffect {
    case authenticated(SessionNumber, AuthenticationAnswer)
    /// It says why, and closes.
    case refused(SessionNumber, Failure)
    case control(SessionNumber, Message)
    case controlEnded(SessionNumber)
    /// On the stream for messages on which the question came.
    case answer(SessionNumber, stream: UInt64, Message)
    /// The stream for messages ends, without its connection.
    case streamEnded(SessionNumber, stream: UInt64)
    case response(SessionNumber, RequestFrame)
    /// On a push stream; those of one number arrive in order.
    case push(SessionNumber, stream: UInt64, ChannelMessage)
    case datagram(SessionNumber, LiveNotice)
    case close(SessionNumber, CloseCode)
}

/// The server's side of the harness: facts in, effects out, in their order, with the time as an argument.
package protocol SimulatedServer {
    /// A connection was accepted, and its token names a user and a device.
    mutating func connected(_ session: SessionNumber, user: UserID, device: DeviceID, now: Moment) -> [ServerEffect]
    mutating func disconnected(_ session: SessionNumber, now: Moment)
    mutating func controlArrived(_ session: SessionNumber, _ message: Message, now: Moment) -> [ServerEffect]
    mutating func messageArrived(
        _ session: SessionNumber, stream: UInt64, _ message: OutgoingMessage, now: Moment
    ) -> [ServerEffect]
    mutating func requestArrived(_ session: SessionNumber, _ frame: RequestFrame, now: Moment) -> [ServerEffect]
    mutating func datagramArrived(_ session: SessionNumber, _ message: Message, now: Moment) -> [ServerEffect]
    /// The client took a pushed message from its stream.
    mutating func pushTaken(_ session: SessionNumber, now: Moment) -> [ServerEffect]
    mutating func timeout(now: Moment) -> [ServerEffect]
    var nextDeadline: Moment? { get }
    /// Says go-offline to everybody, and closes who is left after `grace`.
    mutating func drain(grace: Duration, now: Moment) -> [ServerEffect]
    /// The process was killed and is back: connections and what was not committed are gone.
    ///
    /// - Parameter loses: how many messages at the end of each log are lost: then the logs begin new lives.
    mutating func restart(loses: Int?, now: Moment)
    /// Sessions that it keeps.
    var sessionNumbers: [SessionNumber] { get }
}
