import Glibc
import StationCore
import StationLinux

/// Where a station's state is, whose its files are, and its daemon's program: for `backup` and `restore`.
struct StationPlaces {
    static let options: [CommandSyntax.Option] = [
        .init("--config", value: "DIR", "where station.conf and slots.d are (\(ConfigurationFiles.directory))"),
        .init("--state", value: "DIR", "where records, images and builds are (\(installedState))"),
        .init("--programs", value: "DIR", "where stationd is (\(installedPrograms))"),
    ]

    private static let installedState = "/var/lib/flashing-station"
    private static let installedPrograms = "/usr/lib/flashing-station"

    let config: String
    let state: String
    private let programs: String

    /// - Throws: `permission_denied` unless root asks, or the station is one of a practice.
    init(_ context: Context, _ what: String) throws(StationError) {
        func path(_ option: String, _ usual: String) -> String {
            Self.canonical(context.arguments.value(option) ?? usual)
        }
        config = path("--config", ConfigurationFiles.directory)
        state = path("--state", Self.installedState)
        programs = path("--programs", Self.installedPrograms)
        isStateInstalled = Self.isSame(state, Self.installedState)
        isInstalled = isStateInstalled || Self.isSame(config, ConfigurationFiles.directory)
        guard !isInstalled || geteuid() == 0 else {
            throw StationError("permission_denied", "only root may \(what) the station", remedy: "run it with sudo")
        }
    }

    /// Those of the package, however they are written, not those of a practice station.
    let isInstalled: Bool
    private let isStateInstalled: Bool

    /// With no link and no dot before the last name, so that what is made beside it is beside it.
    private static func canonical(_ path: String) -> String {
        let names = Path.parts(path).filter { $0 != "." }
        guard let last = names.last, last != ".." else { return FileName.real(path) ?? path }
        let clean = (Path.isAbsolute(path) ? "/" : "") + names.joined(separator: "/")
        let parent = FileName.real(Path.parent(clean)) ?? Path.parent(clean)
        return parent == "/" ? "/\(last)" : "\(parent)/\(last)"
    }

    private static func isSame(_ path: String, _ installed: String) -> Bool {
        guard path != canonical(installed) else { return true }
        guard let installed = try? Descriptor(opening: installed, O_RDONLY | O_DIRECTORY) else { return false }
        return FileName.isOf(installed, FileName.real(path) ?? path)
    }

    /// The station that works with this state.
    /// - Throws: `station_unreachable`, also where another state is named and no socket: at the usual one another station would answer.
    func connect(_ context: Context) throws(StationError) -> ControlClient {
        guard isStateInstalled || context.arguments.value("--socket") != nil else {
            throw StationError(
                "station_unreachable", "no --socket says where the station of \(state.printable()) answers")
        }
        return try context.connect()
    }

    /// Whether units are to be stopped and started.
    var hasUnits: Bool { isInstalled && (try? FileStatus(of: "/run/systemd/system")) != nil }

    /// The file that says that a restore is exchanging directories.
    var marker: String { state + RestoreCommit.markerSuffix }
    var database: String { "\(state)/store/station.db" }

    /// A path of a member of a backup, below other roots than its own.
    func path(_ member: String, config: String? = nil, state: String? = nil) -> String {
        for (root, directory) in [("config", config ?? self.config), ("state", state ?? self.state)] {
            if member == root { return directory }
            if let name = Path.below(root, member) { return "\(directory)/\(name)" }
        }
        return member
    }

    /// - Throws: `user_missing`.
    func owner(_ owner: BackupArea.Owner) throws(StationError) -> (userID: UInt32, groupID: UInt32) {
        guard isInstalled else { return (geteuid(), getegid()) }
        guard let user = UserDatabase.userID(named: owner.rawValue),
            let group = UserDatabase.groupID(named: owner.rawValue)
        else {
            throw StationError(
                "user_missing", "there is no user and group \(owner.rawValue) on this host",
                remedy: "install the package flashing-station first")
        }
        return (user, group)
    }

    /// Runs the daemon's program for a moment, as the daemon's user where that is another.
    /// - Returns: what it printed.
    /// - Throws: what it says; `daemon_failed`.
    func runDaemon(_ arguments: [String], descriptors: [Descriptor] = []) throws(StationError) -> String {
        let program = "\(programs)/stationd"
        var words = [program] + arguments
        if isInstalled {
            words =
                ["/usr/bin/setpriv", "--reuid=station", "--regid=station", "--clear-groups", "--no-new-privs", "--"]
                + words
        }
        do {
            let (text, exit) = try ChildProcess.output(of: words[0], Array(words.dropFirst()), descriptors: descriptors)
            if exit == .code(0) { return text }
            if let error = StationJSON.decode(StationError.self, Array(text.utf8)) { throw error }
            throw StationError("daemon_failed", "\(program) failed: \(text.trimmed.printable(limit: 400))")
        } catch let error as SystemError {
            throw error.asStationError("daemon_failed", remedy: "is the package flashing-station installed whole?")
        } catch let error as StationError {
            throw error
        } catch { throw StationError("daemon_failed", "\(error)") }
    }
}
