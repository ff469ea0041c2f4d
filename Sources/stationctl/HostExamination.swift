import Glibc
import StationCore
import StationLinux

/// Looks at this host for `doctor`. What cannot be seen is left out, never made up.
struct HostExamination {
    let socketPath: String

    private static let library = "/var/lib/flashing-station"
    private static let users = ["station", "station-writer", "station-library"]

    func facts() -> HostFacts {
        var kernel = utsname()
        uname(&kernel)
        var configuration = StationConfiguration()
        var configurationProblem: StationError?
        do { configuration = try ConfigurationFiles.load() } catch { configurationProblem = error }
        var host = HostFacts(
            caller: caller, kernelRelease: text(of: kernel.release), machine: text(of: kernel.machine),
            storageLimit: configuration.storageLimit)
        host.configurationProblem = configurationProblem
        let (slots, problems) = SlotDirectory.load()
        host.slotProblems = problems
        host.missingUsers =
            Self.users.filter { UserDatabase.userID(named: $0) == nil || UserDatabase.groupID(named: $0) == nil }
            + ["station-operator"].filter { UserDatabase.groupID(named: $0) == nil }
        (host.missingRules, host.overriddenRules) = rules
        let trees = [ConfigurationFiles.directory, Self.library]
        host.restoreMarker = trees.map { $0 + RestoreCommit.markerSuffix }.first(where: isThere)
        host.restoreLeftovers = trees.map { $0 + RestoreCommit.freshSuffix }.filter(isThere)
        host.wrongDirectories = wrongDirectories
        if isThere("/run/systemd/system") { host.units = units(slots) }
        askStation(&host)
        host.slots = slots.map { examine($0) }
        lookAtKernel(&host)
        host.missingPackages = Set(Self.tools.filter { !Self.isInstalled($0.program) }.map(\.package)).sorted()
        if let room = try? FileSystemRoom(of: Self.library) {
            host.freeByteCount = room.freeByteCount
            host.fileSystemByteCount = room.byteCount
        }
        host.isJournalKept = isThere("/var/log/journal")
        host.isClockSet = SystemClock.isSynchronised()
        return host
    }

    private func isThere(_ path: String) -> Bool { (try? FileStatus(of: path)) != nil }

