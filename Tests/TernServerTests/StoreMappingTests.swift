// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

import TernMessages
import TernStore
import Testing

@testable import TernServer

/// What clients are told about failures of the store.
@Suite struct StoreMappingTests {
    /// A client sends what is retryable again, for ever: what cannot succeed must not say so.
    @Test func whatCannotSucceedIsNotRetryable() {
        let final: [(StoreError.Code, ErrorCode)] = [
            (.notFound, .noSuchUser), (.conflict, .conflict), (.invalidName, .invalidName),
            (.tooLarge, .payloadTooLarge), (.limitReached, .quotaExceeded), (.quotaExceeded, .quotaExceeded),
            (.groupFull, .groupFull), (.notAMember, .notAMember), (.notInvited, .notInvited), (.corrupt, .internal),
        ]
        let temporary: [(StoreError.Code, ErrorCode)] = [
            (.readOnly, .storageFull), (.closed, .draining), (.internalError, .internal), (.lost, .internal),
        ]
        for (code, told) in final {
            let failure = Failure(StoreError(code, message: ""), notFound: .noSuchUser)
            #expect(failure.code == told && !failure.isRetryable, "\(code)")
            #expect(!failure.message.flags.contains(.retryable))
        }
        for (code, told) in temporary {
            let failure = Failure(StoreError(code, message: ""), notFound: .noSuchUser)
            #expect(failure.code == told && failure.isRetryable, "\(code)")
        }
    }
}
