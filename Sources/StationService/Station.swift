import Dispatch
package import StationCore
package import StationLinux
import Synchronization

/// What the composition root decides about a station.
package struct StationSetup: Sendable {
    package var version: String
    package var configurationDirectory: String
    package var slotsDirectory: String
    package var databasePath: String
    package var imagesDirectory: String
    /// Where builds and their logs are: read here, written by station-library only.
    package var buildsDirectory: String
    package var writers: WriterLaunch
    package var library: LibraryLaunch
    package var lights: LightTree

    package init(
        version: String, configurationDirectory: String = ConfigurationFiles.directory,
        slotsDirectory: String = SlotDirectory.path,
        databasePath: String = "/var/lib/flashing-station/store/station.db",
        imagesDirectory: String = SealedImages.directory,
        buildsDirectory: String = "/var/lib/flashing-station/builds",
        writers: WriterLaunch, library: LibraryLaunch, lights: LightTree = LightTree()
    ) {
        self.version = version
        self.configurationDirectory = configurationDirectory
        self.slotsDirectory = slotsDirectory
        self.databasePath = databasePath
        self.imagesDirectory = imagesDirectory
        self.buildsDirectory = buildsDirectory
        self.writers = writers
        self.library = library
        self.lights = lights
    }
}

/// The station: knows all devices and all slots, and hands what happens to the slot it happens to.
///
/// It runs on a queue of its own; what it does there is short. Slots do the rest in their runners.
package actor Station {
    nonisolated let executor: QueueExecutor
    package nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    let setup: StationSetup
    let store: Store
    let images: SealedImages
    let library: LibraryClient
    let buildRoom: BuildRoom
    let journal: Journal
    private let manager: ServiceManager
    let bootID: String
    private(set) var configuration: StationConfiguration

    var monitor: DeviceMonitor?
    private(set) var lights: LightRoom?
    private var lightMonitor: LightMonitor?
    private var watchdog: (any DispatchSourceTimer)?
    var devices: [String: DeviceRecord] = [:]
    private(set) var runners: [SlotName: SlotRunner] = [:]
    var declarations: [SlotDeclaration] = []
    private var problems: [StationError] = []
    /// Cards and readers in places of no slot that the journal has been told of.
    var announced: Set<String> = []

    /// What is conspicuous about slots, by their statistics.
    var slotNotes: [SlotName: [StationError]] = [:]
    /// When old jobs were last forgotten, in monotonic seconds.
    var forgotJobsAt: Double?

    /// Imports and builds that are not at their end, and sealed bytes that wait for that to be removed.
    var sealingsUnderWay = 0
    var unusedImages: Set<SHA256Digest> = []

    private var statusSubscribers: [Int: AsyncStream<Control.Status>.Continuation] = [:]
    var deviceSubscribers: [Int: AsyncStream<Control.DeviceSeen>.Continuation] = [:]
    private var nextSubscriber = 0
    /// Whether a change is on its way to those who watch.
    private nonisolated let isPublishDue = Mutex(false)
    private var lastStatusLine = ""
    private var isStopping = false
    /// No device could be looked at, and it is tried again.
    var isLookingLater = false
    /// Whoever ends it cannot wait.
    private var isImpatient = false
    /// The last reading of slot files; the next one waits for it.
    private var loading: Task<Void, any Error>?

    /// Opens the store and reads the configuration; nothing is watched yet. Blocks.
    /// - Throws: `config_…`, `store_unusable`.
    package init(setup: StationSetup, journal: Journal, manager: ServiceManager) throws(StationError) {
        executor = QueueExecutor(label: "station")
        self.setup = setup
        self.journal = journal
        self.manager = manager
        bootID = SystemClock.bootID()
        guard !bootID.isEmpty else {
            // Without it a card of an earlier boot could not be told from one of this boot.
            throw StationError("boot_id_unreadable", "/proc/sys/kernel/random/boot_id cannot be read")
        }
        configuration = try ConfigurationFiles.load(setup.configurationDirectory)
        store = try Store(path: setup.databasePath, bootID: bootID)
        images = SealedImages(directory: setup.imagesDirectory)
        library = LibraryClient(launch: setup.library)
        let ofStation = Reference()
        buildRoom = BuildRoom(
            store: store, library: library, journal: journal, imagesDirectory: setup.imagesDirectory,
            buildsDirectory: setup.buildsDirectory, configuration: configuration,
            removeUnused: { await ofStation.station?.removeUnused($0) }
        ) { build in
            guard let station = ofStation.station else { throw CancellationError() }
            return try await station.sealing(build)
        }
        ofStation.station = self
    }

    /// What a part of the station has of the whole.
    ///
    /// `@unchecked Sendable` because it is set once, before anything runs that reads it.
    private final class Reference: @unchecked Sendable {
        weak var station: Station?
    }

    // MARK: Beginning and end

    /// Takes up all slots, looks at all devices and begins to watch.
    /// - Throws: `udev_unavailable`.
    package func start() async throws {
        // Listening begins before looking, so that nothing falls between.
        let monitor = try DeviceMonitor(queue: executor.queue) { [weak self] event in
            guard let self else { return }
            // On the station's queue, and in the order in which the devices came and went.
            assumeIsolated { $0.handle(event) }
        }
        self.monitor = monitor
        try startLights()
        lookAtAllDevices(monitor)
        try await store.abandonBuilders()
        try await store.abandonBuilds()
        do { try await store.abandonSealings() } catch { journal.write(.storeProblem(error)) }
        try await loadSlots(.wasThere)
        resumePreparations()
        await reviewStatistics(isQuiet: true)
        journal.write(.stationStarted(version: setup.version, slotCount: runners.count))
        for record in store.interruptedJobs { journal.write(.jobFoundUnfinished(record)) }
        for problem in store.problems { journal.write(.storeProblem(problem)) }
        for record in devices.values { sayIfElsewhere(record) }
        manager.ready(statusLine)
        watchdog = manager.watch(queue: executor.queue)
        Task {
            await forgetOldJobs()
            await removeLeftovers()
        }
    }

    private func startLights() throws {
        let journal = journal
        let lights = LightRoom(tree: setup.lights) { [weak self] problem in
            if let problem { journal.write(.lightProblem(problem)) }
            guard let self else { return }
            Task { await self.publish() }
        }
        lightMonitor = try LightMonitor(queue: executor.queue) { lights.touched($0) }
        self.lights = lights
    }

    /// Interrupts what runs, records it, and ends. Cards stay as they are.
    /// - Parameter isPatient: begins nothing any more, and first waits for the jobs that run, as long as `StopPatienceSec=` says. A
    ///   call that is not patient ends the waiting of one that is.
    /// - Returns: whether it has ended; else an earlier call is still at it.
    package func stop(isPatient: Bool) async -> Bool {
        if !isPatient { isImpatient = true }
        guard !isStopping else { return false }
        isStopping = true
        await waitForJobs()
        manager.stopping()
        let running = runners.values.count { if case .running = $0.current.activity { true } else { false } }
        journal.write(.stationStopping(runningJobCount: running))
        monitor = nil
        await withTaskGroup(of: Void.self) { group in
            for runner in runners.values { group.addTask { await runner.stop() } }
        }
        // What is not on record by now is found as interrupted at the next start; the journal has told the verdict.
        await store.settle()
        await lights?.end()
        statusSubscribers.values.forEach { $0.finish() }
        deviceSubscribers.values.forEach { $0.finish() }
        watchdog?.cancel()
        return true
    }

    /// The slots whose jobs can be waited for: one that is stuck may never end.
    private var slotsAtWork: [SlotName] {
        let isAtWork: (SlotRunner) -> Bool = {
            if case .running(let job) = $0.current.activity { !job.isStuck } else { false }
        }
        return runners.filter { isAtWork($0.value) }.map(\.key).sorted()
    }

    private func waitForJobs() async {
        for runner in runners.values { await runner.deliver(.goingDown) }
        let began = SystemClock.monotonicSeconds()
        var hasSaidSo = false
        while !isImpatient, SystemClock.monotonicSeconds() < began + configuration.stopPatienceSeconds {
            let running = slotsAtWork
            guard !running.isEmpty else { return }
            if !hasSaidSo {
                hasSaidSo = true
                journal.write(.stationWaits(running, atMostSeconds: configuration.stopPatienceSeconds))
            }
            await executor.pause(seconds: 0.2)
        }
    }

    /// Reads configuration and slot files anew. Jobs that run, run on.
    /// - Throws: `config_…`; the old configuration stays then.
    func reload() async throws {
        manager.reloading()
        defer { manager.ready(statusLine) }
        var problem: StationError?
        do {
            configuration = try ConfigurationFiles.load(setup.configurationDirectory)
            await buildRoom.configure(configuration)
        } catch { problem = error }
        // Slots are read in any case: one that is gone must not be taken for the next of its name.
        try await loadSlots(.declaredAround)
        publish()
        if let problem { throw problem }
        forgotJobsAt = nil
        Task { await forgetOldJobs() }
    }

    /// Reads the slot files and takes up what they say; one reading after the other.
    private func loadSlots(_ presence: Presence) async throws {
        let before = loading
        let task = Task {
            _ = await before?.result
            try await self.loadSlotsAlone(presence)
        }
        loading = task
        try await task.value
    }

    private func loadSlotsAlone(_ presence: Presence) async throws {
        let (loaded, found) = SlotDirectory.load(setup.slotsDirectory)
        for problem in found where !problems.contains(problem) {
            journal.write(
                problem.code == "light_claimed_twice"
                    ? .lightProblem(problem) : .slotFileProblem(fileName: setup.slotsDirectory, problem))
        }
        problems = found
        let isLoaded: (SlotName) -> Bool = { name in loaded.contains { $0.name == name } }
        for (name, runner) in runners where !isLoaded(name) {
            runners[name] = nil
            await runner.stop()
        }
        var consents = try await store.consent()
        for (name, consent) in consents where !isLoaded(name) {
            try await withdraw(consent, of: name)
            consents[name] = nil
        }
        // Of a name that is new here nobody has seen what became of the slot that had it before.
        for declaration in loaded where runners[declaration.name] == nil {
            guard let consent = consents[declaration.name] else { continue }
            consents[declaration.name] = await withdrawIfMoved(consent, declaration)
        }
        let known = loaded.filter { consents[$0.name]?.disarmReason != .slotMoved }
        do { try await store.noteDeclared(known) } catch {
            // What is not noted is taken for moved at the next start, and disarmed.
            journal.write(.storeProblem(error))
        }
        var memories: [SlotName: SlotMachine.Memory] = [:]
        for declaration in loaded where runners[declaration.name] == nil {
            memories[declaration.name] = try await store.memory(slot: declaration.name)
        }
        // Nothing may come between from here on: an event would find new slots and not know what was there before them.
        declarations = loaded
        let services = RunnerServices(
            store: store, journal: journal, images: images, writers: setup.writers,
            stuckAfterSeconds: configuration.stuckAfterSeconds
        ) { [weak self] in
            self?.changed()
        } jobEnded: { [weak self] in
            guard let self else { return }
            Task {
                await self.reviewStatistics()
                await self.forgetOldJobs()
                self.changed()
            }
        }
        for declaration in loaded {
            if let runner = runners[declaration.name] {
                runner.redeclare(declaration, stuckAfterSeconds: configuration.stuckAfterSeconds)
            } else {
                runners[declaration.name] = SlotRunner(
                    slot: declaration, consent: consents[declaration.name],
                    memory: memories[declaration.name] ?? SlotMachine.Memory(), services: services)
            }
        }
        if isStopping { for runner in runners.values { await runner.deliver(.goingDown) } }
        for runner in runners.values { tell(runner, presence) }
        lights?.show(slotStatuses)
    }

    /// A slot that is no longer declared keeps no consent: who declares the name again declares an unarmed slot. A file that
    /// is there and cannot be used costs the arming only.
    private func withdraw(_ consent: SlotConsent, of slot: SlotName) async throws {
        let isThere = (try? FileStatus(of: SlotDirectory.filePath(slot, in: setup.slotsDirectory))) != nil
        let waitsForImage = consent.preparation != nil
        guard consent.isArmed || waitsForImage || (consent.assignment != nil && !isThere) else { return }
        try await store.saveConsent(
            slot: slot, isArmed: false, assignment: isThere ? consent.assignment : nil,
            change: isThere ? .disarm : .unassign, callerUserID: nil,
            disarmReason: isThere ? .slotFileUnusable : nil)
        journal.write(
            isThere
                ? .slotDisarmed(slot, consent.assignment, callerUserID: nil)
                : .slotUnassigned(slot, callerUserID: nil))
    }

    /// The consent without its arming where it was given for another place or reader. That counts also where it cannot be recorded:
    /// the records go on saying for what it was given.
    private func withdrawIfMoved(_ consent: SlotConsent, _ slot: SlotDeclaration) async -> SlotConsent {
        guard consent.isArmed || consent.preparation != nil, let declared = consent.declared,
            declared != slot.placeAndReader
        else { return consent }
        do {
            try await store.saveConsent(
                slot: slot.name, isArmed: false, assignment: consent.assignment, change: .disarm, callerUserID: nil,
                disarmReason: .slotMoved, declared: slot.placeAndReader)
        } catch { journal.write(.storeProblem(error)) }
        journal.write(.slotDisarmed(slot.name, consent.assignment, callerUserID: nil))
        return SlotConsent(assignment: consent.assignment, disarmReason: .slotMoved, declared: declared)
    }

    // MARK: Subscribers

    var currentStatus: Control.Status {
        Control.Status(
            version: setup.version, bootID: bootID, problems: problems + store.problems + (lights?.problems ?? []),
            slots: slotStatuses)
    }

    private var slotStatuses: [SlotStatus] {
        runners.values.map { runner in
            let machine = runner.current
            var status = SlotStatus(machine, elsewhere: elsewhere(machine.slot)?.place)
            status.notes += slotNotes[status.name] ?? []
            return status
        }.sorted { $0.name < $1.name }
    }

    /// One line for `systemctl status`.
    private var statusLine: String {
        let parts = slotStatuses.map { slot in "\(slot.name) \(slot.job?.progress?.phase.title ?? slot.state)" }
        let slots = parts.isEmpty ? "no slots declared" : parts.joined(separator: ", ")
        return isStopping ? "ends when its jobs have ended: \(slots)" : slots
    }

    /// Has a change told. What changes before that is done is told with it: many slots at work must not fill the station's
    /// queue with the telling.
    private nonisolated func changed() {
        let isFirst = isPublishDue.withLock { isDue in
            defer { isDue = true }
            return !isDue
        }
        if isFirst { Task { await self.publish() } }
    }

    /// Tells everyone who watches.
    func publish() {
        isPublishDue.withLock { $0 = false }
        let line = statusLine
        if line != lastStatusLine {
            lastStatusLine = line
            manager.status(line)
        }
        lights?.show(slotStatuses)
        guard !statusSubscribers.isEmpty else { return }
        let status = currentStatus
        statusSubscribers.values.forEach { $0.yield(status) }
    }

    func subscribeToStatus() -> AsyncStream<Control.Status> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: Control.Status.self, bufferingPolicy: .bufferingNewest(1))
        let key = nextSubscriber
        nextSubscriber += 1
        statusSubscribers[key] = continuation
        continuation.onTermination = { [weak self] _ in
            guard let self else { return }
            Task { await self.unsubscribe(key) }
        }
        continuation.yield(currentStatus)
        return stream
    }

    func subscribeToDevices() -> AsyncStream<Control.DeviceSeen> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: Control.DeviceSeen.self, bufferingPolicy: .bufferingNewest(256))
        let key = nextSubscriber
        nextSubscriber += 1
        deviceSubscribers[key] = continuation
        continuation.onTermination = { [weak self] _ in
            guard let self else { return }
            Task { await self.unsubscribe(key) }
        }
        for record in devices.values.sorted(by: { $0.name < $1.name }) where record.hasMedium {
            let slot = declarations.first { $0.place == record.place }?.name
            continuation.yield(Control.DeviceSeen(device: record, slot: slot))
        }
        continuation.yield(Control.DeviceSeen(device: nil, slot: nil))
        return stream
    }

    private func unsubscribe(_ key: Int) {
        statusSubscribers[key] = nil
        deviceSubscribers[key] = nil
    }
}
