import CLinux
import Glibc

/// Names of files and directories, given and exchanged in one step each.
package enum FileName {
    /// Two names stand for each other's file or directory from now on. Corresponds to `renameat2(2)` with `RENAME_EXCHANGE`.
    package static func exchange(_ path: String, _ other: String) throws(SystemError) {
        _ = try retrying("exchange", path) { station_exchange(path, other) }
    }

    /// Gives a file or directory another name, which must be free. Corresponds to `RENAME_NOREPLACE`.
    /// - Throws: `SystemError`; `EEXIST` where something has that name.
    package static func move(_ path: String, to target: String) throws(SystemError) {
        do {
            _ = try retrying("rename", target) { station_rename_new(path, target) }
        } catch {
            // Some file systems do not know the flag.
            guard error.number == EINVAL else { throw error }
            guard inode(target) == nil else { throw SystemError("rename", target, number: EEXIST) }
            _ = try retrying("rename", target) { rename(path, target) }
        }
    }

    /// What a name stands for, links not followed; nil where it stands for nothing.
    package static func inode(_ path: String) -> UInt64? {
        var status = stat()
        return lstat(path, &status) == 0 ? UInt64(status.st_ino) : nil
    }

    /// Makes names in a directory outlive a power cut. Corresponds to `fsync(2)`. Blocks.
    package static func synchronise(directory: String) throws(SystemError) {
        try Descriptor(opening: directory, O_RDONLY | O_DIRECTORY).synchronise()
    }
}

extension Descriptor {
    /// The ranges of a file that hold bytes, in their order: all of it where the file system knows of no holes.
    package func dataRanges(byteCount: UInt64) -> [Range<UInt64>] {
        var ranges: [Range<UInt64>] = []
        var position = off_t(0)
        while position < byteCount {
            let start = station_next_data(number, position)
            if start < 0 {
                // ENXIO: nothing but a hole to the end.
                if errno == ENXIO { break }
                return [0..<byteCount]
            }
            let end = station_next_hole(number, start)
            guard end > start else { return [0..<byteCount] }
            if start < byteCount { ranges.append(UInt64(start)..<min(UInt64(end), byteCount)) }
            position = end
        }
        return ranges
    }
}
