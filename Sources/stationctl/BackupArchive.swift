import CLinux
import Digests
import Glibc
import StationCore
import StationLinux

/// A backup that is being written: under a name of its own until it is whole.
///
/// The manifest comes first and is known last: room is left for it, and what is written there in the end tells what is in the
/// archive, byte for byte, whatever happened to the files meanwhile.
final class BackupArchive {
    private let path: String
    private let partialPath: String
    private let file: Descriptor
    private var position: UInt64 = 0
    private var manifestRoom = 0
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    /// Bytes of files that are in, their holes included.
    private(set) var byteCount: UInt64 = 0
    var progress: (UInt64) -> Void = { _ in }

    /// - Throws: `file_exists`, `backup_running`, `backup_unwritable`.
    init(_ path: String) throws(StationError) {
        self.path = path
        try Self.demandFree(path)
        partialPath = Self.beside(path, "partial")
        let running = StationError("backup_running", "another backup is being written to \(path.printable())")
        // One that was killed has left it, or anybody: somebody else may have it open, so nothing is ever written into it.
        if let left = try? Descriptor(opening: partialPath, O_RDONLY | O_NONBLOCK | station_o_nofollow) {
            guard Self.hold(left, partialPath) else { throw running }
        }
        unlink(partialPath)
        do {
            file = try Descriptor(
                opening: partialPath, O_RDWR | O_CREAT | station_o_excl | station_o_nofollow, mode: 0o600)
        } catch {
            throw error.asStationError(
                "backup_unwritable", remedy: "name a file in a directory that is there and that you may write")
        }
        guard Self.hold(file, partialPath) else { throw running }
    }

    deinit {
        buffer.deallocate()
    }

    /// - Throws: `file_exists`.
    static func demandFree(_ path: String) throws(StationError) {
        guard FileName.inode(path) == nil else {
            throw StationError(
                "file_exists", "\(path.printable()) is there already, and is not overwritten",
                remedy: "name another file, or move that one away")
        }
    }

    /// Whether this backup, and no other that lives, has that file under that name.
    private static func hold(_ file: Descriptor, _ path: String) -> Bool {
        flock(file.number, LOCK_EX | LOCK_NB) == 0 && FileName.isOf(file, path)
    }

    private static func beside(_ path: String, _ suffix: String) -> String {
        "\(Path.parent(path))/.\(Path.parts(path).last ?? "backup").\(suffix)"
    }

    /// An empty file beside the backup that nobody sees, and that is gone with its descriptor.
    func scratchFile() throws(StationError) -> Descriptor {
        do { return try Self.scratchFile(Self.beside(path, "store")) } catch { throw failure(error) }
    }

    static func scratchFile(_ scratch: String) throws(SystemError) -> Descriptor {
        unlink(scratch)
        let file = try Descriptor(
            opening: scratch, O_RDWR | O_CREAT | station_o_excl | station_o_nofollow, mode: 0o600)
        unlink(scratch)
        return file
    }

    /// - Parameter storedByteCount: of all members.
    /// - Throws: `storage_full`, with the numbers.
    func demandRoom(_ storedByteCount: UInt64) throws(StationError) {
        guard let free = (try? FileSystemRoom(of: Path.parent(path)))?.freeByteCount, free < storedByteCount else {
            return
        }
        throw StationError(
            "storage_full",
            "the backup needs \(exactly(storedByteCount)), and \(Path.parent(path).printable()) has \(exactly(free)) free",
            remedy: "name a file on another disk, or leave the Image Builders out: --without-builders")
    }

    private func exactly(_ byteCount: UInt64) -> String { "\(Quantity.bytes(byteCount)) (\(byteCount) bytes)" }

    /// Leaves room for the manifest, once.
    func begin(_ draft: BackupManifest) throws(StationError) {
        // Sizes may get longer by a digit or two until their files are read.
        manifestRoom = try StationJSON.encode(draft).count + 4096 + 4 * draft.members.count
        try put(header(BackupManifest.memberName, .file, UInt64(manifestRoom)).bytes)
        position += UInt64(manifestRoom + TarHeader.padding(UInt64(manifestRoom)))
    }

    private func header(_ path: String, _ kind: TarHeader.Kind, _ stored: UInt64 = 0) -> TarHeader {
        TarHeader(
            path: path, kind: kind, storedByteCount: stored, mode: 0o600, modifiedAt: Int64(SystemClock.wallSeconds()))
    }

