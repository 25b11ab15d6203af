// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import CTernLab
import Foundation
import Testing

@testable import LabNetwork

struct LabMachineTests {
    @Test
    func whatIsMissingIsSaidTogetherWithWhatToDo() {
        #expect(LabMachine.sentence(for: TERNLAB_STAGE_OPEN_TUN, error: ENOENT).hasPrefix("There is no /dev/net/tun: "))
        let closed = LabMachine.sentence(for: TERNLAB_STAGE_OPEN_TUN, error: EACCES)
        #expect(closed.hasPrefix("/dev/net/tun cannot be opened (Permission denied): "))
        let stages = [
            TERNLAB_STAGE_USER_NAMESPACE, TERNLAB_STAGE_USER_MAPS, TERNLAB_STAGE_NETWORK_NAMESPACE,
            TERNLAB_STAGE_MAKE_TUN,
        ]
        for stage in stages {
            let sentence = LabMachine.sentence(for: stage, error: EPERM)
            #expect(sentence.hasSuffix("."))
            #expect(sentence.contains("root") || sentence.contains("--privileged"))
        }
    }

    @Test
    func remarksKeepNothingFromBeingEmulated() {
        #expect(LabMachine.canEmulate == (LabMachine.missing() == LabMachine.remarks))
    }
}
