import Glibc
import StationCore
import StationLinux

/// `restore`: a station out of a backup, with every slot disarmed.
enum RestoreCommand {
    static let all = [
        Command(
            "restore", operands: "[FILE]", count: 0...1, summary: "Makes this the station that a backup is of (root)",
            details: """
                The backup is read whole, unpacked beside what is there and verified; then the station
                is stopped, the directories are exchanged, and it is started. What was here is kept as
                /var/lib/flashing-station.before-restore-DATE, and in /etc likewise. All slots are
                disarmed: here the same place may be another reader.
                """,
            options: [
                .init("--list", "only show what the backup says of itself"),
                .init("--dry-run", "read and verify all of it, and say what would be done"),
                .init("--replace", "do not ask, though this station has a state"),
                .init("--interrupt-jobs", "though cards are being written: they are interrupted"),
                .init("--continue", "go on with a restore that was cut off; takes no FILE"),
            ] + StationPlaces.options,
            examples: ["sudo stationctl restore --dry-run station.tar", "sudo stationctl restore station.tar"], run: run
        )
    ]

    private struct Reply: Encodable {
        var isDone: Bool
        var backup: BackupSummary?
        /// Where what was here before is.
        var kept: [String]
    }

    private static func run(_ context: Context) throws -> ExitCode {
        let arguments = context.arguments
        if arguments.has("--continue") {
            guard context.operands.isEmpty else { throw context.syntax.usage("--continue takes no FILE") }
            let places = try StationPlaces(context, "restore")
            let commit = try RestoreExchange(places, context).resume()
            tell(commit, nil, places, context)
            return .success
        }
        guard let path = context.operands.first else { throw context.syntax.usage("FILE is missing") }
        if arguments.has("--list") { return try list(path, context) }
        let places = try StationPlaces(context, "restore")
        guard FileName.inode(places.marker) == nil else { throw RestoreCommit.unfinished(places.marker) }
        let reader = try BackupReader(path)
        let manifest = try reader.manifest()
        for owner in [BackupArea.Owner.station, .library] { _ = try places.owner(owner) }
        let isDryRun = arguments.has("--dry-run")
        if !context.isJSON { for line in BackupSummary(manifest).lines { context.console.line(line) } }
        if !isDryRun {
            try demandIdle(places, context)
            try confirm(places, context)
        }
        let unpacking = try RestoreUnpacking(places)
        do {
            try unpack(reader, manifest, into: unpacking, isDryRun: isDryRun, context)
            guard !isDryRun else {
                unpacking.abandon()
                tellDryRun(manifest, places, context)
                return .success
            }
            // It took its time: a card may have come.
            try demandIdle(places, context)
            let commit = try RestoreExchange(places, context).commit(unpacking, manifest)
            tell(commit, manifest, places, context)
            return .success
        } catch {
            // Once they have begun to take their places, they are the state.
            if FileName.inode(places.marker) == nil { unpacking.abandon() }
            throw error
        }
    }

    private static func list(_ path: String, _ context: Context) throws -> ExitCode {
        let manifest = try BackupReader(path).manifest()
        guard !context.isJSON else {
            context.console.json(manifest)
            return .success
        }
        for line in BackupSummary(manifest).lines { context.console.line(line) }
        for member in manifest.members where member.kind == .file {
            context.console.line("  \(member.path.printable())  \(Quantity.bytes(member.byteCount ?? 0))")
        }
        return .success
    }

    private static func unpack(
        _ reader: BackupReader, _ manifest: BackupManifest, into unpacking: RestoreUnpacking, isDryRun: Bool,
        _ context: Context
    ) throws(StationError) {
        let line = ProgressLine(context)
        var meter = ImportMeter()
        reader.progress = { done in
            line.show(meter.progress(.verifying, done, manifest.byteCount, now: SystemClock.monotonicSeconds()))
        }
        defer { line.clear() }
        try unpacking.unpack(reader, manifest, onlyStore: isDryRun)
        line.clear()
        if isDryRun { try unpacking.adopt(manifest) } else { try unpacking.finish(manifest) }
    }

    /// - Throws: `job_running`.
    private static func demandIdle(_ places: StationPlaces, _ context: Context) throws(StationError) {
        guard !context.arguments.has("--interrupt-jobs"),
            let status = try? places.connect(context).call(.getStatus, as: Control.Status.self),
            let busy = status.slots.first(where: { $0.job != nil && $0.job?.report == nil })
        else { return }
        throw StationError(
            "job_running", "a card is being written in \(busy.name)",
            remedy: "wait for it: stationctl watch; or let it be interrupted: --interrupt-jobs")
    }

    /// A station where nothing was declared, imported or built yet, and no card came, has nothing to lose.
    private static func isFresh(_ places: StationPlaces, _ context: Context) -> Bool {
        let areas =
            ["slots.d", "keys"].map { "\(places.config)/\($0)" } + ["images", "builds"].map { "\(places.state)/\($0)" }
        guard areas.allSatisfy({ (SmallFile.names(in: $0) ?? []).allSatisfy { $0.hasPrefix(".") } }) else {
            return false
        }
        guard FileName.inode(places.database) != nil else { return true }
        guard let copy = try? BackupCommand.temporaryFile(),
            let store = try? BackupCommand.snapshotStore(into: copy, places, context)
        else { return false }
        return [store.profileCount, store.jobCount, store.cardCount].allSatisfy { $0 == 0 }
    }

    private static func confirm(_ places: StationPlaces, _ context: Context) throws(StationError) {
        guard !context.arguments.has("--replace"), !isFresh(places, context) else { return }
        let refusal = StationError(
            "not_confirmed", "this station has slots, profiles, images or records, and nothing was changed",
            remedy: "--replace takes the backup's in their place; what is here is kept beside it")
        guard isatty(0) == 1, !context.isJSON else { throw refusal }
        context.console.text(
            "This station has slots, profiles, images or records. They are kept aside. Replace them? [y/N] ")
        let answer = (readLine() ?? "").trimmed.lowercased()
        guard answer == "y" || answer == "yes" else { throw refusal }
    }

    private static func tellDryRun(_ manifest: BackupManifest, _ places: StationPlaces, _ context: Context) {
        guard !context.isJSON else {
            context.console.json(Reply(isDone: false, backup: BackupSummary(manifest), kept: []))
            return
        }
        context.console.line("the backup is whole, and every byte is as it was")
        context.console.line(
            "a restore would stop the station, put this in place of \(places.state.printable()) and \(places.config.printable()), "
                + "keep what is there beside it, and disarm every slot; nothing was changed")
    }

    private static func tell(
        _ commit: RestoreCommit, _ manifest: BackupManifest?, _ places: StationPlaces, _ context: Context
    ) {
        let kept = commit.exchanges.map(\.kept).filter { FileName.inode($0) != nil }
        guard !context.isJSON else {
            context.console.json(Reply(isDone: true, backup: manifest.map { BackupSummary($0) }, kept: kept))
            return
        }
        context.console.line("restored from the backup of \(commit.hostName)")
        for path in kept { context.console.line("what was here before is in \(path.printable())") }
        context.console.line(
            "all slots are disarmed: stationctl status; see that each is the reader that is meant, then: stationctl arm SLOT"
        )
        if !places.hasUnits { context.console.line("start the station again") }
    }
}
