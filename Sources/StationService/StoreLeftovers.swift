package import StationCore

/// How it ended that an import or a build wanted to seal an image.
package enum SealingEnd: Sendable {
    case recorded
    /// It may have been sealed all the same, and have got no record.
    case failed
    /// Nobody has heard what became of it: it may be under way still.
    case unknown

    package init(_ error: any Error) {
        self = if let error = error as? StationError, error.code != "library_lost" { .failed } else { .unknown }
    }
}

/// Images in the library that no record stands for.
///
/// Only what these tables speak of is ever taken for unused: an image that the store merely does not know may be one of a store
/// that was damaged, and is worth keeping. They are tables and not variables because a station can die at any time.
extension Store {
    /// Notes that something is going to be sealed, which no record will stand for until its bytes are all there.
    /// - Parameter images: those that are in the library already.
    /// - Returns: what `endSealing` takes.
    package func beginSealing(among images: [SHA256Digest]) async throws(StationError) -> Int64 {
        try await perform { database in
            try database.run(
                "INSERT INTO sealings (images) VALUES (?)",
                [.text(images.map(\.hexadecimal).joined(separator: " "))])
            return database.lastInsertedKey
        }
    }

    /// Notes how it ended.
    /// - Parameter images: those that are in the library now.
    /// - Returns: without a record, of the images that came meanwhile what nothing stands for: unused from now on, until
    ///   `settleUnused`. It may be what somebody else is just sealing.
    package func endSealing(
        _ sealing: Int64, _ end: SealingEnd, among images: [SHA256Digest]
    ) async throws(StationError) -> Set<SHA256Digest> {
        // What may be under way still is looked for once more, at the next start.
        let statement =
            end == .unknown ? "UPDATE sealings SET look_count = 1 WHERE id = ?" : "DELETE FROM sealings WHERE id = ?"
        return try await perform { database in
            try database.transaction {
                let rows = try database.query(statement + " RETURNING images", [.integer(sealing)])
                if end == .recorded { return [] }
                return Set(try rows.flatMap { row in try Self.noteUnused(images, since: row, in: database) })
            }
        }
    }

    /// Ends what was being sealed when the station went away; for start-up.
    package func abandonSealings() async throws(StationError) {
        try await perform { database in
            try database.run("UPDATE sealings SET look_count = 0 WHERE look_count IS NULL")
            return
        }
    }

    /// What stations before this one sealed without recording it, and what they had no time to remove: unused, until
    /// `settleUnused`. Some of it may have a record by now. Each sealing is looked for at two starts, since the library may
    /// outlive its station for a moment.
    /// - Parameter images: those that are in the library.
    package func takeLeftovers(among images: [SHA256Digest]) async throws(StationError) -> Set<SHA256Digest> {
        try await perform { database in
            try database.transaction {
                for row in try database.query("SELECT images FROM sealings WHERE look_count IS NOT NULL") {
                    _ = try Self.noteUnused(images, since: row, in: database)
                }
                try database.run("DELETE FROM sealings WHERE look_count >= 1")
                try database.run("UPDATE sealings SET look_count = look_count + 1 WHERE look_count IS NOT NULL")
                return Set(
                    try database.query("SELECT sha256 FROM unused_images").map { row throws(StationError) in
                        guard let sha256 = SHA256Digest(try row.text("sha256")) else { throw row.wrongType("sha256") }
                        return sha256
                    })
            }
        }
    }

    /// Notes that unused bytes are gone, or that something stands for them again.
    package func settleUnused(_ sha256: SHA256Digest) async throws(StationError) {
        try await perform { database in
            try database.run("DELETE FROM unused_images WHERE sha256 = ?", [.text(sha256.hexadecimal)])
            return
        }
    }

    /// Notes bytes as unused if nothing stands for them.
    /// - Returns: whether that is so.
    static func noteIfUnused(_ sha256: SHA256Digest, in database: StoreDatabase) throws(StationError) -> Bool {
        if try isReferenced(sha256, in: database) { return false }
        try database.run(
            "INSERT INTO unused_images (sha256) VALUES (?) ON CONFLICT DO NOTHING", [.text(sha256.hexadecimal)])
        return true
    }

    /// - Parameter sealing: a row of `sealings`.
    private static func noteUnused(
        _ images: [SHA256Digest], since sealing: StoreRow, in database: StoreDatabase
    ) throws(StationError) -> [SHA256Digest] {
        let before = Set(try sealing.text("images").split(separator: " ").map(String.init))
        var unused: [SHA256Digest] = []
        for image in images where !before.contains(image.hexadecimal) {
            if try noteIfUnused(image, in: database) { unused.append(image) }
        }
        return unused
    }
}
