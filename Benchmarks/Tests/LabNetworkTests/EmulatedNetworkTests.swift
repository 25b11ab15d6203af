// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import BenchSupport
import Foundation
import LabLink
import LabNetwork
import Testing

@Suite(
    .serialized, .enabled(if: LabMachine.canEmulate, Comment(rawValue: LabMachine.missing().joined(separator: " "))))
struct EmulatedNetworkTests {
    /// That they take no longer is the business of whoever runs the lab: while tests run, a machine is busy.
    @Test
    func roundTripsAndTransfersTakeAtLeastTheirTime() throws {
        let findings = try EmulatedNetwork.measureAccuracy()
        #expect(findings.count == 3)
        for finding in findings {
            #expect(finding.measured >= finding.expected * 0.99, "\(finding)")
        }
        #expect(findings[0].measured < 80, "half of the round trips are far too long: \(findings)")
    }
}
