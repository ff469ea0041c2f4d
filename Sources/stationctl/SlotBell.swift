import StationCore
import StationLinux

/// Sounds what becomes of the cards, on the terminal that they are shown on.
struct SlotBell {
    private let isOn: Bool
    private var changes = ChimeChanges()
    private var queue = ChimeQueue()

    init(isOn: Bool) { self.isOn = isOn }

    /// To be called with each new status.
    mutating func hear(_ feed: StationFeed) {
        // It speaks again: what it says first is what became of the cards meanwhile.
        if feed.connectionNumber != connectionNumber { changes.lose() }
        connectionNumber = feed.connectionNumber
        let news = changes.hear(feed.status?.slots ?? [])
        if isOn { queue.add(news) }
    }

    private var connectionNumber = 0

    /// Plays the tone whose time has come, if there is one.
    mutating func sound(on screen: Screen) {
        if let tone = queue.next(now: SystemClock.monotonicSeconds()) { screen.sound(tone) }
    }

    /// How long to wait for anything else, in seconds.
    func untilNextTone(atMost limit: Double) -> Double {
        guard let next = queue.nextAt else { return limit }
        return max(0, min(limit, next - SystemClock.monotonicSeconds() + 0.002))
    }
}
