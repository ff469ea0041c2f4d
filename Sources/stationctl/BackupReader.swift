import CLinux
import Digests
import Glibc
import StationCore
import StationLinux

/// A backup that is read. It may come from anywhere: every member must be the next one of the manifest, and the manifest has been
/// held against the rules before the first.
final class BackupReader {
    private let path: String
    private let file: Descriptor
    /// Of the archive.
    let byteCount: UInt64
    private var position: UInt64 = 0
    /// What is read now, for errors.
    private var current = "the manifest"
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    /// Bytes of files that were read, their holes included.
    private(set) var fileByteCount: UInt64 = 0
    var progress: (UInt64) -> Void = { _ in }

    /// - Throws: `file_unknown`, `backup_invalid`.
    init(_ path: String) throws(StationError) {
        self.path = path.printable()
        do {
            file = try Descriptor(opening: path, O_RDONLY | O_NONBLOCK)
            let status = try file.status()
            guard status.kind == .regular else {
                throw StationError("backup_invalid", "\(path.printable()) is no regular file")
            }
            byteCount = status.byteCount
        } catch let error as StationError {
            throw error
        } catch let error as SystemError {
            throw error.asStationError(error.number == ENOENT ? "file_unknown" : "backup_unreadable")
        } catch { throw StationError("backup_unreadable", "\(error)") }
    }

    deinit { buffer.deallocate() }

    /// Reads the first member, which is held against the rules.
    /// - Throws: `backup_invalid`, `backup_version`, `backup_member`, `backup_damaged`.
    func manifest() throws(StationError) -> BackupManifest {
        guard let header = try? nextHeader(), header.path == BackupManifest.memberName, header.kind == .file,
            header.sparseByteCount == nil, header.storedByteCount <= min(BackupManifest.byteLimit, byteCount)
        else {
            throw StationError(
                "backup_invalid",
                "\(path) is no backup of a station: \(BackupManifest.memberName) does not stand first in it")
        }
        let bytes = try take(Int(header.storedByteCount))
        _ = try take(TarHeader.padding(header.storedByteCount))
        // A later form may have other members: its version is looked at before them.
        struct Head: Decodable {
            var format: String
            var formatVersion: Int
            var stationVersion: String?
        }
        let head = try StationJSON.read(Head.self, bytes, BackupManifest.memberName)
        try BackupManifest.checkForm(head.format, head.formatVersion, of: head.stationVersion ?? "of a later time")
        let manifest = try StationJSON.read(BackupManifest.self, bytes, BackupManifest.memberName)
        try manifest.check()
        return manifest
    }

    /// Reads all members to the end of the archive and compares each with the manifest. Blocks.
    /// - Parameter sink: is asked once for each member what its bytes go to; nil where they are only read.
    /// - Throws: `backup_member`, `backup_damaged`, what writing throws.
    func readMembers(
        of manifest: BackupManifest, into sink: (BackupManifest.Member) throws(StationError) -> Descriptor?
    ) throws(StationError) {
        for member in manifest.members {
            current = member.path.printable(limit: 300)
            guard let header = try nextHeader() else {
                throw damaged("the archive ends before \(current), which is in its manifest")
            }
            guard header.path.utf8.elementsEqual(member.path.utf8) else {
                throw BackupArea.refusal(header.path, "is not what the manifest has in its place, \(current)")
            }
            let kinds: [BackupManifest.Member.Kind: TarHeader.Kind] = [
                .file: .file, .directory: .directory, .link: .link,
            ]
            guard header.kind == kinds[member.kind], header.linkTarget.utf8.elementsEqual((member.target ?? "").utf8)
            else {
                throw BackupArea.refusal(header.path, "is something else than the manifest says")
            }
            let output = try sink(member)
            if member.kind == .file { try readFile(member, header, output) }
        }
        current = "the end of the archive"
        guard try nextHeader() == nil else { throw BackupArea.refusal(current, "has more than the manifest says") }
        while position < byteCount {
            let count = min(byteCount - position, UInt64(buffer.count))
            guard try take(Int(count)).allSatisfy({ $0 == 0 }) else {
                throw damaged("something stands behind the end of the archive")
            }
        }
    }

