import CLinux
import Glibc
import StationCore

/// An open file descriptor that is closed when nobody holds it any more.
package final class Descriptor: Sendable {
    /// The number, valid as long as this object lives.
    package let number: Int32

    /// Takes over a number that is open.
    package init(owning number: Int32) { self.number = number }

    deinit { close(number) }

    /// Opens a path; `O_CLOEXEC` is always added. Corresponds to `open(2)`.
    /// - Throws: `SystemError`.
    package convenience init(opening path: String, _ flags: Int32, mode: UInt32 = 0) throws(SystemError) {
        self.init(
            owning: try retrying("open", path) {
                // openat, because tools that stand in for devices in tests redirect it without mediating what follows.
                openat(AT_FDCWD, path, flags | station_o_cloexec, mode)
            })
    }

    /// What is written to the second can be read from the first. Corresponds to `pipe2(2)`.
    package static func pipe() throws(SystemError) -> (reader: Descriptor, writer: Descriptor) {
        var ends: [Int32] = [-1, -1]
        _ = try retrying("pipe", "pipe") { station_pipe(&ends) }
        return (Descriptor(owning: ends[0]), Descriptor(owning: ends[1]))
    }

    /// Another descriptor of the same open file. Corresponds to `F_DUPFD_CLOEXEC`.
    package func duplicate() throws(SystemError) -> Descriptor {
        Descriptor(owning: try retrying("fcntl", "\(number)") { fcntl(number, F_DUPFD_CLOEXEC, 3) })
    }

    /// What `fstat(2)` says of the open file.
    package func status() throws(SystemError) -> FileStatus {
        var result = stat()
        _ = try retrying("fstat", "\(number)") { fstat(number, &result) }
        return FileStatus(result)
    }

    /// Corresponds to `F_GETFL`: whether the file was opened for reading only.
    package func isReadOnly() throws(SystemError) -> Bool {
        try retrying("fcntl", "\(number)") { fcntl(number, F_GETFL) } & O_ACCMODE == O_RDONLY
    }

    /// Reads up to a buffer's length at an offset; fewer bytes only at the end of the file. Blocks.
    /// - Returns: the number of bytes read.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(SystemError) -> Int {
        var done = 0
        while done < buffer.count, let base = buffer.baseAddress {
            let got = try retrying("pread", "descriptor \(number)") {
                pread(number, base + done, buffer.count - done, off_t(offset) + off_t(done))
            }
            if got == 0 { break }
            done += got
        }
        return done
    }

    /// Reads up to a buffer's length from the present position. Blocks. Returns 0 at the end.
    package func read(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int {
        try retrying("read", "descriptor \(number)") { Glibc.read(number, buffer.baseAddress, buffer.count) }
    }

    /// Writes all bytes at the present position. Blocks.
    package func write(all buffer: UnsafeRawBufferPointer) throws(SystemError) {
        var done = 0
        while done < buffer.count, let base = buffer.baseAddress {
            done += try retrying("write", "descriptor \(number)") {
                Glibc.write(number, base + done, buffer.count - done)
            }
        }
    }

    /// Writes all bytes at an offset; the position stays. Blocks.
    package func write(all buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(SystemError) {
        var done = 0
        while done < buffer.count, let base = buffer.baseAddress {
            done += try retrying("pwrite", "descriptor \(number)") {
                pwrite(number, base + done, buffer.count - done, off_t(offset) + off_t(done))
            }
        }
    }

    /// Corresponds to `fsync(2)`. Blocks.
    package func synchronise() throws(SystemError) {
        _ = try retrying("fsync", "descriptor \(number)") { fsync(number) }
    }

    /// The same for everything in its file system. Corresponds to `syncfs(2)`. Blocks.
    package func synchroniseFileSystem() throws(SystemError) {
        _ = try retrying("syncfs", "descriptor \(number)") { station_sync_file_system(number) }
    }

    /// Has the kernel read a range into its cache, in the background and where it can. Corresponds to `POSIX_FADV_WILLNEED`.
    package func willRead(_ range: Range<UInt64>) {
        _ = posix_fadvise(number, off_t(range.lowerBound), off_t(range.count), POSIX_FADV_WILLNEED)
    }
}

/// What the kernel says of a file.
package struct FileStatus: Equatable, Sendable {
    package enum Kind: Equatable, Sendable {
        case regular, directory, block, link, other
    }

    package var kind: Kind
    /// The permission bits.
    package var mode: UInt32
    package var ownerID: UInt32
    package var groupID: UInt32
    package var byteCount: UInt64
    /// What it takes on the disk.
    package var allocatedByteCount: UInt64
    /// `major:minor` of the file system the file is in.
    package var fileSystemNumber: String
    /// `major:minor` of the device that the file is.
    package var deviceNumber: String

    /// Corresponds to `stat(2)`, following links, or `lstat(2)`.
    package init(of path: String, followingLinks: Bool = true) throws(SystemError) {
        var result = stat()
        _ = try retrying("stat", path) { followingLinks ? stat(path, &result) : lstat(path, &result) }
        self.init(result)
    }

    init(_ status: stat) {
        kind =
            switch status.st_mode & S_IFMT {
            case S_IFREG: .regular
            case S_IFDIR: .directory
            case S_IFBLK: .block
            case S_IFLNK: .link
            default: .other
            }
        mode = status.st_mode & 0o7777
        ownerID = status.st_uid
        groupID = status.st_gid
        byteCount = UInt64(max(0, status.st_size))
        allocatedByteCount = UInt64(max(0, status.st_blocks)) * 512
        fileSystemNumber = "\(station_major(status.st_dev)):\(station_minor(status.st_dev))"
        deviceNumber = "\(station_major(status.st_rdev)):\(station_minor(status.st_rdev))"
    }
}

/// Small files, read and written whole.
package enum SmallFile {
    /// Reads a file of at most `limit` bytes; what is longer is an `EFBIG`. Blocks.
    package static func read(_ path: String, limit: Int = 64 * 1024, flags: Int32 = 0) throws(SystemError) -> [UInt8] {
        let file = try Descriptor(opening: path, O_RDONLY | flags)
        return try read(file, path: path, limit: limit)
    }

    /// The same from an open descriptor.
    package static func read(_ file: Descriptor, path: String, limit: Int) throws(SystemError) -> [UInt8] {
        var result: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 * 1024)
        while true {
            var got = 0
            do {
                got = try chunk.withUnsafeMutableBytes { try file.read(into: $0) }
            } catch let error as SystemError {
                throw SystemError("read", path, number: error.number)
            } catch { throw SystemError("read", path, number: EIO) }
            if got == 0 { return result }
            result += chunk[..<got]
            if result.count > limit { throw SystemError("read", path, number: EFBIG) }
        }
    }

    /// The text of a file without white space at its ends; nil when it cannot be read. For sysfs attributes.
    package static func attribute(_ path: String) -> String? {
        guard let bytes = try? read(path) else { return nil }
        return String(decoding: bytes, as: UTF8.self).trimmed
    }

    /// Replaces a file in one step: a temporary one beside it is written, synced and renamed. Blocks.
    package static func replace(_ path: String, with text: String, mode: UInt32) throws(SystemError) {
        try replace(path, with: Array(text.utf8), mode: mode)
    }

    /// The same with any bytes.
    package static func replace(_ path: String, with bytes: [UInt8], mode: UInt32) throws(SystemError) {
        let temporary = path + ".new"
        unlink(temporary)
        do {
            let file = try Descriptor(opening: temporary, O_WRONLY | O_CREAT | station_o_excl, mode: mode)
            _ = try retrying("fchmod", temporary) { fchmod(file.number, mode) }
            try bytes.withUnsafeBytes { try file.write(all: $0) }
            try file.synchronise()
            _ = try retrying("rename", path) { rename(temporary, path) }
            // The name, too, is to outlive a power cut.
            try FileName.synchronise(directory: Path.parent(path))
        } catch let error as SystemError {
            unlink(temporary)
            throw error
        } catch { throw SystemError("write", path, number: EIO) }
    }

    /// The names in a directory but `.` and `..`, sorted; nil when it cannot be read.
    package static func names(in directory: String) -> [String]? {
        guard let stream = opendir(directory) else { return nil }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Where a symbolic link points, as it is written there; nil when it is none.
    package static func link(_ path: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let length = buffer.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return -1 }
            return readlink(path, base.assumingMemoryBound(to: CChar.self), bytes.count)
        }
        return length < 0 ? nil : String(decoding: buffer[..<length], as: UTF8.self)
    }
}
