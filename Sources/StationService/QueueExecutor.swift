package import Dispatch

/// Runs an actor on a dispatch queue, so that the handlers of dispatch sources on that queue may touch its state.
package final class QueueExecutor: SerialExecutor {
    package let queue: DispatchQueue

    package init(label: String) { queue = DispatchQueue(label: label) }

    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { job.runSynchronously(on: self.asUnownedSerialExecutor()) }
    }

    package func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }

    /// Lets some time pass; what waits meanwhile blocks nobody.
    package func pause(seconds: Double) async {
        await withCheckedContinuation { continuation in
            queue.asyncAfter(deadline: .now() + seconds) { continuation.resume() }
        }
    }

    /// Makes `assumeIsolated` work in a handler, which is on the queue but in no task.
    package func checkIsolated() { dispatchPrecondition(condition: .onQueue(queue)) }
}
