import Glibc
import StationCore
import StationLinux

/// Finds what belongs into a backup: a walk over configuration and state.
struct BackupTree {
    private let places: StationPlaces
    private let withBuilders: Bool
    private(set) var members: [BackupManifest.Member] = []
    /// What all of it will take in the archive, about.
    private(set) var storedByteCount: UInt64 = 0
    /// What is left out and should not be, for a person.
    private(set) var warnings: [String] = []

    init(_ places: StationPlaces, withBuilders: Bool, storeByteCount: UInt64) throws(StationError) {
        self.places = places
        self.withBuilders = withBuilders
        try walk("config")
        members.append(BackupManifest.Member(path: "state", kind: .directory))
        members.append(BackupManifest.Member(path: "state/store", kind: .directory))
        add(
            BackupManifest.Member(path: BackupArea.storeMember, kind: .file, byteCount: storeByteCount, mode: 0o600),
            stored: storeByteCount)
        for area in ["images", "builders", "builds"] { try walk("state/\(area)") }
    }

    /// Directories of the configuration that are backed up though links lead to them.
    private static let mayBeLinks = ["config", "config/slots.d"]

    /// Of files in them.
    func count(_ prefix: String, _ suffix: String = "") -> Int {
        members.count { $0.kind == .file && $0.path.hasPrefix(prefix) && $0.path.hasSuffix(suffix) }
    }

    private mutating func add(_ member: BackupManifest.Member, stored: UInt64 = 0) {
        members.append(member)
        storedByteCount += stored + UInt64(TarHeader.padding(stored)) + 512
        if member.path.utf8.count > 90 { storedByteCount += 1024 }
    }

    private mutating func walk(_ member: String) throws(StationError) {
        let path = places.path(member)
        guard let status = try look(path, followingLinks: Self.mayBeLinks.contains(member)) else {
            if member != "config" { return }
            throw StationError(
                "backup_unreadable", "there is no \(path.printable()), where the configuration should be",
                remedy: "--config DIR says where it is")
        }
        guard status.kind == .directory else {
            throw StationError(
                "backup_unreadable", "\(path.printable()) is no directory, so nothing of it would be in the backup",
                remedy: "put the directory there, or mount it")
        }
        add(BackupManifest.Member(path: member, kind: .directory, mode: status.mode))
        if member == "state/builders", !withBuilders { return }
        do {
            for name in try Descriptor(opening: path, O_RDONLY | O_DIRECTORY).entryNames() {
                guard let name else {
                    warnings.append("left out, for its name is no text: something in \(path.printable())")
                    continue
                }
                try visit("\(member)/\(name)")
            }
        } catch let error as SystemError {
            // An eviction takes whole directories away.
            if error.number != ENOENT { throw error.asStationError("backup_unreadable") }
        } catch let error as StationError {
            throw error
        } catch { throw StationError("backup_unreadable", "\(error)") }
    }

    private mutating func visit(_ member: String) throws(StationError) {
        let path = places.path(member)
        // What manages a host's configuration makes links there: what they lead to is kept.
        let isConfig = Path.below("config", member) != nil
        guard var status = try look(path, followingLinks: false) else { return }
        if status.kind == .link, isConfig, let target = try? FileStatus(of: path),
            target.kind == .regular || Self.mayBeLinks.contains(member)
        {
            status = target
        }
        let kinds: [FileStatus.Kind: BackupManifest.Member.Kind] = [
            .regular: .file, .directory: .directory, .link: .link,
        ]
        guard let archived = kinds[status.kind], BackupArea.isKept(member, archived) else {
            if (try? BackupArea(of: member)) == nil {
                warnings.append("left out, for its path is too long: \(path.printable(limit: 100))")
            } else if BackupArea.isKept(member, .file) {
                warnings.append("left out: \(path.printable()) is neither file nor directory")
            }
            return
        }
        switch archived {
        case .directory: try walk(member)
        case .link:
            guard let target = SmallFile.link(path) else { return }
            guard BackupArea.staysInside(member, target: target) else {
                warnings.append("left out: \(path.printable()) is a link out of its tree")
                return
            }
            add(BackupManifest.Member(path: member, kind: .link, target: target))
        case .file:
            add(
                BackupManifest.Member(path: member, kind: .file, byteCount: status.byteCount),
                stored: min(status.byteCount, status.allocatedByteCount))
        }
    }

    /// - Returns: nil for what went away meanwhile.
    private func look(_ path: String, followingLinks: Bool) throws(StationError) -> FileStatus? {
        do { return try FileStatus(of: path, followingLinks: followingLinks) } catch {
            if error.number == ENOENT { return nil }
            throw error.asStationError("backup_unreadable")
        }
    }
}
