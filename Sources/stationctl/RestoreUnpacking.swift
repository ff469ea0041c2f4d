import CLinux
import Glibc
import StationCore
import StationLinux

/// The two fresh directories of a restore, beside the two that are there: filled, held against the manifest, given their owners,
/// and every slot in them disarmed, before anything of the station is touched.
final class RestoreUnpacking {
    /// What a station needs to be there, whatever was in the backup.
    private static let areas = ["config/slots.d", "state/images", "state/builders", "state/builds", "state/store"]

    private let places: StationPlaces
    let config: String
    let state: String
    /// Held for as long as this restore works: who comes meanwhile is told.
    private let lock: Descriptor

    /// Takes away what an earlier one left that was cut off.
    /// - Throws: `restore_running`, `restore_unfinished`, `restore_unwritable`, `restore_mount`.
    init(_ places: StationPlaces) throws(StationError) {
        self.places = places
        config = places.config + RestoreCommit.freshSuffix
        state = places.state + RestoreCommit.freshSuffix
        for target in [places.config, places.state] {
            guard let here = try? FileStatus(of: target, followingLinks: false),
                let above = try? FileStatus(of: Path.parent(target))
            else { continue }
            guard here.kind == .directory, here.fileSystemNumber == above.fileSystemNumber else {
                throw StationError(
                    "restore_mount",
                    "\(target.printable()) is a link or a file system of its own: nothing beside it can take its place in one step",
                    remedy: "unmount it, restore, and move what was restored onto it")
            }
            // It would go along with the old directory, and come back over the new one when the machine starts.
            for area in Self.areas.compactMap({ Path.below(target == places.config ? "config" : "state", $0) }) {
                let inside = "\(target)/\(area)"
                guard let status = try? FileStatus(of: inside, followingLinks: false),
                    status.kind == .directory, status.fileSystemNumber != here.fileSystemNumber
                else { continue }
                throw StationError(
                    "restore_mount",
                    "\(inside.printable()) is a file system of its own: it cannot be exchanged with the rest",
                    remedy: "unmount it, restore, and move what was restored onto it")
            }
        }
        do {
            if let there = try? Descriptor(opening: state, O_RDONLY | O_DIRECTORY | station_o_nofollow) {
                guard flock(there.number, LOCK_EX | LOCK_NB) == 0 else {
                    throw StationError("restore_running", "another restore is under way", remedy: "wait for it")
                }
            }
            // Whoever asked before has waited for an answer since, and another may have been cut off: then these are not its own.
            guard FileName.inode(places.marker) == nil else { throw RestoreCommit.unfinished(places.marker) }
            for directory in [config, state] {
                FileTree.remove(directory)
                // Nobody else looks in until it is whole.
                _ = try retrying("mkdir", directory) { mkdir(directory, 0o700) }
            }
            lock = try Descriptor(opening: state, O_RDONLY | O_DIRECTORY | station_o_nofollow)
            _ = flock(lock.number, LOCK_EX | LOCK_NB)
        } catch let error as StationError {
            throw error
        } catch let error as SystemError {
            throw BackupReader.unwritable(error, error.subject)
        } catch { throw StationError("restore_unwritable", "\(error)") }
    }

    func abandon() {
        FileTree.remove(config)
        FileTree.remove(state)
    }

    private func path(_ member: String) -> String { places.path(member, config: config, state: state) }

    /// Unpacks the archive; of a dry run only its store. Blocks.
    /// - Throws: what `BackupReader` throws, `storage_full`, `restore_unwritable`.
    func unpack(_ reader: BackupReader, _ manifest: BackupManifest, onlyStore: Bool) throws(StationError) {
        let needed = onlyStore ? manifest.store.byteCount : reader.byteCount
        if let free = (try? FileSystemRoom(of: state))?.freeByteCount, free < needed {
            throw StationError(
                "storage_full",
                "the restored state needs \(Quantity.bytes(needed)) (\(needed) bytes) beside the present one, and "
                    + "\(Path.parent(state).printable()) has \(Quantity.bytes(free)) (\(free) bytes) free",
                remedy: "make room; nothing was changed")
        }
        if onlyStore { try make("\(state)/store") }
        try reader.readMembers(of: manifest) { member throws(StationError) in
            guard !onlyStore || member.path == BackupArea.storeMember else { return nil }
            switch member.kind {
            case .directory:
                if !BackupArea.roots.contains(member.path) { try make(path(member.path)) }
                return nil
            // Links come last of all: until then no path leads through one.
            case .link: return nil
            case .file:
                do throws(SystemError) {
                    return try Descriptor(
                        opening: path(member.path), O_WRONLY | O_CREAT | station_o_excl | station_o_nofollow,
                        mode: 0o600)
                } catch { throw BackupReader.unwritable(error, member.path) }
            }
        }
        guard !onlyStore else { return }
        for area in Self.areas { try make(path(area), ifMissing: true) }
    }

