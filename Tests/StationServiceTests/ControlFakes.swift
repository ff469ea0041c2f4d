import Foundation
import StationCore
import StationLinux
import StationService
import Synchronization

/// A station that remembers what it was asked, and says what it was told to say.
final class FakeStation: StationControl {
    struct State {
        var calls: [String] = []
        var status = Control.Status(version: "1", bootID: "b", problems: [], slots: [])
        var jobs: [JobRecord] = []
        /// What `Flash` says has begun.
        var flashed = JobID()
        var error: StationError?
        var statusContinuations: [Int: AsyncStream<Control.Status>.Continuation] = [:]
        var deviceContinuations: [Int: AsyncStream<Control.DeviceSeen>.Continuation] = [:]
        var imports: [AsyncThrowingStream<Control.ImportProgress, any Error>.Continuation] = []
        var importEnded = 0
        var files: [[UInt8]] = []
        var nextID = 0
        var devices: [Control.DeviceSeen] = [Control.DeviceSeen(device: nil, slot: nil)]
        var isImportLeftOpen = false
        var cards: [CardRecord] = []
        var inspection = CardInspection(slot: Sample.slotName("slot1"), contents: CardContents(), writings: [])
        var inspections: [AsyncThrowingStream<Control.InspectProgress, any Error>.Continuation] = []
        var inspectionsEnded = 0
        var isInspectionLeftOpen = false
    }

    let state = Mutex(State())

    static let image = ImageRecord(
        name: Sample.imageName, sha256: Sample.digest, byteCount: 5_000_000,
        importedAt: 1_700_000_000, importedByUserID: 0)

    var calls: [String] { state.withLock { $0.calls } }
    var listeners: Int { state.withLock { $0.statusContinuations.count } }
    var deviceListeners: Int { state.withLock { $0.deviceContinuations.count } }

    private func note(_ call: String) throws {
        try state.withLock {
            $0.calls.append(call)
            if let error = $0.error { throw error }
        }
    }

    /// - Parameter isLate: who watches hears it, and who asks now hears the newer one that is there already.
    func tell(_ status: Control.Status, isLate: Bool = false) {
        let continuations = state.withLock {
            if !isLate { $0.status = status }
            return Array($0.statusContinuations.values)
        }
        continuations.forEach { $0.yield(status) }
    }

    func endStreams() {
        // Finishing calls `onTermination`, which takes the lock.
        let (statuses, devices) = state.withLock {
            (Array($0.statusContinuations.values), Array($0.deviceContinuations.values))
        }
        statuses.forEach { $0.finish() }
        devices.forEach { $0.finish() }
    }

    func status() async -> Control.Status {
        try? note("status")
        return state.withLock { $0.status }
    }

    func statusUpdates() async -> AsyncStream<Control.Status> {
        try? note("watch")
        let (stream, continuation) = AsyncStream.makeStream(
            of: Control.Status.self, bufferingPolicy: .bufferingNewest(1))
        let id = state.withLock { state in
            state.nextID += 1
            state.statusContinuations[state.nextID] = continuation
            continuation.yield(state.status)
            return state.nextID
        }
        continuation.onTermination = { _ in self.state.withLock { $0.statusContinuations[id] = nil } }
        return stream
    }

    func explain(slot: String) async throws -> Control.Gates {
        try note("explain \(slot)")
        return Control.Gates(gates: [
            Gate("declared", true, "\(slot) is declared"),
            Gate("assigned", false, "nothing is assigned", remedy: "stationctl assign \(slot) --image NAME"),
        ])
    }

    func history(_ query: Control.HistoryQuery) async throws -> Control.History {
        try note("history \(query.slot ?? "-") \(query.limit ?? 0)")
        return Control.History(jobs: state.withLock { $0.jobs })
    }

    func images() async throws -> Control.Images {
        try note("images")
        return Control.Images(images: [Self.image])
    }

    func deviceUpdates() async -> AsyncStream<Control.DeviceSeen> {
        try? note("devices")
        let (stream, continuation) = AsyncStream.makeStream(of: Control.DeviceSeen.self)
        let id = state.withLock { state in
            state.nextID += 1
            state.deviceContinuations[state.nextID] = continuation
            state.devices.forEach { continuation.yield($0) }
            return state.nextID
        }
        continuation.onTermination = { _ in self.state.withLock { $0.deviceContinuations[id] = nil } }
        return stream
    }

    private func changed(_ call: String, _ slots: [String]) throws -> Control.Changed {
        try note("\(call) \(slots.joined(separator: ","))")
        return Control.Changed(slots: try slots.map { try SlotName($0) })
    }

