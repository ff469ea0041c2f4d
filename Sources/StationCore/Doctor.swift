/// Something about the host or the station that keeps it from working as it should.
package struct Finding: Codable, Equatable, Sendable {
    package enum Severity: String, Codable, Sendable {
        /// Cards are not written, or not safely, until it is mended.
        case error
        case warning
    }

    package var severity: Severity
    /// Stable, for scripts.
    package var code: String
    package var finding: String
    /// What it leads to.
    package var consequence: String
    /// The command that mends it, or in words what does.
    package var mend: String

    package init(_ severity: Severity, _ code: String, _ finding: String, _ consequence: String, mend: String) {
        self.severity = severity
        self.code = code
        self.finding = finding
        self.consequence = consequence
        self.mend = mend
    }
}

/// What `doctor` has seen of a host. Gathered elsewhere; judged here.
package struct HostFacts: Sendable {
    package struct Unit: Sendable {
        package var name: String
        /// As `systemctl show` says them: `loaded`, `not-found`, `masked`; `active`, `inactive`, `failed`; `enabled`, `disabled`.
        package var loadState: String
        package var activeState: String
        package var fileState: String
        /// Why it did not start, where it said so.
        package var problem: StationError?
        package init(
            name: String, loadState: String, activeState: String, fileState: String, statusText: String = ""
        ) {
            self.name = name
            self.loadState = loadState
            self.activeState = activeState
            self.fileState = fileState
            problem = Self.problem(statusText)
        }

        private static let mark = "did not start: "

        /// What a daemon that does not start leaves with systemd.
        package static func statusText(_ error: StationError) -> String {
            "\(mark)\(error.code): \(error.description.split(separator: "\n").joined(separator: " "))"
        }

        private static func problem(_ statusText: String) -> StationError? {
            guard statusText.hasPrefix(mark) else { return nil }
            let words = statusText.dropFirst(mark.count).split(separator: ":", maxSplits: 1)
            guard words.count == 2 else { return nil }
            let parts = words[1].dropFirst().split(separator: " — ")
            guard let remedy = parts.last, parts.count > 1 else {
                return StationError(String(words[0]), String(words[1].dropFirst()))
            }
            return StationError(
                String(words[0]), parts.dropLast().joined(separator: " — "), remedy: String(remedy))
        }
    }

    /// A declared slot, and the disk that is there now.
    package struct Slot: Sendable {
        package var name: SlotName
        /// `/sys` path and name of the disk; nil when no reader is there.
        package var devicePath: String?
        package var disk: String?
        /// Whether udev has given the node to the slot's writer.
        package var isOpened: Bool
        package init(name: SlotName, devicePath: String? = nil, disk: String? = nil, isOpened: Bool = false) {
            self.name = name
            self.devicePath = devicePath
            self.disk = disk
            self.isOpened = isOpened
        }
    }

    /// Who asks.
    package struct Caller: Sendable {
        package var name: String
        package var isRoot: Bool
        package var isReader: Bool
        package var isOperator: Bool
        package init(name: String, isRoot: Bool, isReader: Bool, isOperator: Bool) {
            self.name = name
            self.isRoot = isRoot
            self.isReader = isReader
            self.isOperator = isOperator
        }
    }

    package var configurationProblem: StationError?
    package var slotProblems: [StationError] = []
    package var caller: Caller
    package var missingUsers: [String] = []
    /// What restores left: the file of one that was cut off in its exchange, and directories that were not finished.
    package var restoreMarker: String?
    package var restoreLeftovers: [String] = []
    package var missingRules: [String] = []
    /// Files of `/etc/udev/rules.d` that stand in place of the station's.
    package var overriddenRules: [String] = []
    /// Directories that are not there, or not as `systemd-tmpfiles` makes them; what is wrong with each.
    package var wrongDirectories: [String] = []
    /// Nil where there is no systemd.
    package var units: [Unit]?
    /// Why the station did not answer.
    package var stationProblem: StationError?
    /// What it says of itself.
    package var reportedProblems: [StationError] = []
    package var slots: [Slot] = []
    /// `6.1.0-18-amd64`.
    package var kernelRelease: String
    package var hasLandlock = true
    package var hasSeccomp = true
    /// The setting of the kernel's that keeps users from making namespaces, `key=value`; nil where they may.
    package var namespaceLock: String?
    /// `x86_64`.
    package var machine: String
    /// Packages whose programs are not there, of those that the Image Builder needs of its host.
    package var missingPackages: [String] = []
    /// Of the file system that the library is in, in bytes; nil where it could not be asked.
    package var freeByteCount: UInt64?
    package var fileSystemByteCount: UInt64 = .max
    package var storageLimit: UInt64
    package var isJournalKept = true
    package var isClockSet = true

    package init(caller: Caller, kernelRelease: String, machine: String, storageLimit: UInt64) {
        self.caller = caller
        self.kernelRelease = kernelRelease
        self.machine = machine
        self.storageLimit = storageLimit
    }
}

