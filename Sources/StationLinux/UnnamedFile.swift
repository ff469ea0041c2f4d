import CLinux
import Glibc

extension Descriptor {
    /// A new regular file without a name, open for reading and writing: gone with its last descriptor, unless it is
    /// given a name. Corresponds to `O_TMPFILE`.
    /// - Throws: `SystemError`; `EOPNOTSUPP` or `EISDIR` where the file system or the kernel has no such files.
    package convenience init(unnamedFileIn directory: String, mode: UInt32) throws(SystemError) {
        try self.init(opening: directory, O_RDWR | station_o_tmpfile, mode: mode)
    }

    /// Gives a file without a name a name, all at once. Corresponds to `linkat(2)`; needs `/proc`.
    /// - Throws: `SystemError`; `EEXIST` where something has that name.
    package func link(as path: String) throws(SystemError) {
        // AT_EMPTY_PATH would do without /proc, but wants CAP_DAC_READ_SEARCH.
        _ = try retrying("linkat", path) {
            linkat(AT_FDCWD, "/proc/self/fd/\(number)", AT_FDCWD, path, AT_SYMLINK_FOLLOW)
        }
    }
}
