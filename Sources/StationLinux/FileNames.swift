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

    /// A path with no links, no `.` and no `..` in it; nil where nothing is there. Corresponds to `realpath(3)`.
    package static func real(_ path: String) -> String? {
        guard let real = realpath(path, nil) else { return nil }
        defer { free(real) }
        return String(cString: real)
    }

    /// Whether a name stands for this very file, links not followed.
    package static func isOf(_ file: Descriptor, _ path: String) -> Bool {
        var (mine, theirs) = (stat(), stat())
        return fstat(file.number, &mine) == 0 && lstat(path, &theirs) == 0
            && mine.st_ino == theirs.st_ino && mine.st_dev == theirs.st_dev
    }

    /// Makes names in a directory outlive a power cut. Corresponds to `fsync(2)`. Blocks.
    package static func synchronise(directory: String) throws(SystemError) {
        try Descriptor(opening: directory, O_RDONLY | O_DIRECTORY).synchronise()
    }
}