    func assign(_ parameters: Control.Assign, caller: UInt32) async throws
        -> AsyncThrowingStream<Control.Changed, any Error>
    {
        let what = parameters.profile.map { "profile \($0)" } ?? parameters.image ?? "-"
        var done = try changed("assign \(what) by \(caller)", parameters.slots)
        return AsyncThrowingStream { continuation in
            if parameters.profile != nil {
                done.isPreparing = true
                continuation.yield(done)
                done.isPreparing = false
            }
            continuation.yield(done)
            continuation.finish()
        }
    }
    func unassign(slots: [String], caller: UInt32) async throws -> Control.Changed { try changed("unassign", slots) }
    func arm(slots: [String], caller: UInt32) async throws -> Control.Changed { try changed("arm", slots) }
    func disarm(slots: [String], caller: UInt32) async throws -> Control.Changed { try changed("disarm", slots) }
    func cancel(slots: [String], caller: UInt32) async throws -> Control.Changed { try changed("cancel", slots) }

    func flash(_ parameters: Control.Flash, caller: UInt32) async throws -> Control.Begun {
        try note("flash \(parameters.image ?? "-") \(parameters.isDryRun) \(parameters.slot)")
        return Control.Begun(slot: try SlotName(parameters.slot), job: state.withLock { $0.flashed })
    }

    func identify(_ parameters: Control.Identify, caller: UInt32) async throws -> Control.Identified {
        try note("identify \(parameters.slot) \(parameters.seconds ?? 0)")
        return Control.Identified(lights: [.led("green")])
    }

    func importImage(_ parameters: Control.ImportImage, files: [Descriptor], caller: UInt32) async throws
        -> AsyncThrowingStream<Control.ImportProgress, any Error>
    {
        try note("import \(parameters.name) \(parameters.isRaw) \(parameters.replaces)")
        let bytes = try SmallFile.read(files[0], path: "import", limit: 1 << 20)
        let (stream, continuation) = AsyncThrowingStream.makeStream(of: Control.ImportProgress.self)
        continuation.onTermination = { _ in self.state.withLock { $0.importEnded += 1 } }
        let total = UInt64(bytes.count)
        continuation.yield(Control.ImportProgress(step: .reading, bytesDone: 0, bytesTotal: total, image: nil))
        let isLeftOpen = state.withLock {
            $0.files.append(bytes)
            $0.imports.append(continuation)
            return $0.isImportLeftOpen
        }
        guard !isLeftOpen else { return stream }
        var image = Self.image
        image.name = try ImageName(parameters.name)
        image.byteCount = total
        continuation.yield(Control.ImportProgress(step: .reading, bytesDone: total, bytesTotal: total, image: image))
        continuation.finish()
        return stream
    }

    static let profile = StoredProfile(
        record: ProfileRecord(
            Sample.profile, version: 3, overlaySHA256: Sample.digest, importedAt: 1_700_000_000, importedByUserID: 0),
        profile: Sample.profile, createdAt: 1_600_000_000)

    func profiles(_ filter: Control.ProfileFilter) async throws -> Control.Profiles {
        try note("profiles \(filter.tag ?? "-") \(filter.target ?? "-")")
        return Control.Profiles(profiles: [Self.profile.record])
    }

    func profileVersions(_ profileID: String) async throws -> Control.Profiles {
        try note("versions \(profileID)")
        return Control.Profiles(profiles: [Self.profile.record])
    }

    func profile(_ query: Control.ProfileVersionQuery) async throws -> Control.ProfileContent {
        try note("profile \(query.profileID) \(query.version ?? 0)")
        return Control.ProfileContent(Self.profile)
    }

    func importProfile(_ parameters: Control.ImportProfile, overlay: Descriptor?, caller: UInt32) async throws
        -> Control.ImportedProfile
    {
        try note("import profile \(parameters.overlaySHA256 == nil) \(overlay == nil) by \(caller)")
        return Control.ImportedProfile(profile: Self.profile.record, isNewVersion: true)
    }

    func deleteProfile(_ profileID: String, caller: UInt32) async throws {
        try note("delete \(profileID) by \(caller)")
    }

    func verifyImage(named: String) async throws -> AsyncThrowingStream<Control.ImportProgress, any Error> {
        try note("verify \(named)")
        var image = Self.image
        image.name = try ImageName(named)
        let end = Control.ImportProgress(step: .verifying, bytesDone: 1, bytesTotal: 1, image: image)
        return AsyncThrowingStream { continuation in
            continuation.yield(end)
            continuation.finish()
        }
    }

    func removeImage(named: String, caller: UInt32) async throws { try note("remove \(named)") }

