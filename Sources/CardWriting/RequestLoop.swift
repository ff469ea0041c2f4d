import Glibc
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
///
/// `@unchecked Sendable` because all that changes is guarded by the pthread mutex, which Swift cannot see.
private final class RequestQueue: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private let requestCount: Int
    private let window: Int
    private var nextIndex = 0
    private var running: Set<Int> = []
    private var failure: (index: Int, error: any Error)?

    init(requestCount: Int, window: Int) {
        self.requestCount = requestCount
        self.window = window
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
        condition = .allocate(capacity: 1)
        condition.initialize(to: pthread_cond_t())
        pthread_cond_init(condition, nil)
    }

    deinit {
        pthread_cond_destroy(condition)
        condition.deallocate()
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    private func locked<Value>(_ body: () -> Value) -> Value {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }

    /// Waits where the next request is too far ahead. Nil when there is none, or one has failed. Blocks.
    func next() -> Int? {
        locked {
            while failure == nil, nextIndex < requestCount, nextIndex - (running.min() ?? nextIndex) >= window {
                pthread_cond_wait(condition, mutex)
            }
            guard failure == nil, nextIndex < requestCount else { return nil }
            running.insert(nextIndex)
            nextIndex += 1
            return nextIndex - 1
        }
    }

    func finish(_ index: Int, _ error: (any Error)? = nil) {
        locked {
            running.remove(index)
            if let error, failure.map({ $0.index > index }) ?? true { failure = (index, error) }
            pthread_cond_broadcast(condition)
        }
    }

    var error: (any Error)? { locked { failure?.error } }
}
