import Glibc
import StationCore
import StationLinux

/// The station stopped, its directories exchanged for fresh ones, and the station started: `RestoreCommit` says in which order,
/// and what a power cut leaves.
struct RestoreExchange {
    private let places: StationPlaces
    private let context: Context

    init(_ places: StationPlaces, _ context: Context) {
        self.places = places
        self.context = context
    }

    /// Decides, and does it.
    /// - Throws: `restore_unwritable`; `station_running`, where nothing was changed; `station_not_started`, where all is done but that.
    func commit(_ unpacking: RestoreUnpacking, _ manifest: BackupManifest) throws(StationError) -> RestoreCommit {
        let stamp = LocalTime.universal(SystemClock.wallSeconds()).filter { !"-: ".contains($0) }
        let pairs = [(places.state, unpacking.state), (places.config, unpacking.config)]
        let commit = RestoreCommit(
            exchanges: pairs.map { target, fresh in
                .init(
                    target: target, fresh: fresh, kept: free(target, stamp), inode: FileName.inode(fresh) ?? 0)
            },
            hostName: manifest.hostName.printable(limit: 80), createdAt: manifest.createdAt,
            callerUserID: BackupCommand.caller)
        do {
            try SmallFile.replace(
                places.marker, with: String(decoding: StationJSON.encode(commit), as: UTF8.self), mode: 0o600)
        } catch let error as StationError {
            throw error
        } catch { throw StationError("restore_unwritable", "\(error)") }
        let ran = runningUnits()
        do {
            stopUnits()
            let lock = try lockStore()
            defer { withExtendedLifetime(lock) {} }
            try exchange(commit)
        } catch {
            // Nothing has been exchanged: the station goes on as it was.
            guard FileName.inode(places.state) != commit.exchanges[0].inode else { throw error }
            unlink(places.marker)
            for unit in ran { system("start", [unit]) }
            throw error
        }
        try finish(commit)
        return commit
    }

    /// Goes on with one that was cut off.
    /// - Throws: `restore_stuck`, `restore_unwritable`, `no_restore`, `station_not_started`.
    func resume() throws(StationError) -> RestoreCommit {
        guard let bytes = try? SmallFile.read(places.marker) else {
            throw StationError("no_restore", "no restore was cut off here: there is no \(places.marker.printable())")
        }
        let remedy =
            "see which of \(places.state.printable()) and \(places.state.printable())\(RestoreCommit.freshSuffix) is the one that you "
            + "want, and in \(Path.parent(places.config).printable()) likewise; put them in their places, then remove \(places.marker.printable())"
        guard let commit = StationJSON.decode(RestoreCommit.self, bytes) else {
            throw StationError(
                "restore_stuck", "\(places.marker.printable()) is damaged: it does not say what was under way",
                remedy: remedy)
        }
        guard commit.exchanges.map(\.target) == [places.state, places.config] else {
            throw StationError(
                "restore_stuck", "\(places.marker.printable()) is about other directories", remedy: remedy)
        }
        stopUnits()
        do {
            let lock = try lockStore()
            defer { withExtendedLifetime(lock) {} }
            try exchange(commit)
        }
        // The station that is started here takes that lock.
        try finish(commit)
        return commit
    }

    private func free(_ target: String, _ stamp: String) -> String {
        var name = RestoreCommit.kept(target, at: stamp)
        var number = 1
        while FileName.inode(name) != nil {
            number += 1
            name = "\(RestoreCommit.kept(target, at: stamp))-\(number)"
        }
        return name
    }

    /// Without units nobody stops a station but who started it.
    private func lockStore() throws(StationError) -> Descriptor? {
        guard let lock = try? Descriptor(opening: places.database + ".lock", O_RDWR | O_NOFOLLOW) else { return nil }
        guard flock(lock.number, LOCK_EX | LOCK_NB) == 0 else {
            throw StationError(
                "station_running", "a station works with \(places.state.printable())",
                remedy: places.hasUnits ? "sudo systemctl stop stationd" : "stop it first; nothing was changed")
        }
        return lock
    }

