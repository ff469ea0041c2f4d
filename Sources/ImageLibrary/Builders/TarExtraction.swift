import CArchive
import Glibc
import StationCore
import StationLinux

/// Lays out a tar below a directory that nobody else writes into: libarchive reads it and makes the files, never through a link,
/// never over what is there, and nothing but files, directories and links.
final class TarExtraction {
    /// What one kind of archive may have.
    struct Rules {
        /// Everything is below one directory, which is left out.
        var isInOneDirectory: Bool
        /// Links may begin with /.
        var mayLinkToHost: Bool
        /// What of a file's mode is kept.
        var modeMask: mode_t

        /// Links to tools of the host lead where the sandbox lets them; no set-user-ID, and nobody but the library writes.
        static let builder = Rules(isInOneDirectory: true, mayLinkToHost: true, modeMask: 0o755)
        /// What the image's files are to be.
        static let overlay = Rules(isInOneDirectory: false, mayLinkToHost: false, modeMask: 0o7777)
    }

    private static let bufferByteCount = 256 * 1024

    private let stream: any ByteStream
    private let root: String
    private let rules: Rules
    private let byteLimit: UInt64
    private let progress: () -> Void
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferByteCount, alignment: 16)
    /// What went wrong with the stream, inside of libarchive's call.
    private var streamError: StationError?
    private var top: String?
    private var byteCount: UInt64 = 0

    /// - Parameter root: see `realPath`.
    init(
        _ stream: any ByteStream, root: String, rules: Rules, byteLimit: UInt64, progress: @escaping () -> Void = {}
    ) {
        self.stream = stream
        self.root = root
        self.rules = rules
        self.byteLimit = byteLimit
        self.progress = progress
    }

    deinit { buffer.deallocate() }

    /// A directory's path without links in it: libarchive goes through none.
    static func realPath(_ directory: String) throws(StationError) -> String {
        guard let path = realpath(directory, nil) else {
            throw ImageVault.unusable(directory, SystemError("realpath", directory))
        }
        defer { free(path) }
        return String(cString: path)
    }

    /// Blocks.
    /// - Throws: `builder_archive_invalid`, `storage_full`, and what the stream throws.
    func run() throws(StationError) {
        guard let reader = archive_read_new(), let writer = archive_write_disk_new() else {
            throw StationError("internal_error", "no memory for libarchive")
        }
        defer {
            archive_read_free(reader)
            archive_write_free(writer)
        }
        setlocale(LC_CTYPE, "C.UTF-8")
        archive_read_support_format_tar(reader)
        // Never through a link, never over what is there.
        archive_write_disk_set_options(
            writer,
            ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_SECURE_SYMLINKS
                | ARCHIVE_EXTRACT_SECURE_NODOTDOT | ARCHIVE_EXTRACT_NO_OVERWRITE)
        let context = Unmanaged.passUnretained(self).toOpaque()
        let opened = archive_read_open(
            reader, context, nil,
            { _, context, bytes in
                guard let context, let bytes else { return -1 }
                return Unmanaged<TarExtraction>.fromOpaque(context).takeUnretainedValue().feed(bytes)
            }, nil)
        guard opened == ARCHIVE_OK else { throw failure(reader) }
        var memberCount = 0
        var entry: OpaquePointer?
        while true {
            EntryNames.clear()
            let result = archive_read_next_header(reader, &entry)
            if result == ARCHIVE_EOF { break }
            guard result == ARCHIVE_OK || result == ARCHIVE_WARN, let entry else { throw failure(reader) }
            memberCount += 1
            guard memberCount <= BuilderArchive.memberLimit else {
                throw BuilderArchive.invalid("it has more than \(BuilderArchive.memberLimit) members")
            }
            if try place(entry) { try extract(entry, reader, writer) }
        }
        guard memberCount > 0 else { throw BuilderArchive.invalid("it is empty") }
        // The stream's own checksum comes behind the last member.
        while try stream.read(into: buffer) == buffer.count {}
        guard archive_write_close(writer) == ARCHIVE_OK else { throw writeFailure(writer, "the last of it") }
        progress()
    }

    /// Gives libarchive its next bytes.
    private func feed(_ bytes: UnsafeMutablePointer<UnsafeRawPointer?>) -> Int {
        do {
            let count = try stream.read(into: buffer)
            bytes.pointee = UnsafeRawPointer(buffer.baseAddress)
            progress()
            return count
        } catch {
            streamError = error
            return -1
        }
    }

    /// Moves a member to its place below the root, and makes it harmless.
    /// - Returns: false for the archive's own directory, which is there.
    private func place(_ entry: OpaquePointer) throws(StationError) -> Bool {
        guard let name = EntryNames.path(entry) else { throw unsafe("", "has no name") }
        guard let path = try inside(name) else { return false }
        let type = archive_entry_filetype(entry)
        if let target = EntryNames.hardlink(entry) {
            guard let target = try inside(target) else { throw unsafe(name, "is a link to no file") }
            archive_entry_set_hardlink(entry, "\(root)/\(target)")
        } else {
            switch type {
            case S_IFREG, S_IFDIR: break
            case S_IFLNK:
                // One with a / in front means a tool of the host, and leads where the sandbox lets it; nobody here follows it.
                let target = EntryNames.symlink(entry) ?? ""
                let isToHost = Path.isAbsolute(target) && rules.mayLinkToHost
                guard isToHost || Path.staysInside(target, depth: Path.parts(path).count - 1) else {
                    throw unsafe(name, "is a link that leads out of it")
                }
            default: throw unsafe(name, "is neither file, directory nor link")
            }
        }
        archive_entry_set_pathname(entry, "\(root)/\(path)")
        archive_entry_set_perm(entry, archive_entry_perm(entry) & rules.modeMask | (type == S_IFDIR ? 0o700 : 0o400))
        return true
    }

    /// The path below the root; nil for that of the archive's one directory itself.
    private func inside(_ name: String) throws(StationError) -> String? {
        var parts = Path.parts(name)[...]
        if parts.first == "." { parts = parts.dropFirst() }
        guard !Path.isAbsolute(name), name.utf8.count <= BuilderArchive.pathLimit, let first = parts.first,
            !parts.contains(".."), !parts.contains("."),
            !name.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F })
        else {
            if parts.isEmpty, !Path.isAbsolute(name) { return nil }
            throw unsafe(name, "is no path inside of it")
        }
        guard rules.isInOneDirectory else { return parts.joined(separator: "/") }
        if top == nil { top = first }
        guard top == first else { throw unsafe(name, "is outside of its directory \(first)") }
        return parts.count == 1 ? nil : parts.dropFirst().joined(separator: "/")
    }

    private func extract(_ entry: OpaquePointer, _ reader: OpaquePointer, _ writer: OpaquePointer) throws(StationError)
    {
        let name = (EntryNames.path(entry) ?? "").dropFirst(root.utf8.count + 1).description
        EntryNames.clear()
        guard archive_write_header(writer, entry) == ARCHIVE_OK else { throw writeFailure(writer, name) }
        var block: UnsafeRawPointer?
        var count = 0
        var offset: la_int64_t = 0
        while true {
            let result = archive_read_data_block(reader, &block, &count, &offset)
            if result == ARCHIVE_EOF { break }
            guard result == ARCHIVE_OK else { throw failure(reader) }
            byteCount += UInt64(count)
            guard byteCount <= byteLimit else {
                throw StationError(
                    "storage_full", "unpacked it takes more than the \(Quantity.bytes(byteLimit)) that are left for it",
                    remedy: "stationctl builder prune, or raise StorageLimit=")
            }
            guard archive_write_data_block(writer, block, count, offset) >= ARCHIVE_OK else {
                throw writeFailure(writer, name)
            }
        }
        guard archive_write_finish_entry(writer) == ARCHIVE_OK else { throw writeFailure(writer, name) }
    }

    private func failure(_ reader: OpaquePointer) -> StationError {
        if let streamError { return streamError }
        let why = archive_error_string(reader).map { String(cString: $0) } ?? "it cannot be read"
        return BuilderArchive.invalid(why.printable(limit: 200))
    }

    private func writeFailure(_ writer: OpaquePointer, _ name: String) -> StationError {
        let number = archive_errno(writer)
        if number == ENOSPC || number == EDQUOT {
            return ImageVault.unusable(root, SystemError("write", root, number: number))
        }
        let why = archive_error_string(writer).map { String(cString: $0) } ?? "it cannot be written"
        return unsafe(name, "cannot be unpacked: \(why.replacing(root, with: "").printable(limit: 160))")
    }

    private func unsafe(_ name: String, _ why: String) -> StationError {
        BuilderArchive.invalid("its member “\(name.printable(limit: 120))” \(why)")
    }
}
