import StationCore
import StationLinux
import Synchronization

/// Something that is done once, whose progress any number of listeners follow from wherever it is.
///
/// It goes on when nobody listens; `cancel` ends it.
final class SharedWork: Sendable {
    private struct State {
        var listeners: [Int: BuildRoom.Updates.Continuation] = [:]
        var nextKey = 0
        var meter = BuildMeter()
        var last: Control.BuildProgress?
        /// The end of what was printed, for who comes late.
        var log = ""
        var outcome: Result<Control.BuildProgress, any Error>?
        var task: Task<Void, Never>?
    }

    private static let logLimit = 64 * 1024
    /// So many updates wait for who is slow to take them; each has at most some 16 KiB of what a build prints.
    static let updateLimit = 1024
    private let state = Mutex(State())

    func begin(_ body: @escaping @Sendable () async -> Void) {
        let task = Task(operation: body)
        state.withLock { $0.task = task }
    }

    func cancel() { state.withLock { $0.task }?.cancel() }

    /// How far it is, now and from now on; the last element is the one that it ends with.
    func follow() -> BuildRoom.Updates {
        let (stream, continuation) = BuildRoom.Updates.makeStream(bufferingPolicy: .bufferingNewest(Self.updateLimit))
        let key = state.withLock { state -> Int? in
            if let outcome = state.outcome {
                continuation.yield(with: outcome)
                continuation.finish()
                return nil
            }
            if var last = state.last {
                last.log = state.log.isEmpty ? nil : state.log
                continuation.yield(last)
            }
            state.nextKey += 1
            state.listeners[state.nextKey] = continuation
            return state.nextKey
        }
        if let key {
            continuation.onTermination = { [weak self] _ in
                self?.state.withLock { $0.listeners[key] = nil }
            }
        }
        return stream
    }

    func tell(_ step: BuildStep, _ bytesDone: UInt64, _ bytesTotal: UInt64?) {
        let (progress, listeners) = state.withLock { state in
            let progress = state.meter.progress(step, bytesDone, bytesTotal, now: SystemClock.monotonicSeconds())
            state.last = progress
            return (progress, Array(state.listeners.values))
        }
        listeners.forEach { $0.yield(progress) }
    }

    func tell(log text: String) {
        let (progress, listeners) = state.withLock { state in
            state.log = String((state.log + text).suffix(Self.logLimit))
            var progress = state.last ?? Control.BuildProgress(step: .building)
            progress.log = text
            return (progress, Array(state.listeners.values))
        }
        listeners.forEach { $0.yield(progress) }
    }

    func end(with last: Control.BuildProgress) { finish(.success(last)) }
    func fail(_ error: any Error) { finish(.failure(error)) }

    private func finish(_ outcome: Result<Control.BuildProgress, any Error>) {
        // Finishing calls `onTermination`, which takes the lock.
        let listeners = state.withLock { state in
            state.outcome = outcome
            defer { state.listeners = [:] }
            return Array(state.listeners.values)
        }
        for listener in listeners {
            switch outcome {
            case .success(let last):
                listener.yield(last)
                listener.finish()
            case .failure(let error): listener.finish(throwing: error)
            }
        }
    }
}
