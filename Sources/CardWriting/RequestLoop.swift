import StationCore
import StationLinux

/// What one thread of a job has to itself.
struct RequestWorker: Sendable {
    /// What goes to the card or comes from it: one request. Full of zeros in the beginning.
    let request: AlignedBuffer
    /// A piece of the content, for what was read to be compared with: so small that it is in the processor's cache still.
    let piece: AlignedBuffer
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
        @Sendable func perform(_ worker: RequestWorker, _ index: Int) throws {
            let place = request(index, of: range)
            try body(worker, place.lowerBound, place.count, index)
        }
        let count = requestCount(of: range)
        guard let inOrder else {
            // Nobody waits for a turn where nothing has one.
            return try forEachRequest(count: count, byteCount: settings.requestByteCount, perform)
        }
        try forEachRequest(count: count, byteCount: settings.requestByteCount, perform) { worker, index in
            let place = request(index, of: range)
            inOrder(worker, place.lowerBound, place.count)
        }
    }

    /// The same for requests that are anywhere.
    /// - Parameters:
    ///   - byteCount: of the largest.
    ///   - body: gets the request's number, counted from 0.
    ///   - inOrder: is called after it, for one request at a time and in their order.
    func forEachRequest(
        count: Int, byteCount: Int, _ body: @escaping @Sendable (RequestWorker, _ index: Int) throws -> Void,
        thenInOrder inOrder: (@Sendable (RequestWorker, _ index: Int) -> Void)? = nil
    ) throws {
        guard count > 0 else { return }
        let turnstile = Turnstile()
        let shared = RequestQueue(requestCount: count, window: settings.requestWindow)
        let threadCount = min(settings.requestsInFlight, count)
        // Side by side so that none lies across two huge pages, whatever the size that the reader likes.
        let stride = 1 << (Int.bitWidth - (byteCount - 1).leadingZeroBitCount)
        guard let memory = RequestMemory(byteCount: stride * threadCount) else {
            throw JobEnd.failed(.internalError, detail: "there is no memory for \(threadCount) requests")
        }
        WorkerThreads.run(threadCount) { [settings] number in
            let worker = RequestWorker(
                request: AlignedBuffer(memory, from: number * stride, byteCount: byteCount),
                piece: AlignedBuffer(byteCount: settings.pieceByteCount))
            while let index = shared.next() {
                do {
                    try body(worker, index)
                    if let inOrder { _ = turnstile.pass(index) { inOrder(worker, index) } }
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

    /// Where one of them is, by its number.
    func request(_ index: Int, of range: Range<UInt64>) -> Range<UInt64> {
        let start = range.lowerBound + UInt64(index) * UInt64(settings.requestByteCount)
        return start..<min(start + UInt64(settings.requestByteCount), range.upperBound)
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
