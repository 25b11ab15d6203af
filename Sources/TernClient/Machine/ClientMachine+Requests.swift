// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore
package import TernMessages

/// Questions and answers: those of the application, which wait for a connection and are asked again on the next one, and the
/// client's own, which belong to one connection.
extension ClientMachine {
    /// Asks the server something; ``Effect/completeRequest(_:_:)`` has the answer.
    package mutating func request(
        _ tag: RequestTag, _ resource: Resource, _ body: ByteBuffer, now: Instant
    ) -> [Effect] {
        if case .ended = self.life { return [.completeRequest(tag, .failure(self.closedForRequests))] }
        let pending = RequestTable.Pending(purpose: .application(tag), resource: resource, body: body)
        self.askOrWait(pending, now)
        return self.takeEffects()
    }

    private mutating func askOrWait(_ pending: RequestTable.Pending, _ now: Instant) {
        let entersGroup = pending.resource == JoinGroup.resource || pending.resource == CreateGroup.resource
        if self.link?.stage != .open || entersGroup && self.channels?.mustKnowOldGroups == true {
            self.requests.wait(pending)
        } else {
            self.ask(pending, now)
        }
    }

    /// Asks what waited for a connection, or for the index.
    mutating func askWaiting(_ now: Instant) {
        for pending in self.requests.takeWaiting() { self.askOrWait(pending, now) }
    }

    /// Asks as whom we are connected, which waits for a connection.
    package mutating func identity(_ tag: RequestTag) -> [Effect] {
        if let answer = self.link?.session?.answer { return [.completeIdentity(tag, .success(answer))] }
        if case .ended = self.life { return [.completeIdentity(tag, .failure(self.closedForRequests))] }
        self.requests.identities.append(tag)
        return []
    }

    /// Nobody waits for the answer any more. No effect completes it.
    package mutating func cancelRequest(_ tag: RequestTag, now: Instant) -> [Effect] {
        if let identifier = self.requests.withdraw(tag) { self.cancel(identifier) }
        self.partIfDone(now)
        return self.takeEffects()
    }

    private mutating func cancel(_ identifier: UInt64) {
        self.timers.clear(.request(identifier))
        guard let link, link.session != nil else { return }
        self.emit(.writeRequest(link.number, RequestFrame(identifier: identifier, resource: .cancel)))
    }

    private var closedForRequests: ClientError {
        self.closedError ?? ClientError(.closed, message: "the client was closed")
    }

    mutating func ask<Body: RequestBody>(_ body: Body, for purpose: RequestTable.Purpose, _ now: Instant) {
        self.ask(
            RequestTable.Pending(purpose: purpose, resource: Body.resource, body: body.encodedBody()), now)
    }

    mutating func ask(_ pending: RequestTable.Pending, _ now: Instant) {
        guard let link else { return }
        let frame = self.requests.begin(pending)
        self.timers.set(.request(frame.identifier), at: now + self.configuration.requestTimeout)
        self.emit(.writeRequest(link.number, frame))
        self.link?.session?.health.asked(at: now)
        self.setHealthTimer()
    }

    // MARK: Answers

    /// The server answered a request.
    package mutating func responded(_ number: LinkNumber, _ frame: RequestFrame, now: Instant) -> [Effect] {
        guard self.heard(number, now), let pending = self.requests.end(frame.identifier) else { return [] }
        self.timers.clear(.request(frame.identifier))
        if self.requests.inFlight.isEmpty { self.link?.session?.health.requestsEnded() }
        do throws(WireError) {
            guard frame.resource == pending.resource else {
                throw WireError(.malformed, "an answer to another question")
            }
            switch pending.purpose {
            case .application(let tag): try self.answered(tag, pending, frame, now)
            case .madeByUs(let tag, let refusal, _): try self.foundOut(tag, pending, frame, refusal: refusal, now)
            case .index(let cursor): try self.indexArrived(frame, cursor: cursor, now)
            case .page(let channel): try self.pageArrived(frame, of: channel, now)
            case .state(let channel): try self.stateArrived(frame, of: channel, now)
            }
        } catch {
            if let tag = RequestTable.tag(of: pending) {
                let wrong = ClientError(.protocolViolation, message: error.message, cause: error)
                self.emit(.completeRequest(tag, .failure(wrong)))
            }
            self.violation(error.message, cause: error, now)
        }
        return self.takeEffects()
    }

    private mutating func answered(
        _ tag: RequestTag, _ pending: RequestTable.Pending, _ frame: RequestFrame, _ now: Instant
    ) throws(WireError) {
        if frame.status == .draining, self.link?.stage != .open {
            // The next server will answer.
            self.requests.wait(pending)
            return self.partIfDone(now)
        }
        if frame.status == .alreadyExists, pending.isRepeated, pending.resource == CreateGroup.resource {
            // Perhaps by ourselves: the answer to the first time was lost.
            let name = try CreateGroup(of: pending.body).name
            let purpose = RequestTable.Purpose.madeByUs(tag, refusal: frame, asked: pending.body)
            return self.ask(FindGroup(name: name), for: purpose, now)
        }
        if frame.status == .none {
            self.link?.session?.wasUseful = true
            if pending.resource == JoinGroup.resource || pending.resource == CreateGroup.resource {
                let isJoining = pending.resource == JoinGroup.resource
                self.entered(try GroupState(of: frame.body), byJoining: isJoining, now)
            }
        }
        self.emit(.completeRequest(tag, .success(frame)))
        self.partIfDone(now)
    }

    /// A group of that name existed when a repeated request was to make it.
    private mutating func foundOut(
        _ tag: RequestTag, _ pending: RequestTable.Pending, _ frame: RequestFrame, refusal: RequestFrame,
        _ now: Instant
    ) throws(WireError) {
        if let failure = try frame.failure(), failure.isRetryable {
            // It is not known yet.
            let wait = failure.retryAfter.map { Duration.milliseconds(Int($0)) } ?? .milliseconds(500)
            self.requests.postpone(pending, of: tag)
            return self.timers.set(.again(tag), at: now + self.random.lengthened(wait))
        }
        if frame.status == .none, let state = try? GroupState(of: frame.body), state.isMember {
            self.entered(state, byJoining: false, now)
            self.emit(.completeRequest(tag, .success(frame)))
        } else {
            self.emit(.completeRequest(tag, .success(refusal)))
        }
        self.partIfDone(now)
    }

    /// The time of a request that was refused for now has come.
    mutating func askAgain(_ tag: RequestTag, _ now: Instant) {
        guard self.link?.stage == .open, let pending = self.requests.takePostponed(tag) else { return }
        self.ask(pending, now)
    }

    /// A request has no answer yet. The connection may be the reason, the first time; the second time it is not.
    mutating func requestTimedOut(_ identifier: UInt64, _ now: Instant) {
        guard let pending = self.requests.inFlight[identifier] else { return }
        let reason = ClientError(
            .timedOut,
            message: "the server did not answer \(pending.resource) within \(self.configuration.requestTimeout)")
        guard pending.timeouts > 0, let tag = RequestTable.tag(of: pending) else {
            self.requests.countTimeout(of: identifier)
            return self.lose(reason, now)
        }
        _ = self.requests.end(identifier)
        self.cancel(identifier)
        self.emit(.completeRequest(tag, .failure(reason)))
        self.partIfDone(now)
    }
}
