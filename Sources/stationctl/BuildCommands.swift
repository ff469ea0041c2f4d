import StationCore
import StationLinux

/// `build`, `builds list|show|log|cancel|remove`, `artifact list|show`.
enum BuildCommands {
    static let all = [
        BuildCommand.command,
        Command(
            "builds list", summary: "Lists builds, the newest first",
            options: [
                .init("--profile", value: "ID", "of one profile"),
                .init("--state", value: "STATE", "running, succeeded, failed, cancelled or interrupted"),
                .init("--limit", value: "N", "at most so many (50)"),
            ],
            examples: ["stationctl builds list --state failed"], exits: Command.readingExits, run: list),
        Command(
            "builds show", operands: "BUILD", count: 1...1, summary: "Shows one build",
            details: "BUILD is its id, or the beginning of it.",
            options: [
                .init("--inputs", "what it was made from"),
                .init("--why-rebuilt", "what differs from the build of that profile before it"),
            ],
            examples: ["stationctl builds show 1a2b3c4d --inputs", "stationctl builds show 1a2b3c4d --why-rebuilt"],
            exits: Command.readingExits, run: show),
        Command(
            "builds log", operands: "BUILD", count: 1...1, summary: "Shows what the Image Builder printed",
            examples: ["stationctl builds log 1a2b3c4d | less"], exits: Command.readingExits, run: log),
        Command(
            "builds cancel", operands: "BUILD", count: 1...1, summary: "Ends a build that runs",
            examples: ["stationctl builds cancel 1a2b3c4d"]
        ) { try change($0, .cancelBuild, done: "is being cancelled") },
        Command(
            "builds remove", operands: "BUILD", count: 1...1, summary: "Removes the files of a build",
            details: "Its record and its log's end stay; one whose image is assigned is kept.",
            examples: ["stationctl builds remove 1a2b3c4d"]
        ) { try change($0, .removeBuild, done: "is removed") },
        Command(
            "artifact list", operands: "BUILD", count: 1...1, summary: "Lists the files that a build made",
            examples: ["stationctl artifact list 1a2b3c4d"], exits: Command.readingExits, run: artifacts),
        Command(
            "artifact show", operands: "BUILD NAME", count: 2...2, summary: "Shows one file of a build",
            examples: ["stationctl artifact show 1a2b3c4d profiles.json"], exits: Command.readingExits, run: artifact),
    ]

    private static func list(_ context: Context) throws -> ExitCode {
        var filter = Control.BuildFilter(profile: context.arguments.value("--profile"))
        if let text = context.arguments.value("--state") {
            guard let state = BuildRecord.State(rawValue: text) else {
                let states = BuildRecord.State.allCases.map(\.rawValue)
                throw context.syntax.usage(
                    "--state cannot be “\(text.printable(limit: 40))”",
                    remedy: text.nearest(in: states).map { "did you mean \($0)?" }
                        ?? "one of: \(states.joined(separator: ", "))")
            }
            filter.state = state
        }
        if let text = context.arguments.value("--limit") {
            guard let limit = Int(text), (1...10_000).contains(limit) else {
                throw context.syntax.usage("--limit needs a number from 1 to 10000")
            }
            filter.limit = limit
        }
        let reply = try context.connect().call(.listBuilds, filter, as: Control.Builds.self)
        guard !context.isJSON else {
            context.console.json(reply)
            return .success
        }
        guard !reply.builds.isEmpty else {
            context.console.line("there are no builds: stationctl build PROFILE")
            return .success
        }
        var table = Table(columns: [
            .init(heading: "BUILD"), .init(heading: "PROFILE", minimum: 12, keepsEnds: true), .init(heading: "STATE"),
            .init(heading: "STARTED"), .init(heading: "SIZE", needsWidth: 60),
        ])
        for build in reply.builds {
            let state = build.state == .succeeded && !build.isKept ? "removed" : build.state.rawValue
            table.rows.append([
                .init(build.id.short), .init(build.profileID.printable(limit: 128)), .init(state),
                .init(BuildText.time(build.startedAt)),
                .init(build.product?.card.map { Quantity.bytes($0.byteCount) } ?? "-"),
            ])
        }
        let width = context.console.isTerminal ? context.console.size.columns : 80
        for line in table.lines(on: context.console, width: width) { context.console.line(line) }
        return .success
    }

