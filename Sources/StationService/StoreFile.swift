import Glibc
import StationCore
import StationLinux

/// The store's file: opened and checked, or moved aside when it is damaged.
struct StoreFile {
    var database: StoreDatabase
    var problems: [StationError]
    /// The jobs that were under way when the file was last written, as they are now: `interrupted`.
    var interruptedJobs: [JobRecord]

    /// Up to so many bytes a file is read whole at start to find damage; of a longer one all is but what grows with every card,
    /// so that a station with years of history on a slow disk still starts in seconds.
    static let wholeCheckLimit: UInt64 = 128 << 20

    /// How long a station that is just going down may keep the file, in microseconds.
    private static let lockPatience: UInt32 = 1_000_000

    /// Opens the file at a path. Blocks.
    /// - Throws: `store_in_use`, `store_from_future`, `store_foreign`, `store_unusable`, `storage_full`.
    init(
        path: String, steps: [StoreMigration], now: Double, wholeCheckLimit: UInt64 = Self.wholeCheckLimit
    ) throws(StationError) {
        let lock = try Self.lock(path)
        StoreSnapshot.sweep(path)
        do {
            (database, interruptedJobs) = try Self.openChecked(
                path, lock, steps: steps, now: now, wholeCheckLimit: wholeCheckLimit)
            problems = []
        } catch {
            guard error.code == "store_corrupt" else { throw error }
            let kept = try Self.moveAside(path, now: now)
            (database, interruptedJobs) = try Self.openChecked(
                path, lock, steps: steps, now: now, wholeCheckLimit: wholeCheckLimit)
            problems = [
                StationError(
                    "store_was_corrupt",
                    "the store was damaged (\(error.message)) and is kept as \(kept.printable()); assignments, image names "
                        + "and history begin anew, all slots are disarmed",
                    remedy: "import and assign again; sqlite3 \(kept.printable()) .recover may bring back the history")
            ]
        }
    }

    private static func openChecked(
        _ path: String, _ lock: Descriptor, steps: [StoreMigration], now: Double, wholeCheckLimit: UInt64
    ) throws(StationError) -> (StoreDatabase, [JobRecord]) {
        do {
            try checkHeader(path)
            let database = try StoreDatabase(path: path, lock: lock)
            // Nothing is written before the file has shown that it is ours.
            let applied = try StoreSchema.appliedMigrations(database, path: path, steps: steps)
            if applied > 0 { try check(database, path: path, wholeCheckLimit: wholeCheckLimit) }
            let mode = try database.query("PRAGMA journal_mode = WAL").first?.text("journal_mode")
            guard mode == "wal" else {
                throw StationError(
                    "store_unusable", "\(path.printable()): this file system takes no write-ahead log",
                    remedy: "put the station's state on a local file system")
            }
            // FULL: a job that was begun is on the disk before its writer is asked.
            try database.execute(
                "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;"
                    + "PRAGMA cell_size_check = ON")
            try StoreSchema.migrate(database, path: path, steps: steps, now: now)
            if applied == 0 { try Descriptor(opening: directory(of: path), O_RDONLY).synchronise() }
            return (database, try Store.endUnfinishedJobs(database))
        } catch let error as StationError {
            throw error
        } catch {
            throw StationError("store_unusable", "\(path.printable()): \(error)")
        }
    }

    /// Looks at the first bytes before SQLite does, which would delete the write-ahead log of what it takes for no database.
    private static func checkHeader(_ path: String) throws {
        // A new file is made here, so that others cannot read it; SQLite gives its log the same mode. What cannot be
        // opened is SQLite's to say.
        guard let file = try? Descriptor(opening: path, O_RDWR | O_CREAT, mode: 0o640) else { return }
        var head = [UInt8](repeating: 0, count: 16)
        let count = try head.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
        guard count == 0 || head.elementsEqual("SQLite format 3\0".utf8) else {
            throw StationError("store_corrupt", "\(path.printable()) is no database")
        }
    }

    /// - Throws: `store_corrupt` when SQLite finds damage.
    private static func check(_ database: StoreDatabase, path: String, wholeCheckLimit: UInt64) throws {
        let isShort = try FileStatus(of: path).byteCount <= wholeCheckLimit
        let statements =
            isShort
            ? ["PRAGMA quick_check(1)"]
            : try database.query(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('jobs', 'changes')"
            ).map { "PRAGMA quick_check(\"\(try $0.text("name").replacing("\"", with: "\"\""))\")" }
        for statement in statements {
            let finding = try database.query(statement).first?.text("quick_check") ?? "no answer"
            guard finding == "ok" else {
                throw StationError("store_corrupt", "\(path.printable()): \(finding.printable())")
            }
        }
    }

    /// - Returns: the path under which the damaged file is kept, its write-ahead log beside it.
    private static func moveAside(_ path: String, now: Double) throws(StationError) -> String {
        var kept = "\(path).broken-\(timestamp(now))"
        var attempt = 1
        while (try? FileStatus(of: kept, followingLinks: false)) != nil {
            attempt += 1
            kept = "\(path).broken-\(timestamp(now))-\(attempt)"
        }
        do {
            // The log goes first: a log without its file is ignored, a fresh file beside an old log is not fresh.
            for suffix in ["-wal", "-shm", ""] where (try? FileStatus(of: path + suffix)) != nil {
                _ = try retrying("rename", path + suffix) { rename(path + suffix, kept + suffix) }
            }
            try Descriptor(opening: directory(of: path), O_RDONLY).synchronise()
        } catch {
            throw error.asStationError(
                "store_unusable", remedy: "the store is damaged and could not be moved aside: move it by hand")
        }
        return kept
    }

    /// Keeps others off the file at a path for as long as the result lives.
    /// - Throws: `store_in_use`, `store_unusable`.
    static func lock(_ path: String) throws(StationError) -> Descriptor {
        do {
            let file = try Descriptor(opening: path + ".lock", O_RDWR | O_CREAT, mode: 0o640)
            let step: UInt32 = 20_000
            var waited: UInt32 = 0
            while flock(file.number, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK, waited < lockPatience {
                usleep(step)
                waited += step
            }
            // Once more for its errno; who has the lock already may.
            _ = try retrying("flock", path) { flock(file.number, LOCK_EX | LOCK_NB) }
            return file
        } catch {
            if error.number == EWOULDBLOCK {
                throw StationError(
                    "store_in_use", "another station has \(path.printable()) open",
                    remedy: "stop it first: systemctl stop stationd")
            }
            throw error.asStationError(
                "store_unusable", remedy: "the directory must be there and belong to the user of stationd")
        }
    }

    static func directory(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// `20260131T235959Z`.
    private static func timestamp(_ seconds: Double) -> String {
        var time = time_t(seconds)
        var parts = tm()
        gmtime_r(&time, &parts)
        func padded(_ value: Int32, _ digits: Int) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
        }
        return padded(parts.tm_year + 1900, 4) + padded(parts.tm_mon + 1, 2) + padded(parts.tm_mday, 2) + "T"
            + padded(parts.tm_hour, 2) + padded(parts.tm_min, 2) + padded(parts.tm_sec, 2) + "Z"
    }
}
