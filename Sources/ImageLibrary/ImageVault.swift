import Glibc
package import StationCore
package import StationLinux

/// A directory of sealed images: read-only regular files, each named by the SHA-256 of what it holds.
///
/// A file that has such a name is whole and on the disk. Nothing in it is ever changed, only replaced by the same bytes.
package struct ImageVault: Sendable {
    /// An image that is in the vault now.
    package struct SealedImage: Equatable, Sendable {
        package var sha256: SHA256Digest
        package var byteCount: UInt64
        /// The same bytes had been imported before.
        package var wasThere: Bool
        package var origin: ImageOrigin
    }

    private static let suffix = ".img"

    package let directory: String
    let groupID: UInt32
    private let usesNamedFiles: Bool
    /// Seconds that only grow.
    private let clock: @Sendable () -> Double

    /// Opens a vault and clears away what imports left that were killed. Blocks.
    /// - Throws: `vault_unusable`.
    package init(directory: String) throws(StationError) {
        try self.init(directory: directory, usesNamedFiles: false, clock: SystemClock.monotonicSeconds)
    }

    /// - Parameters:
    ///   - usesNamedFiles: as on a file system that has no files without a name; for tests.
    ///   - clock: what progress is timed by.
    init(directory: String, usesNamedFiles: Bool, clock: @escaping @Sendable () -> Double) throws(StationError) {
        self.directory = directory
        self.usesNamedFiles = usesNamedFiles
        self.clock = clock
        var status = stat()
        do {
            _ = try retrying("stat", directory) { stat(directory, &status) }
        } catch { throw Self.unusable(directory, error) }
        guard status.st_mode & S_IFMT == S_IFDIR, status.st_mode & 0o002 == 0 else {
            throw StationError(
                "vault_unusable", "\(directory.printable()) is no directory, or everybody may write into it",
                remedy: "systemd-tmpfiles --create, or: chmod o-w \(directory.printable())")
        }
        groupID = status.st_gid
        UnsealedFile.sweep(directory)
    }

    /// Where an image is, or would be.
    package func path(of sha256: SHA256Digest) -> String { "\(directory)/\(sha256)\(Self.suffix)" }

    /// The images that are there, in no order: what the station's records do not know may be removed.
    package func images() -> [SHA256Digest] {
        (SmallFile.names(in: directory) ?? []).compactMap { name in
            name.hasSuffix(Self.suffix) ? SHA256Digest(String(name.dropLast(Self.suffix.utf8.count))) : nil
        }
    }

    /// Reads an image file, unpacks it, and seals what comes out. Blocks; until it returns, nothing of it can be seen.
    /// - Parameters:
    ///   - source: a regular file, read whole whatever its position is, or a pipe, read from where it is to its end.
    ///   - companions: what came beside it.
    ///   - keyDirectories: where the keys are that signatures are verified with.
    ///   - stop: the import ends as soon as there is something to read from it, or its other end is gone.
    ///   - progress: bytes of the file done and, where it is known, their total: first as soon as some are in, then at
    ///     each new step, else every `ImportProgressTeller.interval` at most.
    /// - Throws: `source_unsuitable`, `source_unreadable`, `source_changed`, `import_stopped`; of the image `image_empty`,
    ///   `image_no_table`, `image_too_large`; of its packing `image_truncated`, `image_corrupt`, `image_trailing_bytes`,
    ///   `image_compressed`, `image_encrypted`, `image_memory`, `image_bomb`, `member_unknown`, `member_ambiguous`,
    ///   `member_missing`; `hash_mismatch`, and the codes of companions, see `Voucher`; `storage_full`, `vault_unusable`.
    package func importImage(
        from source: Descriptor, _ conditions: ImportConditions, companions: [ImportCompanion: Descriptor] = [:],
        keyDirectories: [String] = TrustedKeys.directories, stop: Descriptor? = nil,
        progress: @escaping (ImportStep, UInt64, UInt64?) -> Void = { _, _, _ in }
    ) throws(StationError) -> SealedImage {
        let source = try ImageSource(source, stop: stop)
        let room = VaultRoom(
            directory: directory, limit: conditions.byteLimit, imagePaths: images().map { path(of: $0) })
        let teller = ImportProgressTeller(clock: clock, send: progress)
        var job = try ImageImport(
            conditions, source: source, companions: companions, keyDirectories: keyDirectories, room: room,
            progress: teller
        ) { () throws(StationError) in try UnsealedFile(in: directory, isNamed: usesNamedFiles) }
        let product = try job.run()
        let wasThere = try hasImage(product.sha256)
        try source.checkStop()
        teller.tell(.sealing, source.bytesRead, source.byteCount)
        do {
            try product.file.seal(as: path(of: product.sha256), groupID: groupID)
        } catch { throw room.failure(error, written: product.byteCount, total: product.byteCount) }
        return SealedImage(
            sha256: product.sha256, byteCount: product.byteCount, wasThere: wasThere, origin: product.origin)
    }

    /// Reads an image from the disk and compares it with its name. Blocks.
    /// - Throws: `image_missing`, `image_damaged`, `import_stopped`.
    package func verifyImage(
        _ sha256: SHA256Digest, byteCount: UInt64, stop: Descriptor? = nil,
        progress: @escaping (ImportStep, UInt64, UInt64?) -> Void = { _, _, _ in }
    ) throws(StationError) {
        let file: Descriptor
        do {
            file = try Descriptor(opening: path(of: sha256), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
        } catch { throw StationError("image_missing", "\(error)", remedy: Reason.imageMissing.remedy) }
        // What the page cache holds may be right where the disk is not any more.
        _ = posix_fadvise(file.number, 0, 0, POSIX_FADV_DONTNEED)
        let stream = try ImageSource(file, stop: stop)
        let teller = ImportProgressTeller(clock: clock, send: progress)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        do throws(StationError) {
            while try stream.read(into: buffer) == buffer.count {
                teller.tell(.verifying, stream.bytesRead, byteCount)
            }
            guard stream.bytesRead == byteCount, try stream.finish() == sha256 else {
                throw Self.damaged("it has other bytes than were imported")
            }
        } catch { throw error.code == "source_unreadable" ? Self.damaged(error.message) : error }
    }

    private static func damaged(_ why: String) -> StationError {
        StationError(
            "image_damaged", "the image in the library is damaged: \(why)",
            remedy: "check the disk that the library is on, then import the image again")
    }

    /// Deletes an image; nothing happens when it is not there. Who has it open can read on. Blocks.
    /// - Throws: `vault_unusable`.
    package func removeImage(_ sha256: SHA256Digest) throws(StationError) {
        do {
            _ = try retrying("unlink", path(of: sha256)) { unlink(path(of: sha256)) }
            try Descriptor(opening: directory, O_RDONLY).synchronise()
        } catch { if error.number != ENOENT { throw Self.unusable(directory, error) } }
    }

    /// Whether the image's name is taken, by a regular file.
    ///
    /// That file's own bytes do not matter: they are replaced by those that were just read, so that importing an image
    /// again mends one that has rotted on the disk.
    private func hasImage(_ sha256: SHA256Digest) throws(StationError) -> Bool {
        guard let status = try? FileStatus(of: path(of: sha256), followingLinks: false) else { return false }
        guard status.kind == .regular else {
            throw StationError(
                "vault_unusable", "\(path(of: sha256).printable()) is no regular file",
                remedy: "remove it: nothing of the station's made it")
        }
        return true
    }

    static func unusable(_ directory: String, _ error: SystemError) -> StationError {
        if error.number == ENOSPC || error.number == EDQUOT {
            return StationError(
                "storage_full", "\(directory.printable()) is full",
                remedy: "remove images that are not needed: stationctl image list")
        }
        return StationError(
            "vault_unusable", "the image library cannot be used: \(error)",
            remedy: "\(directory.printable()) must be there and belong to the user of station-library")
    }
}
