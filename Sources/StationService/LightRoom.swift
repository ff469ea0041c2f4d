import Dispatch
package import StationCore
package import StationLinux
import Synchronization

/// All lights of all slots. What slots say comes in as snapshots of their status; nothing goes back to them.
///
/// It takes what happens from its mailbox, one after the other, and leaves the work to one `LightDriver` for each light.
package actor LightRoom {
    private enum Message: Sendable {
        case show([SlotStatus])
        case touched(LightEvent)
        case problem(Light, StationError?)
        case identify(SlotName, seconds: Double, CheckedContinuation<[Light], any Error>)
        case identified(SlotName, turn: Int)
        case end(CheckedContinuation<Void, Never>)
    }

    /// What the room knows of a slot.
    private struct Shown: Equatable {
        var lights: SlotLights
        var signal: Signal
    }

    private nonisolated let mailbox: AsyncStream<Message>.Continuation
    private nonisolated let found = Mutex<[Light: StationError]>([:])
    private let tree: LightTree
    private let patience: Double
    private let timers = DispatchQueue(label: "lights")
    /// Told of each problem that comes up, and of nil when one is over.
    private let changed: @Sendable (StationError?) -> Void

    private var slots: [SlotName: Shown] = [:]
    private var identifying: [SlotName: Int] = [:]
    private var turns = 0
    private var drivers: [Light: LightDriver] = [:]
    private var isEnded = false

    /// - Parameter patience: how long udev may take to give access to what comes with a trigger, in seconds. Longer than
    ///   that the kernel's own patterns are done without.
    package init(
        tree: LightTree = LightTree(), patience: Double = 3, changed: @escaping @Sendable (StationError?) -> Void
    ) {
        self.tree = tree
        self.patience = patience
        self.changed = changed
        let (stream, continuation) = AsyncStream.makeStream(of: Message.self)
        mailbox = continuation
        Task { await self.run(stream) }
    }

    /// What is wrong with lights now, by their names.
    package nonisolated var problems: [StationError] {
        found.withLock { $0 }.sorted { $0.key.description < $1.key.description }.map(\.value)
    }

    /// All slots as they are now.
    package nonisolated func show(_ slots: [SlotStatus]) { mailbox.yield(.show(slots)) }

    /// Something happened to lights of the host: what did not work is tried again.
    package nonisolated func touched(_ event: LightEvent) { mailbox.yield(.touched(event)) }

    /// Lets a slot's lights blink fast for some seconds; a second call begins them anew.
    /// - Returns: the lights.
    /// - Throws: `slot_without_light`, or what is wrong with the lights when none of them works.
    package nonisolated func identify(_ slot: SlotName, seconds: Double) async throws -> [Light] {
        try await withCheckedThrowingContinuation { continuation in
            if case .enqueued = mailbox.yield(.identify(slot, seconds: seconds, continuation)) { return }
            continuation.resume(throwing: StationError("station_stopping", "the station is going down"))
        }
    }

    /// Turns all lights off and closes the mailbox. Waits for two seconds at most: a light may hang.
    package nonisolated func end() async {
        await withCheckedContinuation { continuation in
            if case .enqueued = mailbox.yield(.end(continuation)) { return }
            continuation.resume()
        }
        mailbox.finish()
    }

    private func run(_ messages: AsyncStream<Message>) async {
        for await message in messages {
            switch message {
            case .show(let statuses):
                let new = statuses.reduce(into: [:]) { $0[$1.name] = Shown(lights: $1.lights, signal: $1.signal) }
                guard new != slots else { continue }
                slots = new
                update()
            case .touched(let event): touch(event)
            case .problem(let light, let problem): note(problem, of: light)
            case .identify(let slot, let seconds, let continuation):
                continuation.resume(with: Result { try identifyNow(slot, seconds: seconds) })
            case .identified(let slot, let turn):
                guard identifying[slot] == turn else { continue }
                identifying[slot] = nil
                update()
            case .end(let continuation):
                await endAll()
                continuation.resume()
            }
        }
    }

    /// Tells each light what to show.
    private func update() {
        guard !isEnded else { return }
        let contested = SlotLights.contestedLamps(slots.values.map(\.lights))
        var wanted: [Light: LightPattern] = [:]
        for (name, slot) in slots {
            let patterns = identifying[name] == nil ? slot.lights.patterns(slot.signal) : slot.lights.identifying
            for (light, pattern) in patterns { wanted[light] = contested.contains(light.lamp) ? .dark : pattern }
        }
        for (light, driver) in drivers where wanted[light] == nil {
            drivers[light] = nil
            driver.end {}
            note(nil, of: light)
        }
        for (light, pattern) in wanted {
            let driver = drivers[light] ?? newDriver(light)
            drivers[light] = driver
            driver.show(pattern)
        }
    }

    private func newDriver(_ light: Light) -> LightDriver {
        let mailbox = mailbox
        return LightDriver(light, tree: tree, patience: patience) { mailbox.yield(.problem(light, $0)) }
    }

    private func touch(_ event: LightEvent) {
        for (light, driver) in drivers {
            switch (event, light) {
            case (.led(let name, let isNew), .led(let own)) where own == name: driver.touched(isNew: isNew)
            case (.gpio, .gpio): driver.touched(isNew: true)
            case (.lost, _): driver.touched(isNew: true)
            default: break
            }
        }
    }

    private func note(_ problem: StationError?, of light: Light) {
        guard problem == nil || drivers[light] != nil else { return }
        let before = found.withLock { found in
            let before = found[light]
            found[light] = problem
            return before
        }
        if before != problem { changed(problem) }
    }

    private func identifyNow(_ slot: SlotName, seconds: Double) throws -> [Light] {
        let lights = slots[slot]?.lights.all ?? []
        guard !lights.isEmpty else {
            throw StationError(
                "slot_without_light", "\(slot) has no light",
                remedy: "name one in its slot file: Light=led:NAME; see man station.slot")
        }
        let problems = found.withLock { found in lights.compactMap { found[$0] } }
        if problems.count == lights.count, let problem = problems.first { throw problem }
        turns += 1
        let turn = turns
        identifying[slot] = turn
        update()
        timers.asyncAfter(deadline: .now() + seconds) { [mailbox] in mailbox.yield(.identified(slot, turn: turn)) }
        return lights
    }

    private func endAll() async {
        isEnded = true
        let (ends, continuation) = AsyncStream.makeStream(of: Void.self)
        for driver in drivers.values { driver.end { continuation.yield() } }
        timers.asyncAfter(deadline: .now() + 2) { continuation.finish() }
        var left = drivers.count
        if left == 0 { continuation.finish() }
        for await _ in ends {
            left -= 1
            if left == 0 { break }
        }
    }
}
