// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import TernClient
internal import TernMessages
internal import TernTransport

/// `tern group`: makes groups and says who may enter them.
struct GroupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "group",
        abstract: "Make groups, invite users, enter and leave.",
        discussion: """
            A group is closed: who wants to enter needs the invitation of a member, and reads what is written from then on. With \
            --open everybody may enter, with --share-history new members read what was written before. Once everybody has left \
            a closed group, nobody can enter it again.

              tern group create team
              tern group invite team bob
            """,
        subcommands: [
            GroupCreateCommand.self, GroupInviteCommand.self, GroupJoinCommand.self, GroupLeaveCommand.self,
            GroupListCommand.self,
        ])
}

/// What each of the verbs below takes beside its own arguments.
struct GroupOptions: ParsableArguments {
    @OptionGroup var connectionOptions: ConnectionOptions
    @OptionGroup var tokenOptions: TokenOptions
    @OptionGroup var outputOptions: OutputOptions
    @OptionGroup var logOptions: LogOptions

    /// Connects, asks, and leaves again.
    func run(_ body: @escaping @Sendable (MessageClient, Output) async throws -> Void) async throws {
        let output = self.outputOptions.makeOutput()
        try await output.run {
            let session = try ClientSession(
                connection: self.connectionOptions, token: self.tokenOptions, receives: nil,
                logger: self.logOptions.makeLogger(label: "tern"), output: output)
            try await session.ask { client in try await body(client, output) }
        }
    }
}

struct GroupCreateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Make a group with yourself as its first member.")

    @Argument(help: "The name of the group; there is no other of that name.", transform: Name.init(argument:))
    var name: Name

    @Flag(help: "Everybody may enter, also who was not invited.")
    var open = false

    @Flag(help: "Who enters can read what was written before.")
    var shareHistory = false

    @OptionGroup var options: GroupOptions

    func run() async throws {
        try await self.options.run { client, output in
            let state = try await client.createGroup(
                self.name, isOpen: self.open, sharesHistory: self.shareHistory)
            try await output.print(state)
        }
    }
}

struct GroupInviteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "invite", abstract: "Let users enter a closed group that you are in.",
        discussion: "They are not told: write to them. An invitation is good for entering once.")

    @Argument(help: "The name of the group.", transform: Name.init(argument:))
    var name: Name

    @Argument(help: "The users, who need not be there, nor ever have been.", transform: Name.init(argument:))
    var users: [Name]

    @OptionGroup var options: GroupOptions

    func run() async throws {
        try await self.options.run { client, output in
            let group = try await client.findGroup(self.name)
            for name in self.users {
                let user = try await client.resolveUser(name)
                try await client.inviteToGroup(group.group, user)
                var line = JSONLine(event: "invited")
                line.add("group", "\(ChannelID(group: group.group))")
                line.add("name", group.name.text)
                line.add("user", name.text)
                try await output.event(
                    line, orText: "\(name.text.printable()) may enter \(group.name.text.printable())")
            }
        }
    }
}

struct GroupJoinCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "join", abstract: "Enter a group that is open, or that you were invited to.")

    @Argument(help: "The name of the group.", transform: Name.init(argument:))
    var name: Name

    @OptionGroup var options: GroupOptions

    func run() async throws {
        try await self.options.run { client, output in
            let group = try await client.findGroup(self.name).group
            try await output.print(try await client.joinGroup(group))
        }
    }
}

struct GroupLeaveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "leave", abstract: "Leave a group.",
        discussion:
            "To come back into a closed group takes another invitation, and what was written in between stays unread.")

    @Argument(help: "The name of the group.", transform: Name.init(argument:))
    var name: Name

    @OptionGroup var options: GroupOptions

    func run() async throws {
        try await self.options.run { client, output in
            let group = try await client.findGroup(self.name)
            try await client.leaveGroup(group.group)
            var line = JSONLine(event: "left")
            line.add("group", "\(ChannelID(group: group.group))")
            line.add("name", group.name.text)
            try await output.event(line, orText: "you are not in \(group.name.text.printable())")
        }
    }
}

struct GroupListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "Print the groups that you are in.")

    @OptionGroup var options: GroupOptions

    func run() async throws {
        try await self.options.run { client, output in
            for state in try await client.channels() where state.channel.group != nil {
                var line = JSONLine(event: "group")
                line.add("group", "\(state.channel)")
                line.add("name", state.name.text)
                line.add("unread", state.unread)
                try await output.event(line, orText: state.name.text.printable())
            }
        }
    }
}

extension Output {
    /// A group that the client is in.
    fileprivate func print(_ state: GroupState) async throws(CommandError) {
        var line = JSONLine(event: "group")
        line.add("group", "\(ChannelID(group: state.group))")
        line.add("name", state.name.text)
        line.add("members", state.memberCount)
        line.add("open", state.isOpen)
        line.add("sharesHistory", state.sharesHistory)
        let members = state.memberCount == 1 ? "1 member" : "\(state.memberCount) members"
        try await self.event(
            line, orText: "\(state.name.text.printable()): \(state.isOpen ? "open" : "closed"), \(members)")
    }
}
