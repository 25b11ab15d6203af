// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import BenchSupport
internal import CTernLab
internal import Foundation

/// What this machine lets an emulated network do.
package enum LabMachine {
    /// Makes it possible to emulate networks without being root, where the kernel allows that: the process gets a user
    /// namespace of its own, in which user and group stay what they are. Does nothing where the privilege is there
    /// already.
    ///
    /// The first statement of a program: the kernel refuses it as soon as there is a second thread.
    ///
    /// - Throws: ``BenchmarkError``; ``missing()`` says why in sentences for those who run the program.
    package static func enterNamespaces() throws {
        guard !ternlab_is_privileged() else { return }
        try check(ternlab_enter_user_namespace(), "a user namespace")
    }

    /// Whether this process may make an ``EmulatedNetwork``: it is root's, or ``enterNamespaces()`` did its work.
    package static var isPrivileged: Bool { ternlab_is_privileged() }

    /// Whether there can be an ``EmulatedNetwork`` after ``enterNamespaces()``. Found out by making all that it needs
    /// once, in a process of its own.
    package static var canEmulate: Bool { self.obstacle == nil }

    /// What this machine lacks: first what keeps it from emulating networks, with what to do about it, then what makes
    /// the results worse. Empty when all is well.
    package static func missing() -> [String] {
        (self.obstacle.map { [$0] } ?? []) + self.remarks
    }

    static var remarks: [String] {
        var sentences: [String] = []
        if ProcessInfo.processInfo.activeProcessorCount < 2 {
            sentences.append(
                "There is one processor for the client, the server and the network between them: "
                    + "all times are longer than they need be.")
        }
        #if os(Linux)
        if !KernelSetting.hasIPv6 {
            sentences.append("IPv6 is turned off in this kernel: emulated networks have IPv4 only.")
        }
        #endif
        return sentences
    }

    private static var obstacle: String? {
        #if os(Linux)
        var stage = TERNLAB_STAGE_FORK
        let result = ternlab_try(&stage)
        guard stage != TERNLAB_STAGE_DONE || result != 0 else { return nil }
        return self.sentence(for: stage, error: -result)
        #else
        return "Networks are emulated on Linux only: this system has no network namespaces."
        #endif
    }

    static func sentence(for stage: ternlab_stage, error: Int32) -> String {
        let reason = String(cString: strerror(error))
        switch stage {
        case TERNLAB_STAGE_USER_NAMESPACE:
            return self.userNamespaceSentence(error)
        case TERNLAB_STAGE_USER_MAPS, TERNLAB_STAGE_NETWORK_NAMESPACE:
            // Ubuntu's rule lets a user namespace come into being, but without any privilege in it.
            if KernelSetting.value(of: "kernel/apparmor_restrict_unprivileged_userns") == "1" {
                return "AppArmor takes the privileges from user namespaces: as root, "
                    + "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run this as root."
            }
            if KernelSetting.value(of: "user/max_net_namespaces") == "0" {
                return "The kernel allows no network namespaces: as root, sysctl user.max_net_namespaces=1000."
            }
            return "The kernel refuses a network namespace (\(reason)): a container may need --privileged, "
                + "or --cap-add=SYS_ADMIN and --cap-add=NET_ADMIN."
        case TERNLAB_STAGE_OPEN_TUN:
            return error == ENOENT
                ? "There is no /dev/net/tun: as root, modprobe tun; a container needs --device=/dev/net/tun."
                : "/dev/net/tun cannot be opened (\(reason)): as root, chmod 0666 /dev/net/tun, or run this as root."
        case TERNLAB_STAGE_MAKE_TUN:
            return "The kernel refuses a TUN device (\(reason)): as root, modprobe tun."
        case TERNLAB_STAGE_NETLINK:
            return "The kernel refuses to set up a device (\(reason))."
        default:
            return "This machine cannot start a process (\(reason))."
        }
    }

    private static func userNamespaceSentence(_ error: Int32) -> String {
        if KernelSetting.value(of: "kernel/unprivileged_userns_clone") == "0" {
            return
                "The kernel allows user namespaces to root only: as root, sysctl kernel.unprivileged_userns_clone=1, "
                + "or run this as root."
        }
        if KernelSetting.value(of: "user/max_user_namespaces") == "0" {
            return "The kernel allows no user namespaces: as root, sysctl user.max_user_namespaces=1000, "
                + "or run this as root."
        }
        if KernelSetting.value(of: "kernel/apparmor_restrict_unprivileged_userns") == "1" {
            return "AppArmor refuses user namespaces: as root, sysctl kernel.apparmor_restrict_unprivileged_userns=0, "
                + "or run this as root."
        }
        return "The kernel refuses a user namespace (\(String(cString: strerror(error)))): "
            + "run this as root; a container may need --privileged."
    }
}
