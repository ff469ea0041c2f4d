import Glibc
package import StationCore
package import StationLinux

/// An overlay as one file: a POSIX archive (ustar) that is the same, byte for byte, for the same tree.
///
/// Sorted by path; times are 0 and numbers of users are 0, since owners go by name; nothing else that could differ from one
/// machine to the next. So its SHA-256 is the digest of the tree: of paths, modes, owners and content.
package struct OverlayArchive: Sendable {
    /// A file without a name, open for reading only.
    package let file: Descriptor
    package let byteCount: UInt64
    package let sha256: SHA256Digest

    /// Reads all files and packs them. Blocks.
    /// - Parameter directory: where room for the archive is.
    /// - Throws: `source_changed` for a file that changed since it was looked at, `source_unreadable`, `storage_full`.
    package init(packing overlay: Overlay, in directory: String) throws(StationError) {
        var writer = try ArchiveWriter(directory)
        for entry in overlay.entries { try writer.add(entry) }
        (file, byteCount, sha256) = try writer.finish()
    }

    /// Whether the format has room for a path: 255 bytes at best, no name of more than 99.
    static func fits(_ path: String) -> Bool { ArchiveWriter.split(path + "/") != nil }

    /// The digest of the tree, without keeping the archive. Blocks.
    package static func digest(of overlay: Overlay) throws(StationError) -> SHA256Digest {
        var writer = ArchiveWriter()
        for entry in overlay.entries { try writer.add(entry) }
        return writer.digest()
    }
}

/// Puts one entry behind the other, into a file or only into the digest.
private struct ArchiveWriter {
    private let file: Descriptor?
    private var hash = SHA256()
    private var byteCount: UInt64 = 0

    init() { file = nil }

    init(_ directory: String) throws(StationError) {
        do throws(SystemError) {
            file = try Descriptor(unnamedFileIn: directory, mode: 0o600)
        } catch {
            throw error.asStationError("storage_full", remedy: "set TMPDIR to a directory with room")
        }
    }

    mutating func add(_ entry: Overlay.Entry) throws(StationError) {
        switch entry.content {
        case .directory: try put(header(entry, path: entry.path + "/", type: "5"))
        case .link(let target): try put(header(entry, path: entry.path, type: "2", link: target))
        case .file(let count, let origin):
            try put(header(entry, path: entry.path, type: "0", byteCount: count))
            try copy(origin, byteCount: count, path: entry.path)
            try put([UInt8](repeating: 0, count: Int((512 - count % 512) % 512)))
        }
    }

    /// Two empty blocks, as the format ends.
    mutating func digest() -> SHA256Digest {
        hash.update([UInt8](repeating: 0, count: 1024))
        return hash.finish()
    }

    mutating func finish() throws(StationError) -> (Descriptor, UInt64, SHA256Digest) {
        try put([UInt8](repeating: 0, count: 1024))
        guard let file else { throw StationError("internal_error", "there is no archive") }
        do throws(SystemError) {
            // Whoever gets it may read it and not change it.
            return (try Descriptor(opening: "/proc/self/fd/\(file.number)", O_RDONLY), byteCount, hash.finish())
        } catch { throw error.asStationError("internal_error") }
    }

    private mutating func put(_ bytes: [UInt8]) throws(StationError) {
        hash.update(bytes)
        byteCount += UInt64(bytes.count)
        guard let file else { return }
        do {
            try bytes.withUnsafeBytes { try file.write(all: $0) }
        } catch {
            throw StationError("storage_full", "the archive could not be written: \(error)", remedy: "set TMPDIR")
        }
    }

    private mutating func copy(_ origin: Overlay.Origin, byteCount: UInt64, path: String) throws(StationError) {
        var left = byteCount
        var buffer = [UInt8](repeating: 0, count: 128 * 1024)
        let file: Descriptor
        do throws(SystemError) {
            file = try Descriptor(beneath: origin.directory, origin.path, O_RDONLY | O_NONBLOCK | O_NOCTTY)
        } catch { throw error.asStationError("source_unreadable") }
        while true {
            var count = 0
            do {
                count = try buffer.withUnsafeMutableBytes { try file.read(into: $0) }
            } catch { throw StationError("source_unreadable", "/\(path.printable()): \(error)") }
            guard count > 0, UInt64(count) <= left else {
                if count == 0, left == 0 { return }
                throw StationError(
                    "source_changed", "/\(path.printable()) changed while it was read", remedy: "try again")
            }
            left -= UInt64(count)
            try put(Array(buffer[..<count]))
        }
    }

    // MARK: The format

    /// A header block of POSIX.1-1988: fields of fixed width, numbers in octal.
    private func header(
        _ entry: Overlay.Entry, path: String, type: Unicode.Scalar, byteCount: UInt64 = 0, link: String = ""
    ) throws(StationError) -> [UInt8] {
        guard let (prefix, name) = Self.split(path) else {
            throw StationError("overlay_name_invalid", "/\(path.printable()) is too long a path for the archive")
        }
        var block: [UInt8] = []
        func text(_ text: String, _ width: Int) {
            block += text.utf8.prefix(width)
            block += [UInt8](repeating: 0, count: max(0, width - text.utf8.count))
        }
        func octal(_ value: UInt64, _ digits: Int) {
            let number = String(value, radix: 8)
            text(String(repeating: "0", count: max(0, digits - number.utf8.count)) + number, digits + 1)
        }
        text(name, 100)
        octal(UInt64(entry.mode), 7)
        octal(0, 7)
        octal(0, 7)
        octal(byteCount, 11)
        octal(0, 11)
        block += [UInt8](repeating: 0x20, count: 8)
        text(String(Character(type)), 1)
        text(link, 100)
        text("ustar", 6)
        block += Array("00".utf8)
        text(entry.user, 32)
        text(entry.group, 32)
        octal(0, 7)
        octal(0, 7)
        text(prefix, 155)
        block += [UInt8](repeating: 0, count: 12)
        // The sum of all bytes, with spaces in its own place.
        let sum = String(block.reduce(0) { $0 + Int($1) }, radix: 8)
        block.replaceSubrange(
            148..<156, with: Array((String(repeating: "0", count: 6 - sum.utf8.count) + sum).utf8) + [0, 0x20])
        return block
    }

    /// A path as the two fields of the format: up to 155 bytes and, behind a slash, up to 100; nil where none fits.
    static func split(_ path: String) -> (prefix: String, name: String)? {
        let bytes = Array(path.utf8)
        if bytes.count <= 100 { return ("", path) }
        for index in bytes.indices.dropLast() where bytes[index] == UInt8(ascii: "/") {
            if index <= 155, bytes.count - index - 1 <= 100 {
                return (
                    String(decoding: bytes[..<index], as: UTF8.self),
                    String(decoding: bytes[(index + 1)...], as: UTF8.self)
                )
            }
        }
        return nil
    }
}
