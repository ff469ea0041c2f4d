import Glibc

/// Threads for blocking work, joined before the call returns.
package enum WorkerThreads {
    /// Runs the body once on each of `count` threads of their own and waits for all of them. Blocks.
    /// - Parameter mustBeParallel: the bodies talk to each other; a thread that cannot be had ends the process then, for one
    ///   after the other they would wait for ever.
    package static func run(_ count: Int, mustBeParallel: Bool = false, _ body: @escaping @Sendable (Int) -> Void) {
        var threads: [WorkerThread] = []
        for index in 0..<max(1, count) {
            do {
                threads.append(try WorkerThread { body(index) })
            } catch {
                guard !mustBeParallel else { abort() }
                // No thread to be had: the work is done here, later and slower, but it is done.
                body(index)
            }
        }
        for thread in threads { thread.join() }
    }
}

/// One thread. Corresponds to `pthread_create(3)`.
package struct WorkerThread {
    private let thread: pthread_t

    /// Starts the body on it.
    package init(_ body: @escaping @Sendable () -> Void) throws(SystemError) {
        let work = Work(body)
        var thread = pthread_t()
        let result = pthread_create(
            &thread, nil,
            { raw in
                guard let raw else { return nil }
                Unmanaged<Work>.fromOpaque(raw).takeRetainedValue().body()
                return nil
            }, Unmanaged.passRetained(work).toOpaque())
        guard result == 0 else {
            Unmanaged.passUnretained(work).release()
            throw SystemError("pthread_create", "thread", number: result)
        }
        self.thread = thread
    }

    /// Starts the body on one that takes no signal, which might be meant for a signal source of the process. Its own faults it
    /// keeps.
    @discardableResult
    package static func withoutSignals(_ body: @escaping @Sendable () -> Void) throws(SystemError) -> WorkerThread {
        var blocked = sigset_t()
        var before = sigset_t()
        sigfillset(&blocked)
        for fault in [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS] { sigdelset(&blocked, fault) }
        pthread_sigmask(SIG_SETMASK, &blocked, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        return try WorkerThread(body)
    }

    /// Waits for its end; to be called once. Blocks.
    package func join() { pthread_join(thread, nil) }

    private final class Work: Sendable {
        let body: @Sendable () -> Void

        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
}

/// Lets threads pass one after the other in the order of their numbers: 0, 1, 2 …
package final class Turnstile: Sendable {
    private struct State {
        var next = 0
        var isBroken = false
    }

    private let state = Awaited(State())

    package init() {}

    /// Waits until all smaller numbers have passed, runs the body, and lets the next one in. Blocks.
    /// - Returns: false when the turnstile was broken; the body has not run then.
    package func pass(_ number: Int, _ body: () -> Void) -> Bool {
        guard state.wait(for: { $0.isBroken ? false : $0.next == number ? true : nil }) else { return false }
        body()
        state.withLock { $0.next += 1 }
        return true
    }

    /// Lets nobody pass any more and sends away who waits.
    package func breakDown() { state.withLock { $0.isBroken = true } }
}
