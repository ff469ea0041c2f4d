import Glibc

/// Threads for blocking work, joined before the call returns.
package enum WorkerThreads {
    /// Runs the body once on each of `count` threads of their own and waits for all of them. Blocks.
    /// - Parameter mustBeParallel: the bodies talk to each other; a thread that cannot be had ends the process then, for one
    ///   after the other they would wait for ever.
    package static func run(_ count: Int, mustBeParallel: Bool = false, _ body: @escaping @Sendable (Int) -> Void) {
        var threads: [pthread_t] = []
        for index in 0..<max(1, count) {
            let work = Work(index: index, body: body)
            var thread = pthread_t()
            let result = pthread_create(
                &thread, nil,
                { raw in
                    guard let raw else { return nil }
                    let work = Unmanaged<Work>.fromOpaque(raw).takeRetainedValue()
                    work.body(work.index)
                    return nil
                }, Unmanaged.passRetained(work).toOpaque())
            if result == 0 {
                threads.append(thread)
            } else {
                guard !mustBeParallel else { abort() }
                // No thread to be had: the work is done here, later and slower, but it is done.
                Unmanaged.passUnretained(work).release()
                body(index)
            }
        }
        for thread in threads { pthread_join(thread, nil) }
    }

    private final class Work: Sendable {
        let index: Int
        let body: @Sendable (Int) -> Void

        init(index: Int, body: @escaping @Sendable (Int) -> Void) {
            self.index = index
            self.body = body
        }
    }
}

/// Lets threads pass one after the other in the order of their numbers: 0, 1, 2 …
package final class Turnstile: @unchecked Sendable {
    // @unchecked because `next` and `isBroken` are guarded by the pthread mutex, which Swift cannot see.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var next = 0
    private var isBroken = false

    package init() {
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

    /// Waits until all smaller numbers have passed, runs the body, and lets the next one in. Blocks.
    /// - Returns: false when the turnstile was broken; the body has not run then.
    package func pass(_ number: Int, _ body: () -> Void) -> Bool {
        pthread_mutex_lock(mutex)
        while next != number, !isBroken { pthread_cond_wait(condition, mutex) }
        guard !isBroken else {
            pthread_mutex_unlock(mutex)
            return false
        }
        pthread_mutex_unlock(mutex)
        body()
        pthread_mutex_lock(mutex)
        next += 1
        pthread_cond_broadcast(condition)
        pthread_mutex_unlock(mutex)
        return true
    }

    /// Lets nobody pass any more and sends away who waits.
    package func breakDown() {
        pthread_mutex_lock(mutex)
        isBroken = true
        pthread_cond_broadcast(condition)
        pthread_mutex_unlock(mutex)
    }
}
