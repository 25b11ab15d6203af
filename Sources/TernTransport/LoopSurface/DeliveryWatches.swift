// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

package import NIOCore

/// Who waits for what to arrive: the part of ``LoopConnection/delivery(of:)`` that every carrier has in common, without I/O.
///
/// A watch names how far each of some streams must come. The carrier says how far they are; what "there" means is its business.
package struct DeliveryWatches {
    /// How far a stream must come.
    package struct Mark {
        package var offset: UInt64
        package var includesEnd: Bool

        package init(offset: UInt64, includesEnd: Bool) {
            self.offset = offset
            self.includesEnd = includesEnd
        }
    }

    /// How far a stream is.
    package enum Progress {
        case waiting
        case reached
        /// It was reset or stopped: what is missing will not come.
        case abandoned(TransportError)
    }

    /// The answer to a watch.
    package struct Answer {
        package var tag: UInt64
        /// `nil` when everything is there.
        package var error: TransportError?
        package var isOfOneStream: Bool

        package init(tag: UInt64, error: TransportError?, isOfOneStream: Bool = true) {
            self.tag = tag
            self.error = error
            self.isOfOneStream = isOfOneStream
        }
    }

    private struct Watch {
        var tag: UInt64
        var marks: [StreamID: Mark]
        /// An abandoned stream is an answer to who asked for it, and no hindrance to who asked for all.
        var isOfOneStream: Bool
    }

    private var watches: [Watch] = []

    package init() {}

    package var isEmpty: Bool { self.watches.isEmpty }

    package mutating func add(_ tag: UInt64, _ marks: [StreamID: Mark], isOfOneStream: Bool) {
        self.watches.append(Watch(tag: tag, marks: marks, isOfOneStream: isOfOneStream))
    }

    /// Looks at every watch, and lets go of those that are answered.
    package mutating func review(_ progress: (StreamID, Mark) -> Progress) -> [Answer] {
        var answers: [Answer] = []
        self.watches.removeAll { watch in
            for (stream, mark) in watch.marks {
                switch progress(stream, mark) {
                case .waiting: return false
                case .reached: continue
                case .abandoned(let error):
                    guard watch.isOfOneStream else { continue }
                    answers.append(Answer(tag: watch.tag, error: error))
                    return true
                }
            }
            answers.append(Answer(tag: watch.tag, error: nil, isOfOneStream: watch.isOfOneStream))
            return true
        }
        return answers
    }

    /// Nothing more will arrive.
    ///
    /// A peer that closed in order wants nothing more: who asked for all misses nothing when all bytes are there, and only ends of
    /// streams are not known to be. Who asked for one stream asked for its end.
    package mutating func end(_ error: TransportError, _ progress: (StreamID, Mark) -> Progress) -> [Answer] {
        defer { self.watches = [] }
        return self.watches.map { watch in
            let missesNothing =
                error.isCleanCloseByPeer && !watch.isOfOneStream
                && watch.marks.allSatisfy { stream, mark in
                    let bytes = Mark(offset: mark.offset, includesEnd: false)
                    if case .waiting = progress(stream, bytes) { return false }
                    return true
                }
            return Answer(tag: watch.tag, error: missesNothing ? nil : error, isOfOneStream: watch.isOfOneStream)
        }
    }
}

extension TransportError {
    /// The peer's application closed with code 0: it has, or wants, nothing more.
    package var isCleanCloseByPeer: Bool {
        self.code == .application && self.initiator == .peer && self.wireCode == 0
    }
}

/// The promises that belong to the tags of ``DeliveryWatches``; of a driver, on its event loop.
package struct DeliveryPromises {
    private var promises: [UInt64: EventLoopPromise<Void>] = [:]
    private var nextTag: UInt64 = 0

    package init() {}

    package mutating func add(on eventLoop: any EventLoop) -> (tag: UInt64, future: EventLoopFuture<Void>) {
        let promise = eventLoop.makePromise(of: Void.self)
        defer { self.nextTag += 1 }
        self.promises[self.nextTag] = promise
        return (self.nextTag, promise.futureResult)
    }

    /// What there is to say to those who are answered. Say it when the promises are no longer being changed: who hears it may
    /// ask for the next delivery at once.
    package mutating func take(_ answers: [DeliveryWatches.Answer]) -> [Settled] {
        answers.compactMap { answer in
            self.promises.removeValue(forKey: answer.tag).map { Settled(promise: $0, error: answer.error) }
        }
    }

    /// The same for everybody.
    package mutating func takeAll(error: (_ tag: UInt64) -> TransportError?) -> [Settled] {
        defer { self.promises = [:] }
        return self.promises.map { tag, promise in Settled(promise: promise, error: error(tag)) }
    }

    /// A promise, and what it is to hear.
    package struct Settled {
        fileprivate let promise: EventLoopPromise<Void>
        fileprivate let error: TransportError?
    }
}

extension [DeliveryPromises.Settled] {
    /// Tells everybody.
    package func tell() {
        for settled in self {
            if let error = settled.error { settled.promise.fail(error) } else { settled.promise.succeed() }
        }
    }
}
