import Glibc

/// How much a file system holds, in bytes. Corresponds to `statvfs(3)`.
package struct FileSystemRoom: Equatable, Sendable {
    package var byteCount: UInt64
    /// What ordinary users may still write.
    package var freeByteCount: UInt64

    /// - Parameter path: anything in the file system.
    package init(of path: String) throws(SystemError) {
        var status = statvfs()
        _ = try retrying("statvfs", path) { statvfs(path, &status) }
        byteCount = UInt64(status.f_blocks) * UInt64(status.f_frsize)
        freeByteCount = UInt64(status.f_bavail) * UInt64(status.f_frsize)
    }
}
