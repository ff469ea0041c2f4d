import StationCore
import StationLinux
import Synchronization

/// One look at a card by its slot's writer. It is no job: nothing is recorded, and the slot's machine does not hear of it.
final class SlotInspection: Sendable {
    private struct State {
        var writer: SlotWriter?
        var isOver = false
    }

    /// The insertion that is meant; nil for the card that is in.
    let token: InsertionToken?
    private let candidates: [(InspectionRequest.Candidate, Descriptor?)]
    private let continuation: AsyncThrowingStream<WriterMessage, any Error>.Continuation
    private let over: @Sendable (SlotInspection, _ isAbandoned: Bool) -> Void
    private let state = Mutex(State())

    /// - Parameter over: called once, before whoever listens hears of the end; with whether nobody listened any more, so that the
    ///   writer is only just stopping.
    init(
        token: InsertionToken?, candidates: [(InspectionRequest.Candidate, Descriptor?)],
        continuation: AsyncThrowingStream<WriterMessage, any Error>.Continuation,
        over: @escaping @Sendable (SlotInspection, _ isAbandoned: Bool) -> Void
    ) {
        self.token = token
        self.candidates = candidates
        self.continuation = continuation
        self.over = over
        // Whoever listens may stop before the look begins.
        continuation.onTermination = { _ in self.end(CancellationError()) }
    }

    func start(slot: SlotName, disk: String, sequence: UInt64, launch: WriterLaunch) {
        let request = InspectionRequest(disk: disk, deviceSequence: sequence, candidates: candidates.map(\.0))
        let writer = SlotWriter(slot: slot, request: request, images: candidates.compactMap(\.1), launch: launch) {
            switch $0 {
            case .message(.inspected(let contents)): self.end(nil, .inspected(contents))
            case .message(let message): self.continuation.yield(message)
            case .silent: break
            case .lost(let reason, let detail):
                self.end(
                    StationError(reason.rawValue, "\(slot): \(reason.explanation) (\(detail))", remedy: reason.remedy))
            }
        }
        let isOver = state.withLock {
            if !$0.isOver { $0.writer = writer }
            return $0.isOver
        }
        if isOver { writer.hangUp() }
    }

    /// Ends it, if it is not over; the writer stops within a second.
    func end(_ error: (any Error)?, _ last: WriterMessage? = nil) {
        let writer: SlotWriter?? = state.withLock { state in
            guard !state.isOver else { return nil }
            state.isOver = true
            defer { state.writer = nil }
            return .some(state.writer)
        }
        guard let writer else { return }
        writer?.hangUp()
        over(self, error is CancellationError)
        if let last { continuation.yield(last) }
        continuation.finish(throwing: error)
    }
}
