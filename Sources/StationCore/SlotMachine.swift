/// What one slot does: a pure state machine. Inputs go in, effects come out; it calls nobody.
///
/// ```
///              card, armed, assigned                     verdict
///   noCard ───────────────────────────▶ running ───────────────────────────▶ latched
///    ▲  │                                 ▲ │                                   │
///    │  │ card, something missing         │ │ same_card: latched again          │
///    │  └───────────▶ waiting ── flash ───┘ │ was_in_already: waiting           │
///    │                   │                  │                                   │
///    └───────────────────┴── card gone ─────┴── card gone, then the verdict ────┘
/// ```
///
/// While a slot's image is being built (`preparation`), a card that comes waits (`preparing`) and is begun when the image is there;
/// where the build fails it goes on waiting (`build_failed`). What was assigned before is written to no card any more.
///
/// A card is known by its insertion token. An event about a card that is there already changes nothing, so that our own
/// partition re-read, a udev re-trigger or a daemon restart never starts a second job.
package struct SlotMachine: Sendable {
    package private(set) var slot: SlotDeclaration
    package private(set) var device: DeviceRecord?
    package private(set) var token: InsertionToken?
    package private(set) var activity: Activity = .noCard
    package private(set) var isArmed: Bool
    package private(set) var assignment: Assignment?
    /// What is built for the slot's next cards, or could not be.
    package private(set) var preparation: Preparation?
    package private(set) var lastFinished: Finished?
    /// How the card that waits for its image is begun.
    private var preparedCondition: JobRequest.Condition?
    /// What the slot's last job showed of its card and reader, for the estimates of the next.
    private var lastPace: JobPace
    /// How fast cards usually go here, in bytes a second; nil while that is not known.
    private var usualBytesPerSecond: Double?
    /// Why the station itself disarmed the slot; nil when it is armed, or when somebody asked for it.
    package private(set) var disarmReason: DisarmReason?
    /// The failures since a card passed here last, or since the slot was armed.
    package private(set) var failuresInARow: Int
    /// What the store remembers of the card that is in.
    package private(set) var cardRecord: CardRecord?

    private let lastCard: CardRecord?
    private let interruptedJobs: [JobID]
    private var stuckAfterSeconds: Double
    /// A card that came while the writer was still busy with the one before.
    private var next: Input?
    /// The card that left last with its whole device, and when: a loss of contact looks like that, too.
    private var departed: (device: DeviceRecord, finished: Finished?, at: Double)?
    private var isStopped = false
    /// Cards come and go as ever, and none is begun.
    private var isGoingDown = false
    /// The stay whose job is not tried again when udev was late with the node's permissions: it was already, or somebody has
    /// said something of the slot since, or the job was one of before the station started.
    private var permissionRetry: InsertionToken?

    /// The last stay of a card: a stay that only seemed to end, or that was refused for a while, goes on as it was.
    private var stay: (token: InsertionToken, origin: Origin, settled: Activity?, card: CardRecord?)?
    /// The stay of the card whose job runs, while another seems to be in.
    private var staying: (token: InsertionToken, origin: Origin, settled: Activity?, card: CardRecord?)?

    /// How a card came to be in the slot; later ones stand against earlier ones, whatever is heard of the card afterwards.
    private enum Origin: Int { case inserted, found, declaredAround }

    /// How long after leaving a card counts as the same one if it looks the same, in seconds.
    package static let returnWindow = 10.0
    /// No hand pulls a card and inserts another within so many seconds; a reset of the bus does.
    package static let glitchWindow = 2.0

    package init(
        slot: SlotDeclaration, isArmed: Bool = false, assignment: Assignment? = nil,
        preparation: Preparation? = nil, disarmReason: DisarmReason? = nil, memory: Memory = Memory(),
        stuckAfterSeconds: Double = 15
    ) {
        self.slot = slot
        self.preparation = preparation
        // The last failure and the disarming are two entries in the store: the power may have failed between them.
        let hasFailed = isArmed && memory.failuresInARow >= DisarmReason.failureLimit
        self.isArmed = isArmed && !hasFailed
        self.disarmReason = hasFailed ? .failuresInARow : isArmed ? nil : disarmReason
        failuresInARow = memory.failuresInARow
        lastCard = memory.lastCard
        self.assignment = assignment
        lastFinished = memory.lastFinished
        lastPace = memory.lastFinished.map { JobPace($0.report) } ?? JobPace()
        interruptedJobs = memory.interruptedJobs
        self.stuckAfterSeconds = stuckAfterSeconds
    }

    /// Takes over a slot file that was read anew; what runs, runs on.
    package mutating func redeclare(_ slot: SlotDeclaration, stuckAfterSeconds: Double) {
        self.slot = slot
        self.stuckAfterSeconds = stuckAfterSeconds
    }

    // MARK: Events

    /// - Parameter now: monotonic seconds, for telling a card that lost contact from a new one.
    package mutating func handle(_ input: Input, now: Double) -> [Effect] {
        switch input {
        case .device(let record, let eligibility, let bootID, let wasThere):
            guard !isStopped else { return [] }
            return deviceAppeared(
                record, eligibility, bootID: bootID, wasThere ? .found : .inserted, as: input, now: now)
        case .declaredAround(let record, let eligibility, let bootID):
            guard !isStopped else { return [] }
            return deviceAppeared(record, eligibility, bootID: bootID, .declaredAround, as: input, now: now)
        case .deviceGone:
            return cardLeft(isWholeDevice: true, now: now)
        case .writer(let job, let message):
            guard case .running(let running) = activity, running.start.id == job else { return [] }
            return writerSaid(message, running, now: now)
        case .writerSilent(let job, let seconds):
            guard case .running(let running) = activity, running.start.id == job else { return [] }
            var progress = running.progress
            progress.silentSeconds = max(progress.silentSeconds, seconds)
            return writerSaid(.progress(progress), running, now: now)
        case .writerLost(let job, let reason, let detail):
            guard case .running(let running) = activity, running.start.id == job else { return [] }
            return ended(running, JobReport(.failed(reason), detail: detail), now: now)
        case .recalled(let token, let job, let record): return recalled(token, job, record)
        case .usualSpeed(let speed):
            usualBytesPerSecond = speed
            return []
        case .prepared(let id, let assignment): return prepared(id, assignment, now: now)
        case .preparationFailed(let id, let problem): return preparationFailed(id, problem)
        case .goingDown:
            isGoingDown = true
            return []
        case .stop:
            isStopped = true
            guard case .running(let running) = activity else { return [] }
            let report = JobReport(.interrupted, detail: "the station was stopped")
            activity = .latched(Finished(start: running.start, report: report))
            return [.hangUp(running.start.id), .end(running.start, report)]
        }
    }

    private mutating func deviceAppeared(
        _ record: DeviceRecord, _ eligibility: Eligibility, bootID: String, _ origin: Origin, as input: Input,
        now: Double
    ) -> [Effect] {
        let newToken = record.deviceSequence.map { InsertionToken(bootID: bootID, deviceSequence: $0) }
        switch eligibility {
        case .notOurs: return cardLeft(isWholeDevice: true, now: now)
        case .emptySlot:
            if case .running = activity {
                next = input
                return []
            }
            let effects = cardLeft(now: now)
            device = record
            return effects
        case .refused(_, let reason):
            // A refusal that was said once is not said again, and a running job is its writer's to judge.
            if case .running = activity {
                postpone(input, newToken, origin)
                return []
            }
            if case .refused(reason) = activity, token == newToken { return [] }
            if case .latched = activity, token == newToken { return [] }
            noteStay(newToken, origin)
            let effects = cardLeft(now: now)
            device = record
            token = newToken
            activity = .refused(reason)
            return effects + [.announceRefused(reason)]
        case .card:
            if case .running = activity {
                postpone(input, newToken, origin)
                return []
            }
            if token == newToken {
                switch activity {
                case .latched(let finished) where origin == .inserted && mayRetry(finished):
                    // The refusal came before udev had opened the node to the writer; now it has.
                    permissionRetry = newToken
                    let start = finished.start
                    return begin(
                        record, start.token, start.assignment, start.condition, isDryRun: start.isDryRun,
                        trigger: start.trigger, caller: start.callerUserID, now: now)
                case .waiting, .latched:
                    device = record
                    return []
                case .noCard, .refused, .running: break
                }
            }
            // A reset of the bus may count the sequence up without ever taking the disk away.
            var effects = activity == .noCard ? [] : cardLeft(isWholeDevice: true, now: now)
            guard let newToken else { return effects }
            device = record
            token = newToken
            noteStay(newToken, origin)
            effects += cardCame(record, newToken, stay?.origin ?? origin, now: now)
            return effects
        }
    }

    /// Whether a card whose node udev had not opened yet is begun once more: on the word that it was begun on, and unless somebody
    /// asked for it by `flash`, who has heard that it was refused.
    private func mayRetry(_ finished: Finished) -> Bool {
        finished.report.verdict == .refused(.permissionDenied) && finished.start.trigger != .flash
            && permissionRetry != token
    }

    private mutating func noteStay(_ token: InsertionToken?, _ origin: Origin) {
        guard let token else { return }
        if stay?.token != token { stay = (token, origin, nil, nil) }
        if let known = stay?.origin, known.rawValue < origin.rawValue { stay?.origin = origin }
    }

    /// Keeps what came while a job runs until that ends. A card that the slot was declared around stays one.
    private mutating func postpone(_ input: Input, _ newToken: InsertionToken?, _ origin: Origin) {
        // The same card again means that it never left, whatever was heard between.
        guard token != newToken else {
            if let staying, staying.token == token { stay = staying }
            return next = nil
        }
        if stay?.token == token { staying = stay }
        noteStay(newToken, origin)
        next = input
    }

    /// What a card's stay has come to; it stands until the card leaves.
    private mutating func settle(_ activity: Activity) {
        self.activity = activity
        if stay?.token == token { stay?.settled = activity }
    }

    private mutating func cardCame(
        _ record: DeviceRecord, _ token: InsertionToken, _ origin: Origin, now: Double
    ) -> [Effect] {
        let wasThere = origin != .inserted
        let before = departed
        departed = nil
        if let settled = stay?.settled {
            activity = settled
            cardRecord = stay?.card
            return []
        }
        if wasThere, let lastFinished, lastFinished.start.token == token, lastFinished.report.verdict != .interrupted {
            settle(.latched(lastFinished))
            permissionRetry = token
            cardRecord = lastCard
            return []
        }
        // A card that shows its identity is known before any writer has looked at it.
        let traits = CardTraits(cardID: record.cardID)
        let recall: [Effect] = traits.isKnowable ? [.recall(token, nil, traits)] : []
        return recall + decide(record, token, origin, before: before, now: now)
    }

    /// What becomes of a card that came and was not settled before.
    private mutating func decide(
        _ record: DeviceRecord, _ token: InsertionToken, _ origin: Origin,
        before: (device: DeviceRecord, finished: Finished?, at: Double)?, now: Double
    ) -> [Effect] {
        if preparation == nil {
            guard assignment != nil else { return wait(.unassigned) }
            guard isArmed else { return wait(.disarmed) }
        }
        guard origin != .declaredAround else { return wait(.wasInAlready) }
        if origin == .found {
            guard let assignment, preparation == nil else { return wait(.wasInAlready) }
            if !interruptedJobs.isEmpty {
                return begin(record, token, assignment, .onlyIfMarked(interruptedJobs), trigger: .resumed, now: now)
            }
            guard slot.atBoot == .write else { return wait(.wasInAlready) }
            return begin(record, token, assignment, .none, trigger: .atBoot, now: now)
        }
        if let before, before.device.byteCount == record.byteCount, before.device.cardID == record.cardID,
            now - before.at <= Self.returnWindow
        {
            // A card that waited, and was not to be written, still waits after a reset of its bus.
            if before.finished == nil, now - before.at <= Self.glitchWindow { return wait(.wasInAlready) }
            // Pulling a failed card and inserting it again is how it is tried again; only a reset of the bus is not.
            let isPassed = before.finished?.report.verdict == .passed
            if let finished = before.finished, let head = finished.report.headSHA256,
                isPassed || now - before.at <= Self.glitchWindow
            {
                lastFinished = finished
                return beginOrPrepare(record, token, .unlessHead(head), now: now)
            }
        }
        return beginOrPrepare(record, token, .none, now: now)
    }

    /// A card that came in is written, or waits until its image is there.
    private mutating func beginOrPrepare(
        _ record: DeviceRecord, _ token: InsertionToken, _ condition: JobRequest.Condition, now: Double
    ) -> [Effect] {
        if let preparation {
            preparedCondition = condition
            return wait(preparation.problem == nil ? .preparing : .buildFailed)
        }
        guard let assignment else { return wait(.unassigned) }
        return begin(record, token, assignment, condition, trigger: .insertion, now: now)
    }

    private mutating func prepared(_ id: JobID, _ assignment: Assignment, now: Double) -> [Effect] {
        guard !isStopped, !isGoingDown, let preparation, preparation.id == id else { return [] }
        self.preparation = nil
        self.assignment = assignment
        setArmed(true)
        var effects: [Effect] = [.savePreparation(preparation, assignment)]
        switch activity {
        case .waiting(.preparing):
            guard let device, let token, let condition = preparedCondition else { break }
            effects += begin(device, token, assignment, condition, trigger: .insertion, now: now)
        default: break
        }
        preparedCondition = nil
        return effects
    }

    private mutating func preparationFailed(_ id: JobID, _ problem: StationError) -> [Effect] {
        guard !isStopped, var preparation, preparation.id == id else { return [] }
        preparation.problem = problem
        self.preparation = preparation
        var effects: [Effect] = [.savePreparation(preparation, nil)]
        if activity == .waiting(.preparing) { effects += wait(.buildFailed) }
        return effects
    }

    /// What was being built is no longer wanted; a card that waited for it stays as it is.
    private mutating func dropPreparation() {
        preparation = nil
        preparedCondition = nil
        switch activity {
        case .waiting(.preparing), .waiting(.buildFailed): settle(.waiting(.wasInAlready))
        default: break
        }
    }

    /// - Parameter isWholeDevice: the device is gone, and not only the medium in it: perhaps a loss of contact.
    private mutating func cardLeft(isWholeDevice: Bool = false, now: Double) -> [Effect] {
        if case .running = activity {
            // The writer sees for itself that the card is gone; its verdict ends the job.
            next = .deviceGone
            return []
        }
        if isWholeDevice, let device {
            switch activity {
            case .latched(let finished):
                let isCardsOwn = finished.start.isDryRun && lastFinished?.start.token == token
                departed = (device, isCardsOwn ? lastFinished : finished, now)
            case .waiting: departed = (device, nil, now)
            case .noCard, .refused, .running: break
            }
        }
        activity = .noCard
        device = nil
        token = nil
        cardRecord = nil
        preparedCondition = nil
        return []
    }

    /// The store's answer. One that comes late, for another card, changes nothing.
    private mutating func recalled(_ token: InsertionToken, _ job: JobID?, _ record: CardRecord?) -> [Effect] {
        guard token == self.token else { return [] }
        var effects: [Effect] = []
        if let record {
            // A card whose job has just ended did not come back.
            let hasCome = if case .latched = activity { false } else { true }
            if hasCome, record.isSuspect, cardRecord?.card != record.card { effects.append(.announceSuspect(record)) }
            cardRecord = record
            if stay?.token == token { stay?.card = record }
        }
        if let job, case .running(let running) = activity, running.start.id == job {
            effects.append(.answer(job, record?.state == .condemned ? .refuse : .proceed))
        }
        return effects
    }

    private mutating func wait(_ waiting: Waiting) -> [Effect] {
        settle(.waiting(waiting))
        return [.announceWaiting(waiting)]
    }

    private mutating func begin(
        _ record: DeviceRecord, _ token: InsertionToken, _ assignment: Assignment, _ condition: JobRequest.Condition,
        isDryRun: Bool = false, trigger: JobTrigger, caller: UInt32? = nil, now: Double
    ) -> [Effect] {
        guard !isGoingDown else { return wait(.wasInAlready) }
        let start = JobStart(
            id: JobID(), slot: slot.name, token: token, device: record, assignment: assignment, condition: condition,
            isDryRun: isDryRun, trigger: trigger, callerUserID: caller)
        activity = .running(
            Running(start: start, progress: JobProgress(phase: .guarding), beganAt: now, pace: lastPace.inherited()))
        return [.begin(start)]
    }

    // MARK: The writer

    private mutating func writerSaid(_ message: WriterMessage, _ running: Running, now: Double) -> [Effect] {
        var running = running
        switch message {
        case .held:
            running.heldAfterSeconds = now - running.beganAt
            activity = .running(running)
            return []
        case .progress(let progress):
            // A phase may come twice, with a short one between that nobody saw.
            if progress.phase != running.progress.phase || progress.phaseBytesDone < running.progress.phaseBytesDone {
                running.phaseBeganAt = progress.elapsedSeconds
            }
            running.pace.advance(from: running.progress, to: progress)
            running.progress = progress
            lastPace = running.pace
            let wasStuck = running.isStuck
            running.isStuck = progress.silentSeconds >= stuckAfterSeconds
            var effects: [Effect] = running.isStuck && !wasStuck ? [.announceStuck(running.start)] : []
            if running.slowness == nil,
                let slowness = SlowCard(progress, phaseBeganAt: running.phaseBeganAt, usual: usualBytesPerSecond)
            {
                running.slowness = slowness
                effects.append(.announceSlow(running.start, slowness))
            }
            activity = .running(running)
            return effects
        case .readRate(let bytesPerSecond):
            running.pace.learn(readRate: bytesPerSecond)
            activity = .running(running)
            return []
        case .recognised(let traits): return [.recall(running.start.token, running.start.id, traits)]
        case .inspected: return []
        case .ended(let report):
            return ended(running, report, now: now)
        }
    }

    private mutating func ended(_ running: Running, _ report: JobReport, now: Double) -> [Effect] {
        var report = report
        report.heldAfterSeconds = running.heldAfterSeconds ?? 0
        if report.verdict == .passed, !isProven(report, running) {
            report = JobReport(
                .failed(.internalError), detail: "the writer said passed without showing what it had read back")
        }
        var effects: [Effect]
        switch report.verdict {
        case .refused(.sameCard):
            effects = [.discard(running.start.id)]
            if let lastFinished, lastFinished.report.verdict != .passed {
                // A failed card carries its job's key in its first bytes: it is that very card.
                settle(.latched(lastFinished))
            } else {
                // Two cards of one image begin with the same bytes, so nothing is said of this one.
                effects += wait(.sameCard)
            }
        case .refused(.wasInAlready) where running.start.trigger == .resumed:
            effects = [.discard(running.start.id)]
            if slot.atBoot == .write, let device, let token, let assignment, isArmed, next == nil {
                return effects + begin(device, token, assignment, .none, trigger: .atBoot, now: now)
            }
            effects += wait(.wasInAlready)
        default:
            if report.verdict == .refused(.cardSuspect), let reproach = cardRecord?.reproach {
                report.detail = reproach
            }
            let finished = Finished(start: running.start, report: report)
            // A dry run is shown, but what came of the card before stays what the slot remembers of it.
            if !running.start.isDryRun { lastFinished = finished }
            settle(.latched(finished))
            effects = [.end(running.start, report)] + count(report.verdict, isDryRun: running.start.isDryRun)
        }
        if let waiting = next {
            next = nil
            effects += handle(waiting, now: now)
        }
        return effects
    }

    /// Too many failures in a row take the arming away: it may be the reader, and the next card would pay for it.
    private mutating func count(_ verdict: Verdict, isDryRun: Bool) -> [Effect] {
        guard !isDryRun else { return [] }
        if verdict == .passed { failuresInARow = 0 }
        guard verdict.countsAsFailure else { return [] }
        failuresInARow += 1
        guard isArmed, failuresInARow >= DisarmReason.failureLimit else { return [] }
        isArmed = false
        disarmReason = .failuresInARow
        return [.announceDisarmed(.failuresInARow)]
    }

    private mutating func setArmed(_ isArmed: Bool) {
        self.isArmed = isArmed
        disarmReason = nil
        if isArmed { failuresInARow = 0 }
    }

    /// Whether a report that says passed says all that passed means: the station does not take the writer's word alone.
    private func isProven(_ report: JobReport, _ running: Running) -> Bool {
        running.heldAfterSeconds != nil && !running.start.isDryRun
            && report.readBackSHA256 == running.start.assignment.sha256
            && report.bytesVerified == running.start.assignment.byteCount
    }

    // MARK: Commands

    /// - Throws: `slot_unassigned`, `slot_disarmed`, `no_card`, `job_running`, `no_job`, `station_stopping`, or the code of a
    ///   refusal.
    package mutating func perform(_ command: Command, caller: UInt32, now: Double) throws(StationError) -> [Effect] {
        switch command {
        case .flash, .cancel: break
        // Whatever was refused here before was begun on an earlier word; also of a card that only seems to have left.
        case .assign, .prepare, .unassign, .arm, .disarm: permissionRetry = token ?? stay?.token
        }
        switch command {
        case .assign(let assignment):
            dropPreparation()
            self.assignment = assignment
            setArmed(true)
            return [.saveConsent]
        case .prepare(let preparation):
            dropPreparation()
            assignment = nil
            setArmed(false)
            self.preparation = preparation
            return [.saveConsent]
        case .unassign:
            dropPreparation()
            assignment = nil
            setArmed(false)
            return [.saveConsent]
        case .arm:
            if let preparation { throw stillPreparing(preparation) }
            guard assignment != nil else {
                throw StationError(
                    "slot_unassigned", "\(slot.name) has nothing assigned",
                    remedy: "stationctl assign \(slot.name) --image NAME assigns and arms")
            }
            setArmed(true)
            return [.saveConsent]
        case .disarm:
            dropPreparation()
            setArmed(false)
            return [.saveConsent]
        case .flash(let other, let isDryRun):
            return try flash(other, isDryRun: isDryRun, caller: caller, now: now)
        case .cancel:
            guard case .running(var running) = activity else {
                throw StationError("no_job", "no job runs in \(slot.name)")
            }
            running.isCancelling = true
            activity = .running(running)
            return [.cancel(running.start.id)]
        }
    }

    private func stillPreparing(_ preparation: Preparation) -> StationError {
        if let problem = preparation.problem {
            return StationError(
                "slot_preparing",
                "the image of \(preparation.profile) for \(slot.name) could not be built: \(problem.message)",
                remedy: "stationctl assign \(slot.name) \(preparation.profile) tries it again")
        }
        return StationError(
            "slot_preparing", "the image of \(preparation.profile) for \(slot.name) is still being built",
            remedy: "wait for it: stationctl watch")
    }

    private mutating func flash(_ other: Assignment?, isDryRun: Bool, caller: UInt32, now: Double)
        throws(StationError) -> [Effect]
    {
        guard !isGoingDown else {
            throw StationError(
                "station_stopping", "the station is going down, and begins nothing",
                remedy: "when it is up again: systemctl status stationd.service")
        }
        if other == nil, let preparation { throw stillPreparing(preparation) }
        guard let content = other ?? assignment else {
            throw StationError(
                "slot_unassigned", "\(slot.name) has nothing assigned",
                remedy: "name an image: stationctl flash \(slot.name) --image NAME")
        }
        guard isArmed || assignment == nil || isDryRun else {
            throw StationError(
                "slot_disarmed", "\(slot.name) is disarmed, and nothing is written there",
                remedy: "stationctl arm \(slot.name), then insert the card or flash it")
        }
        if case .running = activity {
            throw StationError(
                "job_running", "a job runs in \(slot.name)", remedy: "wait for it, or: stationctl cancel \(slot.name)")
        }
        if case .refused(let reason) = activity {
            throw StationError(
                reason.rawValue, "\(slot.name): \(reason.explanation)",
                remedy: reason.remedy(slot: slot.name, device: device?.name ?? "DISK"))
        }
        guard let device, let token, activity != .noCard else {
            throw StationError(
                "no_card", "there is no card in \(slot.name)", remedy: "insert one; an armed slot begins by itself")
        }
        return begin(device, token, content, .none, isDryRun: isDryRun, trigger: .flash, caller: caller, now: now)
    }

    /// What may be looked at: the card that is in, while no job runs. Changes nothing.
    /// - Parameter wanted: the insertion that is meant; nil for the card that is in.
    /// - Throws: `no_card`, `job_running`, `card_changed`, or the code of a refusal.
    package func inspectable(_ wanted: InsertionToken?) throws(StationError) -> (DeviceRecord, InsertionToken) {
        if case .running = activity {
            throw StationError("job_running", "a job runs in \(slot.name)", remedy: "wait for its verdict")
        }
        if case .refused(let reason) = activity {
            throw StationError(reason.rawValue, "\(slot.name): \(reason.explanation)", remedy: reason.remedy)
        }
        guard let device, let token, device.hasMedium, activity != .noCard else {
            throw StationError("no_card", "there is no card in \(slot.name)", remedy: "insert one")
        }
        guard wanted == nil || wanted == token else {
            throw StationError(
                Reason.cardChanged.rawValue, "another card is in \(slot.name) now", remedy: "leave it in until told")
        }
        return (device, token)
    }
}
