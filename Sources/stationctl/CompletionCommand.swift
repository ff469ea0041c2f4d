import StationCore
import StationLinux

/// `completion SHELL`, and the hidden `complete` that its script asks for candidates: commands and options from the same table
/// that the help is made from, names from the station.
enum CompletionCommand {
    static let all = [
        Command(
            "completion", operands: "bash|zsh", count: 1...1,
            summary: "Prints the script that completes commands in a shell",
            details: """
                The Debian package installs it for both shells. Slots, images, profiles and builds are
                asked of the station, so they complete for those who may read its status.
                """,
            examples: ["source <(stationctl completion bash)"], exits: Command.exits([.success, .usage]), run: script),
        Command(
            "complete", operands: "[WORD…]", count: 0...Int.max,
            summary: "Prints what may stand for the last of these words",
            examples: ["stationctl complete -- image sh"], isHidden: true, run: complete),
    ]

    private static let bash = """
        # Completion of stationctl for bash.
        _stationctl() {
            local words
            mapfile -t words < <(stationctl complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null)
            COMPREPLY=("${words[@]}")
        }
        complete -o default -F _stationctl stationctl

        """
    private static let zsh = """
        #compdef stationctl
        # Completion of stationctl for zsh.
        _stationctl() {
            local -a candidates
            candidates=("${(@f)$(stationctl complete -- "${(@)words[2,CURRENT]}" 2> /dev/null)}")
            if [[ -n "$candidates" ]]; then compadd -a candidates; else _files; fi
        }
        # In a file of $fpath this is the function's own first call; sourced, it is a definition.
        if [[ "$funcstack[1]" == _stationctl ]]; then _stationctl "$@"; else compdef _stationctl stationctl; fi

        """

    private static func script(_ context: Context) throws -> ExitCode {
        switch context.operands[0] {
        case "bash": context.console.text(bash)
        case "zsh": context.console.text(zsh)
        default: throw context.syntax.usage("there is completion for bash and zsh only")
        }
        return .success
    }

    private static func complete(_ context: Context) throws -> ExitCode {
        var line = CommandLineSoFar(context.operands)
        let matching = line.candidates().filter { $0.hasPrefix(line.current) }
        for candidate in Set(matching).sorted() { context.console.line(candidate) }
        return .success
    }
}

/// A command line up to the cursor.
private struct CommandLineSoFar {
    /// What is to be completed; may be empty.
    let current: String
    private let before: [String]
    private var socketPath = Control.socketPath

    init(_ words: [String]) {
        current = words.last ?? ""
        before = Array(words.dropLast())
    }

    /// Everything that may stand here, whatever it begins with; nothing where a file's name does.
    mutating func candidates() -> [String] {
        let visible = Stationctl.commands.filter { !$0.isHidden }
        var operands: [String] = []
        var awaited: CommandSyntax.Option?
        var options = Command.everywhere
        var command: Command?
        // bash takes a word apart at “=”.
        for word in before where word != "=" {
            if let option = awaited {
                if option.name == "--socket" { socketPath = word }
                awaited = nil
            } else if word.hasPrefix("-") {
                awaited = options.first { $0.name == word && $0.value != nil }
            } else {
                operands.append(word)
                if command == nil, let found = visible.first(where: { $0.words == operands }) {
                    command = found
                    options = found.syntax.options
                    operands = []
                }
            }
        }
        if let awaited { return values(of: awaited.value ?? "", for: awaited.name) }
        if current.hasPrefix("-") { return options.map(\.name) }
        guard let command else {
            return visible.filter { $0.words.starts(with: operands) && $0.words.count > operands.count }
                .map { $0.words[operands.count] }
        }
        return values(of: command.syntax.operands, for: command.words[0])
    }

    /// What a placeholder of the help, such as `SLOT… [PROFILE]`, stands for.
    private func values(of placeholder: String, for context: String) -> [String] {
        switch placeholder {
        case "WHEN": return Console.ColorChoice.allCases.map(\.rawValue)
        case "bash|zsh": return ["bash", "zsh"]
        case "NAME" where context.hasSuffix("image"), "[NAME]" where context == "image", "IMAGE":
            return ask { try $0.call(.listImages, as: Control.Images.self).images.map(\.name.text) }
        default: break
        }
        var found: [String] = []
        if placeholder.contains("SLOT") {
            found += ask { try $0.call(.getStatus, as: Control.Status.self).slots.map(\.name.text) }
        }
        if placeholder.contains("PROFILE") {
            found += ask { client in
                try client.call(.listProfiles, Control.ProfileFilter(), as: Control.Profiles.self).profiles.map(
                    \.profileID)
            }
        }
        if placeholder.contains("BUILD") {
            found += ask { client in
                try client.call(.listBuilds, Control.BuildFilter(), as: Control.Builds.self).builds.map(\.id.short)
            }
        }
        return found
    }

    /// Nobody is told why a station does not answer while they type.
    private func ask(_ question: (ControlClient) throws -> [String]) -> [String] {
        guard let client = try? ControlClient(socketPath: socketPath) else { return [] }
        return (try? question(client)) ?? []
    }
}
