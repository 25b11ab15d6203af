// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import ArgumentParser
internal import Foundation
internal import Logging
internal import ServiceLifecycle
internal import Tern
internal import TernMessages
internal import TernServer
internal import TernStore
internal import UnixSignals

/// `tern serve`: a message server for both carriers on one port.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run a message server for QUIC and for TLS over TCP, on one port.",
        discussion: """
            Prints one line that begins with "ready" when clients can connect, and runs until SIGTERM or SIGINT: then it tells \
            its clients, stores what still comes, and exits with 0.

            A try on one machine, without accounts:

              tern serve --development --self-signed --data tern-data

            With accounts and a certificate of your own:

              openssl rand -base64 32 > secret && chmod 600 secret
              tern serve --listen "[::]:4433" --data /var/lib/tern --tls-certificate chain.pem --tls-key key.pem \
            --auth-secret secret
            """)

    @Option(
        help: ArgumentHelp(
            """
            The address to listen at, by UDP and TCP. Port 0: the kernel chooses; [::] is every address of the machine. \
            (default: \(ServeDefaults.listen))
            """, valueName: "host:port"),
        transform: Endpoint.init(argument:))
    var listen: Endpoint = ServeDefaults.listen

    @Option(
        help: ArgumentHelp(
            "The directory where messages are stored; made if it is missing. It must be yours, and nobody else may write to it.",
            valueName: "dir"))
    var data: String = ServeDefaults.data

    @OptionGroup(title: "Identity") var identityOptions: IdentityOptions
    @OptionGroup(title: "Access") var accessOptions: AccessOptions
    @OptionGroup(title: "Limits") var limitOptions: LimitOptions

    @Option(help: ArgumentHelp("The name of this server, which tokens carry as their audience.", valueName: "name"))
    var name: String = ServeDefaults.name

    @Option(
        help: ArgumentHelp(
            "full: an acknowledged message survives a loss of power; normal: only the end of the server.",
            valueName: "durability"))
    var durability: DurabilityChoice = .full

    @Option(help: ArgumentHelp("Seconds that clients have to leave when the server stops.", valueName: "seconds"))
    var drain: Int = 5

    @OptionGroup var outputOptions: OutputOptions
    @OptionGroup var logOptions: LogOptions

    func validate() throws {
        guard !self.data.isEmpty else { throw ValidationError("--data takes the name of a directory") }
        _ = try Name(option: "--name", self.name)
        guard (0...3_600).contains(self.drain) else { throw ValidationError("--drain takes 0 to 3600 seconds") }
        if self.accessOptions.development, !self.listen.isLoopback {
            throw ValidationError(
                "--development believes everybody, so it listens at 127.0.0.1, [::1] or localhost only, not at \(self.listen)"
            )
        }
    }

    func run() async throws {
        let output = self.outputOptions.makeOutput()
        let logger = self.logOptions.makeLogger(label: "tern")
        try await output.run {
            // What a terminal sends that goes away ends no server; from the beginning, so that it ends no half-made one either.
            let hangUps = await UnixSignalsSequence(trapping: .sighup)
            var configuration = ServerConfiguration(name: try Name(option: "--name", self.name))
            configuration.secret = try self.accessOptions.authSecret.map {
                try AccessSecret(file: $0, tell: output.warn)
            }
            configuration.acceptsDevelopmentTokens = self.accessOptions.development
            configuration.durability = self.durability.onTheWire
            configuration.quotas = self.limitOptions.quotas
            // What the command line names is read before anything is made.
            let given = try self.identityOptions.givenIdentity(tell: output.warn)
            self.warnOfKeyLog(output)
            var options = SQLiteMessageStore.Options()
            options.durability = self.durability.onDisk
            let directory = URL(filePath: self.data).standardizedFileURL.path
            let store = try SQLiteMessageStore(directory: directory, options: options, logger: logger)
            do {
                try await self.serve(
                    store, configuration: configuration, given: given, directory: directory, hangUps: hangUps,
                    output: output, logger: logger)
            } catch {
                await store.close()
                throw error
            }
            await store.close()
        }
    }

    /// What an operator may have forgotten, and others would be glad of.
    private func warnOfKeyLog(_ output: Output) {
        guard let file = ProcessInfo.processInfo.environment["SSLKEYLOGFILE"], !file.isEmpty else { return }
        output.warn(
            "SSLKEYLOGFILE is set: the secrets of every connection are written to \(file); whoever reads that file can read what is "
                + "sent. Unset it unless you are looking for a fault")
    }

    private func serve(
        _ store: SQLiteMessageStore, configuration: ServerConfiguration, given: TLSIdentity?, directory: String,
        hangUps: UnixSignalsSequence, output: Output, logger: Logger
    ) async throws {
        var notes: [String] = []
        let stored =
            try given == nil
            ? StoredIdentity.load(
                directory: directory,
                names: CertifiedNames(listen: self.listen.host, hosts: self.identityOptions.host)
            ) { notes.append($0) } : nil
        if let warning = stored?.warning { output.warn(warning) }
        guard let identity = given ?? stored?.identity else { return }
        let secret = try ServerSecret.load(directory: directory) { notes.append($0) }
        if let first = notes.first {
            output.warn(first + (notes.count > 1 ? "; so were \(notes.count - 1) other files of the directory" : ""))
        }
        let listener = try await self.bind(identity, secret, logger: logger)
        let caFile = stored?.certificateAuthorityFile
        let service = ServerService(
            listener: listener, server: MessageServer(store: store, configuration: configuration, logger: logger),
            store: store, grace: .seconds(self.drain), hangUps: hangUps, output: output
        ) {
            try await self.printReady(listener, directory: directory, caFile: caFile, output: output)
        }
        if self.accessOptions.development {
            output.note("development mode: whoever reaches \(listener.tlsAddress.hostAndPort) can be any user")
        }
        var group = ServiceGroupConfiguration(
            services: [.init(service: service)], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
        // A client that will not go is left behind.
        group.maximumGracefulShutdownDuration = .seconds(self.drain + 10)
        try await ServiceGroup(configuration: group).run()
    }

    private func bind(_ identity: TLSIdentity, _ secret: ServerSecret, logger: Logger) async throws -> Listener {
        do {
            var quicServer = QUICServerOptions()
            quicServer.secret = try secret.quic()
            var tls = TLSServerConfiguration(identity: identity)
            tls.tickets?.secret = try secret.tickets()
            return try await Listener.bind(
                to: self.listen, applicationProtocol: .messages, tls: tls,
                listenerLimits: self.limitOptions.listener, quicServer: quicServer, logger: logger)
        } catch let error as TransportError where error.code == .cannotListen {
            throw CommandError(.cannotListen, error.message)
        } catch let error as TransportError where error.code != .misuse {
            throw CommandError(.cannotListen, "cannot listen at \(self.listen): \(error.message)")
        } catch {
            let described = CommandError(describing: error)
            throw CommandError(described.code, "cannot listen at \(self.listen): \(described.message)")
        }
    }

    private func printReady(_ listener: Listener, directory: String, caFile: String?, output: Output) async throws {
        let (quic, tls) = (listener.quicAddress.hostAndPort, listener.tlsAddress.hostAndPort)
        let authentication = self.accessOptions.development ? "development" : "token"
        var line = JSONLine(event: "ready")
        line.add("quic", quic)
        line.add("tls", tls)
        line.add("data", directory)
        line.add("caFile", caFile)
        line.add("authentication", authentication)
        line.add("serverName", self.name)
        line.add("durability", self.durability.rawValue)
        line.add("version", Program.version)
        line.add("processID", ProcessInfo.processInfo.processIdentifier)
        let ca = caFile.map { " ca=\($0)" } ?? ""
        try await output.event(
            line, orText: "ready quic=\(quic) tls=\(tls) data=\(directory)\(ca) authentication=\(authentication)")
    }
}