    private func readFile(_ member: BackupManifest.Member, _ header: TarHeader, _ output: Descriptor?)
        throws(StationError)
    {
        guard let size = member.byteCount, size == header.sparseByteCount ?? header.storedByteCount else {
            throw BackupArea.refusal(
                member.path,
                "has \(header.sparseByteCount ?? header.storedByteCount) bytes, the manifest says \(member.byteCount ?? 0)"
            )
        }
        var map = SparseMap(parts: [.init(offset: 0, byteCount: size)])
        if header.sparseByteCount != nil {
            let began = position
            do {
                map = try SparseMap(of: member.path, fileByteCount: size) { try self.take(TarHeader.blockByteCount) }
            } catch { throw error as? StationError ?? damaged("\(error)") }
            guard position - began + map.byteCount == header.storedByteCount else {
                throw BackupArea.refusal(member.path, "has holes that do not fit its size")
            }
        }
        // First: a length that no file can have here costs nothing then.
        if let output {
            do { _ = try retrying("ftruncate", member.path) { ftruncate(output.number, off_t(size)) } } catch {
                throw Self.unwritable(error, member.path)
            }
        }
        let hasher = SHA256Hasher()
        var end: UInt64 = 0
        for part in map.parts {
            hashZeros(part.offset - end, hasher)
            end = part.offset
            while end < part.offset + part.byteCount {
                let chunk = UnsafeMutableRawBufferPointer(
                    rebasing: buffer[..<Int(min(part.offset + part.byteCount - end, UInt64(buffer.count)))])
                try fill(chunk)
                hasher.update(UnsafeRawBufferPointer(chunk))
                do { try output?.write(all: UnsafeRawBufferPointer(chunk), at: end) } catch {
                    throw Self.unwritable(error, member.path)
                }
                end += UInt64(chunk.count)
                fileByteCount += UInt64(chunk.count)
                progress(fileByteCount)
            }
        }
        hashZeros(size - end, hasher)
        _ = try take(TarHeader.padding(header.storedByteCount))
        guard hasher.finish() == member.sha256 else {
            throw damaged("\(current) has other bytes than the manifest says (SHA-256)")
        }
    }

    static func unwritable(_ error: SystemError, _ member: String) -> StationError {
        error.number == ENOSPC || error.number == EDQUOT
            ? StationError(
                "storage_full", "there is no room for \(member.printable(limit: 300))",
                remedy: "make room; nothing was changed")
            : error.asStationError("restore_unwritable")
    }

    private func hashZeros(_ count: UInt64, _ hasher: SHA256Hasher) {
        hasher.update(zeroCount: count) {
            fileByteCount += $0; progress(fileByteCount)
        }
    }

    /// The next member's header with what an extended one before it says; nil at the end.
    private func nextHeader() throws(StationError) -> TarHeader? {
        guard var header = try TarHeader(block: take(TarHeader.blockByteCount)) else {
            guard try take(TarHeader.blockByteCount).allSatisfy({ $0 == 0 }) else {
                throw damaged("the archive has something behind its end")
            }
            return nil
        }
        guard header.kind == .extended else { return header }
        let length = header.storedByteCount
        guard length <= TarHeader.extensionLimit else {
            throw BackupArea.refusal(header.path, "has an extended header that is too long")
        }
        let extended = try take(Int(length))
        _ = try take(TarHeader.padding(length))
        guard let plain = try TarHeader(block: take(TarHeader.blockByteCount)), plain.kind != .extended else {
            throw damaged("the archive has an extended header of nothing")
        }
        header = plain
        try header.apply(extended: extended)
        return header
    }

    private func take(_ count: Int) throws(StationError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        do { try bytes.withUnsafeMutableBytes { try fill($0) } } catch {
            throw error as? StationError ?? damaged("\(error)")
        }
        return bytes
    }

    private func fill(_ buffer: UnsafeMutableRawBufferPointer) throws(StationError) {
        do {
            guard try file.read(into: buffer, at: position) == buffer.count else {
                throw damaged("the archive ends in the middle of \(current)")
            }
        } catch let error as SystemError {
            throw StationError("backup_unreadable", "\(path): \(error)", remedy: "take another copy of the backup")
        } catch let error as StationError {
            throw error
        } catch { throw damaged("\(error)") }
        position += UInt64(buffer.count)
    }

    private func damaged(_ why: String) -> StationError {
        StationError(
            "backup_damaged", "\(path): \(why)", remedy: "take another copy of the backup; nothing was changed")
    }
}
