import CLinux
import Glibc
package import StationCore

extension FileWitness {
    /// How a file looks now; a link at the path itself is not followed. Corresponds to `lstat(2)`.
    package init(of path: String) throws(SystemError) {
        var status = stat()
        _ = try retrying("lstat", path) { lstat(path, &status) }
        let nanoseconds: (timespec) -> Int64 = { Int64($0.tv_sec) * 1_000_000_000 + Int64($0.tv_nsec) }
        self.init(
            inode: UInt64(status.st_ino), byteCount: UInt64(max(0, status.st_size)),
            modifiedAt: nanoseconds(status.st_mtim), changedAt: nanoseconds(status.st_ctim))
    }
}
