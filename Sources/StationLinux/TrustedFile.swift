package import StationCore

/// What only its owner could have written. A file that says what may be wiped, or what must not be, is read only if it is one.
package enum TrustedFile {
    /// Checks what is there, by its open descriptor where there is one.
    /// - Parameters:
    ///   - ownerID: who must own it; anything but root is for tests and practice stations.
    ///   - code: that of the error.
    /// - Throws: an error with that code, which says what is wrong and what mends it.
    package static func check(
        _ status: FileStatus, is kind: FileStatus.Kind, ownerID: UInt32, path: String, code: String
    ) throws(StationError) {
        let isDirectory = kind == .directory
        guard status.kind == kind else {
            throw untrusted(
                path, "is no \(isDirectory ? "directory" : "regular file")", remedy: "remove it", code: code)
        }
        let owner = ownerID == 0 ? "root" : "\(ownerID)"
        guard status.ownerID == ownerID else {
            throw untrusted(
                path, "belongs to uid \(status.ownerID), not to \(owner)", remedy: "chown \(owner): \(path)", code: code
            )
        }
        guard status.mode & 0o022 == 0 else {
            throw untrusted(
                path, "may be written by its group or by others",
                remedy: "chmod \(isDirectory ? "755" : "644") \(path)", code: code)
        }
    }

    package static func untrusted(_ path: String, _ problem: String, remedy: String, code: String) -> StationError {
        StationError(code, "\(path.printable()) \(problem)", remedy: remedy.printable())
    }
}
