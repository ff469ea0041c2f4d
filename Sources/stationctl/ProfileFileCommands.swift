import Glibc
import ProfileDocuments
import StationCore
import StationLinux

/// `profile validate|convert|diff`: profiles in files, with no station.
enum ProfileFileCommands {
    static let all = [
        Command(
            "profile validate", operands: "FILE|DIR…", count: 1...10_000, summary: "Checks profiles in files",
            details: """
                Says everything that is wrong, with file, line and column, and what is right but cannot be had.
                Files and overlays that a profile names are looked at, as you. A directory stands for the
                .yaml, .yml, .json and .toml files in it. Needs no station. Exit code 1 where something is wrong.
                """,
            options: [.init("--no-sources", "do not look at the files and overlays that profiles name")],
            examples: ["stationctl profile validate profiles", "stationctl profile validate ap.yaml --json"],
            run: validate),
        Command(
            "profile convert", operands: "FILE", count: 1...1, summary: "Writes a profile in another format",
            details: "To standard output; --json is --format json. Comments are lost. Needs no station.",
            options: [formatOption], examples: ["stationctl profile convert ap.yaml --format toml > ap.toml"],
            run: convert),
        Command(
            "profile diff", operands: "OLD NEW", count: 2...2, summary: "Shows in which fields two profiles differ",
            details: "OLD and NEW are files, which need no station, or names of the station's profiles.",
            examples: [
                "stationctl profile diff ap.yaml ap-new.yaml", "stationctl profile diff ap.yaml ap.json --json",
            ],
            run: diff),
    ]

    static let formatOption = CommandSyntax.Option("--format", value: "FORMAT", "yaml (the default), json or toml")

    // MARK: Validate

    /// What is found out about one file.
    struct Finding: Encodable {
        var file: String
        var isValid: Bool
        var profileID: String?
        /// Of the profile's canonical text.
        var sha256: SHA256Digest?
        /// Of the tree of its files; nil where it has none, or nobody looked.
        var overlaySHA256: SHA256Digest?
        var violations: [ProfileViolation]
        var notes: [ProfileNote]
    }

    private struct Findings: Encodable {
        var isValid: Bool
        var profiles: [Finding]
    }

    private static func validate(_ context: Context) throws -> ExitCode {
        var findings: [Finding] = []
        var known: [String: Finding] = [:]
        for file in try files(context.operands) {
            var finding = look(at: file, withSources: !context.arguments.has("--no-sources"))
            if let id = finding.profileID, let other = known[id], other.sha256 != finding.sha256 {
                finding.violations.append(ProfileViolation(id, of: file, isAlsoIn: other.file))
                finding.isValid = false
            }
            if let id = finding.profileID, known[id] == nil { known[id] = finding }
            findings.append(finding)
        }
        let isValid = findings.allSatisfy(\.isValid)
        if context.isJSON {
            context.console.json(Findings(isValid: isValid, profiles: findings))
        } else {
            for finding in findings { show(finding, context.console) }
        }
        return isValid ? .success : .failure
    }

    /// Reads one file, and what it names.
    private static func look(at file: String, withSources: Bool) -> Finding {
        let reading = ProfileFile.read(file)
        var finding = Finding(file: file, isValid: false, violations: reading.violations, notes: [])
        guard let profile = reading.profile else { return finding }
        finding.profileID = profile.profileID
        finding.sha256 = profile.digest
        finding.notes = profile.remarks
        if withSources {
            let sources = ProfileSources.gather(profile, file: file, positions: reading.positions)
            finding.violations = sources.violations
            do throws(StationError) {
                if let overlay = sources.overlay { finding.overlaySHA256 = try OverlayArchive.digest(of: overlay) }
            } catch {
                var violation = ProfileViolation(
                    error.code, field: "files", error.message, remedy: error.remedy, at: .start)
                violation.file = file
                finding.violations.append(violation)
            }
        }
        finding.isValid = finding.violations.isEmpty
        return finding
    }

