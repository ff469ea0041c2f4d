import StationCore
import StationLinux

/// What the station knows of the host's disks, and what it tells its slots of them.
extension Station {
    /// While the host comes up, a reader that turns up late is not a hand that inserts a card.
    private var isSettling: Bool { SystemClock.secondsSinceBoot() < configuration.bootSettleSeconds }

    /// How a device came to be at a slot's place.
    enum Presence {
        case arrived
        /// It was there when the station came up.
        case wasThere
        /// The slot was declared around it.
        case declaredAround
    }

    func handle(_ event: DeviceMonitor.Event) {
        guard let monitor else { return }
        guard Sysfs.canBeRead else { return lookLater() }
        take(event, monitor)
        // What was seen may be wrong, where the last descriptor went in between.
        if !Sysfs.canBeRead { lookLater() }
    }

    /// Looks at all devices a little later, and again until they can be seen.
    private func lookLater() {
        guard !isLookingLater else { return }
        isLookingLater = true
        journal.write(.devicesUnseen())
        Task {
            repeat { await executor.pause(seconds: 2) } while !Sysfs.canBeRead && monitor != nil
            isLookingLater = false
            handle(.lost("there were no file descriptors"))
        }
    }

    private func take(_ event: DeviceMonitor.Event, _ monitor: DeviceMonitor) {
        switch event {
        case .touched(let path): replace(path, with: Sysfs.record(devicePath: path))
        case .removed(let path, let sequence):
            // One that was known from looking at all of them is not gone because the one before it is.
            if let known = devices[path]?.deviceSequence, let sequence, known > sequence { return }
            replace(path, with: nil)
        case .lost(let cause):
            let before = devices
            lookAtAllDevices(monitor)
            journal.write(.monitorRestored(cause: cause, deviceCount: devices.count))
            // The station was there all the time, so a card that came meanwhile is a new one.
            for runner in runners.values { tell(runner, .arrived) }
            for (path, record) in devices where before[path] != record { announce(record) }
        }
    }

    func lookAtAllDevices(_ monitor: DeviceMonitor) {
        devices = [:]
        for path in monitor.enumerate() {
            if let record = Sysfs.record(devicePath: path), record.isWholeDisk, record.place != nil {
                devices[path] = record
            }
        }
    }

    private func replace(_ path: String, with found: DeviceRecord?) {
        let before = devices[path]
        let record = found.flatMap { $0.isWholeDisk && $0.place != nil ? $0 : nil }
        devices[path] = record
        // A logical unit that comes or goes changes what the whole reader is.
        let places = [before?.place?.withoutLUN, record?.place?.withoutLUN]
        for sibling in devices.values where sibling.devicePath != path && places.contains(sibling.place?.withoutLUN) {
            let now = Sysfs.record(devicePath: sibling.devicePath)
            // Another disk, or another card, is still to be told of.
            if now == nil || now?.deviceSequence == sibling.deviceSequence { devices[sibling.devicePath] = now }
        }
        for declaration in declarations where places.contains(declaration.place.withoutLUN) {
            if let runner = runners[declaration.name] { tell(runner, .arrived) }
        }
        if let record, before != record { announce(record) }
        if (record ?? before)?.otherSide != nil { publish() }
    }

    /// The reader of a slot where it came up at the other speed class of its port.
    func elsewhere(_ slot: SlotDeclaration) -> DeviceRecord? {
        devices.values.first { Eligibility.isOtherSide(of: slot, $0) }
    }

    /// Tells a slot what is at its place now.
    func tell(_ runner: SlotRunner, _ presence: Presence) {
        guard let slot = declarations.first(where: { $0.name == runner.current.slot.name }) else { return }
        let here = devices.values.filter { $0.place == slot.place }.sorted { $0.name < $1.name }
        guard let record = here.first else { return runner.post(.deviceGone) }
        let eligibility = Eligibility.decide(record, slots: declarations, devices: Array(devices.values))
        switch presence {
        case .arrived: runner.post(.device(record, eligibility, bootID: bootID, wasThere: isSettling))
        case .wasThere: runner.post(.device(record, eligibility, bootID: bootID, wasThere: true))
        case .declaredAround: runner.post(.declaredAround(record, eligibility, bootID: bootID))
        }
    }

    /// Tells subscribers of a disk with a medium, and the journal of one that no slot declares, or of a slot's reader that
    /// came up elsewhere.
    private func announce(_ record: DeviceRecord) {
        let slot = declarations.first { $0.place == record.place }?.name
        let isMissed = slot == nil && sayIfElsewhere(record)
        guard record.hasMedium else { return }
        deviceSubscribers.values.forEach { $0.yield(Control.DeviceSeen(device: record, slot: slot)) }
        let key = "\(record.devicePath) \(record.deviceSequence ?? 0)"
        if slot == nil, !isMissed, isNews(key) { journal.write(.placeUndeclared(record)) }
    }

    /// Tells the journal, once, of a slot's reader that came up at the other speed class of its port.
    /// - Returns: whether it is one.
    @discardableResult
    func sayIfElsewhere(_ record: DeviceRecord) -> Bool {
        guard let missed = declarations.first(where: { Eligibility.isOtherSide(of: $0, record) }) else { return false }
        if isNews(record.devicePath) { journal.write(.readerAtOtherSpeed(missed, record)) }
        return true
    }

    /// Whether the journal has not been told of this before.
    private func isNews(_ key: String) -> Bool {
        if announced.count > 1000 { announced = [] }
        return announced.insert(key).inserted
    }
}