    func cards(_ query: Control.CardQuery) async throws -> Control.Cards {
        try note("cards \(query.card ?? "-") \(query.state ?? "-") \(query.limit ?? 0)")
        return Control.Cards(cards: state.withLock { $0.cards })
    }

    func forgiveCard(_ reference: String, caller: UInt32) async throws -> Control.Card {
        try note("forgive \(reference) by \(caller)")
        return Control.Card(card: Sample.card)
    }

    func statistics() async throws -> Control.Statistics {
        try note("statistics")
        return Control.Statistics(slots: [])
    }

    func inspect(slot: String) async throws -> AsyncThrowingStream<Control.InspectProgress, any Error> {
        try note("inspect \(slot)")
        let (stream, continuation) = AsyncThrowingStream.makeStream(of: Control.InspectProgress.self)
        continuation.onTermination = { _ in self.state.withLock { $0.inspectionsEnded += 1 } }
        continuation.yield(Control.InspectProgress(bytesDone: 1, bytesTotal: 2))
        let (isLeftOpen, inspection) = state.withLock { ($0.isInspectionLeftOpen, $0.inspection) }
        if isLeftOpen {
            state.withLock { $0.inspections.append(continuation) }
            return stream
        }
        continuation.yield(Control.InspectProgress(inspection: inspection))
        continuation.finish()
        return stream
    }
    func builders() async throws -> Control.Builders {
        try note("builders")
        return Control.Builders(builders: [Sample.builder])
    }

    func builder(_ query: Control.BuilderQuery) async throws -> Control.BuilderDetails {
        try note("builder \(query.release)/\(query.target)/\(query.subtarget)")
        return Control.BuilderDetails(builder: Sample.builder, profiles: [])
    }

    func ensureBuilder(_ query: Control.BuilderQuery, caller: UInt32) async throws
        -> AsyncThrowingStream<Control.BuildProgress, any Error>
    {
        try note("ensure \(query.release) \(query.isRefresh ?? false) by \(caller)")
        var last = Control.BuildProgress(step: .examining)
        last.builder = Sample.builder
        return Self.steps(last)
    }

    func pruneBuilders(_ parameters: Control.Prune, caller: UInt32) async throws -> Control.Pruned {
        try note("prune \(parameters.isDryRun ?? false) \(parameters.olderThanDays ?? -1) by \(caller)")
        return Control.Pruned(builders: [], byteCount: 0)
    }

    func build(_ parameters: Control.Build, caller: UInt32) async throws
        -> AsyncThrowingStream<Control.BuildProgress, any Error>
    {
        try note("build \(parameters.profileID) \(parameters.isForced ?? false) by \(caller)")
        var last = Control.BuildProgress(step: .collecting)
        last.build = Sample.build
        return Self.steps(last)
    }

    private static func steps(_ last: Control.BuildProgress) -> AsyncThrowingStream<Control.BuildProgress, any Error> {
        AsyncThrowingStream { continuation in
            continuation.yield(Control.BuildProgress(step: .resolving))
            continuation.yield(last)
            continuation.finish()
        }
    }

    func builds(_ filter: Control.BuildFilter) async throws -> Control.Builds {
        try note("builds \(filter.profile ?? "-") \(filter.limit ?? 0)")
        return Control.Builds(builds: [Sample.build])
    }

    func build(_ query: Control.BuildQuery) async throws -> Control.BuildDetails {
        try note("build \(query.build)")
        return Control.BuildDetails(build: Sample.build, inputs: .object([:]), previous: nil, differences: [])
    }

    func buildLog(_ query: Control.BuildQuery) async throws -> AsyncThrowingStream<Control.BuildLogPart, any Error> {
        try note("log \(query.build)")
        return AsyncThrowingStream { continuation in
            for text in ["one\n", "two\n"] { continuation.yield(Control.BuildLogPart(text: text)) }
            continuation.finish()
        }
    }

    func cancelBuild(_ query: Control.BuildQuery) async throws { try note("cancel build \(query.build)") }

    func removeBuild(_ query: Control.BuildQuery, caller: UInt32) async throws {
        try note("remove build \(query.build) by \(caller)")
    }

    func reload(caller: UInt32) async throws { try note("reload") }

    func snapshotStore(into file: Descriptor) async throws -> StoreSummary {
        try note("snapshot")
        return StoreSummary(
            schemaVersion: 1, imageCount: 0, profileCount: 0, buildCount: 0, jobCount: 0, cardCount: 0, byteCount: 0)
    }
}

/// Slots and jobs to show.
enum Sample {
    /// A value that is known to be right.
    private static func sure<Value>(_ make: () throws -> Value?) -> Value {
        guard let value = try? make() else { fatalError("the sample is wrong") }
        return value
    }