    private static func show(_ finding: Finding, _ console: Console) {
        for violation in finding.violations { console.note(violation.text.printable(limit: 4000)) }
        let name = finding.file.printable(limit: 500)
        for note in finding.notes {
            console.line("\(name): note: \(note.field): \(note.message.printable(limit: 500))")
        }
        if finding.isValid, let id = finding.profileID, let digest = finding.sha256 {
            console.line("\(name): \(console.styled("valid", .good)): \(id), sha256 \(digest.short)")
        } else {
            let count = finding.violations.count
            console.line(
                "\(name): \(console.styled("not valid", .bad)): \(count) \(count == 1 ? "violation" : "violations")")
        }
    }

    /// The profile files that operands name: files themselves, and those of directories, in order.
    /// - Throws: `file_unknown`; `profile_unknown` for a directory without any.
    static func files(_ operands: [String]) throws(StationError) -> [String] {
        var files: [String] = []
        for operand in operands {
            guard let status = try? FileStatus(of: operand) else {
                throw StationError("file_unknown", "\(operand.printable()): \(SystemError.text(errno))")
            }
            guard status.kind == .directory else {
                files.append(operand)
                continue
            }
            let names = (SmallFile.names(in: operand) ?? []).filter { name in
                let path = operand + "/" + name
                return !name.hasPrefix(".") && DocumentFormat(fileName: name) != nil
                    && (try? FileStatus(of: path))?.kind == .regular
            }
            if names.isEmpty {
                throw StationError(
                    "profile_unknown", "there is no profile in \(operand.printable())",
                    remedy: "profiles end in .yaml, .yml, .json or .toml")
            }
            files += names.map { operand.hasSuffix("/") ? operand + $0 : operand + "/" + $0 }
        }
        return files
    }

    // MARK: Convert, diff

    static func format(_ context: Context) throws(StationError) -> DocumentFormat {
        guard let word = context.arguments.value("--format") else { return .yaml }
        guard let format = DocumentFormat(rawValue: word) else {
            throw context.syntax.usage("“\(word.printable(limit: 40))” is no format", remedy: "yaml, json or toml")
        }
        return format
    }

    /// Reads a profile, and says everything that is wrong with it.
    static func read(_ file: String, _ context: Context) throws(StationError) -> ProfileReading {
        let reading = ProfileFile.read(file)
        guard reading.profile == nil else { return reading }
        if !context.isJSON { for violation in reading.violations.dropFirst() { context.console.note(violation.text) } }
        throw reading.error
    }

    private static func convert(_ context: Context) throws -> ExitCode {
        let format: DocumentFormat =
            context.isJSON && !context.arguments.has("--format") ? .json : try format(context)
        let reading = try read(context.operands[0], context)
        if let profile = reading.profile { context.console.text(format.write(profile.document(meta: reading.meta))) }
        return .success
    }

    private struct Differences: Encodable { var differences: [ProfileDifference] }

    private static func diff(_ context: Context) throws -> ExitCode {
        let old = try profile(context.operands[0], context)
        let new = try profile(context.operands[1], context)
        show(new.differences(from: old), context)
        return .success
    }

    /// A profile of a file, or of the station.
    private static func profile(_ operand: String, _ context: Context) throws(StationError) -> Profile {
        if operand.contains("/") || DocumentFormat(fileName: operand) != nil {
            let reading = try read(operand, context)
            guard let profile = reading.profile else { throw reading.error }
            return profile
        }
        return try ProfileCommands.get(operand, context).profile
    }

    static func show(_ differences: [ProfileDifference], _ context: Context) {
        guard !context.isJSON else { return context.console.json(Differences(differences: differences)) }
        if differences.isEmpty { context.console.line("no difference") }
        for difference in differences {
            for line in difference.lines { context.console.line(line.printable(limit: 1000)) }
        }
    }
}

extension ProfileDifference {
    /// `packages: +luci -ppp`, or `name: "a" → "b"`.
    fileprivate var lines: [String] {
        if let added, let removed, !added.isEmpty || !removed.isEmpty {
            return ["\(field): " + (added.map { "+\($0)" } + removed.map { "-\($0)" }).joined(separator: " ")]
        }
        if added != nil { return ["\(field): another order"] }
        return ["\(field): \(Self.text(before)) → \(Self.text(after))"]
    }

    private static func text(_ value: JSONValue?) -> String {
        guard let value else { return "nothing" }
        return DocumentValue(value).canonicalJSON
    }
}
