extension StoreSchema {
    /// Cards that are known again, and what slots' statistics and `inspect` look up.
    static let cards = """
        -- By CID, or by the first job that failed on it.
        CREATE TABLE cards (
            card TEXT PRIMARY KEY CHECK (length(card) = 32),
            identity TEXT NOT NULL CHECK (identity IN ('cid', 'marker')),
            state TEXT NOT NULL,
            byte_count INTEGER NOT NULL,
            model TEXT NOT NULL,
            first_seen_at REAL NOT NULL,
            last_seen_at REAL NOT NULL,
            passed_count INTEGER NOT NULL,
            failed_count INTEGER NOT NULL,
            failures_in_a_row INTEGER NOT NULL,
            last_failure TEXT
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX cards_by_time ON cards (last_seen_at);
        CREATE INDEX cards_of_state ON cards (state, last_seen_at);

        -- Failures since a card passed in a slot, or since it was armed; no row is none.
        CREATE TABLE failure_streaks (
            slot TEXT PRIMARY KEY,
            failures INTEGER NOT NULL CHECK (failures > 0)
        ) STRICT, WITHOUT ROWID;

        -- The card of a job, where it is known: a marker on a card names a job, and the job the card.
        ALTER TABLE jobs ADD COLUMN card TEXT REFERENCES cards (card);
        ALTER TABLE jobs ADD COLUMN head_sha256 TEXT;
        ALTER TABLE jobs ADD COLUMN bytes_per_second REAL;
        -- Whether it counts in its slot's statistics.
        ALTER TABLE jobs ADD COLUMN is_counted INTEGER NOT NULL DEFAULT 0 CHECK (is_counted IN (0, 1));
        UPDATE jobs SET is_counted = 1 WHERE is_dry_run = 0 AND (verdict = 'passed' OR (verdict = 'failed' AND reason IN (
            'write_error', 'short_write', 'read_error', 'wipe_incomplete', 'capacity_false', 'marker_missing',
            'data_mismatch', 'direct_refused')));
        UPDATE jobs SET head_sha256 = json_extract(report, '$.headSHA256')
            WHERE verdict = 'passed' AND json_valid(report);
        CREATE INDEX jobs_of_card ON jobs (card, sequence, slot, verdict, started_at) WHERE card IS NOT NULL;
        CREATE INDEX jobs_by_head ON jobs (head_sha256, sha256, byte_count, sequence) WHERE verdict = 'passed';
        CREATE INDEX jobs_for_statistics ON jobs (slot, sequence, verdict, bytes_per_second) WHERE is_counted = 1;
        """
}
