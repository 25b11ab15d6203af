// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import TernServer
import TernStore
import Testing

/// Who is connected and who is in which group, without a lock, a store or a connection.
@Suite struct HubStateTests {
    private final class Device: Sendable {}

    private typealias State = HubState<Device>

    private static let group: UInt64 = 1 << 36

    private static func membership(_ group: UInt64 = group, first: UInt64 = 1) -> GroupMembership {
        GroupMembership(group: group, first: first)
    }

    /// What a page says, and what the commits told before and after it came.
    @Test(arguments: [
        // What the page has, events before it, events after it: whether the user is a member in the end.
        (true, "", "", true), (false, "", "", false),
        (false, "j", "", true), (true, "j", "", true), (true, "l", "", false), (false, "l", "", false),
        (false, "", "j", true), (true, "", "l", false), (true, "", "jl", false), (false, "", "lj", true),
        (true, "jl", "", false), (false, "lj", "", true), (true, "l", "j", true), (false, "j", "l", false),
        (true, "ljl", "", false), (false, "jlj", "", true),
    ])
    func whatWasToldHasPrecedenceOverAPage(page: Bool, before: String, after: String, isMember: Bool) {
        var state = State()
        let device = Device()
        guard case .mustLoad(let number) = state.enter(device, of: 1, limit: 1) else {
            Issue.record("the groups are not wanted")
            return
        }
        func tell(_ events: String) {
            for event in events {
                if event == "j" { state.joined(1, Self.membership()) } else { state.left(1, group: Self.group) }
            }
        }
        tell(before)
        let answer1 = state.loaded(page ? [Self.membership()] : [], isLast: true, of: 1, number: number)
        #expect(answer1)
        tell(after)
        #expect(state.isMember(1, of: Self.group) == isMember)
        #expect(state.sessions(in: .group(Self.group)).count == (isMember ? 1 : 0))
        #expect(state.audience(of: Self.group) == (isMember ? 1 : 0))
    }

    @Test func pagesOfOneWhoWentAwayAreNotTaken() {
        var state = State()
        let (old, new) = (Device(), Device())
        let answer2 = state.enter(old, of: 1, limit: 2)
        #expect(answer2 == .mustLoad(number: 1))
        let answer3 = state.loaded([Self.membership()], isLast: false, of: 1, number: 1)
        #expect(!answer3)
        let departure = state.leave(old, of: 1)
        #expect(departure?.number == 1 && departure?.groups == [Self.group])
        let answer4 = state.leave(old, of: 1)
        #expect(answer4 == nil)
        let answer5 = state.enter(new, of: 1, limit: 2)
        #expect(answer5 == .mustLoad(number: 2))
        let answer6 = state.loaded([Self.membership(Self.group + 1)], isLast: true, of: 1, number: 1)
        #expect(answer6, "an old page")
        #expect(!state.isMember(1, of: Self.group + 1))
        let answer7 = state.loaded([Self.membership()], isLast: true, of: 1, number: 2)
        #expect(answer7)
        // What is swept up late is only what the old one left.
        state.sweep([Self.group], of: 1, number: 1)
        #expect(state.sessions(in: .group(Self.group)).first === new)
        guard let last = state.leave(new, of: 1) else {
            Issue.record("nobody left")
            return
        }
        state.sweep(last.groups[...], of: 1, number: last.number)
        #expect(state.isEmpty)
    }

    /// Two sessions of a user read the groups at once: the second one's pages are not needed.
    @Test func theFirstOfTwoWhoReadTheGroupsIsBelieved() {
        var state = State()
        let (one, other) = (Device(), Device())
        let answer8 = state.enter(one, of: 1, limit: 2)
        #expect(answer8 == .mustLoad(number: 1))
        let answer9 = state.enter(other, of: 1, limit: 2)
        #expect(answer9 == .mustLoad(number: 1))
        let answer10 = state.enter(Device(), of: 1, limit: 2)
        #expect(answer10 == .tooMany)
        let answer11 = state.loaded([Self.membership()], isLast: true, of: 1, number: 1)
        #expect(answer11)
        // Left between the two: the other page is older.
        state.left(1, group: Self.group)
        let answer12 = state.loaded([Self.membership()], isLast: true, of: 1, number: 1)
        #expect(answer12)
        #expect(!state.isMember(1, of: Self.group))
        let answer13 = state.enter(one, of: 1, limit: 2)
        #expect(answer13 == .tooMany)
        let answer14 = state.leave(one, of: 1)
        #expect(answer14 == nil)
        let answer15 = state.enter(one, of: 1, limit: 2)
        #expect(answer15 == .ready)
    }

    @Test func nobodyEntersWhileTheServerDrains() {
        var state = State()
        let device = Device()
        _ = state.enter(device, of: 1, limit: 2)
        let answer16 = state.startDraining()
        #expect(answer16.count == 1)
        let answer17 = state.enter(Device(), of: 1, limit: 2)
        #expect(answer17 == .draining)
        let answer18 = state.enter(Device(), of: 2, limit: 2)
        #expect(answer18 == .draining)
        #expect(!state.isConnected(2))
    }

    /// What is told of a message goes to those who may read it.
    @Test func aMemberHearsOfWhatIsTheirs() {
        var state = State()
        let (early, late) = (Device(), Device())
        for (device, user, first) in [(early, 1, 1), (late, 2, 5)] as [(Device, UInt64, UInt64)] {
            guard case .mustLoad(let number) = state.enter(device, of: user, limit: 1) else { continue }
            _ = state.loaded([Self.membership(first: first)], isLast: true, of: user, number: number)
        }
        #expect(state.sessions(in: .group(Self.group), at: 4).map(ObjectIdentifier.init) == [ObjectIdentifier(early)])
        #expect(state.sessions(in: .group(Self.group), at: 5).count == 2)
        // Who comes back begins anew.
        state.left(2, group: Self.group)
        state.joined(2, Self.membership(first: 9))
        #expect(state.sessions(in: .group(Self.group), at: 8).count == 1)
        #expect(state.sessions(in: .direct(1, 2), at: 1).count == 2)
    }
}