    private func make(_ directory: String, ifMissing: Bool = false) throws(StationError) {
        guard mkdir(directory, 0o700) != 0 else { return }
        let error = SystemError("mkdir", directory)
        if !ifMissing || error.number != EEXIST { throw BackupReader.unwritable(error, directory) }
    }

    /// Gives everything its owner, mode and time, has the store made fit, and all of it written to the disk. Blocks.
    /// - Throws: `restore_unwritable`, `user_missing`, what the store is refused for.
    func finish(_ manifest: BackupManifest) throws(StationError) {
        for member in manifest.members where member.kind == .link {
            let path = path(member.path)
            guard symlink(member.target ?? "", path) == 0 else {
                throw BackupReader.unwritable(SystemError("symlink", path), member.path)
            }
        }
        var members = manifest.members.filter { !BackupArea.roots.contains($0.path) }
        let there = Set(members.map(\.path))
        members += Self.areas.filter { !there.contains($0) }.map { BackupManifest.Member(path: $0, kind: .directory) }
        // What is in a directory comes behind it: the directories last, or their times would not stay.
        for member in members.reversed() { try settle(member) }
        try adopt(manifest)
        for root in BackupArea.roots {
            let archived = manifest.members.first { $0.path == root }
            try settle(archived ?? BackupManifest.Member(path: root, kind: .directory))
        }
        do {
            for directory in [state, config] {
                try Descriptor(opening: directory, O_RDONLY | O_DIRECTORY).synchroniseFileSystem()
            }
        } catch { throw error.asStationError("restore_unwritable") }
    }

    /// Has the store looked at, its slots disarmed and its unfinished jobs ended, by the daemon's program as the daemon's user.
    func adopt(_ manifest: BackupManifest) throws(StationError) {
        let store = path("state/store")
        // While nobody else comes in: of a directory that is its own the daemon's user could make a name a link, and mode and owner
        // would be those of what it leads to.
        for member in [
            BackupManifest.Member(path: BackupArea.storeMember, kind: .file),
            BackupManifest.Member(path: "state/store", kind: .directory),
        ] { try settle(member) }
        // It comes through here, to its own directory and to nothing else.
        do { _ = try retrying("chmod", state) { chmod(state, 0o711) } } catch {
            throw error.asStationError("restore_unwritable")
        }
        defer { chmod(state, 0o700) }
        let time = LocalTime.universal(manifest.createdAt)
        do {
            _ = try places.runDaemon(
                [
                    "--adopt-store", "\(store)/station.db", "--adopted-from",
                    "\(manifest.hostName.printable(limit: 80)) \(time)",
                    "--caller", "\(BackupCommand.caller)",
                ] + (manifest.hasBuilders ? [] : ["--without-builders"]))
        } catch {
            guard error.code.hasPrefix("store_") else { throw error }
            throw StationError(
                error.code, "\(BackupArea.storeMember): \(error.message)",
                remedy: error.code == "store_from_future"
                    ? "the backup was made by station \(manifest.stationVersion.printable(limit: 40)): install that version, or a later one; nothing was changed"
                    : "take another copy of the backup; nothing was changed")
        }
    }

    private func settle(_ member: BackupManifest.Member) throws(StationError) {
        let path = path(member.path)
        let area = try BackupArea(of: member.path)
        let owner = try places.owner(area.owner)
        do {
            _ = try retrying("chown", path) { lchown(path, owner.userID, owner.groupID) }
            guard member.kind != .link else { return }
            let mode = area.mode(member.path, member.kind, archived: member.mode)
            _ = try retrying("chmod", path) { chmod(path, mode) }
            guard let time = member.modifiedAt, time >= 0 else { return }
            let stamp = timespec(tv_sec: Int(time / 1_000_000_000), tv_nsec: Int(time % 1_000_000_000))
            let times = [stamp, stamp]
            _ = try retrying("utimensat", path) { utimensat(AT_FDCWD, path, times, 0) }
        } catch { throw error.asStationError("restore_unwritable") }
    }
}
