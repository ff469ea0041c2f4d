import StationCore

/// One step from an older form of the store to the next. What has been released is never changed, only added to.
struct StoreMigration: Sendable {
    /// Counts up from 1 without gaps.
    var number: Int64
    var name: String
    var statements: String
}

/// The form of the store's tables.
enum StoreSchema {
    /// In the file's header, to know a database of ours from another program's: `FSTA`.
    static let applicationID: Int64 = 0x4653_5441

    /// All steps, in order.
    static let migrations = [
        StoreMigration(number: 1, name: "spine", statements: spine),
        StoreMigration(number: 2, name: "profiles", statements: profiles),
        StoreMigration(number: 3, name: "cards", statements: cards),
        StoreMigration(number: 4, name: "image origins", statements: imageOrigins),
        StoreMigration(number: 5, name: "builds", statements: builds),
        StoreMigration(number: 6, name: "history by image", statements: historyByImage),
        StoreMigration(number: 7, name: "interrupted jobs", statements: interruptedJobs),
        StoreMigration(number: 8, name: "leftovers", statements: leftovers),
        StoreMigration(number: 9, name: "consent by place", statements: consentByPlace),
    ]

    // Times are seconds since 1970 by the wall clock; `was_clock_synchronised` says whether it could be believed.
    // `boot_id` and a sequence give the order that no clock can disturb. A `user_id` that is NULL is the station itself.
    private static let spine = """
        -- Bytes that an image name or an assignment stands for, or once stood for.
        CREATE TABLE sealed_images (
            sha256 TEXT PRIMARY KEY CHECK (length(sha256) = 64),
            byte_count INTEGER NOT NULL CHECK (byte_count > 0)
        ) STRICT, WITHOUT ROWID;

        -- What each name stands for (ended_at IS NULL), and what it stood for before.
        CREATE TABLE image_names (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL,
            sha256 TEXT NOT NULL REFERENCES sealed_images (sha256),
            imported_at REAL NOT NULL,
            imported_by INTEGER NOT NULL,
            ended_at REAL,
            ended_by INTEGER
        ) STRICT;
        CREATE UNIQUE INDEX image_names_current ON image_names (name) WHERE ended_at IS NULL;
        CREATE INDEX image_names_by_sha256 ON image_names (sha256);

        -- What each slot's cards get (ended_at IS NULL), and what they got before.
        CREATE TABLE assignments (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            slot TEXT NOT NULL,
            image TEXT NOT NULL,
            sha256 TEXT NOT NULL REFERENCES sealed_images (sha256),
            byte_count INTEGER NOT NULL CHECK (byte_count > 0),
            profile TEXT,
            boot_id TEXT NOT NULL,
            began_at REAL NOT NULL,
            was_clock_synchronised INTEGER NOT NULL CHECK (was_clock_synchronised IN (0, 1)),
            began_by INTEGER,
            ended_at REAL,
            ended_by INTEGER
        ) STRICT;
        CREATE UNIQUE INDEX assignments_current ON assignments (slot) WHERE ended_at IS NULL;
        CREATE INDEX assignments_by_sha256 ON assignments (sha256);

        -- What operators allowed, one row for each slot that was ever assigned or armed.
        CREATE TABLE slot_consent (
            slot TEXT PRIMARY KEY,
            is_armed INTEGER NOT NULL CHECK (is_armed IN (0, 1)),
            disarm_reason TEXT,
            assignment_id INTEGER REFERENCES assignments (id),
            CHECK (is_armed = 0 OR (assignment_id IS NOT NULL AND disarm_reason IS NULL))
        ) STRICT, WITHOUT ROWID;

        -- What history filters by stands in columns; the rest is JSON, behind them, where a scan need not read it.
        CREATE TABLE jobs (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL CHECK (length(id) = 32),
            boot_id TEXT NOT NULL,
            slot TEXT NOT NULL,
            device_sequence INTEGER NOT NULL,
            image TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            byte_count INTEGER NOT NULL,
            profile TEXT,
            run TEXT,
            trigger TEXT NOT NULL,
            is_dry_run INTEGER NOT NULL CHECK (is_dry_run IN (0, 1)),
            user_id INTEGER,
            model TEXT NOT NULL,
            card_byte_count INTEGER NOT NULL,
            card_id TEXT,
            started_at REAL NOT NULL,
            started_monotonic REAL NOT NULL,
            was_clock_synchronised INTEGER NOT NULL CHECK (was_clock_synchronised IN (0, 1)),
            ended_at REAL,
            verdict TEXT CHECK (verdict IN ('passed', 'failed', 'refused', 'cancelled', 'interrupted')),
            reason TEXT,
            start TEXT NOT NULL,
            report TEXT,
            CHECK ((verdict IS NULL) = (report IS NULL)),
            CHECK ((reason IS NOT NULL) = (verdict IS NOT NULL AND verdict IN ('failed', 'refused')))
        ) STRICT;
        CREATE UNIQUE INDEX jobs_by_id ON jobs (id);
        CREATE INDEX jobs_unfinished ON jobs (sequence) WHERE verdict IS NULL;
        -- These two hold all that history filters by, so that no row is read but those that it shows.
        CREATE INDEX jobs_in_order ON jobs (sequence, slot, verdict, started_at);
        CREATE INDEX jobs_of_slot ON jobs (slot, sequence, verdict, started_at);

        -- Who did what.
        CREATE TABLE changes (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            boot_id TEXT NOT NULL,
            changed_at REAL NOT NULL,
            was_clock_synchronised INTEGER NOT NULL CHECK (was_clock_synchronised IN (0, 1)),
            user_id INTEGER,
            change TEXT NOT NULL,
            slot TEXT,
            image TEXT,
            sha256 TEXT,
            detail TEXT
        ) STRICT;
        CREATE INDEX changes_of_slot ON changes (slot, sequence);
        """