    static func slotName(_ text: String) -> SlotName { sure { try SlotName(text) } }

    static let digest = sure { SHA256Digest(String(repeating: "0a", count: 32)) }
    static let imageName = sure { try ImageName("rescue") }
    static let place = sure { try Place(text: "usb 480 port 2.3 lun 0 at pci0000:00/0000:00:04.0") }
    static let reader = sure { try Reader(text: "0bda:0326 luns 1") }
    static let profile = Profile(
        profileID: "home.ap", name: "An access point", deviceID: "ap-1", release: "24.10.2", target: "ath79",
        subtarget: "generic", imageBuilderProfile: "tplink_archer-c6-v3")
    static let triple = sure { try BuilderTriple(release: "24.10.2", target: "x86", subtarget: "64") }
    static let builder = BuilderRecord(triple: triple, state: .ready, changedAt: 1_700_000_000, changedByUserID: 0)
    static let build = BuildRecord(
        sequence: 1, id: sure { BuildID(String(repeating: "ab", count: 16)) }, profileID: "home.ap", profileVersion: 3,
        triple: triple, key: digest, builderSHA256: digest, state: .succeeded, startedAt: 1_700_000_000,
        wasClockSynchronised: true, callerUserID: 0)
    /// A card that failed twice.
    static let card: CardRecord = {
        var card = CardRecord(
            card: CardKey(firstFailure: sure { JobID("1a2b3c4d" + String(repeating: "0", count: 24)) }),
            identity: .marker, byteCount: 31_914_983_424, model: "Generic STORAGE", at: 1_700_000_000)
        for job in ["1a2b3c4d", "5e6f7a8b"] {
            card.failed(
                CardRecord.Failure(
                    job: sure { JobID(job + String(repeating: "0", count: 24)) }, slot: slotName("slot2"),
                    reason: .dataMismatch, at: 1_772_539_200, wasClockSynchronised: true))
        }
        return card
    }()
    static let assignment = Assignment(image: Sample.imageName, sha256: digest, byteCount: 5_000_000)

    static func declaration(_ name: String = "slot1") -> SlotDeclaration {
        SlotDeclaration(name: slotName(name), place: place, reader: reader)
    }

    static func device(sequence: UInt64 = 7, name: String = "sdb") -> DeviceRecord {
        DeviceRecord(
            name: name, devicePath: "/devices/pci0000:00/0000:00:04.0/usb1/1-2/1-2.3/block/\(name)",
            deviceSequence: sequence, byteCount: 31_914_983_424, place: place, reader: reader, model: "Generic STORAGE")
    }

    /// A slot with a job that has come as far as the messages say.
    static func machine(_ name: String = "slot1", _ messages: [WriterMessage]? = []) -> SlotMachine {
        var machine = SlotMachine(slot: declaration(name), isArmed: true, assignment: assignment)
        guard let messages else { return machine }
        let effects = machine.handle(
            .device(device(), .card(slotName(name)), bootID: "boot", wasThere: false), now: 1)
        for case .begin(let start) in effects {
            for message in messages { _ = machine.handle(.writer(start.id, message), now: 2) }
        }
        return machine
    }

    /// What a writer says of a good card, from holding it to the verdict.
    static var passed: [WriterMessage] {
        var report = JobReport(.passed)
        report.readBackSHA256 = assignment.sha256
        report.bytesVerified = assignment.byteCount
        return [.held, .ended(report)]
    }

    static func progress(_ phase: JobPhase, _ share: Double, elapsed: Double = 10) -> WriterMessage {
        .progress(
            JobProgress(
                phase: phase, phaseBytesDone: UInt64(5e9 * share), phaseBytesTotal: 5_000_000_000,
                bytesDone: UInt64(1e10 * share), bytesTotal: 10_000_000_000, elapsedSeconds: elapsed))
    }

    static func status(_ machines: [SlotMachine], problems: [StationError] = []) -> Control.Status {
        Control.Status(
            version: "1", bootID: "0123456789abcdef0123456789abcdef", problems: problems,
            slots: machines.map { SlotStatus($0) })
    }

    static func job(_ sequence: Int64, report: JobReport?) -> JobRecord {
        let token = InsertionToken(bootID: "0123456789abcdef0123456789abcdef", deviceSequence: 7)
        let start = JobStart(
            id: JobID(), slot: slotName("slot1"), token: token, device: device(), assignment: assignment,
            condition: .none, isDryRun: false, trigger: .insertion, callerUserID: nil)
        return JobRecord(
            sequence: sequence, start: start, startedAt: 1_700_000_000, wasClockSynchronised: true, report: report)
    }
}
