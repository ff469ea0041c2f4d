import Glibc
import StationCore
import StationLinux

/// `watch` on a terminal: one thread that waits for the station, the keyboard, the window and the clock, and draws.
final class LiveView {
    private let context: Context
    private let screen: Screen
    private let signals: SignalQueue
    private let feed: StationFeed
    private var bell: SlotBell
    private var scroll = 0

    /// - Parameter hasBell: what becomes of cards is sounded, too.
    init(_ context: Context, hasBell: Bool) throws {
        self.context = context
        screen = Screen(context.console.forDrawing)
        signals = try SignalQueue([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP])
        feed = try StationFeed(context, waits: false)
        bell = SlotBell(isOn: hasBell)
    }

    /// Runs until somebody ends it.
    func run() throws -> ExitCode {
        // The first answer decides whether there is anything to draw: an error belongs below the prompt.
        while feed.status == nil {
            _ = Descriptor.waitForInput(of: [feed.descriptor ?? -1, signals.descriptor.number], seconds: 10)
            if let number = signals.next() { return try obey(number) ?? .success }
            if try feed.listen() { bell.hear(feed) }
            if feed.descriptor == nil { throw StationError("station_hung_up", "the station closed the connection") }
        }
        screen.open()
        defer { screen.close() }
        while true {
            draw()
            let ready = Descriptor.waitForInput(
                of: watched, seconds: bell.untilNextTone(atMost: LocalTime.untilNextSecond))
            while let number = signals.next() {
                if let code = try obey(number) { return code }
            }
            if ready.contains(0), try !press() { return .success }
            if let number = feed.descriptor, ready.contains(number), try feed.listen() { bell.hear(feed) }
            try feed.reconnect()
            bell.sound(on: screen)
        }
    }

    private var watched: [Int32] {
        [signals.descriptor.number] + (screen.hasKeys ? [0] : []) + [feed.descriptor].compactMap { $0 }
    }

    /// - Returns: the code to end with; nil to go on.
    private func obey(_ signal: Int32) throws -> ExitCode? {
        switch signal {
        case SIGINT: return .success
        case SIGTERM, SIGHUP, SIGQUIT:
            screen.close()
            exit(128 + signal)
        case SIGTSTP:
            let wasOpen = screen.isOpen
            screen.close()
            kill(getpid(), SIGSTOP)
            if wasOpen { screen.open() }
            return nil
        default: return nil
        }
    }

    /// - Returns: false to end.
    private func press() throws -> Bool {
        guard let keys = screen.keys() else { return false }
        let page = max(1, context.console.size.rows - 4)
        for key in keys {
            switch key {
            case .quit: return false
            case .up: scroll -= 1
            case .down: scroll += 1
            case .pageUp: scroll -= page
            case .pageDown: scroll += page
            case .top: scroll = 0
            case .bottom: scroll = .max / 2
            case .redraw: break
            }
        }
        return true
    }

    private func draw() {
        guard let status = feed.status else { return }
        let (columns, rows) = context.console.size
        let picture = WatchPicture(console: context.console.forDrawing, columns: columns, rows: rows)
        let (lines, scroll) = picture.lines(
            status, headline: headline, isStale: feed.lostAt != nil, scroll: scroll)
        self.scroll = scroll
        screen.draw(lines)
    }

    /// What is to be said of the connection.
    private var headline: WatchPicture.Headline? {
        switch feed.trouble {
        case .lost(let since)?:
            let text = "NO STATION since \(LocalTime.clock(since)): trying again. Below is what it said last."
            return .init(text: text, isBad: true)
        case .silent(let seconds)?:
            return .init(text: "NO NEWS for \(Quantity.seconds(seconds)) though jobs run", isBad: true)
        case nil: return feed.news.map { .init(text: $0, isBad: false) }
        }
    }
}
