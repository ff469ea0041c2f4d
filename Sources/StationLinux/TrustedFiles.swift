import CLinux
import Glibc
package import StationCore

/// Files and directories that only their owner could have written. One that says what may be wiped, or what must not be, is read
/// only if it is such a one; and what is there and cannot be read is an error, never taken for nothing.
package struct TrustedFiles: Sendable {
    /// Who must own them; anything but root is for tests and practice stations. Nil trusts whoever wrote them, which is for
    /// the build that shows what comes of that.
    package var ownerID: UInt32?
    /// The error of what somebody else could have written, or what is no such thing.
    package var untrustedCode: String
    /// The error of what is there and cannot be read.
    package var unreadableCode: String
    /// Whether a symbolic link may stand in place of the file itself.
    package var followsLinks: Bool

    package init(ownerID: UInt32?, untrustedCode: String, unreadableCode: String, followsLinks: Bool) {
        self.ownerID = ownerID
        self.untrustedCode = untrustedCode
        self.unreadableCode = unreadableCode
        self.followsLinks = followsLinks
    }

    /// Whether there is such a directory. Blocks.
    package func hasDirectory(_ path: String) throws(StationError) -> Bool {
        let status: FileStatus
        do {
            status = try FileStatus(of: path, followingLinks: followsLinks)
        } catch {
            if error.number == ENOENT { return false }
            throw unreadable(path, error)
        }
        try check(status, is: .directory, path: path)
        return true
    }

    /// The names in a directory that is there, sorted. Blocks.
    package func names(in path: String) throws(StationError) -> [String] {
        if let names = SmallFile.names(in: path) { return names }
        throw StationError(
            unreadableCode, "\(path.printable()) cannot be read", remedy: "chmod 755 \(path)".printable())
    }

    /// What a file of at most `limit` bytes says; nil when it is not there. Blocks.
    package func text(of path: String, limit: Int) throws(StationError) -> String? {
        do {
            // Not blocking, for a pipe; and what is checked is the file that is read.
            let file = try Descriptor(
                opening: path, O_RDONLY | O_NONBLOCK | (followsLinks ? 0 : station_o_nofollow))
            try check(file.status(), is: .regular, path: path)
            return String(decoding: try SmallFile.read(file, path: path, limit: limit), as: UTF8.self)
        } catch let error as SystemError {
            if error.number == ENOENT { return nil }
            if error.number == ELOOP, !followsLinks {
                throw untrusted(path, "is a symbolic link", remedy: "put the file itself there")
            }
            throw unreadable(path, error)
        } catch let error as StationError {
            throw error
        } catch { throw StationError(unreadableCode, "\(error)") }
    }

    private func check(_ status: FileStatus, is kind: FileStatus.Kind, path: String) throws(StationError) {
        let isDirectory = kind == .directory
        guard status.kind == kind else {
            throw untrusted(path, "is no \(isDirectory ? "directory" : "regular file")", remedy: "remove it")
        }
        guard let ownerID else { return }
        let owner = ownerID == 0 ? "root" : "\(ownerID)"
        guard status.ownerID == ownerID else {
            throw untrusted(
                path, "belongs to uid \(status.ownerID), not to \(owner)", remedy: "chown \(owner): \(path)")
        }
        guard status.mode & 0o022 == 0 else {
            throw untrusted(
                path, "may be written by its group or by others",
                remedy: "chmod \(isDirectory ? "755" : "644") \(path)")
        }
    }

    private func unreadable(_ path: String, _ error: SystemError) -> StationError {
        let name = path.printable()
        switch error.number {
        case ELOOP: return StationError(unreadableCode, "\(name) is a link that leads to itself", remedy: "remove it")
        case EFBIG:
            return StationError(
                unreadableCode, "\(name) is too large to be such a file",
                remedy: "put the right file there, or remove it")
        default: return error.asStationError(unreadableCode, remedy: "see ls -ld \(name), and dmesg")
        }
    }

    private func untrusted(_ path: String, _ problem: String, remedy: String) -> StationError {
        StationError(untrustedCode, "\(path.printable()) \(problem)", remedy: remedy.printable())
    }
}
