// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Logging
internal import NIOCore
internal import TernMessages
internal import TernStore

/// Answers one request of a session.
struct RequestHandler: Sendable {
    let server: MessageServer
    let session: Session

    var store: any MessageStore { self.server.store }
    var configuration: ServerConfiguration { self.server.configuration }

    func respond(to frame: RequestFrame) async -> RequestFrame {
        do throws(Failure) {
            let body = try await self.answer(frame)
            return RequestFrame(identifier: frame.identifier, resource: frame.resource, body: body)
        } catch {
            return RequestFrame(error, to: frame)
        }
    }

    private func answer(_ frame: RequestFrame) async throws(Failure) -> ByteBuffer {
        switch frame.resource {
        case .noOperation: ByteBuffer()
        case .resolveUser: try await self.resolve(self.decode(frame)).encodedBody()
        case .userNames: try await self.names(self.decode(frame)).encodedBody()
        case .createGroup: try await self.create(self.decode(frame)).encodedBody()
        case .findGroup: try await self.find(self.decode(frame)).encodedBody()
        case .joinGroup: try await self.join(self.decode(frame)).encodedBody()
        case .inviteMember: try await self.invite(self.decode(frame)).encodedBody()
        case .leaveGroup: try await self.leave(self.decode(frame)).encodedBody()
        case .listMembers: try await self.members(self.decode(frame)).encodedBody()
        case .syncIndex: try await self.index(self.decode(frame)).encodedBody()
        case .channelState: try await self.state(self.decode(frame)).encodedBody()
        case .history: try await self.history(self.decode(frame)).encodedBody()
        case .offsets: try await self.offsets(self.decode(frame)).encodedBody()
        default: throw Failure(.unsupportedResource, "\(frame.resource) is unknown")
        }
    }

    private func decode<Request: RequestBody>(_ frame: RequestFrame) throws(Failure) -> Request {
        var body = frame.body
        do throws(WireError) {
            return try Request(decoding: &body)
        } catch {
            throw Failure(error.code, error.message)
        }
    }

    // MARK: Weights

    /// No response is counted as less.
    static let smallestResponse = 512

    /// How many bytes the response may have at most; nearly always it has fewer.
    func largestResponse(to frame: RequestFrame) -> Int {
        let page = self.configuration.maximumPageCount
        switch frame.resource {
        case .history: return self.configuration.maximumPageBytes + 128 * page
        case .syncIndex, .listMembers, .offsets: return Self.smallestResponse + 160 * page
        case .userNames: return Self.smallestResponse + 80 * UserNames.maximumCount
        default: return Self.smallestResponse
        }
    }

    /// As how many requests it counts; see ``ServerConfiguration/messageRate``.
    func weight(of frame: RequestFrame) -> Int {
        guard frame.resource == .userNames else { return 1 }
        let count = frame.body.getInteger(at: frame.body.readerIndex, as: UInt16.self) ?? 0
        return max(1, min(Int(count), UserNames.maximumCount))
    }

    // MARK: For all requests

    func ask<Value>(
        notFound: ErrorCode = .noSuchChannel, _ question: () async throws(StoreError) -> Value
    ) async throws(Failure) -> Value {
        do throws(StoreError) {
            return try await question()
        } catch {
            if error.code == .corrupt || error.code == .internalError {
                self.server.logger.error("the store failed", metadata: ["error": "\(error)"])
            }
            throw Failure(error, notFound: notFound)
        }
    }

    func limit(_ asked: UInt16) -> Int {
        asked == 0 ? self.configuration.maximumPageCount : min(Int(asked), self.configuration.maximumPageCount)
    }

    func checkMembership(_ channel: ChannelID) throws(Failure) {
        guard self.server.hub.isMember(self.session.user, of: channel) else {
            throw Failure(.notAMember, "not a member of \(channel)")
        }
    }

    /// The names that the asking user may learn, in whatever answer: users are numbered one after the other, and whoever counts
    /// shall not learn everybody's name. The store has the rule.
    func names(of identifiers: [UInt64], in channel: ChannelKey? = nil) async throws(Failure) -> [UInt64: Name] {
        let texts = try await self.ask { () async throws(StoreError) in
            try await self.store.names(of: identifiers, knownTo: self.session.user.rawValue, in: channel)
        }
        return texts.compactMapValues { try? Name($0) }
    }

    // MARK: Users

    private func resolve(_ request: ResolveUser) async throws(Failure) -> ResolveUser.Answer {
        let mayCreate = request.createsIfAbsent && self.configuration.createsUsersOnRequest
        let user = try await self.server.names.user(
            named: request.name, registeredBy: mayCreate ? self.session.user : nil)
        guard let user else { throw Failure(.noSuchUser, "there is no user \(request.name)") }
        return ResolveUser.Answer(user: user)
    }

    private func names(_ request: UserNames) async throws(Failure) -> UserNames.Answer {
        let names = try await self.names(of: request.users.map(\.rawValue))
        return UserNames.Answer(
            members: request.users.compactMap { user in names[user.rawValue].map { Member(user: user, name: $0) } })
    }
}
