import StationCore
import Testing

@Suite("doctor: each fault alone is one finding, with what follows and what mends it")
struct DoctorTests {
    private static let slot = try? SlotName("slot1")

    /// A host with nothing wrong.
    private static func sound() -> HostFacts {
        var host = HostFacts(
            caller: .init(name: "ann", isRoot: false, isReader: true, isOperator: true),
            kernelRelease: "6.1.0-18-amd64",
            machine: "x86_64", storageLimit: 64 << 30)
        host.units = ["stationd.service", "station-library.socket", "station-writer@slot1.socket"].map {
            .init(name: $0, loadState: "loaded", activeState: "active", fileState: "enabled")
        }
        host.slots =
            slot.map { [.init(name: $0, devicePath: "/devices/a/block/sda", disk: "sda", isOpened: true)] } ?? []
        host.freeByteCount = 100 << 30
        host.fileSystemByteCount = 200 << 30
        return host
    }

    /// The daemon's, which systemd starts over and over.
    private static func unit(saying problem: StationError) -> HostFacts.Unit {
        .init(
            name: "stationd.service", loadState: "loaded", activeState: "activating", fileState: "enabled",
            statusText: HostFacts.Unit.statusText(problem))
    }

    @Test("why the daemon did not start comes back from systemd as it was told")
    func startProblem() {
        for problem in [
            StationError("store_from_future", "a newer — store: x", remedy: "sudo mv a b"), StationError("x", "y"),
        ] {
            #expect(Self.unit(saying: problem).problem == problem)
        }
        #expect(
            HostFacts.Unit(name: "", loadState: "", activeState: "", fileState: "", statusText: "slot1 empty").problem
                == nil)
    }

    private struct Fault: Sendable, CustomTestStringConvertible {
        let code: String
        let severity: Finding.Severity
        /// What the command that mends it has in it.
        let mend: String
        let make: @Sendable (inout HostFacts) -> Void
        var testDescription: String { code }

        init(
            _ code: String, _ severity: Finding.Severity, _ mend: String,
            _ make: @escaping @Sendable (inout HostFacts) -> Void
        ) {
            self.code = code
            self.severity = severity
            self.mend = mend
            self.make = make
        }
    }

    private static let faults: [Fault] = [
        Fault("user_missing", .error, "systemd-sysusers") { $0.missingUsers = ["station-writer"] },
        Fault("restore_unfinished", .error, "restore --continue") { $0.restoreMarker = "/x.restoring" },
        Fault("restore_leftovers", .warning, "rm -r /x.unpacking") { $0.restoreLeftovers = ["/x.unpacking"] },
        Fault("udev_rules_missing", .error, "--reinstall") { $0.missingRules = ["/lib/udev/rules.d/59-x.rules"] },
        Fault("udev_rules_overridden", .error, "rm /etc/udev/rules.d/59-x.rules") {
            $0.overriddenRules = ["/etc/udev/rules.d/59-x.rules"]
        },
        Fault("directory_wrong", .error, "systemd-tmpfiles --create") { $0.wrongDirectories = ["/x is not there"] },
        Fault("config_value", .error, "reload") { $0.configurationProblem = StationError("config_value", "no number") },
        Fault("slot_file_unread", .error, "reload stationd.service") {
            $0.reportedProblems = [StationError("slot_file_untrusted", "x may be written", remedy: "chmod 644 x")]
        },
        Fault("slot_file_untrusted", .error, "sudo chmod 644 x && sudo systemctl reload") {
            $0.slotProblems = [StationError("slot_file_untrusted", "x may be written", remedy: "chmod 644 x")]
        },
        Fault("no_systemd", .warning, "systemd") { $0.units = nil },
        Fault("unit_masked", .error, "unmask station-writer@slot1.socket") { $0.units?[2].loadState = "masked" },
        Fault("unit_missing", .error, "--reinstall") { $0.units?[1].loadState = "not-found" },
        Fault("unit_failed", .error, "reset-failed stationd.service") { $0.units?[0].activeState = "failed" },
        Fault("store_from_future", .error, "install it, then: sudo systemctl reset-failed stationd.service") {
            $0.units?[0] = unit(saying: StationError("store_from_future", "a newer — store: x", remedy: "install it"))
        },
        Fault("storage_full", .error, "sudo systemctl reset-failed stationd.service && ") {
            $0.units?[0] = unit(saying: StationError("storage_full", "no room"))
        },
        Fault("unit_inactive", .error, "start stationd.service") { $0.units?[0].activeState = "inactive" },
        Fault("unit_disabled", .warning, "enable stationd.service") { $0.units?[0].fileState = "disabled" },
        Fault("station_unreachable", .error, "restart stationd.service") {
            $0.stationProblem = StationError("station_unreachable", "nobody answers")
        },
        Fault("store_unusable", .error, "journalctl") {
            $0.reportedProblems = [StationError("store_unusable", "the store cannot be opened")]
        },
        Fault("no_slots", .warning, "slot learn") { $0.slots = [] },
        Fault("node_closed", .error, "udevadm trigger --action=change --settle /sys/devices/a/block/sda") {
            $0.slots[0].isOpened = false
        },
        Fault("kernel_old", .error, "linux-image-amd64") { $0.kernelRelease = "5.10.0-28-amd64" },
        Fault("kernel_doors", .warning, "lsm") { $0.hasLandlock = false },
        Fault("namespaces_locked", .warning, "kernel.unprivileged_userns_clone=1") {
            $0.namespaceLock = "kernel.unprivileged_userns_clone=0"
        },
        Fault("namespaces_locked", .warning, "kernel.apparmor_restrict_unprivileged_userns=0") {
            $0.namespaceLock = "kernel.apparmor_restrict_unprivileged_userns=1"
        },
        Fault("namespaces_locked", .warning, "user.max_user_namespaces=10000") {
            $0.namespaceLock = "user.max_user_namespaces=0"
        },
        Fault("disk_full", .error, "prune") { $0.freeByteCount = 5 << 20 },
        Fault("storage_limit_high", .warning, "StorageLimit=") { $0.fileSystemByteCount = 32 << 30 },
        Fault("builder_architecture", .warning, "image import") { $0.machine = "aarch64" },
        Fault("tool_missing", .warning, "sudo apt install gawk zstd") { $0.missingPackages = ["gawk", "zstd"] },
        Fault("journal_volatile", .warning, "/var/log/journal") { $0.isJournalKept = false },
        Fault("clock_unset", .warning, "timedatectl") { $0.isClockSet = false },
        Fault("not_operator", .warning, "adduser ann station-operator") { $0.caller.isOperator = false },
    ]

    @Test("nothing is said of a sound host") func soundHost() { #expect(Doctor.examine(Self.sound()) == []) }

    @Test("names", arguments: faults)
    private func fault(_ fault: Fault) throws {
        var host = Self.sound()
        fault.make(&host)
        let findings = Doctor.examine(host)
        let finding = try #require(findings.first)
        #expect(findings.count == 1)
        #expect(finding.code == fault.code)
        #expect(finding.severity == fault.severity)
        #expect(finding.mend.contains(fault.mend))
        #expect(!finding.finding.isEmpty && !finding.consequence.isEmpty)
    }

    @Test("all faults at once are all named, the errors first")
    func allAtOnce() {
        var host = Self.sound()
        let alone: Set<String> = ["no_systemd", "storage_limit_high", "builder_architecture", "no_slots"]
        for fault in Self.faults where !alone.contains(fault.code) { fault.make(&host) }
        let findings = Doctor.examine(host)
        let errors = findings.prefix { $0.severity == .error }
        #expect(findings.dropFirst(errors.count).allSatisfy { $0.severity == .warning })
        // The daemon that has failed explains why nobody answers.
        #expect(
            Set(findings.map(\.code)).isSuperset(of: ["unit_inactive", "unit_masked", "disk_full", "tool_missing"]))
        #expect(!findings.map(\.code).contains("station_unreachable"))
    }

    @Test("a daemon that is not enabled and does not answer is both")
    func disabledAndMute() {
        var host = Self.sound()
        host.units?[0].fileState = "disabled"
        host.stationProblem = StationError("station_unreachable", "nobody answers")
        #expect(Set(Doctor.examine(host).map(\.code)) == ["unit_disabled", "station_unreachable"])
    }

    @Test("root is in need of no group")
    func root() {
        var host = Self.sound()
        host.caller = .init(name: "root", isRoot: true, isReader: false, isOperator: false)
        #expect(Doctor.examine(host) == [])
    }
}
