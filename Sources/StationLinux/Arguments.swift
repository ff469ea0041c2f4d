package import StationCore

/// What a program or one of its commands takes on the command line, and its help.
package struct CommandSyntax: Sendable {
    /// One option.
    package struct Option: Sendable {
        /// With its dashes, such as `--image`.
        package var name: String
        /// A second, short name, such as `-h`.
        package var short: String?
        /// What its value is called in the help, such as `NAME`; nil for an option without a value.
        package var value: String?
        package var help: String
        /// It may be given more than once; each time counts.
        package var isRepeatable: Bool

        package init(
            _ name: String, short: String? = nil, value: String? = nil, _ help: String, isRepeatable: Bool = false
        ) {
            self.isRepeatable = isRepeatable
            self.name = name
            self.short = short
            self.value = value
            self.help = help
        }
    }

    /// Such as `stationctl assign`.
    package var command: String
    /// What stands behind the options, such as `SLOT…`.
    package var operands: String
    /// How many operands there may be.
    package var operandCount: ClosedRange<Int>
    /// One sentence without its full stop.
    package var summary: String
    /// More, in lines of 80 columns; may be empty.
    package var details: String
    package var options: [Option]
    /// Whole command lines.
    package var examples: [String]
    /// How it ends, in lines; may be empty.
    package var exitCodes: [String]

    package init(
        _ command: String, operands: String = "", count: ClosedRange<Int> = 0...0, summary: String,
        details: String = "",
        options: [Option] = [], examples: [String] = [], exitCodes: [String] = []
    ) {
        self.command = command
        self.operands = operands
        operandCount = count
        self.summary = summary
        self.details = details
        self.options = options + Self.common
        self.examples = examples
        self.exitCodes = exitCodes
    }

    private static let common = [
        Option("--help", short: "-h", "show this help"), Option("--version", "show the version"),
    ]

    /// Reads arguments. Options and operands may be mixed; `--name=value` and `--name value` are the same; behind `--`
    /// everything is an operand.
    /// - Parameter onlyOptions: stops at the first operand, which goes to `rest` with everything behind it.
    /// - Throws: `usage`. With `--help` or `--version`, operands are not counted.
    package func parse(_ arguments: [String], onlyOptions: Bool = false) throws(StationError) -> Arguments {
        var result = Arguments()
        var index = 0
        while index < arguments.count {
            let argument = arguments[index]
            index += 1
            if argument == "--", !onlyOptions {
                result.operands += arguments[index...]
                break
            }
            guard argument.hasPrefix("-"), argument != "-" else {
                if onlyOptions {
                    result.rest = Array(arguments[(index - 1)...])
                    break
                }
                result.operands.append(argument)
                continue
            }
            let halves = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let option = try option(named: halves[0])
            guard option.value != nil else {
                guard halves.count == 1 else { throw usage("\(option.name) takes no value") }
                result.values[option.name, default: []].append("")
                continue
            }
            if halves.count == 2 {
                result.values[option.name, default: []].append(halves[1])
            } else if index < arguments.count {
                result.values[option.name, default: []].append(arguments[index])
                index += 1
            } else {
                throw usage("\(option.name) needs a value: \(option.value ?? "")")
            }
        }
        if let twice = options.first(where: {
            $0.value != nil && !$0.isRepeatable && (result.values[$0.name] ?? []).count > 1
        }) {
            throw usage("\(twice.name) is given more than once")
        }
        guard !onlyOptions, !result.has("--help"), !result.has("--version") else { return result }
        if result.operands.count < operandCount.lowerBound { throw usage("\(operands) is missing") }
        if result.operands.count > operandCount.upperBound {
            throw usage("“\(result.operands[operandCount.upperBound].printable(limit: 60))” is one operand too many")
        }
        return result
    }

    /// An error about how the command was called.
    package func usage(_ problem: String, remedy: String? = nil) -> StationError {
        StationError("usage", problem, remedy: remedy ?? "see \(command) --help")
    }

    private func option(named name: String) throws(StationError) -> Option {
        if let option = options.first(where: { $0.name == name || $0.short == name }) { return option }
        let near = name.nearest(in: options.map(\.name))
        throw usage("unknown option \(name.printable(limit: 60))", remedy: near.map { "did you mean \($0)?" })
    }

    /// How it is called, in one line.
    package var usageLine: String {
        ([command, options.isEmpty ? "" : "[OPTION…]", operands].filter { !$0.isEmpty }).joined(separator: " ")
    }

    /// The help, as `--help` shows it.
    package var help: String {
        var text = "\(summary).\n\nUsage: \(usageLine)\n"
        if !details.isEmpty { text += "\n\(details)\n" }
        let rows = options.map { option in
            let names = [option.short, option.name].compactMap { $0 }.joined(separator: ", ")
            return (names + (option.value.map { " \($0)" } ?? ""), option.help)
        }
        let width = rows.map(\.0.count).max() ?? 0
        text += "\nOptions:\n"
        for (names, help) in rows {
            text += "  \(names)\(String(repeating: " ", count: width - names.count))  \(help)\n"
        }
        if !examples.isEmpty {
            text += "\n\(examples.count == 1 ? "Example" : "Examples"):\n"
            text += examples.map { "  \($0)\n" }.joined()
        }
        if !exitCodes.isEmpty { text += "\nExit codes:\n" + exitCodes.map { "  \($0)\n" }.joined() }
        return text
    }
}

/// Arguments that were read.
package struct Arguments: Equatable, Sendable {
    package var operands: [String] = []
    /// What was not read, for `onlyOptions`.
    package var rest: [String] = []
    fileprivate var values: [String: [String]] = [:]

    /// Whether an option was given.
    package func has(_ name: String) -> Bool { values[name] != nil }

    /// The value of an option; nil when it was not given.
    package func value(_ name: String) -> String? { values[name]?.first }

    /// All values of an option that can be given again.
    package func all(_ name: String) -> [String] { values[name] ?? [] }
}