    /// Writes one member, as it is now.
    /// - Parameter source: of a file.
    /// - Returns: what is in the archive.
    /// - Throws: `file_changed`, `storage_full`, `backup_unwritable`, `backup_unreadable`.
    func add(_ member: BackupManifest.Member, _ source: Descriptor?) throws(StationError) -> BackupManifest.Member {
        var member = member
        let area = try BackupArea(of: member.path)
        var header = header(member.path, .directory)
        header.owner = area.owner.rawValue
        header.mode = area.mode(member.path, member.kind, archived: member.mode)
        if member.kind == .link { (header.kind, header.linkTarget) = (.link, member.target ?? "") }
        guard let source else {
            try put(header.bytes)
            return member
        }
        do {
            var before = stat()
            _ = try retrying("fstat", member.path) { fstat(source.number, &before) }
            let size = UInt64(max(0, before.st_size))
            member.byteCount = size
            member.mode = member.path == BackupArea.storeMember ? 0o600 : UInt32(before.st_mode) & 0o777
            member.modifiedAt = Int64(before.st_mtim.tv_sec) * 1_000_000_000 + Int64(before.st_mtim.tv_nsec)
            header.kind = .file
            header.mode = area.mode(member.path, member.kind, archived: member.mode)
            header.modifiedAt = Int64(before.st_mtim.tv_sec)
            let map = SparseMap(
                parts: source.dataRanges(byteCount: size).map {
                    .init(offset: $0.lowerBound, byteCount: $0.upperBound - $0.lowerBound)
                })
            header.storedByteCount = size
            if map.byteCount < size {
                header.sparseByteCount = size
                header.storedByteCount = UInt64(map.bytes.count) + map.byteCount
            }
            try put(header.bytes)
            if header.sparseByteCount != nil { try put(map.bytes) }
            let hasher = SHA256Hasher()
            var end: UInt64 = 0
            for part in map.parts {
                hashZeros(part.offset - end, hasher)
                try copy(part, of: source, hasher, member.path)
                end = part.offset + part.byteCount
            }
            hashZeros(size - end, hasher)
            try put([UInt8](repeating: 0, count: TarHeader.padding(header.storedByteCount)))
            var after = stat()
            _ = try retrying("fstat", member.path) { fstat(source.number, &after) }
            guard after.st_size == before.st_size, after.st_mtim.tv_sec == before.st_mtim.tv_sec,
                after.st_mtim.tv_nsec == before.st_mtim.tv_nsec, let digest = hasher.finish()
            else { throw changed(member.path) }
            member.sha256 = digest
            return member
        } catch let error as StationError {
            throw error
        } catch { throw StationError("backup_unreadable", "\(member.path.printable()): \(error)") }
    }

    private func changed(_ path: String) -> StationError {
        StationError(
            "file_changed", "\(path.printable()) was changed while it was read", remedy: "make the backup again")
    }

    private func hashZeros(_ count: UInt64, _ hasher: SHA256Hasher) {
        hasher.update(zeroCount: count) {
            byteCount += $0; progress(byteCount)
        }
    }

    private func copy(_ part: SparseMap.Part, of source: Descriptor, _ hasher: SHA256Hasher, _ name: String) throws {
        var done: UInt64 = 0
        while done < part.byteCount {
            let length = Int(min(part.byteCount - done, UInt64(buffer.count)))
            let chunk = UnsafeMutableRawBufferPointer(rebasing: buffer[..<length])
            guard try source.read(into: chunk, at: part.offset + done) == length else { throw changed(name) }
            hasher.update(UnsafeRawBufferPointer(chunk))
            try put(UnsafeRawBufferPointer(chunk))
            done += UInt64(length)
            byteCount += UInt64(length)
            progress(byteCount)
        }
    }

    private func put(_ bytes: [UInt8]) throws(StationError) {
        do { try bytes.withUnsafeBytes { try put($0) } } catch {
            throw error as? StationError ?? StationError("backup_unwritable", "\(error)")
        }
    }

    private func put(_ bytes: UnsafeRawBufferPointer) throws(StationError) {
        do { try file.write(all: bytes, at: position) } catch { throw failure(error) }
        position += UInt64(bytes.count)
    }

    private func failure(_ error: SystemError) -> StationError {
        switch error.number {
        case ENOSPC, EDQUOT:
            StationError(
                "storage_full",
                "\(Path.parent(path).printable()) was full after \(exactly(position)) of the backup",
                remedy: "name a file on another disk")
        case EFBIG:
            StationError(
                "storage_full", "the file system of \(path.printable()) takes no file longer than \(exactly(position))",
                remedy: "name a file on a disk with another file system")
        default: error.asStationError("backup_unwritable")
        }
    }

    /// Writes the manifest and gives the whole file its name. Blocks until it would outlive a power cut.
    /// - Returns: its length in bytes.
    /// - Throws: `file_exists`, `storage_full`, `backup_unwritable`; `backup_member` where no restore would take it.
    func finish(_ manifest: BackupManifest) throws(StationError) -> UInt64 {
        try manifest.check()
        var bytes = try StationJSON.encode(manifest)
        guard bytes.count < manifestRoom else {
            throw StationError("file_changed", "too much was changed meanwhile", remedy: "make the backup again")
        }
        bytes += [UInt8](repeating: 0x20, count: manifestRoom - bytes.count - 1) + [0x0A]
        try put([UInt8](repeating: 0, count: 2 * TarHeader.blockByteCount))
        let length = position
        position = UInt64(TarHeader.blockByteCount)
        try put(bytes)
        guard FileName.isOf(file, partialPath) else {
            throw StationError(
                "backup_unwritable", "\(partialPath.printable()) was taken away, or another file put in its place",
                remedy: "make the backup again")
        }
        do {
            try file.synchronise()
            try FileName.move(partialPath, to: path)
            try FileName.synchronise(directory: Path.parent(path))
        } catch {
            guard error.number == EEXIST else { throw failure(error) }
            throw StationError(
                "file_exists", "\(path.printable()) has come meanwhile, and is not overwritten",
                remedy: "name another file")
        }
        return length
    }

    /// Takes away what is there of it.
    func abandon() { if FileName.isOf(file, partialPath) { unlink(partialPath) } }
}
