import StationCore
import StationLinux

/// What is done with the pieces of a stream, one after the other.
protocol PieceSink: AnyObject {
    /// Blocks.
    /// - Parameter isLast: there are no more.
    func take(_ piece: UnsafeRawBufferPointer, isLast: Bool) throws(StationError)
}

/// Takes a stream of bytes from the thread that reads it to another that works on it, in order, so that both go on at the same
/// time: unpacking is as much work as hashing and storing are.
enum PieceRelay {
    private static let pieceByteCount = 1 << 20
    private static let pieceCount = 3

    /// Reads to the end. Blocks until the sink has everything, or one of the two has failed.
    /// - Parameter read: fills a buffer; fewer bytes than it has are the last ones.
    /// - Throws: what the sink threw, for its piece came first; else what `read` threw.
    static func run(
        into sink: some PieceSink, _ read: (UnsafeMutableRawBufferPointer) throws(StationError) -> Int
    ) throws(StationError) {
        let belt = Belt(sink)
        let worker: WorkerThread
        do {
            worker = try WorkerThread { belt.work() }
        } catch { throw StationError("internal_error", "there is no thread to be had: \(error)") }
        var readError: StationError?
        do {
            while let buffer = belt.free() {
                let count = try read(buffer)
                belt.put(count)
                if count < buffer.count { break }
            }
        } catch { readError = error }
        belt.end()
        worker.join()
        if let error = belt.failure ?? readError { throw error }
    }

    /// `@unchecked Sendable` because a piece belongs to the reader until it is put on, and to the worker until it is done; the
    /// sink is the worker's until that is joined.
    private final class Belt: @unchecked Sendable {
        private struct State {
            /// How long each piece is that was put on and is not done.
            var counts: [Int] = []
            /// How many were done.
            var done = 0
            var isOver = false
            var failure: StationError?
        }

        private let sink: any PieceSink
        private let pieces: UnsafeMutableRawBufferPointer
        private let state = Awaited(State())

        init(_ sink: any PieceSink) {
            self.sink = sink
            pieces = .allocate(byteCount: pieceByteCount * pieceCount, alignment: 4096)
        }

        deinit { pieces.deallocate() }

        /// The next piece to fill; nil when nobody wants it any more. Blocks.
        func free() -> UnsafeMutableRawBufferPointer? {
            state.wait { state -> UnsafeMutableRawBufferPointer?? in
                guard state.failure == nil else { return .some(nil) }
                guard state.counts.count < pieceCount else { return nil }
                return piece(state.done + state.counts.count)
            }
        }

        func put(_ count: Int) { state.withLock { $0.counts.append(count) } }
        func end() { state.withLock { $0.isOver = true } }
        var failure: StationError? { state.withLock { $0.failure } }

        /// Works until everything is done that was put on.
        func work() {
            while let next =
                (state.wait { state -> UnsafeRawBufferPointer?? in
                    guard let count = state.counts.first else { return state.isOver ? .some(nil) : nil }
                    return UnsafeRawBufferPointer(rebasing: piece(state.done)[..<count])
                })
            {
                do {
                    try sink.take(next, isLast: next.count < pieceByteCount)
                    state.withLock {
                        $0.counts.removeFirst()
                        $0.done += 1
                    }
                } catch {
                    return state.withLock { $0.failure = error }
                }
            }
        }

        private func piece(_ number: Int) -> UnsafeMutableRawBufferPointer {
            let start = number % pieceCount * pieceByteCount
            return UnsafeMutableRawBufferPointer(rebasing: pieces[start..<start + pieceByteCount])
        }
    }
}
