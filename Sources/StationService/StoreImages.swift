package import StationCore

extension Store {
    /// What each image name stands for now, by name.
    package func images() async throws(StationError) -> [ImageRecord] {
        try await perform { database in try Self.images(in: database) }
    }

    /// What a name stands for now; nil when it stands for nothing.
    package func image(named name: ImageName) async throws(StationError) -> ImageRecord? {
        try await perform { database in try Self.image(named: name, in: database) }
    }

    /// Lets a name stand for sealed bytes. The same bytes again change nothing, unless they are better vouched for now.
    /// - Parameter replaces: let it stand for these instead of others; assignments keep the old ones.
    /// - Returns: the bytes that nothing stands for any more, noted as unused until `settleUnused`; nil where there are none.
    /// - Throws: `image_name_taken`.
    @discardableResult
    package func addImage(_ record: ImageRecord, replaces: Bool) async throws(StationError) -> SHA256Digest? {
        let time = clock()
        return try await perform { database in
            try database.transaction {
                let before = try Self.image(named: record.name, in: database)
                let isSame = before?.sha256 == record.sha256
                if let before, isSame, !record.origin.vouching.isStronger(than: before.origin.vouching) { return nil }
                if before != nil, !isSame, !replaces {
                    throw StationError(
                        "image_name_taken", "\(record.name) stands for other bytes already",
                        remedy: "choose another name, or replace it: stationctl image import --replace FILE")
                }
                try self.endName(record.name, by: record.importedByUserID, at: time, in: database)
                try Self.noteBytes(record.sha256, record.byteCount, in: database)
                try database.run(
                    """
                    INSERT INTO image_names (
                        name, sha256, imported_at, imported_by, file_name, container, is_checked, vouching,
                        vouching_subject, vouching_key
                    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                    """, Self.values(record))
                try self.note(
                    before == nil ? .importImage : .replaceImage, by: record.importedByUserID, at: time,
                    image: record.name, sha256: record.sha256, in: database)
                guard let before, try Self.noteIfUnused(before.sha256, in: database) else { return nil }
                return before.sha256
            }
        }
    }

    /// Lets a name stand for nothing any more.
    /// - Returns: the bytes that nothing stands for any more, noted as unused until `settleUnused`; nil while another name does.
    /// - Throws: `image_unknown`; `image_assigned` while a slot's assignment is of the same bytes.
    @discardableResult
    package func removeImage(named name: ImageName, callerUserID: UInt32) async throws(StationError) -> SHA256Digest? {
        let time = clock()
        return try await perform { database in
            try database.transaction {
                guard let image = try Self.image(named: name, in: database) else {
                    throw try Self.unknown(name, in: database)
                }
                let slots = try database.query(
                    "SELECT slot FROM assignments WHERE sha256 = ? AND ended_at IS NULL",
                    [.text(image.sha256.hexadecimal)]
                ).map { row throws(StationError) in try SlotName(row.text("slot")) }.sorted()
                guard slots.isEmpty else {
                    let list = slots.map(\.text).joined(separator: ", ")
                    throw StationError(
                        "image_assigned", "\(name) is assigned to \(list)",
                        remedy: "assign something else there first, or: stationctl unassign "
                            + slots.map(\.text).joined(separator: " "))
                }
                try self.endName(name, by: callerUserID, at: time, in: database)
                try self.note(
                    .removeImage, by: callerUserID, at: time, image: name, sha256: image.sha256, in: database)
                return try Self.noteIfUnused(image.sha256, in: database) ? image.sha256 : nil
            }
        }
    }

    /// Whether a name, a slot's assignment or a build stands for these bytes.
    package func isReferenced(_ sha256: SHA256Digest) async throws(StationError) -> Bool {
        try await perform { database in try Self.isReferenced(sha256, in: database) }
    }

