import StationCore
import StationLinux

/// `builder list|ensure|info|prune`: OpenWrt's Image Builders.
enum BuilderCommands {
    private static let triple = "RELEASE TARGET SUBTARGET"

    static let all = [
        Command(
            "builder list", summary: "Lists the Image Builders that are here",
            examples: ["stationctl builder list", "stationctl builder list --json"], exits: Command.readingExits,
            run: list),
        Command(
            "builder ensure", operands: triple, count: 3...3, summary: "Fetches and verifies an Image Builder",
            details: """
                One that is here already is not fetched again, unless it is a snapshot's and --refresh asks
                the server for a newer one. What was downloaded of an attempt that failed is kept.
                """,
            options: [.init("--refresh", "ask whether a snapshot has changed")],
            examples: [
                "stationctl builder ensure 24.10.2 x86 64",
                "stationctl builder ensure snapshot rockchip armv8 --refresh",
            ],
            run: ensure),
        Command(
            "builder info", operands: triple, count: 3...3, summary: "Shows an Image Builder and its devices",
            options: [.init("--profile", value: "GLOB", "only devices whose name is like that")],
            examples: ["stationctl builder info 24.10.2 ath79 generic --profile 'tplink_*'"],
            exits: Command.readingExits, run: info),
        Command(
            "builder prune", summary: "Removes Image Builders that nobody needs",
            details: "Broken ones and snapshots that were replaced; never one in use or needed by a slot.",
            options: [
                .init("--dry-run", "only say which"),
                .init("--older-than", value: "DAYS", "also those that no build used for so long"),
            ],
            examples: ["stationctl builder prune --dry-run", "stationctl builder prune --older-than 90"], run: prune),
    ]

    private static func list(_ context: Context) throws -> ExitCode {
        let reply = try context.connect().call(.listBuilders, as: Control.Builders.self)
        guard !context.isJSON else {
            context.console.json(reply)
            return .success
        }
        guard !reply.builders.isEmpty else {
            context.console.line("no Image Builder is here: stationctl builder ensure \(triple)")
            return .success
        }
        show(reply.builders, context.console)
        return .success
    }

    private static func show(_ builders: [BuilderRecord], _ console: Console) {
        var table = Table(headings: ["BUILDER", "STATE", "REVISION", "SIZE", "SIGNED BY"])
        for (index, builder) in builders.enumerated() {
            table.rows.append([
                .init(builder.title), .init(builder.state.rawValue),
                .init(builder.revision?.printable(limit: 40) ?? "-"),
                .init(builder.byteCount.map { Quantity.bytes($0) } ?? "-"),
                .init(builder.vouching?.key?.printable(limit: 16) ?? (builder.sha256 == nil ? "-" : "nobody")),
            ])
            if let problem = builder.problem { table.notes[index] = [problem.description.printable(limit: 1000)] }
        }
        let width = console.isTerminal ? console.size.columns : nil
        for line in table.lines(on: console, width: width) { console.line(line) }
    }

    private static func query(_ context: Context, isRefresh: Bool? = nil) throws(StationError) -> Control.BuilderQuery {
        let words = context.operands
        return Control.BuilderQuery(
            try BuilderTriple(release: words[0], target: words[1], subtarget: words[2]), isRefresh: isRefresh)
    }

    private static func ensure(_ context: Context) throws -> ExitCode {
        let query = try query(context, isRefresh: context.arguments.has("--refresh") ? true : nil)
        let line = BuildProgressLine(context)
        var last: Control.BuildProgress?
        do {
            try context.connect().callMore(.ensureBuilder, query, as: Control.BuildProgress.self) { progress in
                line.show(progress)
                last = progress
                return progress.builder == nil
            }
        } catch {
            line.clear()
            throw error
        }
        line.clear()
        guard let builder = last?.builder else { throw StationError("station_hung_up", "the station hung up") }
        if context.isJSON { context.console.json(builder) } else { show([builder], context.console) }
        return .success
    }

    private static func info(_ context: Context) throws -> ExitCode {
        var reply = try context.connect().call(.getBuilder, try query(context), as: Control.BuilderDetails.self)
        if let glob = context.arguments.value("--profile") {
            reply.profiles = reply.profiles.filter { $0.name.matches(glob: glob) }
        }
        guard !context.isJSON else {
            context.console.json(reply)
            return .success
        }
        let console = context.console
        let builder = reply.builder
        console.line("builder       \(builder.title)")
        console.line("state         \(builder.state.rawValue)")
        if let problem = builder.problem { console.line("problem       \(problem.description.printable(limit: 1000))") }
        if let name = builder.archiveName, let sha256 = builder.sha256 {
            console.line("archive       \(name.printable(limit: 200))")
            console.line("sha256        \(sha256)")
            console.line("from          \(builder.mirror?.printable(limit: 200) ?? "-")")
            console.line(
                "revision      \(builder.revision?.printable(limit: 60) ?? "-"), \(builder.architecture?.printable(limit: 60) ?? "-")"
            )
            console.line("packages      \(builder.defaultPackages.joined(separator: " ").printable(limit: 4000))")
        }
        console.line("devices       \(reply.profiles.count)")
        for profile in reply.profiles {
            console.line("  \(profile.name.padded(to: 32))  \(profile.title.printable(limit: 100))")
        }
        return .success
    }

    private static func prune(_ context: Context) throws -> ExitCode {
        var days: Int?
        if let text = context.arguments.value("--older-than") {
            guard let number = Int(text), (0...36_500).contains(number) else {
                throw context.syntax.usage("--older-than needs a number of days")
            }
            days = number
        }
        let isDryRun = context.arguments.has("--dry-run")
        let reply = try context.connect().call(
            .pruneBuilders, Control.Prune(isDryRun: isDryRun ? true : nil, olderThanDays: days),
            as: Control.Pruned.self)
        guard !context.isJSON else {
            context.console.json(reply)
            return .success
        }
        guard !reply.builders.isEmpty else {
            context.console.line("there is nothing to prune")
            return .success
        }
        show(reply.builders, context.console)
        context.console.line("\(isDryRun ? "would free" : "freed") \(Quantity.bytes(reply.byteCount))")
        return .success
    }
}
