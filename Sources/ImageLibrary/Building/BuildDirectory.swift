import FoundationEssentials
import Glibc
package import StationCore
import StationLinux

/// Where builds are: `BUILD/log`, and for a good one `BUILD/artifacts/` with what the Image Builder made and `BUILD/build.json`.
///
/// A directory that has a build's name is whole and on the disk. What is not finished has another name, and a lock that says
/// whether its maker lives.
package struct BuildDirectory: Sendable {
    private static let partialSuffix = ".partial"
    static let artifacts = "artifacts"
    static let log = "log"

    package let path: String
    let groupID: UInt32

    /// - Throws: `vault_unusable`.
    package init(_ path: String) throws(StationError) {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, status.st_mode & 0o002 == 0 else {
            throw StationError(
                "vault_unusable", "\(path.printable()) is no directory, or everybody may write into it",
                remedy: "systemd-tmpfiles --create, or: mkdir -m 750 \(path.printable())")
        }
        self.path = path
        groupID = status.st_gid
    }

    package func directory(of build: BuildID) -> String { "\(path)/\(build)" }
    func artifact(_ name: String, of build: BuildID) -> String { "\(directory(of: build))/\(Self.artifacts)/\(name)" }

    func builds() -> [BuildID] { (SmallFile.names(in: path) ?? []).compactMap { BuildID($0) } }

    /// Deletes what a build left; nothing happens when it is not there. Blocks.
    /// - Throws: `vault_unusable`.
    func remove(_ build: BuildID) throws(StationError) {
        let doomed = partialPath(of: BuildID())
        do {
            _ = try retrying("rename", directory(of: build)) { rename(directory(of: build), doomed) }
            try Descriptor(opening: path, O_RDONLY).synchronise()
        } catch {
            if error.number == ENOENT { return }
            throw ImageVault.unusable(path, error)
        }
        FileTree.remove(doomed)
    }

    /// A directory for a build that runs now. It is locked by the second of the two.
    func makePartial(of build: BuildID) throws(StationError) -> (path: String, lock: Descriptor) {
        let partial = partialPath(of: build)
        while true {
            do {
                _ = try retrying("mkdir", partial) { mkdir(partial, 0o750) }
            } catch {
                if error.number == EEXIST {
                    throw StationError("build_exists", "the build \(build.short) runs already")
                }
                throw ImageVault.unusable(path, error)
            }
            // A sweep may come between the making and the locking; then it is gone, and made again.
            if let lock = try? Descriptor(opening: partial, O_RDONLY | O_DIRECTORY),
                flock(lock.number, LOCK_EX | LOCK_NB) == 0, (try? FileStatus(of: partial)) != nil
            {
                return (partial, lock)
            }
            rmdir(partial)
        }
    }

    /// Gives what a build made its name, all at once and for good. Blocks.
    func seal(_ partial: String, as build: BuildID) throws(StationError) {
        do {
            try Descriptor(opening: partial, O_RDONLY | O_DIRECTORY).synchroniseFileSystem()
            _ = try retrying("rename", directory(of: build)) { rename(partial, directory(of: build)) }
            try Descriptor(opening: path, O_RDONLY).synchronise()
        } catch { throw ImageVault.unusable(path, error) }
    }

    /// Takes away what was never finished.
    package func sweep() {
        for name in SmallFile.names(in: path) ?? [] where name.hasPrefix(".") && name.hasSuffix(Self.partialSuffix) {
            let partial = "\(path)/\(name)"
            guard let file = try? Descriptor(opening: partial, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) else { continue }
            if flock(file.number, LOCK_EX | LOCK_NB) == 0 { FileTree.remove(partial) }
        }
    }

    private func partialPath(of build: BuildID) -> String { "\(path)/.\(build)\(Self.partialSuffix)" }
}
