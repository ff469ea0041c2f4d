import StationLinux

/// What one thread of a job has to itself.
struct RequestWorker: Sendable {
    /// Full of zeros in the beginning.
    let expected: AlignedBuffer
    let read: AlignedBuffer
}

extension CardJob {
    /// Cuts a range into requests and keeps several under way, each on a thread with buffers of its own. Blocks.
    ///
    /// - Parameters:
    ///   - body: gets offset, byte count and the request's number in the range, counted from 0.
    ///   - inOrder: is called after it, for one request at a time and in their order.
    /// - Throws: the error of the request with the lowest offset among those that failed; no further request is begun then.
    func forEachRequest(
        in range: Range<UInt64>,
        _ body: @escaping @Sendable (RequestWorker, _ offset: UInt64, _ count: Int, _ index: Int) throws -> Void,
        thenInOrder inOrder: (@Sendable (RequestWorker, _ offset: UInt64, _ count: Int) -> Void)? = nil
    ) throws {
        guard !range.isEmpty else { return }
        let size = UInt64(settings.requestByteCount)
        let requestCount = requestCount(of: range)
        let shared = RequestQueue(requestCount: requestCount, window: settings.requestWindow)
        let turnstile = Turnstile()
        let threadCount = min(settings.requestsInFlight, requestCount)
        WorkerThreads.run(threadCount) { [settings] _ in
            let worker = RequestWorker(
                expected: AlignedBuffer(byteCount: settings.requestByteCount),
                read: AlignedBuffer(byteCount: settings.requestByteCount))
            while let index = shared.next() {
                let offset = range.lowerBound + UInt64(index) * size
                let count = Int(min(size, range.upperBound - offset))
                do {
                    try body(worker, offset, count, index)
                    if let inOrder { _ = turnstile.pass(index) { inOrder(worker, offset, count) } }
                    shared.finish(index)
                } catch {
                    shared.finish(index, error)
                    turnstile.breakDown()
                }
            }
        }
        if let error = shared.error { throw error }
    }

    /// How many requests a range is cut into.
    func requestCount(of range: Range<UInt64>) -> Int {
        (range.count + settings.requestByteCount - 1) / settings.requestByteCount
    }
}

/// Hands out the numbers of requests until one has failed, and none that is too far ahead of one that still runs.
private final class RequestQueue: Sendable {
    private struct State {
        var next = 0
        var running: Set<Int> = []
        var failure: (index: Int, error: any Error)?
    }

    private let requestCount: Int
    private let window: Int
    private let state = Awaited(State())

    init(requestCount: Int, window: Int) {
        self.requestCount = requestCount
        self.window = window
    }

    /// Waits where the next request is too far ahead. Nil when there is none, or one has failed. Blocks.
    func next() -> Int? {
        state.wait { state -> Int?? in
            guard state.failure == nil, state.next < requestCount else { return .some(nil) }
            guard state.next - (state.running.min() ?? state.next) < window else { return nil }
            state.running.insert(state.next)
            state.next += 1
            return state.next - 1
        }
    }

    func finish(_ index: Int, _ error: (any Error)? = nil) {
        state.withLock { state in
            state.running.remove(index)
            if let error, state.failure.map({ $0.index > index }) ?? true { state.failure = (index, error) }
        }
    }

    var error: (any Error)? { state.withLock { $0.failure?.error } }
}
