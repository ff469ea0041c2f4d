import Glibc
import StationCore
import StationLinux

/// One command: its words, what it takes, what it does.
struct Command: Sendable {
    let words: [String]
    let syntax: CommandSyntax
    /// Not shown in the help.
    var isHidden = false
    let run: @Sendable (Context) throws -> ExitCode

    static let socketOption = CommandSyntax.Option(
        "--socket", value: "PATH", "the station's socket (\(Control.socketPath))")
    static let jsonOption = CommandSyntax.Option("--json", "write JSON, errors too")
    static let colorOption = CommandSyntax.Option("--color", value: "WHEN", "auto (default), always or never")
    static let slotsOption = CommandSyntax.Option(
        "--slots-dir", value: "DIR", "where slot files are (\(SlotDirectory.path))")

    /// The options that every command takes.
    static let everywhere = [socketOption, jsonOption, colorOption]

    /// How commands that only read end.
    static let readingExits = exits([.success, .failure, .usage, .unreachable, .notPermitted, .notFound])
    /// How commands that change something end.
    static let changingExits = exits([.success, .failure, .usage, .unreachable, .notPermitted, .notFound, .refused])

    static func exits(_ codes: [ExitCode]) -> [String] { codes.map { "\($0.rawValue) \($0.meaning)" } }

    /// A command that talks to the station.
    /// - Parameters:
    ///   - name: its words, such as `image list`.
    ///   - exits: what each exit code means, for the help.
    init(
        _ name: String, operands: String = "", count: ClosedRange<Int> = 0...0, summary: String, details: String = "",
        options: [CommandSyntax.Option] = [], examples: [String], exits: [String] = changingExits,
        isHidden: Bool = false,
        run: @escaping @Sendable (Context) throws -> ExitCode
    ) {
        words = name.split(separator: " ").map(String.init)
        syntax = CommandSyntax(
            "stationctl \(name)", operands: operands, count: count, summary: summary, details: details,
            options: options + Self.everywhere, examples: examples,
            exitCodes: exits)
        self.isHidden = isHidden
        self.run = run
    }
}

/// What a command works with.
struct Context {
    let arguments: Arguments
    let syntax: CommandSyntax
    let console: Console

    var isJSON: Bool { arguments.has("--json") }
    var operands: [String] { arguments.operands }

    /// What an option says of a moment, in seconds since 1970; nil when it is not there.
    func time(_ option: String) throws(StationError) -> Double? {
        guard let text = arguments.value(option) else { return nil }
        if let time = LocalTime.parse(text, now: SystemClock.wallSeconds()) { return time }
        throw syntax.usage(
            "“\(text.printable(limit: 40))” is no time",
            remedy: text.nearest(in: ["today", "yesterday", "monday"]).map { "did you mean \($0)?" }
                ?? "write 2h, 7d, today, yesterday, 2026-11-01 or '2026-11-01 14:05'")
    }

    /// The path of the station's socket.
    var socketPath: String { arguments.value("--socket") ?? Control.socketPath }

    /// Connects to the station.
    func connect() throws(StationError) -> ControlClient { try ControlClient(socketPath: socketPath) }

    /// The slots that names and globs mean; all when there are none.
    /// - Throws: `slot_unknown` for one that means nothing.
    func select(_ slots: [SlotStatus], by patterns: [String]) throws(StationError) -> [SlotStatus] {
        for pattern in patterns where !slots.contains(where: { $0.name.text.matches(glob: pattern) }) {
            let near = pattern.nearest(in: slots.map(\.name.text))
            throw StationError(
                "slot_unknown", "there is no slot “\(pattern.printable(limit: 40))”",
                remedy: near.map { "did you mean \($0)?" } ?? "see stationctl status")
        }
        return patterns.isEmpty
            ? slots : slots.filter { slot in patterns.contains { slot.name.text.matches(glob: $0) } }
    }
}
