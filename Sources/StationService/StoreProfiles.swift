package import StationCore

extension Store {
    /// The newest versions of profiles that match, by their id.
    package func profiles(_ filter: Control.ProfileFilter) async throws(StationError) -> [ProfileRecord] {
        try await perform { database in
            try database.query(
                "SELECT \(Self.profileColumns) JOIN profiles USING (profile_id, version) ORDER BY profile_id"
            )
            .map { row throws(StationError) in try StoredProfile(row) }
            .filter { filter.matches($0.profile) }.map(\.record)
        }
    }

    /// All versions of a profile, newest first, also of one that was deleted; none for one that never was.
    package func profileVersions(_ profileID: String) async throws(StationError) -> [ProfileRecord] {
        try await perform { database in
            try database.query(
                "SELECT \(Self.profileColumns) WHERE profile_id = ? ORDER BY version DESC", [.text(profileID)]
            ).map { row throws(StationError) in try StoredProfile(row).record }
        }
    }

    /// One version of a profile, or the one that counts now; nil when there is none.
    package func profile(_ profileID: String, version: Int? = nil) async throws(StationError) -> StoredProfile? {
        try await perform { database in try Self.profile(profileID, version: version, in: database) }
    }

    /// Takes in a profile. The same content and files again change nothing.
    package func addProfile(
        _ profile: Profile, overlaySHA256: SHA256Digest?, callerUserID: UInt32
    ) async throws(StationError) -> Control.ImportedProfile {
        let time = clock()
        let content = profile.canonicalJSON
        return try await perform { database in
            try database.transaction {
                let before = try Self.profile(profile.profileID, version: nil, in: database)
                if let before, before.record.sha256 == profile.digest, before.record.overlaySHA256 == overlaySHA256 {
                    return Control.ImportedProfile(profile: before.record, isNewVersion: false)
                }
                let last = try database.query(
                    "SELECT coalesce(max(version), 0) AS last FROM profile_versions WHERE profile_id = ?",
                    [.text(profile.profileID)]
                ).first?.integer("last")
                let record = ProfileRecord(
                    profile, version: Int(last ?? 0) + 1, overlaySHA256: overlaySHA256, importedAt: time.seconds,
                    importedByUserID: callerUserID)
                try database.run(
                    """
                    INSERT INTO profile_versions (profile_id, version, content, sha256, overlay_sha256, boot_id, imported_at,
                        was_clock_synchronised, imported_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                    """,
                    [
                        .text(record.profileID), .integer(Int64(record.version)), .text(content),
                        .text(record.sha256.hexadecimal), .text(overlaySHA256?.hexadecimal), .text(self.bootID),
                        .real(time.seconds), .flag(time.isSynchronised), .integer(Int64(callerUserID)),
                    ])
                try database.run(
                    """
                    INSERT INTO profiles (profile_id, version) VALUES (?, ?)
                    ON CONFLICT DO UPDATE SET version = excluded.version
                    """, [.text(record.profileID), .integer(Int64(record.version))])
                try self.note(
                    .importProfile, by: callerUserID, at: time, sha256: record.sha256,
                    detail: "\(record.profileID) version \(record.version)", in: database)
                return Control.ImportedProfile(profile: record, isNewVersion: true)
            }
        }
    }

    /// Takes a profile away; its versions stay. False when there is none.
    package func deleteProfile(_ profileID: String, callerUserID: UInt32) async throws(StationError) -> Bool {
        let time = clock()
        return try await perform { database in
            try database.transaction {
                guard let stored = try Self.profile(profileID, version: nil, in: database) else { return false }
                try database.run("DELETE FROM profiles WHERE profile_id = ?", [.text(profileID)])
                try self.note(
                    .deleteProfile, by: callerUserID, at: time, sha256: stored.record.sha256,
                    detail: "\(profileID) version \(stored.record.version)", in: database)
                return true
            }
        }
    }

    private static let profileColumns = """
        profile_id, version, content, overlay_sha256, imported_at, imported_by, (
            SELECT imported_at FROM profile_versions AS first WHERE first.profile_id = profile_versions.profile_id
            ORDER BY version LIMIT 1
        ) AS created_at FROM profile_versions
        """

    private static func profile(
        _ profileID: String, version: Int?, in database: StoreDatabase
    ) throws(StationError) -> StoredProfile? {
        let rows =
            if let version {
                try database.query(
                    "SELECT \(profileColumns) WHERE profile_id = ? AND version = ?",
                    [.text(profileID), .integer(Int64(version))])
            } else {
                try database.query(
                    "SELECT \(profileColumns) JOIN profiles USING (profile_id, version) WHERE profile_id = ?",
                    [.text(profileID)])
            }
        return try rows.first.map { row throws(StationError) in try StoredProfile(row) }
    }
}

extension StoredProfile {
    fileprivate init(_ row: StoreRow) throws(StationError) {
        guard let profile = StoreJSON.value(Profile.self, try row.text("content")) else {
            throw row.wrongType("content")
        }
        self.init(
            record: ProfileRecord(
                profile, version: Int(try row.integer("version")),
                overlaySHA256: row.optionalText("overlay_sha256").flatMap { SHA256Digest($0) },
                importedAt: try row.real("imported_at"), importedByUserID: row.userID("imported_by") ?? 0),
            profile: profile, createdAt: try row.real("created_at"))
    }
}