    private static let profiles = """
        -- Every version of every profile that was ever imported; builds refer to them, so none goes away.
        CREATE TABLE profile_versions (
            profile_id TEXT NOT NULL,
            version INTEGER NOT NULL CHECK (version > 0),
            -- Canonical JSON, and its digest.
            content TEXT NOT NULL,
            sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
            overlay_sha256 TEXT CHECK (length(overlay_sha256) = 64),
            boot_id TEXT NOT NULL,
            imported_at REAL NOT NULL,
            was_clock_synchronised INTEGER NOT NULL CHECK (was_clock_synchronised IN (0, 1)),
            imported_by INTEGER NOT NULL,
            PRIMARY KEY (profile_id, version)
        ) STRICT, WITHOUT ROWID;

        -- The profiles that there are now, and the version of each that counts.
        CREATE TABLE profiles (
            profile_id TEXT PRIMARY KEY,
            version INTEGER NOT NULL,
            FOREIGN KEY (profile_id, version) REFERENCES profile_versions (profile_id, version)
        ) STRICT, WITHOUT ROWID;
        """

    private static let historyByImage = """
        -- History filters by image, too; in a year's jobs that took a tenth of a second where none was found.
        DROP INDEX jobs_in_order;
        DROP INDEX jobs_of_slot;
        CREATE INDEX jobs_in_order ON jobs (sequence, slot, verdict, started_at, image);
        CREATE INDEX jobs_of_slot ON jobs (slot, sequence, verdict, started_at, image);
        CREATE INDEX jobs_of_image ON jobs (image, sequence, slot, verdict, started_at);
        """

    private static let interruptedJobs = """
        -- Asked for once for each slot at every start; without it each time through all jobs of the slot.
        CREATE INDEX jobs_interrupted ON jobs (slot, sequence, id) WHERE verdict = 'interrupted';
        """