    private static func details(_ context: Context) throws(StationError) -> Control.BuildDetails {
        try context.connect().call(
            .getBuild, Control.BuildQuery(build: context.operands[0]), as: Control.BuildDetails.self)
    }

    private static func show(_ context: Context) throws -> ExitCode {
        let reply = try details(context)
        guard !context.isJSON else {
            context.console.json(reply)
            return .success
        }
        for line in BuildText.lines(reply.build) { context.console.line(line) }
        if context.arguments.has("--inputs") {
            context.console.line("inputs    key \(reply.build.key)")
            for line in BuildInputs.differences(.object([:]), reply.inputs) {
                context.console.line("  " + line.replacing(": – → ", with: " = ").printable(limit: 1000))
            }
        }
        if context.arguments.has("--why-rebuilt") {
            guard let previous = reply.previous else {
                context.console.line("it is the first build of its profile")
                return .success
            }
            context.console.line(
                reply.differences.isEmpty
                    ? "nothing differs from the build \(previous.short): it was asked for, or that one's files were gone"
                    : "since the build \(previous.short):")
            for line in reply.differences { context.console.line("  \(line.printable(limit: 1000))") }
        }
        return .success
    }

    private static func log(_ context: Context) throws -> ExitCode {
        var text = ""
        try context.connect().callMore(
            .getBuildLog, Control.BuildQuery(build: context.operands[0]), as: Control.BuildLogPart.self
        ) { part in
            if context.isJSON { text += part.text } else { context.console.text(part.text) }
            return true
        }
        if context.isJSON { context.console.json(Control.BuildLogPart(text: text)) }
        return .success
    }

    private static func change(_ context: Context, _ method: Control.Method, done: String) throws -> ExitCode {
        let name = context.operands[0]
        _ = try context.connect().call(method, Control.BuildQuery(build: name), as: Control.Empty.self)
        if context.isJSON {
            context.console.json(Control.Empty())
        } else {
            context.console.line("\(name.printable(limit: 40)) \(done)")
        }
        return .success
    }

    private struct Artifacts: Encodable {
        var build: BuildID
        var artifacts: [Artifact]
    }

    private static func artifacts(_ context: Context) throws -> ExitCode {
        let build = try details(context).build
        let artifacts = build.product?.artifacts ?? []
        guard !context.isJSON else {
            context.console.json(Artifacts(build: build.id, artifacts: artifacts))
            return .success
        }
        for line in BuildText.lines(build) where artifacts.isEmpty { context.console.line(line) }
        for artifact in artifacts {
            let isCard = artifact.name == build.product?.card?.artifact
            context.console.line("\(artifact.name.printable(limit: 255))\(isCard ? "  (for cards)" : "")")
            context.console.line(
                "    \(artifact.type.printable(limit: 80))\(artifact.filesystem.map { ", \($0)" } ?? ""), \(Quantity.bytes(artifact.byteCount)), sha256 \(artifact.sha256.short)…"
            )
        }
        return .success
    }

    private static func artifact(_ context: Context) throws -> ExitCode {
        let build = try details(context).build
        let artifacts = build.product?.artifacts ?? []
        let name = context.operands[1]
        guard let artifact = artifacts.first(where: { $0.name == name }) else {
            throw StationError(
                "artifact_unknown", "the build \(build.id.short) has no “\(name.printable(limit: 100))”",
                remedy: name.nearest(in: artifacts.map(\.name)).map { "did you mean \($0)?" }
                    ?? "stationctl artifact list \(build.id.short)")
        }
        guard !context.isJSON else {
            context.console.json(artifact)
            return .success
        }
        context.console.line("file      \(artifact.name.printable(limit: 255))")
        context.console.line(
            "type      \(artifact.type.printable(limit: 80))\(artifact.filesystem.map { ", \($0)" } ?? "")")
        context.console.line("size      \(Quantity.bytes(artifact.byteCount)) (\(artifact.byteCount) bytes)")
        context.console.line("sha256    \(artifact.sha256)")
        return .success
    }
}
