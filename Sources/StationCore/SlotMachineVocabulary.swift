// What a slot's machine is told, what it answers, and the states that it is in; how it goes from one to the next is in
// SlotMachine.swift.

extension SlotMachine {
    /// Why a card that is in is not being written.
    package enum Waiting: String, Codable, Sendable {
        case unassigned, disarmed
        /// It was in before the station was watching.
        case wasInAlready = "was_in_already"
        /// It came back so soon, and looks so much like the card before, that it may be that card after a loss of contact.
        case sameCard = "same_card"
        /// Its image is being built; it is begun when that is there.
        case preparing
        /// Its image could not be built.
        case buildFailed = "build_failed"
    }

    /// An image that a slot waits for.
    package struct Preparation: Equatable, Codable, Sendable {
        /// Unlike that of every other: a late answer must not touch what was assigned after it.
        package var id: JobID
        /// The profile that it is built from.
        package var profile: String
        package var callerUserID: UInt32
        /// Why there will be none.
        package var problem: StationError?

        package init(profile: String, callerUserID: UInt32, problem: StationError? = nil) {
            id = JobID()
            self.profile = profile
            self.callerUserID = callerUserID
            self.problem = problem
        }
    }

    /// A job under way.
    package struct Running: Equatable, Sendable {
        package var start: JobStart
        package var progress: JobProgress
        /// When the card came or somebody asked, in monotonic seconds, and how long it took to hold the disk.
        package var beganAt: Double
        package var heldAfterSeconds: Double?
        package var isCancelling = false
        package var isStuck = false
        /// `elapsedSeconds` when the phase began, for its rate.
        package var phaseBeganAt: Double = 0
        /// How fast it goes, for the time that is left.
        package var pace = JobPace()
        /// That the card is much slower than others here, once that was seen.
        package var slowness: SlowCard?
    }

    /// A job that ended, whose card may still be in.
    package struct Finished: Equatable, Sendable {
        package var start: JobStart
        package var report: JobReport

        package init(start: JobStart, report: JobReport) {
            self.start = start
            self.report = report
        }
    }

    /// What the slot is doing.
    package enum Activity: Equatable, Sendable {
        case noCard
        case waiting(Waiting)
        /// Something is there that the station will not ask a writer about.
        case refused(Reason)
        case running(Running)
        /// Until the card leaves.
        case latched(Finished)
    }

    /// What was there before this machine began, from the store.
    package struct Memory: Sendable {
        /// The last job of this slot that ended with a verdict.
        package var lastFinished: Finished?
        /// Jobs of this slot that never ended.
        package var interruptedJobs: [JobID]
        /// The failures since a card passed here last, or since the slot was armed.
        package var failuresInARow: Int
        /// The card of `lastFinished`, where it is known.
        package var lastCard: CardRecord?

        package init(
            lastFinished: Finished? = nil, interruptedJobs: [JobID] = [], failuresInARow: Int = 0,
            lastCard: CardRecord? = nil
        ) {
            self.lastFinished = lastFinished
            self.interruptedJobs = interruptedJobs
            self.failuresInARow = failuresInARow
            self.lastCard = lastCard
        }
    }

    /// What happens to a slot.
    package enum Input: Equatable, Sendable {
        /// A device is at the slot's place. `wasThere`: the station found it, nobody announced it.
        case device(DeviceRecord, Eligibility, bootID: String, wasThere: Bool)
        /// The slot was declared, or moved, around a device that is in: such a card is left alone.
        case declaredAround(DeviceRecord, Eligibility, bootID: String)
        /// No device is at the slot's place any more.
        case deviceGone
        case writer(JobID, WriterMessage)
        /// The writer has said nothing for so many seconds.
        case writerSilent(JobID, seconds: Double)
        /// The writer's connection ended, or never came to be.
        case writerLost(JobID, Reason, detail: String)
        /// What the store remembers of the card in this insertion, if anything; for a job whose writer waits to hear it.
        case recalled(InsertionToken, JobID?, CardRecord?)
        /// How fast cards usually go in the slot, in bytes a second; nil while that is not known.
        case usualSpeed(Double?)
        /// The image that the slot waits for is there, or will not be.
        case prepared(JobID, Assignment)
        case preparationFailed(JobID, StationError)
        /// The station goes down when what runs has ended: nothing is begun any more.
        case goingDown
        /// The station is going down now.
        case stop
    }

    /// What somebody asks of a slot.
    package enum Command: Equatable, Sendable {
        case assign(Assignment)
        /// Assign what is being built.
        case prepare(Preparation)
        case unassign
        case arm
        case disarm
        case flash(Assignment?, isDryRun: Bool)
        case cancel
    }

    /// What is to be done.
    package enum Effect: Equatable, Sendable {
        /// Put the job into the store, then ask the slot's writer.
        case begin(JobStart)
        /// Tell the writer to end the job.
        case cancel(JobID)
        /// Close the connection to the writer, which then stops within a second.
        case hangUp(JobID)
        /// Put the verdict into the store and the journal.
        case end(JobStart, JobReport)
        /// The job did not happen: forget that it began.
        case discard(JobID)
        /// A card came, and waits.
        case announceWaiting(Waiting)
        /// Something is there that will not be written.
        case announceRefused(Reason)
        case announceStuck(JobStart)
        /// The card is much slower than others were here.
        case announceSlow(JobStart, SlowCard)
        /// Look the card up in the store, for an answer to the writer where a job is named.
        case recall(InsertionToken, JobID?, CardTraits)
        /// Tell the writer to go on, or to refuse the card.
        case answer(JobID, WriterCommand)
        /// A card came back that failed here before.
        case announceSuspect(CardRecord)
        /// The station itself took the arming away: put it into the store and the journal.
        case announceDisarmed(DisarmReason)
        /// Assignment or arming changed: put it into the store.
        case saveConsent
        /// What was prepared is assigned now, or never will be: put that into the store.
        case savePreparation(Preparation, Assignment?)
    }
}