/// Accepts connections until it is told to stop, then lets the clients go.
private struct ServerService: Service {
    let listener: Listener
    let server: MessageServer
    let store: SQLiteMessageStore
    let grace: Duration
    let hangUps: UnixSignalsSequence
    let output: Output
    /// Says that the server is ready: not before the group that runs the service has trapped its signals.
    let onReady: @Sendable () async throws -> Void

    func run() async throws {
        try await withThrowingDiscardingTaskGroup { group in
            // Beside the others: whoever does not read that the server is ready does not keep it from serving, or from ending.
            group.addTask { try await self.onReady() }
            group.addTask { try await self.endWhenTheDataAreLost() }
            group.addTask {
                await self.listener.run { connection in await self.server.serve(connection) }
            }
            group.addTask {
                for await _ in self.hangUps.cancelOnGracefulShutdown() {
                    self.output.note("SIGHUP does nothing: to use other files or options, restart with SIGTERM")
                }
            }
            group.addTask {
                // Cancelled when the clients took too long: then nobody is waited for.
                guard (try? await gracefulShutdown()) != nil else { return }
                await self.listener.stopAccepting()
                await self.server.drain(grace: self.grace)
                await self.listener.close()
                self.output.endSoon()
            }
        }
    }

    /// Nothing can be stored any more, and it does not heal: clients shall find another server, or this one when it was started anew.
    private func endWhenTheDataAreLost() async throws {
        for await status in self.store.statusUpdates().cancelOnGracefulShutdown() {
            guard case .lost(let reason) = status else { continue }
            throw CommandError(.inputOutput, "the data are lost: \(reason)")
        }
    }
}

/// What an acknowledgement promises.
enum DurabilityChoice: String, ExpressibleByArgument, CaseIterable {
    case full
    case normal

    var onTheWire: TernMessages.Durability { self == .full ? .full : .normal }
    var onDisk: TernStore.Durability { self == .full ? .full : .normal }
}

extension IdentityOptions {
    /// The identity that the command line names; `nil` with `--self-signed`.
    ///
    /// - Parameter tell: hears what an operator should know of the files.
    func givenIdentity(tell: (String) -> Void) throws -> TLSIdentity? {
        guard let tlsCertificate, let tlsKey else { return nil }
        let (certificate, key) = (
            NamedFile(tlsCertificate, role: "certificate"), NamedFile(tlsKey, role: "private key")
        )
        return try TLSIdentity(
            certificatePEM: try certificate.read(), certificate, keyPEM: try key.readSecret(tell: tell), key)
    }
}
