import Dispatch
import FoundationEssentials
import Glibc
package import StationCore
package import StationLinux

/// Records as of one moment for a backup, and records out of a backup for a station.
package enum StoreSnapshot {
    /// One snapshot at a time, beside the store's own queue: with a write-ahead log a reader holds up nobody who writes.
    private static let queue = DispatchQueue(label: "station.snapshot")
    private static let mark = ".snapshot-"

    /// Writes a snapshot of a store that is open in this process to an empty file.
    /// - Throws: `descriptor_unsuitable`; `store_corrupt`, `store_unusable`, `storage_full`.
    static func write(of path: String, into file: Descriptor) async throws -> StoreSummary {
        try await withCheckedThrowingContinuation { continuation in
            queue.async { continuation.resume(with: Result { try copy(path, into: file) }) }
        }
    }

    /// The same of a store that no station has open; none can open it meanwhile. Blocks.
    /// - Throws: `store_in_use`, `store_missing` too.
    package static func write(ofClosed path: String, into file: Descriptor) throws -> StoreSummary {
        guard (try? FileStatus(of: path)) != nil else {
            throw StationError("store_missing", "there is no store at \(path.printable()): no station has run here")
        }
        let lock = try StoreFile.lock(path)
        defer { withExtendedLifetime(lock) {} }
        return try copy(path, into: file)
    }

    private static func copy(_ path: String, into file: Descriptor) throws -> StoreSummary {
        let status = try file.status()
        guard status.kind == .regular, status.byteCount == 0, try !file.isReadOnly() else {
            throw StationError(
                "descriptor_unsuitable", "a snapshot goes into an empty regular file that is open for writing")
        }
        // SQLite wants a name for it, in a directory where it may write.
        let temporary = "\(path)\(mark)\(String(UInt64.random(in: 0 ... .max), radix: 16))"
        defer { for suffix in ["", "-journal", "-wal", "-shm"] { unlink(temporary + suffix) } }
        try StoreDatabase(path: path).run("VACUUM INTO ?", [.text(temporary)])
        var summary = try summary(of: StoreDatabase(path: temporary))
        let source = try Descriptor(opening: temporary, O_RDONLY | O_NOFOLLOW)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        while case let count = try source.read(into: buffer), count > 0 {
            do {
                try file.write(all: UnsafeRawBufferPointer(rebasing: buffer[..<count]), at: summary.byteCount)
            } catch { throw error.asStationError(error.number == ENOSPC ? "storage_full" : "store_unusable") }
            summary.byteCount += UInt64(count)
        }
        return summary
    }

    private static func summary(of database: StoreDatabase) throws -> StoreSummary {
        func count(_ what: String) throws -> Int {
            Int(clamping: try database.query("SELECT \(what) AS found").first?.integer("found") ?? 0)
        }
        return StoreSummary(
            schemaVersion: try count("(SELECT max(number) FROM migrations)"),
            imageCount: try count("(SELECT count(*) FROM image_names WHERE ended_at IS NULL)"),
            profileCount: try count("(SELECT count(*) FROM profiles)"),
            buildCount: try count("(SELECT count(*) FROM builds)"),
            jobCount: try count("(SELECT count(*) FROM jobs)"), cardCount: try count("(SELECT count(*) FROM cards)"),
            byteCount: 0)
    }

    /// Takes away what a snapshot left that was killed. Nobody else has the store by now.
    static func sweep(_ path: String) {
        let directory = StoreFile.directory(of: path)
        let name = path.split(separator: "/").last.map(String.init) ?? path
        for entry in SmallFile.names(in: directory) ?? [] where entry.hasPrefix(name + mark) {
            unlink("\(directory)/\(entry)")
        }
    }

    // MARK: Restoring

    /// Makes the store of a backup one that a station may open: whole, of this version's form, every slot disarmed and
    /// waiting for nothing, unfinished jobs interrupted. The file comes from anywhere: nothing that is in it is believed to be
    /// harmless. Blocks.
    /// - Parameters:
    ///   - detail: for the audit, such as the backup's host and time.
    ///   - hasBuilders: false where the Image Builders were not in the backup.
    /// - Throws: `store_corrupt`, `store_from_future`, `store_foreign`, `store_unusable`, `storage_full`.
    package static func adopt(_ path: String, detail: String, callerUserID: UInt32, hasBuilders: Bool) throws {
        try refuseForeignSchema(path, isMigrated: false)
        let time = WallTime.now()
        let file = try StoreFile(path: path, steps: StoreSchema.migrations, now: time.seconds)
        if let problem = file.problems.first { throw StationError("store_corrupt", problem.message) }
        let database = file.database
        try refuseForeignSchema(path, isMigrated: true)
        guard try database.query("PRAGMA integrity_check(1)").first?.text("integrity_check") == "ok",
            try database.query("PRAGMA foreign_key_check").isEmpty
        else { throw StationError("store_corrupt", "the store in the backup is damaged") }
        try database.transaction {
            try database.run("UPDATE slot_consent SET is_armed = 0, disarm_reason = 'restored', preparation = NULL")
            if !hasBuilders { try database.run("DELETE FROM builders") }
            try database.run(
                """
                INSERT INTO changes (boot_id, changed_at, was_clock_synchronised, user_id, change, detail)
                VALUES (?, ?, ?, ?, ?, ?)
                """,
                [
                    .text(SystemClock.bootID()), .real(time.seconds), .flag(time.isSynchronised),
                    .integer(callerUserID),
                    .text(ChangeRecord.Kind.restore.rawValue), .text(detail),
                ])
        }
        let armed = try database.query(
            "SELECT 1 FROM slot_consent WHERE is_armed != 0 OR preparation IS NOT NULL OR disarm_reason IS NOT 'restored'"
        )
        guard armed.isEmpty else { throw StationError("store_corrupt", "a slot of the backup could not be disarmed") }
        _ = try database.query("PRAGMA wal_checkpoint(TRUNCATE)")
    }

    /// A trigger could arm a slot again, a view stand in place of a table.
    private static func refuseForeignSchema(_ path: String, isMigrated: Bool) throws {
        let model = try StoreDatabase(path: ":memory:")
        try StoreSchema.migrate(model, path: ":memory:", steps: StoreSchema.migrations, now: 0)
        let names = "SELECT type || ' ' || name AS named FROM sqlite_schema WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        let known = Set(try model.query(names).map { try $0.text("named") })
        let database = try StoreDatabase(path: path)
        try database.execute("PRAGMA trusted_schema = OFF")
        guard try StoreSchema.appliedMigrations(database, path: path, steps: StoreSchema.migrations) > 0 else {
            throw StationError("store_corrupt", "the store in the backup is empty")
        }
        let found = Set(try database.query(names).map { try $0.text("named") })
        if let odd = found.subtracting(known).sorted().first {
            throw StationError(
                "store_corrupt", "the store in the backup has a \(odd.printable(limit: 80)), which no station makes")
        }
        if isMigrated, let missing = known.subtracting(found).sorted().first {
            throw StationError("store_corrupt", "the store in the backup has no \(missing)")
        }
    }
}