    /// Remembers bytes by their SHA-256, for what refers to them.
    static func noteBytes(_ sha256: SHA256Digest, _ byteCount: UInt64, in database: StoreDatabase) throws(StationError)
    {
        try database.run(
            "INSERT INTO sealed_images (sha256, byte_count) VALUES (?, ?) ON CONFLICT DO NOTHING",
            [.text(sha256.hexadecimal), .integer(byteCount)])
    }

    private static func values(_ record: ImageRecord) -> [StoreValue] {
        let (origin, vouching) = (record.origin, record.origin.vouching)
        return [
            .text(record.name.text), .text(record.sha256.hexadecimal), .real(record.importedAt),
            .integer(Int64(record.importedByUserID)), .text(origin.fileName), .text(origin.container),
            .flag(origin.isChecked), .text(vouching.kind.rawValue), .text(vouching.subject?.rawValue),
            .text(vouching.key),
        ]
    }

    private func endName(
        _ name: ImageName, by userID: UInt32, at time: WallTime, in database: StoreDatabase
    ) throws(StationError) {
        try database.run(
            "UPDATE image_names SET ended_at = ?, ended_by = ? WHERE name = ? AND ended_at IS NULL",
            [.real(time.seconds), .integer(Int64(userID)), .text(name.text)])
    }

    static func isReferenced(_ sha256: SHA256Digest, in database: StoreDatabase) throws(StationError) -> Bool {
        try !database.query(
            """
            SELECT 1 FROM image_names WHERE sha256 = ?1 AND ended_at IS NULL
            UNION ALL SELECT 1 FROM assignments WHERE sha256 = ?1 AND ended_at IS NULL
            UNION ALL SELECT 1 FROM builds WHERE card_sha256 = ?1 AND is_kept = 1 LIMIT 1
            """, [.text(sha256.hexadecimal)]
        ).isEmpty
    }

    private static func unknown(_ name: ImageName, in database: StoreDatabase) throws(StationError) -> StationError {
        let names = try images(in: database).map(\.name.text)
        let remedy = name.text.nearest(in: names).map { "did you mean \($0)?" } ?? "see stationctl image list"
        return StationError("image_unknown", "there is no image \(name)", remedy: remedy)
    }

    private static let imageColumns =
        "name, image_names.sha256 AS sha256, byte_count, imported_at, imported_by, file_name, container, is_checked, "
        + "vouching, vouching_subject, vouching_key FROM image_names "
        + "JOIN sealed_images USING (sha256) WHERE ended_at IS NULL"

    private static func images(in database: StoreDatabase) throws(StationError) -> [ImageRecord] {
        try database.query("SELECT \(imageColumns) ORDER BY name").map { row throws(StationError) in
            try ImageRecord(row)
        }
    }

    private static func image(named name: ImageName, in database: StoreDatabase) throws(StationError) -> ImageRecord? {
        try database.query("SELECT \(imageColumns) AND name = ?", [.text(name.text)]).first.map {
            row throws(StationError) in try ImageRecord(row)
        }
    }
}

extension ImageRecord {
    fileprivate init(_ row: StoreRow) throws(StationError) {
        guard let sha256 = SHA256Digest(try row.text("sha256")) else { throw row.wrongType("sha256") }
        guard let userID = row.userID("imported_by") else { throw row.wrongType("imported_by") }
        self.init(
            name: try ImageName(row.text("name")), sha256: sha256, byteCount: try row.count("byte_count"),
            importedAt: try row.real("imported_at"), importedByUserID: userID, origin: try ImageOrigin(row))
    }
}

extension ImageOrigin {
    fileprivate init(_ row: StoreRow) throws(StationError) {
        guard let kind = ImageVouching.Kind(rawValue: try row.text("vouching")) else { throw row.wrongType("vouching") }
        let subject = row.optionalText("vouching_subject").flatMap { ImageVouching.Subject(rawValue: $0) }
        self.init(
            fileName: row.optionalText("file_name"), container: try row.text("container"),
            isChecked: try row.flag("is_checked"),
            vouching: ImageVouching(kind: kind, subject: subject, key: row.optionalText("vouching_key")))
    }
}
