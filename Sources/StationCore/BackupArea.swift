/// The parts of a station's state, as the members of a backup are named: what may stand in each, and whose it is there.
///
/// Owners and modes come from here and from no archive.
package enum BackupArea: Equatable, Sendable {
    case config, state, store, images, builders, builds

    /// Whose the files are: the user and the group of that name.
    package enum Owner: String, Sendable {
        case root
        case station
        case library = "station-library"
    }

    /// The two trees.
    package static let roots = ["config", "state"]
    package static let storeMember = "state/store/station.db"
    /// The longest path, in bytes.
    private static let pathLimit = 1024

    /// - Throws: `backup_member` for a path that could lead out of the tree, or that no station's state has.
    package init(of path: String) throws(StationError) {
        let parts = Path.parts(path, omittingEmpty: false)
        guard path.utf8.count <= Self.pathLimit, !path.utf8.contains(0) else {
            throw Self.refusal(path, "has a name that is too long, or no text")
        }
        guard !Path.isAbsolute(path) else { throw Self.refusal(path, "is an absolute path") }
        guard parts.allSatisfy({ !["", ".", ".."].contains($0) && $0.utf8.count <= 255 }) else {
            throw Self.refusal(path, "has “..”, “.” or nothing between its slashes")
        }
        switch parts.prefix(2) {
        case let some where some.first == "config": self = .config
        case ["state"]: self = .state
        case ["state", "store"]: self = .store
        case ["state", "images"]: self = .images
        case ["state", "builders"]: self = .builders
        case ["state", "builds"]: self = .builds
        default: throw Self.refusal(path, "is nothing of a station's state")
        }
    }

    package static func refusal(_ path: String, _ why: String) -> StationError {
        StationError(
            "backup_member", "the member \(path.printable(limit: 300)) \(why)",
            remedy: "this is no backup as stationctl makes it; nothing was changed")
    }

    package var owner: Owner {
        switch self {
        case .config, .state: .root
        case .store: .station
        case .images, .builders, .builds: .library
        }
    }

    /// The permission bits that a member gets: never more than the owner may write, and no others of the twelve.
    package func mode(_ path: String, _ kind: BackupManifest.Member.Kind, archived: UInt32?) -> UInt32 {
        let isRoot = Path.parts(path).count == (self == .config || self == .state ? 1 : 2)
        switch self {
        case .state: return 0o755
        // What is shut, as keys are, stays so.
        case .config where kind == .directory: return (archived ?? 0o755) & 0o755 | 0o700
        case .config: return (archived ?? 0o644) & 0o755 | 0o400
        case .store: return kind == .directory ? 0o700 : 0o600
        case .images: return kind == .directory ? 0o750 : 0o440
        case .builders, .builds:
            if kind == .directory { return isRoot ? 0o750 : (archived ?? 0o750) & 0o755 | 0o700 }
            return (archived ?? 0o640) & 0o755 | 0o400
        }
    }

    /// - Throws: `backup_member` where the area has no such thing.
    func checkName(_ path: String, _ kind: BackupManifest.Member.Kind) throws(StationError) {
        let parts = Path.parts(path)
        let isGood =
            switch self {
            case .config: kind != .link && (parts.count > 1 || kind == .directory)
            case .state: kind == .directory
            case .store: parts.count == 2 ? kind == .directory : path == Self.storeMember && kind == .file
            case .images:
                parts.count == 2 ? kind == .directory : parts.count == 3 && kind == .file && Self.isSealed(parts[2])
            case .builders: parts.count == 2 ? kind == .directory : SHA256Digest(parts[2]) != nil
            case .builds: parts.count == 2 ? kind == .directory : BuildID(parts[2]) != nil || parts[2] == ".local-key"
            }
        guard isGood else { throw Self.refusal(path, "is nothing of a station's state") }
    }

    /// Whether a station's file of this name belongs into a backup; what is not finished, or kept for nobody, does not.
    package static func isKept(_ path: String, _ kind: BackupManifest.Member.Kind) -> Bool {
        guard let area = try? BackupArea(of: path) else { return false }
        return (try? area.checkName(path, kind)) != nil
    }

    private static func isSealed(_ name: String) -> Bool {
        [".img", ".overlay.tar"].contains { suffix in
            name.hasSuffix(suffix) && SHA256Digest(String(name.dropLast(suffix.utf8.count))) != nil
        }
    }

    /// Image Builders and builds have links within their own tree, and nothing else has any.
    /// - Throws: `backup_member`.
    func checkLink(_ path: String, target: String) throws(StationError) {
        guard self == .builders || self == .builds else { throw Self.refusal(path, "is a link") }
        guard Self.staysInside(path, target: target) else {
            throw Self.refusal(path, "is a link out of its tree, to \(target.printable(limit: 100))")
        }
    }

    /// Whether a link leads to somewhere in the same build or Image Builder, by its words alone; those of an Image Builder may lead to
    /// tools of the host, as they do when it is fetched.
    package static func staysInside(_ path: String, target: String) -> Bool {
        // `state/builds/ID` is the top of its tree.
        let depth = Path.parts(path).count - 4
        guard depth >= 0, target.utf8.count <= pathLimit else { return false }
        if Path.isAbsolute(target) { return Path.below("state/builders", path) != nil }
        return Path.staysInside(target, depth: depth)
    }
}