    private func exchange(_ commit: RestoreCommit) throws(StationError) {
        for exchange in commit.exchanges {
            do {
                while let _ = try step(exchange) {}
            } catch let error as StationError {
                throw error
            } catch {
                throw StationError(
                    "restore_unwritable", "\(error)", remedy: RestoreCommit.unfinished(places.marker).remedy)
            }
        }
    }

    /// - Returns: nil when there is nothing left to do.
    private func step(_ exchange: RestoreCommit.Exchange) throws -> RestoreCommit.Exchange.Step? {
        let step = exchange.step(
            targetInode: FileName.inode(exchange.target), freshInode: FileName.inode(exchange.fresh))
        switch step {
        case .exchange: try FileName.exchange(exchange.fresh, exchange.target)
        case .place: try FileName.move(exchange.fresh, to: exchange.target)
        case .keep: try FileName.move(exchange.fresh, to: exchange.kept)
        case .nothing: return nil
        case .stuck:
            throw StationError(
                "restore_stuck",
                "neither \(exchange.target.printable()) nor \(exchange.fresh.printable()) is the directory that was unpacked",
                remedy:
                    "put the one that you want at \(exchange.target.printable()) by hand, then remove \(places.marker.printable())"
            )
        }
        try FileName.synchronise(directory: Path.parent(exchange.target))
        return step
    }

    private func finish(_ commit: RestoreCommit) throws(StationError) {
        // Before the file goes: whoever is cut off here is told to go on, and this is done again.
        settleSlots(commit)
        JournalSocket.write(.stationRestored(commit), as: "stationctl")
        do {
            _ = try retrying("unlink", places.marker) { unlink(places.marker) }
            try FileName.synchronise(directory: Path.parent(places.marker))
        } catch { throw error.asStationError("restore_unwritable", remedy: "remove it by hand") }
        try startUnits()
    }

    // MARK: Units

    private static let daemon = "stationd.service"
    private static let library = "station-library.socket"

    private func stopUnits() {
        guard places.hasUnits else { return }
        system("stop", [Self.daemon, Self.library, "station-library@*.service"])
    }

    private func startUnits() throws(StationError) {
        guard places.hasUnits else { return }
        system("start", [Self.library])
        guard !system("start", [Self.daemon]) else { return }
        throw StationError(
            "station_not_started", "the restore is done, but the station does not start",
            remedy: "see why: systemctl status stationd.service; journalctl -u stationd.service")
    }

    private func runningUnits() -> [String] {
        guard places.hasUnits else { return [] }
        return [Self.library, Self.daemon].filter { unit in
            guard let child = try? ChildProcess("/usr/bin/systemctl", ["is-active", "--quiet", unit]) else {
                return false
            }
            return child.wait() == .code(0)
        }
    }

    /// Writers for the slots that are declared now, and none for those that were; udev's word on each disk anew.
    private func settleSlots(_ commit: RestoreCommit) {
        guard places.hasUnits else { return }
        let files = SlotFiles(context)
        let slots = files.load().declarations
        let before = SlotDirectory.load(commit.exchanges[1].kept + "/slots.d").declarations
        for slot in before where !slots.contains(where: { $0.name == slot.name }) {
            report(files.setUnit(slot.name, enabled: false))
        }
        for slot in slots { report(files.setUnit(slot.name, enabled: true)) }
        for slot in before where !slots.contains(where: { $0.place == slot.place }) {
            files.retrigger(slot.place, isSlot: false)
        }
        for slot in slots { files.retrigger(slot.place, isSlot: true) }
    }

    @discardableResult
    private func system(_ verb: String, _ units: [String]) -> Bool {
        if let child = try? ChildProcess("/usr/bin/systemctl", [verb] + units), child.wait() == .code(0) { return true }
        report(["systemctl \(verb) \(units.joined(separator: " ")) failed"])
        return false
    }

    private func report(_ lines: [String]) { for line in lines { context.console.note("! \(line)") } }
}