/// Judges facts. Pure.
package enum Doctor {
    /// Less than this is no room to work in, in bytes.
    package static let leastRoom: UInt64 = 1 << 30

    /// Errors first; else in the order in which one leads to the next.
    package static func examine(_ host: HostFacts) -> [Finding] {
        let all =
            installation(host) + configuration(host) + units(host) + slots(host) + kernel(host) + room(host)
            + building(host) + records(host) + caller(host)
        return all.filter { $0.severity == .error } + all.filter { $0.severity == .warning }
    }

    private static func installation(_ host: HostFacts) -> [Finding] {
        var found: [Finding] = []
        if !host.missingUsers.isEmpty {
            found.append(
                Finding(
                    .error, "user_missing", "there is no user or group \(host.missingUsers.joined(separator: ", "))",
                    "its programs cannot start",
                    mend: "sudo systemd-sysusers flashing-station.conf && sudo systemctl try-restart stationd.service"))
        }
        if let marker = host.restoreMarker {
            let problem = RestoreCommit.unfinished(marker)
            found.append(
                Finding(
                    .error, problem.code, problem.message,
                    "the station does not start: it would have half of each state",
                    mend: problem.remedy))
        } else if !host.restoreLeftovers.isEmpty {
            let paths = host.restoreLeftovers.joined(separator: " ")
            found.append(
                Finding(
                    .warning, "restore_leftovers",
                    "\(paths): left by a restore that was cut off before it changed anything",
                    "they take room until the next restore", mend: "sudo rm -r \(paths)"))
        }
        for path in host.missingRules {
            found.append(
                Finding(
                    .error, "udev_rules_missing", "\(path) is not there",
                    "cards in slots are not opened to their writers, and the host may probe and assemble what is on them",
                    mend: "sudo apt install --reinstall flashing-station"))
        }
        for path in host.overriddenRules {
            found.append(
                Finding(
                    .error, "udev_rules_overridden", "\(path) stands in place of the station's own rules",
                    "nobody knows whether the host leaves cards in slots alone",
                    mend: "sudo rm \(path) && sudo udevadm control --reload"))
        }
        if !host.wrongDirectories.isEmpty {
            found.append(
                Finding(
                    .error, "directory_wrong", host.wrongDirectories.joined(separator: "; "),
                    "the station cannot keep what it has to, or others can change it",
                    mend: "sudo systemd-tmpfiles --create flashing-station.conf"))
        }
        return found
    }

    private static func configuration(_ host: HostFacts) -> [Finding] {
        var found: [Finding] = []
        if let problem = host.configurationProblem {
            found.append(
                Finding(
                    .error, problem.code, problem.message,
                    "every card is refused, and the daemon does not start anew",
                    mend: mend(problem)))
        }
        for problem in host.slotProblems {
            found.append(
                Finding(
                    .error, problem.code, problem.message, "what that file declares is no slot",
                    mend: mend(problem)))
        }
        return found
    }

    /// The daemon has to read the mended file, too.
    private static func mend(_ problem: StationError) -> String {
        let isCommand = ["chmod ", "chown "].contains { problem.remedy.hasPrefix($0) }
        if isCommand { return "sudo \(problem.remedy) && sudo systemctl reload stationd.service" }
        return (problem.remedy.isEmpty ? "mend that file" : problem.remedy)
            + ", then: sudo systemctl reload stationd.service"
    }

    private static func units(_ host: HostFacts) -> [Finding] {
        guard let units = host.units else {
            return [
                Finding(
                    .warning, "no_systemd", "systemd does not run here",
                    "the daemon is started by nobody, and its writers are not shut in by the kernel",
                    mend: "boot with systemd")
            ]
        }
        var found: [Finding] = []
        for unit in units {
            let effect =
                switch unit.name {
                case "stationd.service": "no card is noticed"
                case "station-library.socket": "no image is imported, and none built"
                default: "no card in that slot is written"
                }
            if unit.loadState == "masked" {
                found.append(
                    Finding(
                        .error, "unit_masked", "\(unit.name) is masked", effect,
                        mend: "sudo systemctl unmask \(unit.name) && sudo systemctl start \(unit.name)"))
            } else if unit.loadState != "loaded" {
                found.append(
                    Finding(
                        .error, "unit_missing", "\(unit.name) is \(unit.loadState)", effect,
                        mend: "sudo apt install --reinstall flashing-station"))
            } else if let problem = unit.problem, ["failed", "activating"].contains(unit.activeState),
                problem.code != host.configurationProblem?.code
            {
                // systemd may still be trying.
                let start = "sudo systemctl reset-failed \(unit.name) && sudo systemctl start \(unit.name)"
                found.append(
                    Finding(
                        .error, problem.code, "\(unit.name) does not start: \(problem.message)", effect,
                        mend: problem.remedy.isEmpty ? start : "\(problem.remedy), then: \(start)"))
            } else if unit.activeState == "failed" {
                found.append(
                    Finding(
                        .error, "unit_failed", "\(unit.name) has failed", effect,
                        mend: "sudo systemctl reset-failed \(unit.name) && sudo systemctl start \(unit.name)"))
            } else if !["active", "reloading", "activating"].contains(unit.activeState) {
                found.append(
                    Finding(
                        .error, "unit_inactive", "\(unit.name) is \(unit.activeState)", effect,
                        mend: "sudo systemctl start \(unit.name)"))
            }
            // A slot's socket is wanted by udev, too, when its disk appears.
            if unit.loadState == "loaded", unit.fileState == "disabled", !unit.name.hasPrefix("station-writer@") {
                found.append(
                    Finding(
                        .warning, "unit_disabled", "\(unit.name) is not enabled",
                        "after the next boot it is there only when a card comes",
                        mend: "sudo systemctl enable \(unit.name)"))
            }
        }
        if let problem = host.stationProblem,
            !found.contains(where: { $0.severity == .error && $0.finding.hasPrefix("stationd.service") })
        {
            found.append(
                Finding(
                    .error, problem.code, problem.message, "nothing can be asked of the station, or told to it",
                    mend: problem.remedy.isEmpty ? "sudo systemctl restart stationd.service" : problem.remedy))
        }
        let known = Set(host.slotProblems.map(\.code))
        for problem in host.reportedProblems where !known.contains(problem.code) {
            if problem.code.hasPrefix("slot_file") {
                // The file is good by now, and the daemon does not know.
                found.append(
                    Finding(
                        .error, "slot_file_unread",
                        "the daemon last read a slot file that was wrong: \(problem.message)",
                        "what that file declares is no slot", mend: "sudo systemctl reload stationd.service"))
                continue
            }
            found.append(
                Finding(
                    .error, problem.code, problem.message, "the station goes on without what it is about",
                    mend: problem.remedy.isEmpty ? "see journalctl -u stationd.service" : problem.remedy))
        }
        return found
    }

    private static func slots(_ host: HostFacts) -> [Finding] {
        var found: [Finding] = []
        if host.slots.isEmpty {
            found.append(
                Finding(
                    .warning, "no_slots", "no slot is declared", "no card is ever written",
                    mend: "sudo stationctl slot learn slot1"))
        }
        for slot in host.slots {
            if let path = slot.devicePath, !slot.isOpened {
                found.append(
                    Finding(
                        .error, "node_closed",
                        "/dev/\(slot.disk ?? "?") in \(slot.name) does not belong to the writers' group, or has no link",
                        "its card is refused (permission_denied)",
                        mend:
                            "sudo udevadm control --reload && sudo udevadm trigger --action=change --settle /sys\(path)"
                    ))
            }
        }
        return found
    }

    private static func kernel(_ host: HostFacts) -> [Finding] {
        var found: [Finding] = []
        let numbers = host.kernelRelease.split { $0 == "." || $0 == "-" }.prefix(2).compactMap { Int($0) }
        if numbers.count == 2, (numbers[0], numbers[1]) < (5, 15) {
            found.append(
                Finding(
                    .error, "kernel_old", "this kernel is \(host.kernelRelease); 5.15 is needed",
                    "it does not count disks, so one card cannot be told from the next, and every card is refused",
                    mend: "sudo apt install linux-image-\(host.machine == "x86_64" ? "amd64" : "arm64"), and boot it"))
        }
        let missing = [host.hasLandlock ? nil : "Landlock", host.hasSeccomp ? nil : "seccomp"].compactMap { $0 }
        if !missing.isEmpty {
            found.append(
                Finding(
                    .warning, "kernel_doors", "this kernel has no \(missing.joined(separator: " and no "))",
                    "a writer that a card has taken over is held by its unit's limits only",
                    mend: missing == ["Landlock"]
                        ? "boot with lsm=landlock,… (cat /sys/kernel/security/lsm)" : "boot Debian's kernel"))
        }
        if let lock = host.namespaceLock {
            found.append(
                Finding(
                    .warning, "namespaces_locked", "users may make no namespaces here (\(lock))",
                    "no image is built; images that are imported are written as ever",
                    mend: lock.hasPrefix("user.")
                        ? "sudo sysctl -w user.max_user_namespaces=10000" : "sudo sysctl -w \(unlocked(lock))"))
        }
        return found
    }

    /// The same setting as it would be without the lock: those in question are switches.
    private static func unlocked(_ setting: String) -> String {
        let (key, value) = (setting.prefix { $0 != "=" }, setting.drop { $0 != "=" }.dropFirst())
        return "\(key)=\(value == "0" ? "1" : "0")"
    }

    private static func room(_ host: HostFacts) -> [Finding] {
        guard let free = host.freeByteCount else { return [] }
        if free < leastRoom {
            return [
                Finding(
                    .error, "disk_full",
                    "the file system of /var/lib/flashing-station has \(Quantity.bytes(free)) left",
                    "there may be no room for records, and then no job begins, nor for what is imported or built",
                    mend: "stationctl builder prune, stationctl image remove, or a larger disk")
            ]
        }
        guard host.storageLimit > host.fileSystemByteCount else { return [] }
        return [
            Finding(
                .warning, "storage_limit_high",
                """
                StorageLimit= is \(Quantity.bytes(host.storageLimit)), and the file system has \
                \(Quantity.bytes(host.fileSystemByteCount)) in all
                """,
                "the disk is full before the station makes room",
                mend:
                    "set StorageLimit= in /etc/flashing-station/station.conf to less, then: sudo systemctl reload stationd.service"
            )
        ]
    }

    private static func building(_ host: HostFacts) -> [Finding] {
        if host.machine != "x86_64" {
            return [
                Finding(
                    .warning, "builder_architecture",
                    "this host is \(host.machine), and OpenWrt's Image Builder runs on x86_64 only",
                    "no profile is built here; images that are imported are written as ever",
                    mend: "build elsewhere, and: stationctl image import FILE")
            ]
        }
        guard !host.missingPackages.isEmpty else { return [] }
        let names = host.missingPackages.joined(separator: " ")
        return [
            Finding(
                .warning, "tool_missing", "not installed: \(names)",
                "images may not be built; images that are imported are written as ever",
                mend: "sudo apt install \(names)")
        ]
    }

    private static func records(_ host: HostFacts) -> [Finding] {
        var found: [Finding] = []
        if !host.isJournalKept {
            found.append(
                Finding(
                    .warning, "journal_volatile", "/var/log/journal is not there",
                    "what the journal says of cards is gone with the next boot; stationctl history stays",
                    mend: "sudo mkdir -p /var/log/journal && sudo systemctl restart systemd-journald.service"))
        }
        if !host.isClockSet {
            found.append(
                Finding(
                    .warning, "clock_unset", "no time source has set the clock",
                    "times in history are marked with a question mark, and certificates may look out of date",
                    mend: "sudo timedatectl set-ntp true"))
        }
        return found
    }

    private static func caller(_ host: HostFacts) -> [Finding] {
        let caller = host.caller
        guard !caller.isRoot, !caller.isOperator else { return [] }
        return [
            Finding(
                .warning, "not_operator", "\(caller.name) is in no group station-operator",
                caller.isReader ? "you may look, and change nothing" : "you may neither look nor change anything",
                mend: "sudo adduser \(caller.name) station-operator, then log in anew")
        ]
    }
}
