import Glibc
import StationCore
import StationLinux

/// `backup`: the whole state of the station in one file.
enum BackupCommand {
    static let all = [
        Command(
            "backup", operands: "FILE", count: 1...1, summary: "Writes the station's whole state into one file (root)",
            details: """
                Slots, configuration and keys, records, images, builds with their logs, and Image
                Builders: a tar archive, 0600, as secret as the station. The station works on
                meanwhile. FILE must not be there; it appears when it is finished. Where something had
                to be left out of it, that is said, and it ends with 1.
                """,
            options: [
                .init("--without-builders", "leave the Image Builders out: they can be fetched again"),
                .init("--dry-run", "only say how much it would be"),
            ] + StationPlaces.options,
            examples: ["sudo stationctl backup /media/disk/station-$(date +%F).tar"], run: run)
    ]

    private struct Reply: Encodable {
        var file: String
        /// Of the archive, or what it would be about.
        var byteCount: UInt64
        var fileCount: Int
        var isDryRun: Bool
        /// Whether nothing was left out, and no bytes had rotted.
        var isWhole: Bool
        var manifest: BackupSummary
        var warnings: [String]
    }

    private static func run(_ context: Context) throws -> ExitCode {
        let places = try StationPlaces(context, "back up")
        guard FileName.inode(places.marker) == nil else { throw RestoreCommit.unfinished(places.marker) }
        let path = context.operands[0]
        guard !["", "-"].contains(path) else {
            throw context.syntax.usage(
                path.isEmpty ? "the file's name is empty" : "a backup goes into a file, not to standard output",
                remedy: "name a file that is not there: station.tar, or ./- if it must be")
        }
        try BackupArchive.demandFree(path)
        let archive = context.arguments.has("--dry-run") ? nil : try BackupArchive(path)
        do {
            let reply = try write(archive, places, context)
            if context.isJSON { context.console.json(reply) } else { tell(reply, context.console) }
            return reply.isWhole ? .success : .failure
        } catch {
            archive?.abandon()
            throw error
        }
    }

    private static func write(_ archive: BackupArchive?, _ places: StationPlaces, _ context: Context) throws -> Reply {
        // The records first: what comes into the library after this is not missed by them.
        let snapshot = try archive?.scratchFile() ?? temporaryFile()
        let store = try snapshotStore(into: snapshot, places, context)
        let withBuilders = !context.arguments.has("--without-builders")
        let tree = try BackupTree(places, withBuilders: withBuilders, storeByteCount: store.byteCount)
        var draft = manifest(tree, store, withBuilders)
        draft.members = draft.members.map { member in
            var member = member
            if member.kind == .file {
                (member.sha256, member.mode, member.modifiedAt) = (SHA256.digest(of: []), 0o777, .max)
            }
            return member
        }
        let room = tree.storedByteCount + UInt64(try StationJSON.encode(draft).count) + 4096
        let fileCount = tree.count("")
        guard let archive else {
            return Reply(
                file: context.operands[0], byteCount: room, fileCount: fileCount, isDryRun: true,
                isWhole: tree.warnings.isEmpty,
                manifest: BackupSummary(draft), warnings: tree.warnings)
        }
        // The snapshot lies there already.
        try archive.demandRoom(room)
        if !context.isJSON {
            context.console.line("backing up \(Quantity.counted(fileCount, "file")), about \(Quantity.bytes(room))")
        }
        let (members, warnings) = try pack(tree, draft, snapshot, archive, places, context)
        let manifest = manifest(tree, store, withBuilders, members)
        let byteCount = try archive.finish(manifest)
        JournalSocket.write(
            .backupMade(manifest, path: context.operands[0], callerUserID: caller), as: "stationctl")
        return Reply(
            file: context.operands[0], byteCount: byteCount, fileCount: members.count { $0.kind == .file },
            isDryRun: false, isWhole: warnings.isEmpty, manifest: BackupSummary(manifest), warnings: warnings)
    }

    /// A file that nobody sees, and that nothing comes to where a backup would for.
    static func temporaryFile() throws(StationError) -> Descriptor {
        do { return try BackupArchive.scratchFile("/var/tmp/.stationctl-\(UInt64.random(in: 0 ... .max))") } catch {
            throw error.asStationError("backup_unwritable")
        }
    }

