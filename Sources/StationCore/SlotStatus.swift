/// What one slot shows to people and programs.
package struct SlotStatus: Equatable, Codable, Sendable {
    /// One job, as `status` and `watch` show it.
    package struct Job: Equatable, Codable, Sendable {
        package var id: JobID
        package var image: ImageName
        package var isDryRun: Bool
        /// Nil when the job has ended.
        package var progress: JobProgress?
        /// Of the present phase; nil until it is known.
        package var bytesPerSecond: Double?
        /// About, of the whole job; nil until it is known.
        package var secondsLeft: Double?
        /// Nil while the job is under way.
        package var report: JobReport?
    }

    /// The disk in the slot.
    package struct Card: Equatable, Codable, Sendable {
        package var device: String
        package var byteCount: UInt64
        package var model: String
        package var cardID: String?
        /// What the station remembers of it; nil for a card that it does not know, or not yet.
        package var memory: CardRecord?
    }

    /// An image that is being built.
    package struct Preparation: Equatable, Codable, Sendable {
        package var profile: String
        /// Why there will be none.
        package var problem: StationError?

        package init(profile: String, problem: StationError? = nil) {
            self.profile = profile
            self.problem = problem
        }
    }

    package var name: SlotName
    /// `absent`, `empty`, `waiting`, `running`, `stuck`, or a verdict's word.
    package var state: String
    /// Why a card waits or was refused: a stable code.
    package var reason: String?
    package var isArmed: Bool
    /// Why the station itself disarmed it; nil when it is armed, or when somebody asked for it.
    package var disarmReason: DisarmReason?
    /// The failures since a card passed here last, or since the slot was armed.
    package var failuresInARow: Int
    package var assignment: Assignment?
    /// The profile whose image is being built for the slot, or could not be.
    package var preparation: Preparation?
    package var place: Place
    package var reader: Reader
    /// What its light says; also of a slot without one.
    package var signal: Signal
    package var lights: SlotLights
    /// Where its reader came up instead: the other speed class of its port.
    package var elsewhere: Place?
    package var card: Card?
    package var job: Job?
    /// What somebody should know about the slot, its reader or the card that is in, whatever its state is.
    package var notes: [StationError] = []

    /// Looks at a machine.
    package init(_ machine: SlotMachine, elsewhere: Place? = nil) {
        self.elsewhere = machine.device == nil ? elsewhere : nil
        name = machine.slot.name
        isArmed = machine.isArmed
        disarmReason = machine.disarmReason
        failuresInARow = machine.failuresInARow
        assignment = machine.assignment
        preparation = machine.preparation.map { Preparation(profile: $0.profile, problem: $0.problem) }
        place = machine.slot.place
        reader = machine.slot.reader
        signal = Signal(machine)
        lights = machine.slot.lights
        if let device = machine.device, device.hasMedium {
            card = Card(
                device: device.name, byteCount: device.byteCount, model: device.model, cardID: device.cardID,
                memory: machine.cardRecord)
        }
        if let preparation, let problem = preparation.problem {
            notes.append(
                StationError(
                    "build_failed", "the image of \(preparation.profile) could not be built: \(problem.message)",
                    remedy: problem.remedy.isEmpty ? "stationctl assign \(name) \(preparation.profile)" : problem.remedy
                ))
        }
        if let reason = machine.disarmReason {
            notes.append(
                StationError(
                    reason.rawValue, "disarmed by the station: \(reason.explanation)", remedy: reason.remedy(slot: name)
                ))
        }
        // Of a first failure, whose job is there to be seen, there is no more to say.
        var hasCome = true
        if case .latched(let finished) = machine.activity {
            hasCome = machine.cardRecord?.lastFailure?.job != finished.start.id
        }
        if let record = machine.cardRecord, let reproach = record.reproach, hasCome || record.failuresInARow > 1 {
            notes.append(StationError(Reason.cardSuspect.rawValue, reproach, remedy: record.remedy))
        }
        switch machine.activity {
        case .noCard: state = machine.device == nil ? "absent" : "empty"
        case .waiting(let waiting):
            state = "waiting"
            reason = waiting.rawValue
        case .refused(let refusal):
            state = "refused"
            reason = refusal.rawValue
        case .running(let running):
            state = running.isStuck ? "stuck" : "running"
            if let slowness = running.slowness { notes.append(slowness.note) }
            job = Job(running)
        case .latched(let finished):
            state = finished.report.verdict.word
            reason = finished.report.verdict.reason?.rawValue
            job = Job(
                id: finished.start.id, image: finished.start.assignment.image, isDryRun: finished.start.isDryRun,
                report: finished.report)
        }
    }
}

extension SlotStatus.Job {
    init(_ running: SlotMachine.Running) {
        id = running.start.id
        image = running.start.assignment.image
        isDryRun = running.start.isDryRun
        progress = running.progress
        let progress = running.progress
        // A writer may say anything, and JSON knows no infinity.
        secondsLeft = running.pace.secondsLeft(progress, contentByteCount: running.start.assignment.byteCount)
            .flatMap { $0.isFinite ? $0 : nil }
        let phaseSeconds = progress.elapsedSeconds - running.phaseBeganAt
        guard phaseSeconds > 0.5, phaseSeconds.isFinite, progress.phaseBytesDone > 0 else { return }
        bytesPerSecond = Double(progress.phaseBytesDone) / phaseSeconds
    }
}
