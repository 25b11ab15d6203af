// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import Foundation
import TernMessages
import Testing

/// The tables of Docs/PROTOCOL.md have every number that the code has, and no other.
@Suite struct ProtocolTablesTests {
    private let text: String

    init() throws {
        let page = URL(fileURLWithPath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Docs/PROTOCOL.md")
        self.text = try String(contentsOf: page, encoding: .utf8)
    }

    /// The cells of the table's rows whose header begins with `header`.
    private func rows(_ header: String) throws -> [[String]] {
        let lines = self.text.components(separatedBy: "\n")
        let start = try #require(lines.firstIndex { $0.hasPrefix(header) }, "\(header)")
        return lines[(start + 2)...].prefix { $0.hasPrefix("|") }.map { line in
            line.split(separator: "|", omittingEmptySubsequences: false).dropFirst().dropLast()
                .map { $0.trimmingCharacters(in: .whitespaces) }
        }
    }

    /// Names by number, of the rows that begin with a number in `radix`.
    private func names(_ header: String, prefix: String = "", radix: Int = 10) throws -> [UInt64: String] {
        var names: [UInt64: String] = [:]
        for row in try self.rows(header) where row[0].hasPrefix(prefix) {
            guard let number = UInt64(row[0].dropFirst(prefix.count), radix: radix) else { continue }
            #expect(names.updateValue(row[1], forKey: number) == nil, "\(number) occurs twice")
        }
        return names
    }

    @Test func messageTypes() throws {
        let known: [String: MessageType] = [
            "acknowledgement": .acknowledgement, "authentication": .authentication, "ping": .ping, "pong": .pong,
            "echo": .echo, "error": .error, "go-offline": .goOffline, "inbox": .inbox, "typing": .typing,
            "presence": .presence, "receipt": .receipt,
        ]
        let found = try self.names("| type | name | stream |")
        #expect(found == Dictionary(uniqueKeysWithValues: known.map { (UInt64($1.rawValue), $0) }))
        let content = try #require(try self.rows("| type | name | stream |").first { $0[0] == "32 … 63" })
        #expect(content[1] == "content: 32 text, 33 sticker, 34 file, 35 image, 36 video, 37 audio")
        for (type, number) in [
            (MessageType.text, 32), (.sticker, 33), (.file, 34), (.image, 35), (.video, 36), (.audio, 37),
        ] as [(MessageType, UInt16)] { #expect(type.rawValue == number && type.isContent) }
        for number in 0...MessageType.maximumRawValue {
            #expect(MessageType(rawValue: number)?.isContent == (32...63).contains(number))
        }
        let reserved = """
            64 edit, 65 withdraw, 102 internal error, 128 system, 129 add friend,
            130 remove friend, 131 join group, 132 leave group, 133 remote invoke, 134 set relationship
            """
        #expect(self.text.contains(reserved))
        #expect(
            [MessageType.edit, .withdraw, .internalError, .system, .addFriend].map(\.rawValue) == [
                64, 65, 102, 128, 129,
            ])
        #expect(
            [MessageType.removeFriend, .joinGroup, .leaveGroup, .remoteInvoke, .setRelationship].map(\.rawValue)
                == [130, 131, 132, 133, 134])
    }

    @Test func streamKinds() throws {
        let known: [UInt64: String] = [
            StreamKind.control.rawValue: "control", StreamKind.channelSend.rawValue: "channel-send",
            StreamKind.channelPush.rawValue: "channel-push", StreamKind.requests.rawValue: "requests",
        ]
        #expect(try self.names("| kind | name | direction |") == known)
    }

    @Test func flags() throws {
        let known: [(MessageFlags, String)] = [
            (.encrypted, "encrypted"), (.duplicate, "duplicate"), (.retryable, "retryable"), (.pull, "pull"),
        ]
        let found = try self.names("| bit (of 12, from the low end) |")
        #expect(found.count == known.count)
        for (flag, name) in known { #expect(found[UInt64(flag.rawValue.trailingZeroBitCount)] == name) }
    }

    @Test func extensions() throws {
        let known: [(ExtensionType, String)] = [
            (.clientMessageID, "client-message-id"), (.epoch, "epoch"), (.previousSequence, "previous-sequence"),
            (.senderDevice, "sender-device"), (.durability, "durability"), (.errorCode, "error-code"),
            (.retryAfter, "retry-after"), (.supportedVersions, "supported-versions"), (.receiptKind, "receipt-kind"),
            (.clientProgram, "client-program"), (.traceContext, "trace-context"),
        ]
        let found = try self.names("| type | name | value |")
        #expect(found == Dictionary(uniqueKeysWithValues: known.map { (UInt64($0.0.rawValue), $0.1) }))
        for number in 1...127 as ClosedRange<UInt8> {
            #expect(ExtensionType(rawValue: number)?.isKnown == (found[UInt64(number)] != nil))
        }
    }

    @Test func resources() throws {
        let known: [(Resource, String)] = [
            (.noOperation, "no-operation"), (.cancel, "cancel"), (.resolveUser, "resolve-user"),
            (.userNames, "user-names"), (.createGroup, "create-group"), (.findGroup, "find-group"),
            (.joinGroup, "join-group"), (.leaveGroup, "leave-group"), (.listMembers, "list-members"),
            (.inviteMember, "invite-member"),
            (.syncIndex, "sync-index"), (.channelState, "channel-state"), (.history, "history"), (.offsets, "offsets"),
        ]
        let found = try self.names("| resource | name | request |")
        #expect(found == Dictionary(uniqueKeysWithValues: known.map { (UInt64($0.0.rawValue), $0.1) }))
    }

    @Test func errorCodes() throws {
        let found = try self.names("| code | name | retryable |", prefix: "0x", radix: 16)
        for value in 1...0xfff as ClosedRange<UInt16> {
            let code = ErrorCode(rawValue: value)
            #expect(found[UInt64(value)] == (code.description.hasPrefix("error-") ? nil : code.description), "\(value)")
        }
        for row in try self.rows("| code | name | retryable |") {
            let code = try #require(UInt16(row[0].dropFirst(2), radix: 16))
            #expect(ErrorCode(rawValue: code).isRetryable == (row[2] == "yes"), "\(row[1])")
        }
    }

    @Test func closeCodes() throws {
        let connections = try self.section("### 9.2")
        let streams = try self.section("### 9.3")
        for value in 0...0xfff as ClosedRange<UInt64> {
            let code = CloseCode(rawValue: value)
            let isKnown = !code.description.hasPrefix("0x")
            let row = "\n| 0x\(String(value, radix: 16)) | \(code) |"
            #expect((value < 0x200 ? connections : streams).contains(row) == isKnown, "\(value)")
        }
    }

    private func section(_ heading: String) throws -> Substring {
        let start = try #require(self.text.range(of: "\n" + heading))
        let rest = self.text[start.upperBound...]
        return rest[..<(rest.range(of: "\n##")?.lowerBound ?? rest.endIndex)]
    }
}
