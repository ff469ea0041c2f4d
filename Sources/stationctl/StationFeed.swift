import StationCore
import StationLinux

/// The slots as the station tells of them, over a connection that is made anew when it was lost. Nothing here waits.
final class StationFeed {
    /// What somebody should know of the connection.
    enum Trouble {
        /// No station answers, since then by the wall clock.
        case lost(since: Double)
        /// Jobs run, and nothing was said of them for so many seconds.
        case silent(seconds: Double)
    }

    private let context: Context
    private let waits: Bool
    private var client: ControlClient?
    /// Counts the connections, from 1.
    private(set) var connectionNumber = 0
    /// What was said last; nil until there was something.
    private(set) var status: Control.Status?
    /// Since when no station answers, by the wall clock.
    private(set) var lostAt: Double?
    /// The last reason for that.
    private(set) var problem: StationError?
    /// When the station came back, by the monotonic clock, and since when it had been away.
    private var back: (lostAt: Double, at: Double)?
    private var heardAt = SystemClock.monotonicSeconds()
    private var retryAt = 0.0

    private static let retrySeconds = 1.0
    private static let newsSeconds = 20.0
    /// While jobs run the station speaks twice a second.
    private static let silenceSeconds = 4.0

    /// - Parameter waits: a station that is not there yet is waited for, like one that went away.
    init(_ context: Context, waits: Bool) throws(StationError) {
        self.context = context
        self.waits = waits
        try connect(isWaitedFor: waits)
    }

    private func connect(isWaitedFor: Bool) throws(StationError) {
        do {
            let client = try context.connect()
            try client.begin(.watch)
            self.client = client
            connectionNumber += 1
        } catch {
            try lose(error, isWaitedFor: isWaitedFor)
        }
    }

    /// Readable when there is something to listen to; nil while there is no connection.
    var descriptor: Int32? { client?.descriptor.number }

    /// Takes in what was said. To be called when the descriptor is readable.
    /// - Returns: whether there is a new status.
    func listen() throws(StationError) -> Bool {
        do {
            guard var next = try client?.newestReply(to: .watch, as: Control.Status.self) else { return false }
            // A slot that is removed while somebody watches it is no mistake any more.
            if status == nil || context.operands.isEmpty {
                next.slots = try context.select(next.slots, by: context.operands)
            } else {
                next.slots = (try? context.select(next.slots, by: context.operands)) ?? []
            }
            heardAt = SystemClock.monotonicSeconds()
            if let lostAt {
                back = (lostAt, heardAt)
                self.lostAt = nil
            }
            status = next
            return true
        } catch {
            try lose(error, isWaitedFor: waits || status != nil)
            return false
        }
    }

    /// Tries again now and then while there is no connection.
    func reconnect() throws(StationError) {
        guard client == nil, SystemClock.monotonicSeconds() >= retryAt else { return }
        try connect(isWaitedFor: true)
    }

    /// A station that goes away is waited for; anything else is an end.
    private func lose(_ error: StationError, isWaitedFor: Bool) throws(StationError) {
        guard ExitCode(error) == .unreachable, isWaitedFor else { throw error }
        client = nil
        problem = error
        lostAt = lostAt ?? SystemClock.wallSeconds()
        retryAt = SystemClock.monotonicSeconds() + Self.retrySeconds
    }

    var trouble: Trouble? {
        if let lostAt { return .lost(since: lostAt) }
        let silence = SystemClock.monotonicSeconds() - heardAt
        // One that takes the call and never answers is as good as none.
        if status == nil {
            return silence > Self.silenceSeconds ? .lost(since: SystemClock.wallSeconds() - silence) : nil
        }
        let runs = status?.slots.contains { $0.state == "running" } == true
        return runs && silence > Self.silenceSeconds ? .silent(seconds: silence) : nil
    }

    /// That the station is back, for a while.
    var news: String? {
        guard let back, SystemClock.monotonicSeconds() - back.at < Self.newsSeconds else { return nil }
        return "the station is back, after it was away since \(LocalTime.clock(back.lostAt))"
    }
}
