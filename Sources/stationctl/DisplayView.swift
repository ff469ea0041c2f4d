import Glibc
import StationCore
import StationLinux

/// `display`: what `watch` shows, for a screen on the wall that nobody sits before.
final class DisplayView {
    static let all = [
        Command(
            "display", operands: "[SLOT…]", count: 0...1000,
            summary: "Shows slots in large letters, for a screen on a wall",
            details: """
                Each slot has a tile in the colour of what it does, with a word that is read
                from afar and what to do; more than fit are shown page by page. It needs no
                keys, waits for a station that is not there, and keeps the console lit. One
                high tone: a card has passed. Two long low ones: set a card aside. Three short
                ones: call somebody. Only what changes while it runs is sounded.
                For a console: systemctl enable --now flashing-station-display@tty1
                """,
            options: [.init("--no-bell", "be silent")],
            examples: ["stationctl display", "stationctl display 'left-*' --no-bell"],
            exits: [
                "0 ended by SIGTERM, Ctrl-C or q", "1 no terminal to draw on", "2 usage", "4 not permitted",
                "5 no such slot",
            ],
            run: { try DisplayView($0).run() })
    ]

    private let context: Context
    private let screen: Screen
    private let signals: SignalQueue
    private let feed: StationFeed
    private var bell: SlotBell

    private static let secondsPerPage = 8.0

    private init(_ context: Context) throws {
        if context.isJSON {
            throw context.syntax.usage("display draws, and has no JSON", remedy: "stationctl watch --json")
        }
        guard context.console.isScreen else {
            throw StationError(
                "no_terminal", "display needs a terminal to draw on",
                remedy: "run it on a terminal, or on a console: systemctl start flashing-station-display@tty1")
        }
        self.context = context
        screen = Screen(context.console.forDrawing, isWall: true)
        // Nobody would wake it up again: SIGTSTP is among them so that it does nothing.
        signals = try SignalQueue([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP])
        feed = try StationFeed(context, waits: true)
        bell = SlotBell(isOn: !context.arguments.has("--no-bell"))
    }

    /// Runs until it is ended.
    private func run() throws -> ExitCode {
        defer { screen.close() }
        while true {
            // A mistake in the command line belongs below the prompt, so the first picture waits a moment for the first status.
            if feed.status != nil || feed.trouble != nil { draw() }
            let watched =
                [signals.descriptor.number] + (screen.hasKeys ? [0] : []) + [feed.descriptor].compactMap { $0 }
            let ready = Descriptor.waitForInput(
                of: watched, seconds: bell.untilNextTone(atMost: LocalTime.untilNextSecond))
            while let number = signals.next() {
                if [SIGINT, SIGTERM].contains(number) { return .success }
                if [SIGHUP, SIGQUIT].contains(number) {
                    screen.close()
                    exit(128 + number)
                }
            }
            if ready.contains(0), screen.keys()?.contains(.quit) ?? true { return .success }
            if let number = feed.descriptor, ready.contains(number), try feed.listen() { bell.hear(feed) }
            try feed.reconnect()
            bell.sound(on: screen)
        }
    }

    private func draw() {
        if !screen.isOpen { screen.open() }
        let (columns, rows) = context.console.size
        let picture = WallPicture(console: context.console.forDrawing, columns: columns, rows: rows)
        screen.draw(picture.lines(feed, turn: Int(SystemClock.monotonicSeconds() / Self.secondsPerPage)))
    }
}
