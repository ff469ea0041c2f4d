import StationCore
import StationLinux

/// `HistoryDays=`, kept.
extension Station {
    /// Forgets old jobs, at most once a day. A history that does not grow need not be looked at: jobs that end ask for it.
    func forgetOldJobs() async {
        let (now, days) = (SystemClock.monotonicSeconds(), configuration.historyDays)
        guard days > 0, forgotJobsAt.map({ now - $0 >= 86_400 }) ?? true else { return }
        forgotJobsAt = now
        do {
            let count = try await store.forgetJobs(olderThan: days)
            if count > 0 { journal.write(.historyShortened(jobCount: count, days: days)) }
        } catch {
            journal.write(.storeProblem(error))
        }
    }
}