    /// Who said `sudo`, else who runs this.
    static var caller: UInt32 { ChildProcess.environment["SUDO_UID"].flatMap { UInt32($0) } ?? getuid() }

    private static func pack(
        _ tree: BackupTree, _ draft: BackupManifest, _ snapshot: Descriptor, _ archive: BackupArchive,
        _ places: StationPlaces, _ context: Context
    ) throws -> ([BackupManifest.Member], [String]) {
        let line = ProgressLine(context)
        var meter = ImportMeter()
        archive.progress = { done in
            line.show(meter.progress(.copying, done, max(done, draft.byteCount), now: SystemClock.monotonicSeconds()))
        }
        defer { line.clear() }
        var members: [BackupManifest.Member] = []
        var gone = 0
        var warnings = tree.warnings
        try archive.begin(draft)
        for member in tree.members {
            guard member.kind == .file else {
                members.append(try archive.add(member, nil))
                continue
            }
            let source: Descriptor
            do {
                source = member.path == BackupArea.storeMember ? snapshot : try open(member.path, places)
            } catch {
                guard error.number == ENOENT else { throw error.asStationError("backup_unreadable") }
                gone += 1
                continue
            }
            let added = try archive.add(member, source)
            members.append(added)
            if let name = Path.below("state/images", member.path), name.hasSuffix(".img"), let digest = added.sha256,
                name != "\(digest).img"
            {
                warnings.append("\(member.path) has rotted on the disk: its bytes are not those of its name")
            }
        }
        if gone > 0 { warnings.append("\(Quantity.counted(gone, "file")) went away meanwhile, and are not in it") }
        return (members, warnings)
    }

    /// What other users write there is reached by no link.
    private static func open(_ member: String, _ places: StationPlaces) throws(SystemError) -> Descriptor {
        let flags = O_RDONLY | O_NONBLOCK
        guard let name = Path.below("state", member) else { return try Descriptor(opening: places.path(member), flags) }
        let state = try Descriptor(opening: places.state, O_RDONLY | O_DIRECTORY)
        return try Descriptor(beneath: state, name, flags)
    }

    private static func manifest(
        _ tree: BackupTree, _ store: StoreSummary, _ withBuilders: Bool, _ members: [BackupManifest.Member]? = nil
    ) -> BackupManifest {
        return BackupManifest(
            stationVersion: ControlInterface.productVersion,
            hostName: SmallFile.attribute("/proc/sys/kernel/hostname") ?? "",
            createdAt: SystemClock.wallSeconds(),
            wasClockSynchronised: SystemClock.isSynchronised(), hasBuilders: withBuilders, store: store,
            slotCount: tree.count("config/slots.d/", ".slot"), members: members ?? tree.members)
    }

    /// From the station; where none answers, by its program alone.
    static func snapshotStore(
        into file: Descriptor, _ places: StationPlaces, _ context: Context
    ) throws(StationError) -> StoreSummary {
        do {
            return try places.connect(context).call(.snapshotStore, descriptors: [file], as: StoreSummary.self)
        } catch {
            guard error.code == "station_unreachable" else { throw error }
            let said = try places.runDaemon(["--snapshot-store", "--state", places.state], descriptors: [file])
            guard let summary = StationJSON.decode(StoreSummary.self, Array(said.utf8)) else {
                throw StationError("daemon_failed", "stationd said \(said.printable(limit: 200))")
            }
            return summary
        }
    }

    private static func tell(_ reply: Reply, _ console: Console) {
        for line in reply.manifest.lines { console.line(line) }
        for warning in reply.warnings { console.note("! \(warning.printable(limit: 500))") }
        guard !reply.isDryRun else {
            return console.line(
                "\(reply.file.printable()) would take about \(Quantity.bytes(reply.byteCount)); nothing was written")
        }
        let state = reply.isWhole ? "is whole" : "is there, but not whole, as said above"
        console.line(
            "\(reply.file.printable()) \(state): \(Quantity.bytes(reply.byteCount)); as secret as the station, for images hold keys"
        )
    }
}