    private func text<Characters>(of characters: Characters) -> String {
        withUnsafeBytes(of: characters) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    /// As the kernel has it: somebody who was put into a group has to log in anew first.
    private var caller: HostFacts.Caller {
        var groups = [gid_t](repeating: 0, count: 65_536)
        let count = max(0, getgroups(Int32(groups.count), &groups))
        let held = Set(groups.prefix(Int(count)) + [getegid()])
        func isIn(_ name: String) -> Bool { UserDatabase.groupID(named: name).map(held.contains) ?? false }
        return HostFacts.Caller(
            name: UserDatabase.userName(geteuid()) ?? "uid \(geteuid())", isRoot: geteuid() == 0,
            isReader: isIn("station"), isOperator: isIn("station-operator"))
    }

    private var rules: (missing: [String], overridden: [String]) {
        let names = ["59-flashing-station.rules", "60-flashing-station-lights.rules"]
        let missing = names.filter { !isThere("/lib/udev/rules.d/\($0)") }.map { "/lib/udev/rules.d/\($0)" }
        let others = ["/etc/udev/rules.d", "/run/udev/rules.d"].flatMap { folder in names.map { "\(folder)/\($0)" } }
        // A link to /dev/null counts: it switches the rules off.
        return (missing, others.filter { (try? FileStatus(of: $0, followingLinks: false)) != nil })
    }

    /// As `tmpfiles.d` makes them.
    private var wrongDirectories: [String] {
        let owned: [(String, String, UInt32)] = [
            ("/etc/flashing-station", "root", 0o755), ("/etc/flashing-station/slots.d", "root", 0o755),
            (Self.library, "root", 0o755), ("\(Self.library)/images", "station-library", 0o750),
            ("\(Self.library)/builders", "station-library", 0o750),
            ("\(Self.library)/builds", "station-library", 0o750),
        ]
        return owned.compactMap { path, owner, mode in
            guard let status = try? FileStatus(of: path, followingLinks: false) else { return "\(path) is not there" }
            guard status.kind == .directory else { return "\(path) is no directory" }
            guard let ownerID = UserDatabase.userID(named: owner) else { return nil }
            guard status.ownerID == ownerID else { return "\(path) is not \(owner)'s" }
            guard status.mode & 0o777 == mode else {
                return "\(path) has mode \(String(status.mode & 0o777, radix: 8)), not \(String(mode, radix: 8))"
            }
            return nil
        }
    }

    private func units(_ slots: [SlotDeclaration]) -> [HostFacts.Unit] {
        let names = ["stationd.service", "station-library.socket"] + slots.map { "station-writer@\($0.name).socket" }
        let words = ["show", "--property=Id,LoadState,ActiveState,UnitFileState,StatusText"] + names
        guard let said = try? ChildProcess.output(of: "/usr/bin/systemctl", words).text else { return [] }
        return said.split(separator: "\n\n").compactMap { block in
            var values: [Substring: Substring] = [:]
            for line in block.split(separator: "\n") {
                let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                if parts.count == 2 { values[parts[0]] = parts[1] }
            }
            guard let name = values["Id"] else { return nil }
            return HostFacts.Unit(
                name: String(name), loadState: String(values["LoadState"] ?? ""),
                activeState: String(values["ActiveState"] ?? ""), fileState: String(values["UnitFileState"] ?? ""),
                statusText: String(values["StatusText"] ?? ""))
        }
    }

    private func askStation(_ host: inout HostFacts) {
        do throws(StationError) {
            let status = try ControlClient(socketPath: socketPath).call(.getStatus, as: Control.Status.self)
            host.reportedProblems = status.problems
        } catch {
            // Who may not ask is told so by the groups.
            if error.code != "permission_denied" { host.stationProblem = error }
        }
    }

    private func examine(_ slot: SlotDeclaration) -> HostFacts.Slot {
        guard let disk = Sysfs.allDisks().first(where: { $0.place == slot.place }) else {
            return HostFacts.Slot(name: slot.name)
        }
        let group = UserDatabase.groupID(named: "station-writer")
        let node = try? FileStatus(of: "/dev/flashing-station/\(slot.name)")
        let isOpened =
            node?.kind == .block && node?.groupID == group
            && node?.deviceNumber == Sysfs.number(devicePath: disk.devicePath)
        return HostFacts.Slot(name: slot.name, devicePath: disk.devicePath, disk: disk.name, isOpened: isOpened)
    }

    private func lookAtKernel(_ host: inout HostFacts) {
        if let modules = SmallFile.attribute("/sys/kernel/security/lsm") {
            host.hasLandlock = modules.split(separator: ",").contains("landlock")
        }
        host.hasSeccomp = isThere("/proc/sys/kernel/seccomp/actions_avail")
        let locks = [
            ("user.max_user_namespaces", "0"), ("kernel.unprivileged_userns_clone", "0"),
            ("kernel.apparmor_restrict_unprivileged_userns", "1"),
        ]
        host.namespaceLock =
            locks.first { key, locked in SmallFile.attribute("/proc/sys/" + key.replacing(".", with: "/")) == locked }
            .map { "\($0.0)=\($0.1)" }
    }

    /// What the Image Builder and its sandbox need of their host: a program of each package.
    private static let tools: [(program: String, package: String)] = [
        ("bwrap", "bubblewrap"), ("make", "build-essential"), ("gcc", "build-essential"), ("gawk", "gawk"),
        ("unzip", "unzip"),
        ("bzip2", "bzip2"), ("wget", "wget"), ("python3", "python3"), ("rsync", "rsync"), ("file", "file"),
        ("git", "git"),
        ("zstd", "zstd"), ("xz", "xz-utils"), ("perl", "perl"),
    ]

    private static func isInstalled(_ program: String) -> Bool {
        ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].contains { access("\($0)/\(program)", X_OK) == 0 }
    }
}
