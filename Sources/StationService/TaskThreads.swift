import CTasks
import Dispatch
import Glibc
package import StationCore
import StationLinux
import Synchronization

/// The threads that run what the station's tasks do outside its actors' queues.
///
/// Left to itself Swift takes libdispatch's common pool. That looks at its threads every second for as long as the process
/// lives, idle or not, by files in `/proc`, and ends the process when there is no descriptor left to open them with.
/// `packaging/lint tasks` keeps what else would wake that pool out of the station.
package final class TaskThreads: Sendable {
    private static let shared = TaskThreads()

    /// Has them run all tasks of this process from now on; to be called before there is one.
    /// - Throws: `threads_unavailable`.
    package static func takeOver() throws(StationError) {
        // One for each processor: what runs here never blocks.
        try shared.start(min(8, max(2, sysconf(Int32(_SC_NPROCESSORS_ONLN)))))
        station_take_tasks { job in
            if let job { TaskThreads.shared.take(job) }
        }
    }

    /// `nonisolated(unsafe)` for a pointer that is passed on and never looked at.
    private struct Job: Sendable {
        nonisolated(unsafe) let pointer: UnsafeMutableRawPointer
    }

    private let jobs = Mutex<[Job]>([])
    private let waiting = DispatchSemaphore(value: 0)

    private func start(_ count: Int) throws(StationError) {
        // A thread that could take a signal would take it from the daemon's signal sources.
        var all = sigset_t()
        var before = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        for number in 0..<count {
            do throws(SystemError) {
                _ = try WorkerThread { self.work() }
            } catch {
                // Fewer do as well.
                if number == 0 {
                    throw error.asStationError("threads_unavailable", remedy: "see TasksMax= of stationd.service")
                }
            }
        }
    }

    private func take(_ job: UnsafeMutableRawPointer) {
        let job = Job(pointer: job)
        jobs.withLock { $0.append(job) }
        waiting.signal()
    }

    private func work() {
        while true {
            waiting.wait()
            station_run_task(jobs.withLock { $0.removeFirst() }.pointer)
        }
    }
}
