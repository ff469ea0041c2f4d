import CArchive
import Glibc
import StationCore
import StationLinux

/// One file in an archive.
struct ArchiveMember: Equatable {
    /// Its path in the archive: any bytes that somebody chose. It is compared and shown, and never opened.
    var path: String
    /// What its first bytes are: an image, something packed that may hold one, or neither.
    var isCandidate: Bool
    /// The how-manieth entry of the archive it is.
    var index: Int
}

/// A zip or tar archive in a scratch file, read by libarchive.
struct ArchiveFile {
    /// More than any archive has that somebody made for a card.
    static let entryLimit = 10_000

    let file: ScratchFile
    let format: PackingFormat

    /// - Throws: `image_truncated`, `image_trailing_bytes`.
    init(_ file: ScratchFile, _ format: PackingFormat) throws(StationError) {
        self.file = file
        self.format = format
        // libarchive reads what it finds, and does not miss what was cut off behind the last member.
        if format == .zip { try ArchiveEnd.checkZip(file) } else { try ArchiveEnd.checkTar(file) }
    }

    /// The regular files in it. Blocks: the first bytes of each are read.
    /// - Throws: `image_corrupt`, `image_truncated`, `image_bomb`.
    func members() throws(StationError) -> [ArchiveMember] {
        let reader = try ArchiveReader(file, format)
        var members: [ArchiveMember] = []
        var index = 0
        while let entry = try reader.next() {
            guard index < Self.entryLimit else {
                throw StationError(
                    "image_bomb", "the \(format.rawValue) archive has more than \(Self.entryLimit) members")
            }
            defer { index += 1 }
            guard entry.isFile else { continue }
            let head = entry.isEncrypted ? [] : try reader.read(upTo: ImageHead.byteCount)
            let isCandidate =
                entry.isEncrypted || PackingFormat(head: head) != nil
                || ImageHead.hasPartitionTable(head)
            members.append(ArchiveMember(path: entry.path, isCandidate: isCandidate, index: index))
        }
        return members
    }

    /// The bytes of a member.
    /// - Throws: `image_encrypted`, `image_corrupt`, `image_truncated`.
    func open(_ member: ArchiveMember) throws(StationError) -> ArchiveMemberStream {
        let reader = try ArchiveReader(file, format)
        var entry: ArchiveReader.Entry?
        for _ in 0...member.index { entry = try reader.next() }
        guard let entry else { throw reader.failure("a member is gone") }
        guard !entry.isEncrypted else {
            throw StationError(
                "image_encrypted", "“\(member.path.printable(limit: 80))” is encrypted",
                remedy: "unpack it elsewhere, and import what comes out")
        }
        return ArchiveMemberStream(reader, byteCount: entry.byteCount)
    }
}

/// The bytes of one member of an archive.
final class ArchiveMemberStream: OriginStream {
    private let reader: ArchiveReader
    let byteCount: UInt64?
    private var done: UInt64 = 0

    init(_ reader: ArchiveReader, byteCount: UInt64?) {
        self.reader = reader
        self.byteCount = byteCount
    }

    var bytesRead: UInt64 { reader.bytesRead }
    /// zip has a CRC-32 of each member; tar has none.
    var isChecked: Bool { reader.format == .zip || reader.file.isChecked }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(StationError) -> Int {
        let count = try reader.read(into: buffer)
        done += UInt64(count)
        if count < buffer.count, let byteCount, done != byteCount {
            throw reader.failure("a member has \(done) bytes and should have \(byteCount)")
        }
        return count
    }
}

/// libarchive on one file, from its first member on.
final class ArchiveReader {
    struct Entry {
        var path: String
        var isFile: Bool
        var isEncrypted: Bool
        var byteCount: UInt64?
    }

    let file: ScratchFile
    let format: PackingFormat
    private let archive: OpaquePointer

    init(_ file: ScratchFile, _ format: PackingFormat) throws(StationError) {
        guard let archive = archive_read_new() else { throw StationError("internal_error", "no memory for libarchive") }
        self.file = file
        self.format = format
        self.archive = archive
        // Members' names come out as they went in, where this process would know no letters but ASCII's.
        setlocale(LC_CTYPE, "C.UTF-8")
        // The reader of zip that begins at the archive's directory, as every other program does.
        let support = format == .zip ? archive_read_support_format_zip_seekable : archive_read_support_format_tar
        lseek(file.descriptor.number, 0, SEEK_SET)
        guard support(archive) == ARCHIVE_OK,
            archive_read_open_fd(archive, file.descriptor.number, 128 * 1024) == ARCHIVE_OK
        else { throw failure("it cannot be opened") }
    }

    deinit { archive_read_free(archive) }

    /// How far the file is read.
    var bytesRead: UInt64 { min(UInt64(max(0, archive_filter_bytes(archive, -1))), file.byteCount) }

    /// Goes to the next entry; nil at the end.
    func next() throws(StationError) -> Entry? {
        var entry: OpaquePointer?
        EntryNames.clear()
        let result = archive_read_next_header(archive, &entry)
        if result == ARCHIVE_EOF { return nil }
        // A warning is about what does not matter here, such as an owner's name.
        guard result == ARCHIVE_OK || result == ARCHIVE_WARN, let entry else { throw failure("it has no next member") }
        return Entry(
            path: EntryNames.path(entry) ?? "",
            isFile: archive_entry_filetype(entry) == S_IFREG && EntryNames.hardlink(entry) == nil,
            isEncrypted: archive_entry_is_encrypted(entry) > 0,
            byteCount: archive_entry_size_is_set(entry) != 0 ? UInt64(max(0, archive_entry_size(entry))) : nil)
    }

    /// Reads on in the present entry; fewer bytes than fit only at its end, its checksum found right.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(StationError) -> Int {
        var done = 0
        while done < buffer.count, let base = buffer.baseAddress {
            let got = archive_read_data(archive, base + done, buffer.count - done)
            guard got >= 0 else { throw failure("its data are") }
            if got == 0 { break }
            done += got
        }
        return done
    }

    func read(upTo count: Int) throws(StationError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let got: Result<Int, StationError> = bytes.withUnsafeMutableBytes { buffer in
            do throws(StationError) { return .success(try read(into: buffer)) } catch { return .failure(error) }
        }
        return Array(bytes[..<(try got.get())])
    }

    func failure(_ what: String) -> StationError {
        let why = archive_error_string(archive).map { String(cString: $0) } ?? what
        guard bytesRead < file.byteCount || format == .zip else {
            return StationError(
                "image_truncated", "the \(format.rawValue) archive ends in the middle: \(why.printable(limit: 120))",
                remedy: "fetch the file again")
        }
        return StationError(
            "image_corrupt", "the \(format.rawValue) archive is damaged: \(why.printable(limit: 120))",
            remedy: "fetch the file again")
    }
}
