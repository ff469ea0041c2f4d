package import StationCore
import StationLinux
import Synchronization

/// What the runners of all slots share; the composition root makes it once.
package struct RunnerServices: Sendable {
    package var store: Store
    package var journal: Journal
    package var images: SealedImages
    package var writers: WriterLaunch
    package var stuckAfterSeconds: Double
    /// Called after every change that somebody may see.
    package var changed: @Sendable () -> Void
    /// Called after a job has ended.
    package var jobEnded: @Sendable () -> Void

    package init(
        store: Store, journal: Journal, images: SealedImages, writers: WriterLaunch, stuckAfterSeconds: Double,
        changed: @escaping @Sendable () -> Void, jobEnded: @escaping @Sendable () -> Void = {}
    ) {
        self.store = store
        self.journal = journal
        self.images = images
        self.writers = writers
        self.stuckAfterSeconds = stuckAfterSeconds
        self.changed = changed
        self.jobEnded = jobEnded
    }
}

/// Runs one slot: takes inputs from its mailbox one after the other, asks the machine, performs what it says.
package actor SlotRunner {
    private enum Message: Sendable {
        /// What happened, and when, in monotonic seconds.
        case input(SlotMachine.Input, at: Double)
        case command(SlotMachine.Command, caller: UInt32, CheckedContinuation<SlotMachine, any Error>)
        case redeclare(SlotDeclaration, stuckAfterSeconds: Double)
        case inspect(SlotInspection)
        case inspectionOver(SlotInspection)
        case flush(CheckedContinuation<Void, Never>)
        case settle
    }

    /// So long after a consent that was taken back could not be recorded it is tried again, in seconds.
    private static let retrySeconds = 5.0

    private nonisolated let mailbox: AsyncStream<Message>.Continuation
    /// The machine as it was after the last input, for everyone who asks.
    private nonisolated let snapshot: Mutex<SlotMachine>
    private let services: RunnerServices
    private var machine: SlotMachine
    private var writers: [JobID: SlotWriter] = [:]
    /// A job that the store did not take: it never began, and has no record that could end.
    private var unrecorded: JobID?
    /// What somebody took back and the store would not take: it counts, and is recorded as soon as the store does.
    private var unsaved: (command: SlotMachine.Command, caller: UInt32)?
    /// A look at the card that is under way; a job that begins ends it.
    private var inspection: SlotInspection?

    /// Takes up a slot where the store left it.
    package init(slot: SlotDeclaration, consent: SlotConsent?, memory: SlotMachine.Memory, services: RunnerServices) {
        let machine = SlotMachine(
            slot: slot, isArmed: consent?.isArmed ?? false, assignment: consent?.assignment,
            preparation: consent?.preparation, disarmReason: consent?.disarmReason, memory: memory,
            stuckAfterSeconds: services.stuckAfterSeconds)
        self.machine = machine
        self.services = services
        snapshot = Mutex(machine)
        let (stream, continuation) = AsyncStream.makeStream(of: Message.self)
        mailbox = continuation
        Task { await self.run(stream) }
    }

    /// The slot as it is now.
    package nonisolated var current: SlotMachine { snapshot.withLock { $0 } }

    /// Puts something that happened into the mailbox.
    package nonisolated func post(_ input: SlotMachine.Input) {
        mailbox.yield(.input(input, at: SystemClock.monotonicSeconds()))
    }

    /// The same, and waits until it was taken in: whoever asks then sees what came of it.
    package nonisolated func deliver(_ input: SlotMachine.Input) async {
        post(input)
        await flush()
    }

    private nonisolated func flush() async {
        await withCheckedContinuation { continuation in
            if case .enqueued = mailbox.yield(.flush(continuation)) { return }
            continuation.resume()
        }
    }

    /// Takes over a slot file and a configuration that were read anew.
    package nonisolated func redeclare(_ slot: SlotDeclaration, stuckAfterSeconds: Double) {
        mailbox.yield(.redeclare(slot, stuckAfterSeconds: stuckAfterSeconds))
    }

    /// Does what somebody asks, after everything that is in the mailbox already.
    /// - Returns: the machine after it.
    /// - Throws: the machine's `StationError`.
    package nonisolated func perform(_ command: SlotMachine.Command, caller: UInt32) async throws -> SlotMachine {
        try await withCheckedThrowingContinuation { continuation in
            if case .enqueued = mailbox.yield(.command(command, caller: caller, continuation)) { return }
            continuation.resume(
                throwing: StationError("slot_unknown", "the slot was removed", remedy: "stationctl slot list"))
        }
    }

    /// Looks at the card that is in, after everything that is in the mailbox already. The slot's state stays as it is.
    /// - Parameters:
    ///   - token: the insertion that is meant; nil for the card that is in now.
    ///   - candidates: what may be on the card, each with its image where that is still there.
    /// - Returns: how far the writer is, and last what is on the card. Nobody listens any more: the look ends.
    /// - Throws: in the stream `no_card`, `job_running`, `inspection_running`, `inspection_ended`, `card_changed`, or the
    ///   code of a refusal.
    nonisolated func inspect(
        _ token: InsertionToken?, candidates: [(InspectionRequest.Candidate, Descriptor?)]
    ) -> AsyncThrowingStream<WriterMessage, any Error> {
        let (stream, continuation) = AsyncThrowingStream.makeStream(of: WriterMessage.self)
        let inspection = SlotInspection(token: token, candidates: candidates, continuation: continuation) {
            [mailbox, store = services.store] over, isAbandoned in
            guard isAbandoned else { return _ = mailbox.yield(.inspectionOver(over)) }
            // By the store's queue, as all that waits here is. Its writer stops within a second. Whoever asked and went, again and again, would have more of them started than the
            // slot's socket allows, and that would fail.
            store.perform(after: 1) { _, _ in mailbox.yield(.inspectionOver(over)) }
        }
        if case .enqueued = mailbox.yield(.inspect(inspection)) { return stream }
        inspection.end(StationError("slot_unknown", "the slot was removed", remedy: "stationctl slot list"))
        return stream
    }

    /// Interrupts a job that runs and waits until that is recorded; the mailbox is closed then.
    package nonisolated func stop() async {
        await deliver(.stop)
        mailbox.finish()
    }

    private func run(_ messages: AsyncStream<Message>) async {
        for await message in messages {
            switch message {
            case .input(let input, let time):
                await perform(machine.handle(input, now: time))
                if case .stop = input { await settle() }
                publish()
            case .command(let command, let caller, let continuation):
                // Whoever hears that it is done must also see it.
                do {
                    try await obey(command, caller: caller)
                    publish()
                    continuation.resume(returning: machine)
                } catch {
                    publish()
                    continuation.resume(throwing: error)
                }
            case .redeclare(let slot, let stuckAfterSeconds):
                machine.redeclare(slot, stuckAfterSeconds: stuckAfterSeconds)
                publish()
            case .inspect(let inspection): begin(inspection)
            case .inspectionOver(let over): if inspection === over { inspection = nil }
            case .flush(let continuation):
                publish()
                continuation.resume()
            case .settle:
                await settle()
                if unsaved != nil { settleLater() }
            }
        }
    }

    private func publish() {
        snapshot.withLock { $0 = machine }
        services.changed()
    }

    /// Consent that cannot be recorded is not given, nor waits a slot for an image of which no record says so; what is taken back
    /// counts at once, recorded or not.
    private func obey(_ command: SlotMachine.Command, caller: UInt32) async throws {
        let before = machine
        let effects = try machine.perform(command, caller: caller, now: SystemClock.monotonicSeconds())
        if effects == [.saveConsent] {
            do {
                try await saveConsent(command, caller: caller)
                unsaved = nil
            } catch {
                if machine.isArmed || machine.preparation != nil {
                    machine = before
                } else {
                    if unsaved == nil { settleLater() }
                    unsaved = (command, caller)
                }
                throw error
            }
        } else {
            await perform(effects)
        }
    }

    private func settle() async {
        guard let (command, caller) = unsaved else { return }
        guard (try? await saveConsent(command, caller: caller)) != nil else { return }
        unsaved = nil
    }

    private func settleLater() {
        services.store.perform(after: Self.retrySeconds) { [mailbox] _, _ in mailbox.yield(.settle) }
    }

    private func perform(_ effects: [SlotMachine.Effect]) async {
        for effect in effects {
            switch effect {
            case .begin(let start): await begin(start)
            case .cancel(let job): writers[job]?.tell(.cancel)
            case .answer(let job, let command): writers[job]?.tell(command)
            case .hangUp(let job): writers.removeValue(forKey: job)?.hangUp()
            case .end(let start, let report):
                writers[start.id] = nil
                let failures = machine.failuresInARow
                var card: CardRecord??
                if start.id == unrecorded {
                    unrecorded = nil
                } else {
                    card = await store { try await $0.endJob(start.id, report, failuresInARow: failures) }
                }
                services.journal.write(.jobEnded(start, report))
                if let card = card ?? nil { await recall(start.token, nil, card) }
                services.jobEnded()
            case .discard(let job):
                writers[job] = nil
                await store { try await $0.discardJob(job) }
            case .announceWaiting(let waiting):
                guard let device = machine.device else { continue }
                services.journal.write(.cardWaits(machine.slot.name, waiting, device, assignment: machine.assignment))
            case .announceRefused(let reason):
                guard let device = machine.device else { continue }
                services.journal.write(.cardRefused(machine.slot.name, reason, device, assignment: machine.assignment))
            case .announceStuck(let start): services.journal.write(.jobStuck(start))
            case .announceSlow(let start, let pace): services.journal.write(.cardSlow(start, pace))
            case .recall(let token, let job, let traits):
                // A store that fails must not stop a card, nor keep its writer waiting.
                await recall(token, job, await store { try await $0.recall(traits) } ?? nil)
            case .announceSuspect(let record):
                guard let device = machine.device,
                    let entry = JournalEntry.cardSuspect(machine.slot.name, record, device)
                else { continue }
                services.journal.write(entry)
            case .announceDisarmed(let reason): await disarmed(reason)
            case .savePreparation(let preparation, let assignment): await prepared(preparation, assignment)
            case .saveConsent: break
            }
        }
    }

    private func recall(_ token: InsertionToken, _ job: JobID?, _ record: CardRecord?) async {
        await perform(machine.handle(.recalled(token, job, record), now: SystemClock.monotonicSeconds()))
    }

    /// The machine has disarmed the slot already; here it is recorded.
    private func disarmed(_ reason: DisarmReason) async {
        let (slot, assignment, declared) = (machine.slot.name, machine.assignment, machine.slot.placeAndReader)
        await store {
            try await $0.saveConsent(
                slot: slot, isArmed: false, assignment: assignment, change: .disarm, callerUserID: nil,
                disarmReason: reason, declared: declared)
        }
        services.journal.write(.slotDisarmedByFailures(slot, reason, assignment: assignment))
    }

    /// The machine has taken it over already; here it is recorded.
    private func prepared(_ preparation: SlotMachine.Preparation, _ assignment: Assignment?) async {
        let (slot, declared) = (machine.slot.name, machine.slot.placeAndReader)
        await store {
            try await $0.saveConsent(
                slot: slot, isArmed: assignment != nil, assignment: assignment,
                change: assignment == nil ? .disarm : .assign, callerUserID: preparation.callerUserID,
                preparation: assignment == nil ? preparation : nil, declared: declared)
        }
        guard let assignment else { return }
        services.journal.write(.slotAssigned(slot, assignment, callerUserID: preparation.callerUserID))
    }

    /// Asks the slot's writer for a look at the card, unless something else is going on.
    private func begin(_ next: SlotInspection) {
        do {
            guard inspection == nil else {
                throw StationError(
                    "inspection_running", "somebody looks at the card in \(machine.slot.name) already",
                    remedy: "wait until that is done")
            }
            let (device, token) = try machine.inspectable(next.token)
            inspection = next
            next.start(
                slot: machine.slot.name, disk: device.name, sequence: token.deviceSequence, launch: services.writers)
        } catch {
            next.end(error)
        }
    }

    /// Records that a job begins, and only then asks the writer: no card is written that no record knows of.
    private func begin(_ start: JobStart) async {
        inspection?.end(
            StationError(
                "inspection_ended", "a job began in \(start.slot)", remedy: "inspect the card when the job is done"))
        inspection = nil
        do {
            unrecorded = start.id
            try await services.store.beginJob(
                start, startedAt: SystemClock.wallSeconds(), isClockSynchronised: SystemClock.isSynchronised())
            unrecorded = nil
            let image = try services.images.open(start.assignment.sha256, byteCount: start.assignment.byteCount)
            services.journal.write(.jobBegan(start))
            writers[start.id] = SlotWriter(
                slot: start.slot, request: start.request, images: [image], launch: services.writers
            ) { [weak self] event in
                switch event {
                case .message(let message): self?.post(.writer(start.id, message))
                case .silent(let seconds): self?.post(.writerSilent(start.id, seconds: seconds))
                case .lost(let reason, let detail): self?.post(.writerLost(start.id, reason, detail: detail))
                }
            }
        } catch {
            let reason = Reason(rawValue: error.code) ?? .internalError
            post(.writer(start.id, .ended(JobReport(.refused(reason), detail: error.message))))
        }
    }

    private func saveConsent(_ command: SlotMachine.Command, caller: UInt32) async throws {
        let slot = machine.slot.name
        let (isArmed, assignment) = (machine.isArmed, machine.assignment)
        let change: ChangeRecord.Kind
        let entry: JournalEntry
        switch command {
        case .assign(let assignment):
            (change, entry) = (.assign, .slotAssigned(slot, assignment, callerUserID: caller))
        case .prepare(let preparation):
            (change, entry) = (
                .prepare, .slotPreparing(slot, profile: preparation.profile, callerUserID: caller)
            )
        case .unassign: (change, entry) = (.unassign, .slotUnassigned(slot, callerUserID: caller))
        case .disarm: (change, entry) = (.disarm, .slotDisarmed(slot, assignment, callerUserID: caller))
        case .arm, .flash, .cancel: (change, entry) = (.arm, .slotArmed(slot, assignment, callerUserID: caller))
        }
        try await services.store.saveConsent(
            slot: slot, isArmed: isArmed, assignment: assignment, change: change, callerUserID: caller,
            preparation: machine.preparation, declared: machine.slot.placeAndReader)
        services.journal.write(entry)
    }

    /// A store that fails must not stop a card: the journal has the verdict, and says that the record is missing.
    @discardableResult
    private func store<Value>(_ body: (Store) async throws -> Value) async -> Value? {
        do {
            return try await body(services.store)
        } catch {
            let problem = error as? StationError ?? StationError("store_unusable", "\(error)")
            services.journal.write(.storeProblem(problem))
            return nil
        }
    }
}
