extension StoreSchema {
    static let builds = """
        -- Image Builders: one that is ready for each release, target and subtarget, and what became of others.
        CREATE TABLE builders (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            release TEXT NOT NULL,
            target TEXT NOT NULL,
            subtarget TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('pending', 'ready', 'broken', 'deprecated')),
            sha256 TEXT UNIQUE CHECK (length(sha256) = 64),
            -- JSON: the record whole, and the devices that it knows.
            record TEXT NOT NULL,
            profiles TEXT,
            last_used_at REAL,
            CHECK ((state IN ('ready', 'deprecated')) = (sha256 IS NOT NULL))
        ) STRICT;
        CREATE UNIQUE INDEX builders_ready ON builders (release, target, subtarget) WHERE state = 'ready';
        CREATE UNIQUE INDEX builders_not_ready ON builders (release, target, subtarget)
            WHERE state IN ('pending', 'broken');

        -- Builds. What they are found by stands in columns; the rest is JSON.
        CREATE TABLE builds (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE CHECK (length(id) = 32),
            build_key TEXT NOT NULL CHECK (length(build_key) = 64),
            profile_id TEXT NOT NULL,
            builder_sha256 TEXT NOT NULL,
            card_sha256 TEXT CHECK (length(card_sha256) = 64),
            state TEXT NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'cancelled', 'interrupted')),
            is_kept INTEGER NOT NULL CHECK (is_kept IN (0, 1)),
            byte_count INTEGER NOT NULL,
            last_used_at REAL NOT NULL,
            boot_id TEXT NOT NULL,
            inputs TEXT NOT NULL,
            record TEXT NOT NULL
        ) STRICT;
        CREATE INDEX builds_by_key ON builds (build_key, sequence) WHERE state = 'succeeded' AND is_kept = 1;
        CREATE INDEX builds_of_profile ON builds (profile_id, sequence);
        CREATE INDEX builds_by_use ON builds (last_used_at) WHERE is_kept = 1;
        CREATE INDEX builds_by_card ON builds (card_sha256) WHERE is_kept = 1;
        CREATE INDEX builds_running ON builds (sequence) WHERE state = 'running';

        -- The build that an assignment and a job are of, and an image that a slot waits for.
        ALTER TABLE assignments ADD COLUMN build TEXT;
        ALTER TABLE jobs ADD COLUMN build TEXT;
        ALTER TABLE slot_consent ADD COLUMN preparation TEXT;
        """
}
