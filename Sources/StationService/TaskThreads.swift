import CTasks
import Dispatch
import Glibc
package import StationCore
import StationLinux
import Synchronization

/// The threads that run what the station's tasks do outside its actors' queues.
///
/// Left to itself Swift takes libdispatch's common pool. That looks at its threads every second for as long as the process
/// lives, idle or not, by files in `/proc` while there is work, and ends the process when there is no descriptor left to open
/// them with. `packaging/lint tasks` keeps what else would wake that pool out of the station.
package final class TaskThreads: Sendable {
    private struct State {
        var jobs: [Job] = []
        var threadCount = 0
        /// Threads that wait for a job, or are about to take the one that was put there for them.
        var idleCount = 0
        /// How many jobs were ever taken: it stands still while all threads are held up.
        var takenCount = 0
        var isWatched = false
    }

    /// `nonisolated(unsafe)` for a pointer that is passed on and never looked at.
    private struct Job: Sendable {
        nonisolated(unsafe) let pointer: UnsafeMutableRawPointer
    }

    private static let shared = TaskThreads()
    /// What waits so long, in microseconds, waits for threads that are held up: by a journal or a disk that hangs.
    private static let patience: UInt32 = 100_000
    private static let largestCount = 64

    private let state = Mutex(State())
    private let waiting = DispatchSemaphore(value: 0)
    private let backlog = DispatchSemaphore(value: 0)

    /// Has them run all tasks of this process from now on; to be called before there is one.
    /// - Throws: `threads_unavailable`.
    package static func takeOver() throws(StationError) {
        do throws(SystemError) {
            // One for each processor is enough while none is held up.
            for _ in 0..<min(8, max(2, sysconf(Int32(_SC_NPROCESSORS_ONLN)))) { try shared.addThread() }
            try shared.watch()
        } catch {
            throw error.asStationError("threads_unavailable", remedy: "see TasksMax= of stationd.service")
        }
        station_take_tasks { job in
            if let job { TaskThreads.shared.take(job) }
        }
    }

    private func take(_ job: UnsafeMutableRawPointer) {
        let job = Job(pointer: job)
        let isBehind = state.withLock { state in
            state.jobs.append(job)
            guard !state.isWatched, state.idleCount < state.jobs.count else { return false }
            state.isWatched = true
            return true
        }
        waiting.signal()
        if isBehind { backlog.signal() }
    }

    private func addThread() throws(SystemError) {
        try WorkerThread.withoutSignals {
            self.state.withLock {
                $0.threadCount += 1
                $0.idleCount += 1
            }
            while true {
                self.waiting.wait()
                let job = self.state.withLock { state in
                    state.idleCount -= 1
                    state.takenCount += 1
                    return state.jobs.removeFirst()
                }
                station_run_task(job.pointer)
                self.state.withLock { $0.idleCount += 1 }
            }
        }
    }

    /// Adds a thread whenever nothing was taken for a while of what waits. Sleeps while nothing waits.
    private func watch() throws(SystemError) {
        try WorkerThread.withoutSignals {
            while true {
                self.backlog.wait()
                while true {
                    let before = self.state.withLock { $0.takenCount }
                    usleep(Self.patience)
                    let isStuck: Bool? = self.state.withLock { state in
                        state.isWatched = state.idleCount < state.jobs.count
                        guard state.isWatched else { return nil }
                        return state.takenCount == before && state.threadCount < Self.largestCount
                    }
                    guard let isStuck else { break }
                    // Where none is to be had there may be one a little later.
                    if isStuck { try? self.addThread() }
                }
            }
        }
    }
}
