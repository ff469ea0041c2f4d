import Glibc
import StationCore
import StationLinux

/// `watch` on a terminal: one thread that waits for the station, the keyboard, the window and the clock, and draws.
final class LiveView {
    private let context: Context
    private let screen: Screen
    private let signals: SignalQueue
    private var client: ControlClient?
    private var status: Control.Status?
    private var scroll = 0
    /// Since when no station answers, by the wall clock.
    private var lostAt: Double?
    /// When the station came back, by the monotonic clock, and what is said of it for a while.
    private var news: (text: String, at: Double)?
    private var heardAt = SystemClock.monotonicSeconds()
    private var retryAt = 0.0

    private static let retrySeconds = 1.0
    private static let newsSeconds = 20.0
    /// While jobs run the station speaks twice a second.
    private static let silenceSeconds = 4.0

    init(_ context: Context) throws {
        self.context = context
        screen = Screen(context.console.forDrawing)
        signals = try SignalQueue([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP])
        client = try Self.subscribe(context)
    }

    private static func subscribe(_ context: Context) throws(StationError) -> ControlClient {
        let client = try context.connect()
        try client.begin(.watch)
        return client
    }

    /// Runs until somebody ends it.
    func run() throws -> ExitCode {
        // The first answer decides whether there is anything to draw: an error belongs below the prompt.
        while status == nil {
            _ = Descriptor.waitForInput(of: [client?.descriptor.number ?? -1, signals.descriptor.number], seconds: 10)
            if let number = signals.next() { return try obey(number) ?? .success }
            try listen()
            if client == nil { throw StationError("station_hung_up", "the station closed the connection") }
        }
        screen.open()
        defer { screen.close() }
        while true {
            draw()
            let ready = Descriptor.waitForInput(of: watched, seconds: untilNextSecond)
            while let number = signals.next() {
                if let code = try obey(number) { return code }
            }
            if ready.contains(0), try !press() { return .success }
            if let client, ready.contains(client.descriptor.number) { try listen() }
            try reconnect()
        }
    }

    private var watched: [Int32] {
        [signals.descriptor.number] + (screen.hasKeys ? [0] : []) + [client?.descriptor.number].compactMap { $0 }
    }

    private var untilNextSecond: Double {
        let now = SystemClock.wallSeconds()
        return now.rounded(.down) + 1.005 - now
    }

    // MARK: The station

    private func listen() throws(StationError) {
        do {
            guard var next = try client?.newestReply(to: .watch, as: Control.Status.self) else { return }
            // A slot that is removed while somebody watches it is no mistake any more.
            let isFirst = status == nil
            if isFirst || context.operands.isEmpty {
                next.slots = try context.select(next.slots, by: context.operands)
            } else {
                next.slots = (try? context.select(next.slots, by: context.operands)) ?? []
            }
            heardAt = SystemClock.monotonicSeconds()
            if let lostAt {
                news = ("the station is back, after it was away since \(LocalTime.clock(lostAt))", heardAt)
                self.lostAt = nil
            }
            status = next
        } catch {
            try lose(error)
        }
    }

    private func reconnect() throws(StationError) {
        guard client == nil, SystemClock.monotonicSeconds() >= retryAt else { return }
        do {
            client = try Self.subscribe(context)
        } catch {
            try lose(error)
        }
    }

    /// A station that goes away is waited for; anything else is an end.
    private func lose(_ error: StationError) throws(StationError) {
        guard ExitCode(error) == .unreachable, status != nil else { throw error }
        client = nil
        lostAt = lostAt ?? SystemClock.wallSeconds()
        retryAt = SystemClock.monotonicSeconds() + Self.retrySeconds
    }

    // MARK: The person

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
        guard let status else { return }
        let (columns, rows) = context.console.size
        let picture = WatchPicture(console: context.console.forDrawing, columns: columns, rows: rows)
        let (lines, scroll) = picture.lines(status, headline: headline, isStale: lostAt != nil, scroll: scroll)
        self.scroll = scroll
        screen.draw(lines)
    }

    /// What is to be said of the connection.
    private var headline: WatchPicture.Headline? {
        let now = SystemClock.monotonicSeconds()
        if let lostAt {
            return .init(
                text: "NO STATION since \(LocalTime.clock(lostAt)): trying again. Below is what it said last.",
                isBad: true)
        }
        let silence = now - heardAt
        if silence > Self.silenceSeconds, status?.slots.contains(where: { $0.state == "running" }) == true {
            return .init(text: "NO NEWS for \(Quantity.seconds(silence)) though jobs run", isBad: true)
        }
        if let news, now - news.at < Self.newsSeconds { return .init(text: news.text, isBad: false) }
        return nil
    }
}
