// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import PackageDescription

/// Every Swift target speaks the same dialect.
let dialect: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

/// Targets above the C edge may not touch raw memory at all.
let pointerFree = dialect + [.strictMemorySafety(), .treatWarning("StrictMemorySafety", as: .error)]

let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioEmbedded: Target.Dependency = .product(name: "NIOEmbedded", package: "swift-nio")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let deque: Target.Dependency = .product(name: "DequeModule", package: "swift-collections")
let metrics: Target.Dependency = .product(name: "CoreMetrics", package: "swift-metrics")
let metricsTesting: Target.Dependency = .product(name: "MetricsTestKit", package: "swift-metrics")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let lifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let unixSignals: Target.Dependency = .product(name: "UnixSignals", package: "swift-service-lifecycle")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "tern",
    platforms: [.macOS(.v15)],
    products: [
        .library(name: "Tern", targets: ["Tern"]),
        .library(name: "TernMessages", targets: ["TernMessages"]),
        .library(name: "TernClient", targets: ["TernClient"]),
        .library(name: "TernServer", targets: ["TernServer", "TernStore"]),
        .library(name: "TernTesting", targets: ["TernTesting"]),
        // For Benchmarks/Micro alone: functions that run the insides of other targets. No API; it changes without notice.
        .library(name: "TernMicroWorkloads", targets: ["TernMicroWorkloads"]),
        .executable(name: "tern", targets: ["tern-command"]),
        .executable(name: "echo-server", targets: ["echo-server"]),
        .executable(name: "echo-client", targets: ["echo-client"]),
        .executable(name: "interop-server", targets: ["interop-server"]),
        .executable(name: "interop-client", targets: ["interop-client"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-metrics.git", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-collections.git", from: "1.2.0"),
        .package(url: "https://github.com/apple/swift-crypto.git", from: "4.0.0"),
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.6.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", from: "2.8.0"),
    ],
    targets: [
        // System ngtcp2: QUIC packets, loss recovery, congestion control. Headers only.
        .systemLibrary(
            name: "CNgtcp2", pkgConfig: "libngtcp2_crypto_gnutls",
            providers: [.apt(["libngtcp2-dev", "libngtcp2-crypto-gnutls-dev"]), .brew(["libngtcp2"])]),
        // System GnuTLS: TLS 1.3 for both carriers. Headers only.
        .systemLibrary(
            name: "CGnuTLS", pkgConfig: "gnutls",
            providers: [.apt(["libgnutls28-dev"]), .brew(["gnutls"])]),
        // System SQLite: the default log. Headers only.
        .systemLibrary(
            name: "CSQLite", pkgConfig: "sqlite3",
            providers: [.apt(["libsqlite3-dev"]), .brew(["sqlite"])]),
        // Our only compiled C: the ngtcp2 0.12 and 1.x bridge, and sendmsg/recvmsg with GSO, GRO, ECN and packet info.
        .target(name: "CTernSystem", dependencies: ["CNgtcp2", "CGnuTLS"]),

        // The contract that every carrier fulfils, and the async surface built on it. Knows no protocol and no socket.
        .target(name: "TernTransport", dependencies: [nioCore, deque, logging], swiftSettings: pointerFree),
        // Identities, trust and TLS 1.3 sessions without I/O, over GnuTLS; shared by both carriers.
        .target(
            name: "TernTLS", dependencies: ["TernTransport", "CGnuTLS", nioCore, deque, logging],
            swiftSettings: dialect),
        // QUIC without I/O: datagrams and time in; datagrams, events and deadlines out.
        .target(
            name: "TernQUICCore",
            dependencies: ["TernTransport", "TernTLS", "CTernSystem", "CNgtcp2", "CGnuTLS", nioCore, deque, logging],
            swiftSettings: dialect),
        // The QUIC driver: UDP sockets, event loops, timers, connection-ID routing.
        .target(
            name: "TernQUIC",
            dependencies: [
                "TernQUICCore", "TernTLS", "TernTransport", "CTernSystem", nioCore, nioPosix, deque, logging,
            ],
            swiftSettings: dialect),
        // QMux (draft-ietf-quic-qmux-02) without I/O: bytes and time in; bytes, events and deadlines out.
        .target(name: "TernQMuxCore", dependencies: ["TernTransport", nioCore, deque], swiftSettings: pointerFree),
        // The QMux driver: TLS over TCP.
        .target(
            name: "TernQMux",
            dependencies: [
                "TernQMuxCore", "TernTLS", "TernTransport", "CTernSystem", nioCore, nioPosix, deque, logging,
            ],
            swiftSettings: dialect),
        // What users import: the connector that races both carriers, the listener that serves both, the contract.
        .target(
            name: "Tern",
            dependencies: ["TernTransport", "TernTLS", "TernQUIC", "TernQMux", nioCore, nioPosix, logging, metrics],
            swiftSettings: pointerFree),

        // The wire format of messages and requests, shared by client and server; no I/O.
        .target(name: "TernMessages", dependencies: [nioCore], swiftSettings: pointerFree),
        // The log: channels, sequences, offsets, dedupe. A protocol and its SQLite engine.
        .target(name: "TernStore", dependencies: ["CSQLite", nioCore, deque, logging], swiftSettings: dialect),
        // The message server. Sees the transport contract and the store protocol, never QUIC, TCP or SQLite.
        .target(
            name: "TernServer",
            dependencies: ["TernTransport", "TernMessages", "TernStore", nioCore, deque, logging, crypto],
            swiftSettings: pointerFree),
        // The message client. Sees the transport contract only.
        .target(
            name: "TernClient",
            dependencies: ["TernTransport", "TernMessages", nioCore, deque, logging],
            swiftSettings: pointerFree),
        // For tests of Tern and of programs built on it: an in-memory carrier, a simulated network, a manual clock,
        // the conformance suite.
        .target(
            name: "TernTesting", dependencies: ["TernTransport", nioCore, nioEmbedded, deque],
            swiftSettings: pointerFree),
        // What the micro benchmarks measure, as plain functions. Here, because they call what is `package`.
        .target(
            name: "TernMicroWorkloads",
            dependencies: [
                "Tern", "TernTLS", "TernQUICCore", "TernQMuxCore", "TernTransport", "TernMessages", "TernStore",
                "TernClient", nioCore, logging,
            ], path: "Benchmarks/Micro/Workloads", swiftSettings: dialect),
        // The command: parse, wire the parts, run.
        .executableTarget(
            name: "tern-command",
            dependencies: [
                "Tern", "TernTransport", "TernMessages", "TernStore", "TernServer", "TernClient",
                nioCore, nioPosix, logging, lifecycle, unixSignals, arguments,
            ],
            path: "Sources/tern", swiftSettings: dialect),

        // The smallest server and client of the transport.
        .executableTarget(
            name: "echo-server", dependencies: ["Tern", nioCore, unixSignals, arguments],
            path: "Examples/Echo/echo-server", swiftSettings: dialect),
        .executableTarget(
            name: "echo-client", dependencies: ["Tern", nioCore, arguments], path: "Examples/Echo/echo-client",
            swiftSettings: dialect),
        // The endpoints of the quic-interop-runner: files over HTTP/0.9, and what its test cases ask for.
        .target(
            name: "InteropCommon", dependencies: ["Tern", nioCore, arguments], path: "Examples/Interop/Common",
            swiftSettings: dialect),
        .executableTarget(
            name: "interop-server",
            dependencies: ["InteropCommon", "Tern", nioCore, nioPosix, logging, unixSignals, arguments],
            path: "Examples/Interop/interop-server", swiftSettings: dialect),
        .executableTarget(
            name: "interop-client", dependencies: ["InteropCommon", "Tern", nioCore, nioPosix, logging, arguments],
            path: "Examples/Interop/interop-client", swiftSettings: dialect),
        // Two people chat through the command's server while it is killed and UDP is blocked.
        .executableTarget(
            name: "demo", dependencies: ["ChildProcesses", nioCore, nioPosix], path: "Examples/Demo",
            exclude: ["README.md"], swiftSettings: dialect),
        // Programs of this package as processes of their own, for the demo and for tests.
        .target(name: "ChildProcesses", path: "Examples/Processes", swiftSettings: dialect),

        .testTarget(
            name: "TernTransportTests",
            dependencies: ["TestTimeLimits", "TernTransport", "TernTesting", nioCore, nioPosix, nioEmbedded],
            swiftSettings: dialect),
        .testTarget(
            name: "TernTLSTests", dependencies: ["TernTLS", "TernTransport", "CGnuTLS", nioCore], swiftSettings: dialect
        ),
        .testTarget(
            name: "TernQUICCoreTests",
            dependencies: ["QUICPacketSupport", "TernQUICCore", "TernTLS", "TernTransport", nioCore],
            swiftSettings: dialect),
        .testTarget(
            name: "TernQUICTests",
            dependencies: [
                "TestTimeLimits", "CarrierSupport", "TernQUIC", "TernQUICCore", "TernTLS", "TernTransport",
                "CTernSystem", nioCore,
                nioPosix, logging,
            ],
            swiftSettings: dialect),
        .testTarget(
            name: "TernQMuxCoreTests", dependencies: ["TernQMuxCore", "TernTransport", nioCore], swiftSettings: dialect),
        .testTarget(
            name: "TernQMuxTests",
            dependencies: [
                "TestTimeLimits", "CarrierSupport", "TernQMux", "TernQMuxCore", "TernTLS", "TernTransport", nioCore,
                nioPosix,
                nioEmbedded, logging,
            ],
            swiftSettings: dialect),
        .testTarget(
            name: "TernTests",
            dependencies: [
                "TestTimeLimits", "Tern", "TernTransport", "TernTesting", nioCore, nioPosix, nioEmbedded, logging,
                metrics,
                metricsTesting,
            ],
            swiftSettings: dialect),
        .testTarget(name: "TernMessagesTests", dependencies: ["TernMessages", nioCore], swiftSettings: dialect),
        // A process that writes to a store until it is killed, refused by its limits, or told to stop.
        .executableTarget(
            name: "tern-store-victim", dependencies: ["TernStore", nioCore, logging], path: "Tests/Support/StoreVictim",
            swiftSettings: dialect),
        .testTarget(
            name: "TernStoreTests",
            dependencies: [
                "TestTimeLimits", "HeldWriterSupport", "TernStore", "tern-store-victim", nioCore, logging,
            ],
            swiftSettings: dialect),
        .testTarget(
            name: "TernServerTests",
            dependencies: [
                "TestTimeLimits", "HeldWriterSupport", "TernServer", "TernStore", "TernMessages", "TernTransport",
                "TernTesting", "TernClient", nioCore,
                nioPosix,
                logging, crypto,
            ], swiftSettings: dialect),
        .testTarget(
            name: "TernClientTests",
            dependencies: [
                "TestTimeLimits", "TernClient", "TernServer", "TernStore", "TernMessages", "TernTransport",
                "TernTesting", nioCore,
                nioPosix, logging,
            ],
            swiftSettings: dialect),
        // What a device was told beside what it should have been: the judgement of simulations and trials.
        .target(
            name: "MessageJudgementSupport", dependencies: ["TernClient", "TernMessages"],
            path: "Tests/Support/MessageJudgement", swiftSettings: dialect),
        // Clients, a model of the server, and everything that can happen between them: one thread, virtual time.
        .target(
            name: "MessageSimulationSupport",
            dependencies: [
                "MessageJudgementSupport", "TernClient", "TernServer", "TernStore", "TernMessages", "TernTransport",
                "TernTesting", nioCore,
            ],
            path: "Tests/Support/MessageSimulation", swiftSettings: dialect),
        // The same without a test runner, for Scripts/mutate-messages.
        .executableTarget(
            name: "tern-message-simulation", dependencies: ["MessageSimulationSupport"],
            path: "Tests/Support/MessageSimulationCommand", swiftSettings: dialect),
        .testTarget(
            name: "MessageSimulationTests", dependencies: ["MessageSimulationSupport"], swiftSettings: dialect),
        // Clients and a server in a process of its own, over sockets, with kills and cuts: real time, and a plan from a seed.
        .target(
            name: "MessageTrialSupport",
            dependencies: [
                "MessageJudgementSupport", "ChildProcesses", "Tern", "TernTLS", "TernTransport", "TernClient",
                "TernServer", "TernStore", "TernMessages", "TernTesting", nioCore, nioPosix, logging, lifecycle,
                unixSignals,
            ],
            path: "Tests/Support/MessageTrial", swiftSettings: dialect),
        // The same by hand, for as long as one likes; and the server with low limits.
        .executableTarget(
            name: "tern-message-trial", dependencies: ["MessageTrialSupport", "ChildProcesses"],
            path: "Tests/Support/MessageTrialCommand", swiftSettings: dialect),
        .testTarget(
            name: "MessageTrialTests",
            dependencies: ["TestTimeLimits", "MessageTrialSupport", "tern-message-trial", "tern-command"],
            swiftSettings: dialect),
        // Every piece of code that the DocC articles show; Scripts/check-docs compares them.
        .testTarget(
            name: "DocumentationTests",
            dependencies: [
                "TestTimeLimits", "Tern", "TernTransport", "TernTesting", nioCore, nioPosix, logging, metrics,
                metricsTesting,
            ], swiftSettings: dialect),
        // One suite of behaviours, run over every carrier.
        .testTarget(
            name: "ConformanceTests",
            dependencies: [
                "TestTimeLimits", "TernTesting", "TernTransport", "TernTLS", "TernQUIC", "TernQMux", nioCore, nioPosix,
                logging,
            ], swiftSettings: dialect),
        // Two ends of a connection on a simulated network, and the applications on them.
        .target(
            name: "SimulationSupport",
            dependencies: ["TernTesting", "TernQUICCore", "TernQMuxCore", "TernTLS", "TernTransport", nioCore],
            path: "Tests/Support/Simulation", swiftSettings: dialect),
        // 1-RTT packets and frames by the keys that TLS logs: a QUIC peer that keeps to no rule.
        .target(
            name: "QUICPacketSupport", dependencies: ["TernTLS", "TernTransport", "CGnuTLS"],
            path: "Tests/Support/QUICPackets", swiftSettings: dialect),
        // A store whose writer stands still while things are asked of it.
        .target(
            name: "HeldWriterSupport", dependencies: ["TernStore"], path: "Tests/Support/HeldWriter",
            swiftSettings: dialect),
        // How long a test may take before it is said to hang.
        .target(name: "TestTimeLimits", path: "Tests/Support/TimeLimits", swiftSettings: dialect),
        // Handlers, patterns and identities for the tests of both carriers.
        .target(
            name: "CarrierSupport",
            dependencies: [
                "TernTLS", "TernTransport", nioCore, nioPosix, logging,
                .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
            ],
            path: "Tests/Support/Carriers", swiftSettings: dialect),
        // Whole connections under random networks and workloads, without sockets and without real time.
        .testTarget(
            name: "SimulationTests",
            dependencies: [
                "SimulationSupport", "TernTesting", "TernQUICCore", "TernQMuxCore", "TernTransport", nioCore,
            ], swiftSettings: dialect),
        // Hostile bytes, from a corpus and a seed.
        .testTarget(
            name: "FuzzTests",
            dependencies: [
                "SimulationSupport", "TernTesting", "TernQUICCore", "TernQMuxCore", "TernMessages", "TernTransport",
                "TernTLS", "Tern", nioCore,
            ], exclude: ["Corpus"], swiftSettings: dialect),
        // Foreign peers: aioquic, gtlsserver, gtlsclient, and a client written from Docs/PROTOCOL.md alone.
        .testTarget(
            name: "InteropTests",
            dependencies: [
                "ChildProcesses", "tern-command", "demo", "echo-server", "echo-client", "interop-server",
                "interop-client",
                "InteropCommon", "Tern",
                "TernTransport", "TernTesting", nioCore, nioPosix,
            ],
            exclude: ["Peers"],
            swiftSettings: dialect),
        // The command and the server as whole processes, under bad input.
        .testTarget(
            name: "CommandTests",
            dependencies: [
                "ChildProcesses", "TestTimeLimits", "tern-command", "demo", "Tern", "TernMessages", "TernServer",
                nioCore, nioPosix,
                arguments,
            ],
            swiftSettings: dialect),
    ]
)
