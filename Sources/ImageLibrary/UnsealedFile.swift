import Glibc
import StationCore
import StationLinux

/// A file in the vault that is not an image yet: nobody finds it, and nothing remains of it unless it is sealed.
///
/// Where the file system has files without a name it is one, and the kernel clears it away even after `kill -9`. Elsewhere
/// it has a name that the next sweep knows, and a lock that says whether its maker still lives.
final class UnsealedFile {
    static let prefix = ".import-"
    static let suffix = ".part"

    let descriptor: Descriptor
    private let directory: String
    /// Nil for a file without a name.
    private var path: String?

    /// - Parameter isNamed: make one with a name in any case; for tests of what most file systems do not need.
    /// - Throws: `vault_unusable`, `storage_full`.
    init(in directory: String, isNamed: Bool) throws(StationError) {
        self.directory = directory
        do {
            if !isNamed, let file = try Self.unnamed(in: directory) {
                descriptor = file
                path = nil
                return
            }
            (descriptor, path) = try Self.named(in: directory)
        } catch {
            throw ImageVault.unusable(directory, error)
        }
    }

    deinit { if let path { unlink(path) } }

    /// Makes the file the image of that name, at once and for good: what stood there before is replaced. Blocks.
    ///
    /// What writers hold open of the file before stays as it is.
    func seal(as target: String, groupID: UInt32) throws(SystemError) {
        var status = stat()
        _ = try retrying("fstat", target) { fstat(descriptor.number, &status) }
        if status.st_gid != groupID {
            // Asked for only where it is needed: a sandbox forbids the call altogether.
            _ = try retrying("fchown", target) { fchown(descriptor.number, uid_t.max, groupID) }
        }
        _ = try retrying("fchmod", target) { fchmod(descriptor.number, 0o440) }
        try descriptor.synchronise()
        let named: String
        if let path {
            named = path
        } else {
            named = Self.freePath(in: directory)
            try descriptor.link(as: named)
            path = named
        }
        _ = try retrying("rename", target) { rename(named, target) }
        path = nil
        try Descriptor(opening: directory, O_RDONLY).synchronise()
    }

    /// Removes what imports left behind that were killed; those that live keep their files.
    static func sweep(_ directory: String) {
        for name in SmallFile.names(in: directory) ?? [] where name.hasPrefix(prefix) && name.hasSuffix(suffix) {
            let path = "\(directory)/\(name)"
            guard let file = try? Descriptor(opening: path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK) else { continue }
            if flock(file.number, LOCK_EX | LOCK_NB) == 0 { unlink(path) }
        }
    }

    /// Nil where the file system or the kernel has no files without a name.
    private static func unnamed(in directory: String) throws(SystemError) -> Descriptor? {
        do {
            let file = try Descriptor(unnamedFileIn: directory, mode: 0o600)
            // Locked like the others, for the moment between the link and the rename of `seal`.
            _ = try retrying("flock", directory) { flock(file.number, LOCK_EX | LOCK_NB) }
            return file
        } catch {
            if error.number == EOPNOTSUPP || error.number == EISDIR { return nil }
            throw error
        }
    }

    private static func named(in directory: String) throws(SystemError) -> (Descriptor, String) {
        while true {
            let path = freePath(in: directory)
            let file = try Descriptor(opening: path, O_RDWR | O_CREAT | O_EXCL, mode: 0o600)
            // A sweep may have come between the making and the locking; then it is gone, and another is made.
            if flock(file.number, LOCK_EX | LOCK_NB) == 0, (try? FileStatus(of: path)) != nil { return (file, path) }
        }
    }

    private static func freePath(in directory: String) -> String {
        "\(directory)/\(prefix)\(String(UInt64.random(in: 0 ... .max), radix: 16))\(suffix)"
    }
}
