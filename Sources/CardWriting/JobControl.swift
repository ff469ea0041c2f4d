import CLinux
package import StationCore
import StationLinux
import Synchronization

/// What a running job and those who watch it share: how far it is, and whether it shall end.
package final class JobControl: Sendable {
    /// Why a job is to end before its time.
    package enum Stop: Sendable {
        case cancel
        /// The station is gone.
        case interrupt
    }

    private struct State {
        var stop: Stop?
        var mayProceed: Bool?
        var phase = JobPhase.guarding
        /// The phases entered that nobody was told of yet.
        var entered: [JobProgress] = []
        var phaseDone: UInt64 = 0
        var phaseTotal: UInt64 = 0
        var done: UInt64 = 0
        var total: UInt64 = 0
        var readRate: Double?
        var requestsUnderWay = 0
        var lastAnswer = SystemClock.monotonicSeconds()
    }

    private let state = Mutex(State())
    private let began = SystemClock.monotonicSeconds()
    /// Readable while there are phases to tell of.
    let news = Descriptor(owning: station_eventfd())

    package init() {}

    /// Asks the job to end; it looks before each request. The first cause stays.
    package func stop(_ cause: Stop) { state.withLock { if $0.stop == nil { $0.stop = cause } } }

    /// Why the job shall end; nil while it may go on.
    package var stopCause: Stop? { state.withLock { $0.stop } }

    /// What the station says of a card that it may know.
    func answer(mayProceed: Bool) { state.withLock { $0.mayProceed = mayProceed } }

    /// Nil until the station has answered.
    var mayProceed: Bool? { state.withLock { $0.mayProceed } }

    /// How far the job is at this moment.
    package func progress() -> JobProgress { state.withLock { progress($0) } }

    /// The phases entered since the last call, so that even the shortest is told, and then how far the job is.
    func tidings() -> [JobProgress] {
        var count: UInt64 = 0
        _ = withUnsafeMutableBytes(of: &count) { try? news.read(into: $0) }
        return state.withLock {
            let entered = $0.entered
            $0.entered = []
            return entered + [progress($0)]
        }
    }

    /// So fast was the card read, in bytes a second.
    func sample(readRate: Double) { state.withLock { $0.readRate = readRate } }

    /// What was sampled since the last call.
    func takeReadRate() -> Double? { state.withLock { $0.readRate.take() } }

    private func progress(_ state: State) -> JobProgress {
        let now = SystemClock.monotonicSeconds()
        return JobProgress(
            phase: state.phase, phaseBytesDone: state.phaseDone, phaseBytesTotal: state.phaseTotal,
            bytesDone: state.done, bytesTotal: max(state.total, state.done), elapsedSeconds: now - began,
            silentSeconds: state.requestsUnderWay > 0 ? max(0, now - state.lastAnswer) : 0)
    }

    /// So many bytes are to be moved besides those that were.
    func plan(furtherBytes: UInt64) { state.withLock { $0.total = $0.done + furtherBytes } }

    /// So many bytes of this phase need not be moved after all.
    func spare(bytes: Int) {
        state.withLock {
            $0.phaseTotal -= min($0.phaseTotal, UInt64(bytes))
            $0.total -= min($0.total, UInt64(bytes))
        }
    }

    func enter(_ phase: JobPhase, bytes: UInt64) {
        let isNew = state.withLock {
            guard $0.phase != phase else {
                $0.phaseTotal += bytes
                return false
            }
            $0.phase = phase
            $0.phaseDone = 0
            $0.phaseTotal = bytes
            $0.entered.append(progress($0))
            return true
        }
        guard isNew else { return }
        var one: UInt64 = 1
        _ = try? withUnsafeBytes(of: &one) { try news.write(all: $0) }
    }

    func requestBegins() {
        state.withLock {
            if $0.requestsUnderWay == 0 { $0.lastAnswer = SystemClock.monotonicSeconds() }
            $0.requestsUnderWay += 1
        }
    }

    func requestEnds(bytes: Int) {
        state.withLock {
            $0.requestsUnderWay -= 1
            $0.lastAnswer = SystemClock.monotonicSeconds()
            $0.phaseDone += UInt64(bytes)
            $0.done += UInt64(bytes)
        }
    }
}
