// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import NIOCore
internal import Tern
internal import TernStore

/// What a server is unless it is told otherwise.
enum ServeDefaults {
    /// What tokens name as their audience.
    static let name = "tern"
    static let listen = Endpoint.loopback(port: 4433)
    static let data = "tern-data"
}

/// With which certificate a server shows who it is.
struct IdentityOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("The server's certificate, followed by those that signed it, in PEM.", valueName: "pem"))
    var tlsCertificate: String?

    @Option(help: ArgumentHelp("The private key of the certificate, in PEM, not encrypted.", valueName: "pem"))
    var tlsKey: String?

    @Flag(
        help: """
            Make a certificate and an authority for it, once, and keep them in the data directory; clients take its ca.pem \
            as --ca. It has the name and the addresses of this machine, the address that is listened at, and localhost.
            """)
    var selfSigned = false

    @Option(
        help: ArgumentHelp(
            "With --self-signed: another name or address under which clients reach the server; may be repeated.",
            valueName: "name"))
    var host: [String] = []

    func validate() throws {
        try NamedFile.checkName(self.tlsCertificate, option: "--tls-certificate")
        try NamedFile.checkName(self.tlsKey, option: "--tls-key")
        guard self.host.isEmpty || self.selfSigned else {
            throw ValidationError("--host goes with --self-signed: a certificate that is given has its names already")
        }
        for host in self.host where (try? ServerName(host)) == nil {
            throw ValidationError("--host \"\(Output.singleLine(host))\" is neither the name of a host nor an address")
        }
        switch (self.tlsCertificate, self.tlsKey, self.selfSigned) {
        case (_?, _?, false), (nil, nil, true): return
        default: throw ValidationError("give --tls-certificate and --tls-key, or --self-signed")
        }
    }
}

/// Whom a server lets in.
struct AccessOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Let in who shows a token that was signed with the secret in this file (32 bytes or more); see \"tern token\".",
            valueName: "file"))
    var authSecret: String?

    @Flag(
        help: """
            Let in everybody under every name: the token is "dev:NAME". For a try on one's own machine; only on loopback \
            addresses.
            """)
    var development = false

    func validate() throws {
        try NamedFile.checkName(self.authSecret, option: "--auth-secret")
        guard (self.authSecret != nil) != self.development else {
            throw ValidationError("give --auth-secret or --development")
        }
    }
}

/// How many connections are taken on, and how much each user may make that lasts.
struct LimitOptions: ParsableArguments {
    private static let defaults = UserQuotas()

    @Option(
        help: ArgumentHelp(
            "Connections at once over each carrier; over TCP as many as descriptors allow by default.", valueName: "n"))
    var maxConnections: Int?

    @Option(
        help: ArgumentHelp(
            "Connections at once from one address over each carrier; raise it behind a proxy that hides its clients.",
            valueName: "n"))
    var maxConnectionsPerAddress: Int?

    @Option(
        help: ArgumentHelp("Unfinished handshakes at once from one address over each carrier.", valueName: "n"))
    var maxHandshakesPerAddress: Int?

    @Option(help: ArgumentHelp("Groups that a user may be in at the same time.", valueName: "n"))
    var maxGroups: Int = Self.defaults.groups

    @Option(help: ArgumentHelp("Groups that a user may make, in all.", valueName: "n"))
    var maxGroupsCreated: Int = Self.defaults.groupsCreated

    @Option(help: ArgumentHelp("Members of a group.", valueName: "n"))
    var maxGroupMembers: Int = Self.defaults.groupMembers

    @Option(help: ArgumentHelp("Invitations of a user that nobody has taken yet.", valueName: "n"))
    var maxInvitations: Int = Self.defaults.invitations

    @Option(help: ArgumentHelp("Names of others that a user may register, in all, to write to them.", valueName: "n"))
    var maxNamesRegistered: Int = Self.defaults.namesRegistered

    @Option(help: ArgumentHelp("Conversations that a user may begin, in all.", valueName: "n"))
    var maxConversationsBegun: Int = Self.defaults.conversationsBegun

    func validate() throws {
        let all = [
            self.maxGroups, self.maxGroupsCreated, self.maxGroupMembers, self.maxNamesRegistered,
            self.maxConversationsBegun, self.maxInvitations,
        ]
        guard all.allSatisfy((0...1 << 31).contains) else {
            throw ValidationError("the limits of a user take 0 to 2147483648")
        }
        let connections = [self.maxConnections, self.maxConnectionsPerAddress, self.maxHandshakesPerAddress]
        guard connections.allSatisfy({ $0.map((1...1 << 31).contains) ?? true }) else {
            throw ValidationError("the limits of connections and handshakes take 1 to 2147483648")
        }
    }

    var listener: ListenerLimits {
        var limits = ListenerLimits()
        limits.connections = self.maxConnections
        limits.connectionsPerAddress = self.maxConnectionsPerAddress
        limits.handshakesPerAddress = self.maxHandshakesPerAddress
        return limits
    }

    var quotas: UserQuotas {
        var quotas = UserQuotas()
        quotas.groups = self.maxGroups
        quotas.groupsCreated = self.maxGroupsCreated
        quotas.groupMembers = self.maxGroupMembers
        quotas.invitations = self.maxInvitations
        quotas.namesRegistered = self.maxNamesRegistered
        quotas.conversationsBegun = self.maxConversationsBegun
        return quotas
    }
}

extension Endpoint {
    /// Whether only this machine can reach it.
    var isLoopback: Bool {
        if self.host == "localhost" || self.host == "::1" { return true }
        guard let address = try? SocketAddress(ipAddress: self.host, port: 0), address.protocol == .inet else {
            return false
        }
        return self.host.hasPrefix("127.")
    }
}