    private static let leftovers = """
        -- One row for what is being sealed, or may have been without a record: the images that were in the library before, their
        -- SHA-256 between spaces; and how often what came of it has been looked for, NULL while it is under way.
        CREATE TABLE sealings (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            images TEXT NOT NULL,
            look_count INTEGER CHECK (look_count >= 0)
        ) STRICT;
        -- Bytes that nothing stood for any more, until they are gone.
        CREATE TABLE unused_images (
            sha256 TEXT PRIMARY KEY CHECK (length(sha256) = 64)
        ) STRICT, WITHOUT ROWID;
        """

    private static let consentByPlace = """
        -- The place and the reader that the consent was given for: a name may be another slot's by now.
        ALTER TABLE slot_consent ADD COLUMN declared TEXT;
        """

    private static let imageOrigins = """
        -- Where the bytes came from when they got that name, and who vouched for them. Before this step all images were raw.
        ALTER TABLE image_names ADD COLUMN file_name TEXT;
        ALTER TABLE image_names ADD COLUMN container TEXT NOT NULL DEFAULT 'raw';
        ALTER TABLE image_names ADD COLUMN is_checked INTEGER NOT NULL DEFAULT 0 CHECK (is_checked IN (0, 1));
        ALTER TABLE image_names ADD COLUMN vouching TEXT NOT NULL DEFAULT 'none'
            CHECK (vouching IN ('none', 'bmap', 'sha256', 'signature'));
        ALTER TABLE image_names ADD COLUMN vouching_subject TEXT CHECK (vouching_subject IN ('file', 'image'));
        ALTER TABLE image_names ADD COLUMN vouching_key TEXT;
        """

    /// Brings the tables to their newest form, each step in one transaction, and writes down which were taken.
    /// - Throws: `store_from_future`, `store_foreign`, `store_corrupt`, or what SQLite says.
    static func migrate(_ database: StoreDatabase, path: String, steps: [StoreMigration], now: Double) throws {
        let applied = try appliedMigrations(database, path: path, steps: steps)
        for step in steps.dropFirst(applied) {
            try database.transaction {
                if step.number == 1 {
                    try database.execute(
                        """
                        PRAGMA application_id = \(applicationID);
                        CREATE TABLE migrations (
                            number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at REAL NOT NULL
                        ) STRICT;
                        """)
                }
                try database.execute(step.statements)
                try database.run(
                    "INSERT INTO migrations (number, name, applied_at) VALUES (?, ?, ?)",
                    [.integer(step.number), .text(step.name), .real(now)])
            }
        }
    }

    /// How many of the steps the file has taken; changes nothing.
    static func appliedMigrations(
        _ database: StoreDatabase, path: String, steps: [StoreMigration]
    ) throws(StationError) -> Int {
        let application = try database.query("PRAGMA application_id").first?.integer("application_id") ?? 0
        if application == 0, try database.query("SELECT 1 FROM sqlite_schema LIMIT 1").isEmpty { return 0 }
        guard application == applicationID else {
            throw StationError(
                "store_foreign", "\(path.printable()) is a database of another program",
                remedy: moveAway(path))
        }
        guard try !database.query("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'").isEmpty else {
            throw StationError("store_corrupt", "\(path.printable()) has lost its table of migrations")
        }
        let rows = try database.query("SELECT number, name FROM migrations ORDER BY number")
        for (index, row) in rows.enumerated() {
            let number = try row.integer("number")
            let name = try row.text("name")
            guard index < steps.count, steps[index].number == number, steps[index].name == name else {
                throw StationError(
                    "store_from_future",
                    "\(path.printable()) has the form “\(number) \(name.printable(limit: 40))”, which this version of the "
                        + "station does not know: it was written by a newer one",
                    remedy: "install that version again; or, to begin with an empty store, \(moveAway(path))")
            }
        }
        return rows.count
    }

    /// With all that is beside the file: a fresh one beside an old log is not fresh.
    private static func moveAway(_ path: String) -> String {
        let directory = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        guard !directory.isEmpty else { return "move it and its log away" }
        return "sudo mv \(directory.printable()) \(directory.printable()).kept"
    }
}
