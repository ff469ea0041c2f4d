import CLinux
import Glibc

/// Files below a directory, reached from its descriptor: by no link, and by no way out of it.
extension Descriptor {
    /// Opens a path below an open directory. Corresponds to `openat2(2)` with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`.
    /// - Parameter path: relative. A link as its last part can be opened by `O_PATH | O_NOFOLLOW` only.
    /// - Throws: `SystemError`; `ELOOP` for a link on the way, `EXDEV` for a way out.
    package convenience init(beneath directory: Descriptor, _ path: String, _ flags: Int32) throws(SystemError) {
        self.init(
            owning: try retrying("open", path) { station_open_beneath(directory.number, path, flags) })
    }

    /// What is below an open directory, links not followed.
    package func status(beneath path: String) throws(SystemError) -> FileStatus {
        try Descriptor(beneath: self, path, station_o_path | station_o_nofollow).status()
    }

    /// Where a link below an open directory points, as it is written there.
    package func link(beneath path: String) throws(SystemError) -> String {
        let link = try Descriptor(beneath: self, path, station_o_path | station_o_nofollow)
        var buffer = [CChar](repeating: 0, count: 4096)
        let length = try retrying("readlinkat", path) { readlinkat(link.number, "", &buffer, buffer.count) }
        return String(decoding: buffer[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The names in an open directory but `.` and `..`, sorted by their bytes; nil for one that is not UTF-8.
    package func entryNames() throws(SystemError) -> [String?] {
        // A stream of its own: reading moves the position, and closing it closes the descriptor.
        let own = try retrying("open", "directory") { openat(number, ".", O_RDONLY | O_DIRECTORY | station_o_cloexec) }
        guard let stream = fdopendir(own) else {
            let error = SystemError("fdopendir", "directory")
            close(own)
            throw error
        }
        defer { closedir(stream) }
        var names: [[UInt8]] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                if errno != 0 { throw SystemError("readdir", "directory") }
                break
            }
            let name = withUnsafeBytes(of: entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if name != [0x2E], name != [0x2E, 0x2E] { names.append(name) }
        }
        return names.sorted { $0.lexicographicallyPrecedes($1) }.map { String(validating: $0, as: UTF8.self) }
    }
}
