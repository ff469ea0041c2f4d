import Glibc
import StationCore
import StationLinux

/// The slot files a command works on, and what has to follow when one changes: unit, device node, station.
struct SlotFiles {
    let directory: String
    private let context: Context

    init(_ context: Context) {
        directory = context.arguments.value("--slots-dir") ?? SlotDirectory.path
        self.context = context
    }

    /// The directory of the installed station, not one of a test or a practice station.
    var isInstalled: Bool { directory == SlotDirectory.path }

    /// Who must own the files: root, or, elsewhere than in the installed directory, whoever works there.
    var ownerID: UInt32 { isInstalled ? 0 : geteuid() }

    /// - Throws: `permission_denied` unless root declares.
    func demandOwner() throws(StationError) {
        guard !isInstalled || geteuid() == 0 else {
            throw StationError("permission_denied", "only root declares slots", remedy: "run it with sudo")
        }
    }

    func load() -> (declarations: [SlotDeclaration], problems: [StationError]) {
        SlotDirectory.load(directory, ownerID: ownerID)
    }

    func load(_ name: SlotName) throws(StationError) -> SlotDeclaration {
        try SlotDirectory.load(name, in: directory, ownerID: ownerID)
    }

    /// Whether there is a file of that name, trusted or not.
    func exists(_ name: SlotName) -> Bool {
        (try? FileStatus(of: SlotDirectory.filePath(name, in: directory), followingLinks: false)) != nil
    }

    func save(_ slot: SlotDeclaration) throws(StationError) {
        try SlotDirectory.save(slot, in: directory, ownerID: ownerID)
    }

    func remove(_ name: SlotName) throws(StationError) { try SlotDirectory.remove(name, in: directory) }

    /// Starts or stops the socket of the slot's writer.
    /// - Returns: what could not be done, as lines for the user.
    func setUnit(_ name: SlotName, enabled: Bool) -> [String] {
        guard isInstalled else { return [] }
        let arguments = [enabled ? "enable" : "disable", "--now", "station-writer@\(name).socket"]
        guard (try? FileStatus(of: "/run/systemd/system")) != nil else {
            return [
                "systemd does not run here: no unit was \(enabled ? "enabled" : "disabled"); stationd starts its writers itself"
            ]
        }
        if run("/usr/bin/systemctl", ["--quiet"] + arguments) { return [] }
        return [
            "the slot's writer could not be \(enabled ? "enabled" : "disabled"): systemctl \(arguments.joined(separator: " "))"
        ]
    }

    /// Lets udev's rules see the disk at a place again, so that its node gets, or loses, the slot's link and group.
    /// - Parameter isSlot: whether the place is one now. udev gives a node back to its usual group only as for a new disk.
    func retrigger(_ place: Place, isSlot: Bool) {
        guard isInstalled, (try? FileStatus(of: "/run/udev/control")) != nil else { return }
        let action = isSlot ? "change" : "add"
        for disk in Sysfs.allDisks() where disk.place == place {
            _ = run("/usr/bin/udevadm", ["trigger", "--action=\(action)", "--settle", "/sys" + disk.devicePath])
        }
    }

    private func run(_ path: String, _ arguments: [String]) -> Bool {
        guard let child = try? ChildProcess(path, arguments) else { return false }
        return child.wait() == .code(0)
    }
}
