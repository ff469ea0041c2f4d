import Glibc
import StationCore
import StationLinux

/// The command line of the station: finds the command, runs it, says what went wrong, and ends with a code.
@main
enum Stationctl {
    static let commands: [Command] =
        StatusCommand.all + WatchView.all + DisplayView.all + HistoryCommand.all + ChangeCommands.all
        + FlashCommand.all + ImageCommands.all + ProfileFileCommands.all + ProfileCommands.all + BuilderCommands.all
        + BuildCommands.all
        + CardCommands.all + InspectCommand.all
        + SlotCommands.all + SlotLearnCommand.all + SlotIdentifyCommand.all + SlotMatchCommand.all
        + SlotLightsCommand.all + DoctorCommand.all + BackupCommand.all + RestoreCommand.all + CompletionCommand.all

    static func main() {
        StandardStreams.fillGaps()
        let arguments = Array(CommandLine.arguments.dropFirst())
        let console = Console()
        do {
            exit(try run(arguments).rawValue)
        } catch {
            let error = error as? StationError ?? StationError("internal_error", "\(error)")
            if arguments.prefix(while: { $0 != "--" }).contains("--json") {
                console.json(Failure(error: error))
            } else {
                console.problem("stationctl: \(error.message)", remedy: error.remedy)
            }
            exit(ExitCode(error).rawValue)
        }
    }

    private struct Failure: Encodable { var error: StationError }

    private static let syntax = CommandSyntax(
        "stationctl", operands: "COMMAND [ARGUMENT…]", summary: "Looks at a flashing station and tells it what to do",
        options: Command.everywhere)

    private static func run(_ arguments: [String]) throws -> ExitCode {
        let global = try syntax.parse(arguments, onlyOptions: true)
        let console = Console(color: try color(global))
        if global.has("--version") {
            console.line("stationctl \(ControlInterface.productVersion)")
            return .success
        }
        var words = global.rest
        let asksForHelp = global.has("--help") || words.first == "help"
        if words.first == "help" { words.removeFirst() }
        guard !words.isEmpty else {
            guard asksForHelp else {
                throw StationError("usage", "a command is missing", remedy: "see stationctl --help")
            }
            console.text(help)
            return .success
        }
        let asksForGroup = asksForHelp || ["--help", "-h"].contains(words.dropFirst().first)
        if asksForGroup, find(exactly: words) == nil, let text = groupHelp(words[0]) {
            console.text(text)
            return .success
        }
        let (command, rest) = try find(words)
        guard !asksForHelp else {
            console.text(command.syntax.help)
            return .success
        }
        let inherited = arguments.prefix(arguments.count - global.rest.count)
        let parsed = try command.syntax.parse(Array(inherited) + rest)
        if parsed.has("--help") {
            console.text(command.syntax.help)
            return .success
        }
        if parsed.has("--version") {
            console.line("stationctl \(ControlInterface.productVersion)")
            return .success
        }
        return try command.run(
            Context(arguments: parsed, syntax: command.syntax, console: Console(color: try color(parsed))))
    }

    private static func color(_ arguments: Arguments) throws(StationError) -> Console.ColorChoice {
        guard let text = arguments.value("--color") else { return .auto }
        if let choice = Console.ColorChoice(rawValue: text) { return choice }
        let choices = Console.ColorChoice.allCases.map(\.rawValue)
        throw syntax.usage(
            "--color cannot be “\(text.printable(limit: 40))”",
            remedy: text.nearest(in: choices).map { "did you mean \($0)?" }
                ?? "one of: \(choices.joined(separator: ", "))")
    }

    private static func find(exactly words: [String]) -> (Command, rest: [String])? {
        for length in [2, 1] {
            let name = Array(words.prefix(length))
            if let command = commands.first(where: { $0.words == name }) {
                return (command, Array(words.dropFirst(length)))
            }
        }
        return nil
    }

    private static func find(_ words: [String]) throws(StationError) -> (Command, rest: [String]) {
        if let found = find(exactly: words) { return found }
        let group = commands.filter { $0.words.count == 2 && $0.words[0] == words[0] && !$0.isHidden }
        if !group.isEmpty {
            let second = words.count > 1 ? words[1] : ""
            let names = group.map { $0.words[1] }
            if second.isEmpty {
                throw StationError("usage", "stationctl \(words[0]) needs one of: \(names.joined(separator: ", "))")
            }
            throw StationError(
                "usage", "there is no command “\(words[0]) \(second.printable(limit: 40))”",
                remedy: second.nearest(in: names).map { "did you mean stationctl \(words[0]) \($0)?" }
                    ?? "one of: \(names.joined(separator: ", "))")
        }
        throw StationError(
            "usage", "there is no command “\(words[0].printable(limit: 40))”",
            remedy: suggestion(words).map { "did you mean stationctl \($0)?" } ?? "see stationctl --help")
    }

    /// The command that was meant, perhaps: mistyped, said the other way round, or by its second word alone.
    private static func suggestion(_ words: [String]) -> String? {
        let visible = commands.filter { !$0.isHidden }
        let pairs = visible.filter { $0.words.count == 2 }
        let asPlural: (String) -> String = { $0.hasSuffix("s") ? String($0.dropLast()) : $0 }
        if words.count > 1, let pair = pairs.first(where: { $0.words == [asPlural(words[1]), words[0]] }) {
            return pair.words.joined(separator: " ")
        }
        if let near = words[0].nearest(in: Set(visible.map { $0.words[0] }).sorted()) { return near }
        let sameVerb = pairs.filter { $0.words[1] == words[0] }
        return sameVerb.count == 1 ? sameVerb[0].words.joined(separator: " ") : nil
    }

    private static func groupHelp(_ word: String) -> String? {
        let group = commands.filter { $0.words.count == 2 && $0.words[0] == word && !$0.isHidden }
        guard !group.isEmpty else { return nil }
        return "Usage: stationctl \(word) COMMAND [OPTION…] [ARGUMENT…]\n\nCommands:\n" + list(group)
            + "\nEach explains itself: stationctl \(group[0].words.joined(separator: " ")) --help\n"
    }

    /// Commands with what they take, each with its summary, in 80 columns.
    private static func list(_ commands: [Command]) -> String {
        commands.map { command in
            let name = (command.words + [command.syntax.operands]).filter { !$0.isEmpty }.joined(separator: " ")
            let beside = "  \(name.padded(to: 20))  \(command.syntax.summary)"
            return name.count <= 20 && beside.count <= 80
                ? beside + "\n"
                : "  \(name)\n\(String(repeating: " ", count: max(4, min(24, 80 - command.syntax.summary.count))))\(command.syntax.summary)\n"
        }.joined()
    }

    private static var help: String {
        var text = "\(syntax.summary).\n\nUsage: stationctl COMMAND [OPTION…] [ARGUMENT…]\n\nCommands:\n"
        text += list(commands.filter { !$0.isHidden })
        text += """

            Each command explains itself: stationctl assign --help. Slots may be globs, such
            as 'left-*'. Members of the group station may read, of station-operator also
            change; root declares slots.

            A first card:
              sudo stationctl slot learn slot1
              stationctl image import openwrt.img
              stationctl assign slot1 --image openwrt
              stationctl watch

            Colours come on a terminal only: --color=never, or NO_COLOR=1, keeps them away.

            Exit codes: \(ExitCode.summary).

            """
        return text
    }
}
