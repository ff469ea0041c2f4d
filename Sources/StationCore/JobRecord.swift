/// One image, pinned by its SHA-256, that a slot's next cards get.
package struct Assignment: Hashable, Codable, Sendable {
    package var image: ImageName
    package var sha256: SHA256Digest
    package var byteCount: UInt64
    /// The profile the image came from; nil for one that was imported.
    package var profile: String?
    /// The build that it is of; nil for one that was imported.
    package var build: BuildID?

    package init(
        image: ImageName, sha256: SHA256Digest, byteCount: UInt64, profile: String? = nil, build: BuildID? = nil
    ) {
        self.image = image
        self.sha256 = sha256
        self.byteCount = byteCount
        self.profile = profile
        self.build = build
    }
}

/// Why a job began.
package enum JobTrigger: String, Codable, Sendable {
    /// A card came in.
    case insertion
    /// Somebody said `flash`.
    case flash
    /// The card carried the marker of a job that had not ended.
    case resumed
    /// The slot says `AtBoot=write`.
    case atBoot
}

/// What is known of a job when it begins.
package struct JobStart: Equatable, Codable, Sendable {
    package var id: JobID
    package var slot: SlotName
    package var token: InsertionToken
    package var device: DeviceRecord
    package var assignment: Assignment
    package var condition: JobRequest.Condition
    package var isDryRun: Bool
    package var trigger: JobTrigger
    /// Who asked, for `flash`; nil for a card that came in.
    package var callerUserID: UInt32?

    package init(
        id: JobID, slot: SlotName, token: InsertionToken, device: DeviceRecord, assignment: Assignment,
        condition: JobRequest.Condition, isDryRun: Bool, trigger: JobTrigger, callerUserID: UInt32?
    ) {
        self.id = id
        self.slot = slot
        self.token = token
        self.device = device
        self.assignment = assignment
        self.condition = condition
        self.isDryRun = isDryRun
        self.trigger = trigger
        self.callerUserID = callerUserID
    }

    /// What the writer is asked for.
    package var request: JobRequest {
        JobRequest(
            jobID: id, disk: device.name, deviceSequence: token.deviceSequence,
            content: Content(byteCount: assignment.byteCount, sha256: assignment.sha256), condition: condition,
            isDryRun: isDryRun, mayUpdate: trigger == .insertion)
    }
}

/// One job as the store keeps it.
package struct JobRecord: Equatable, Codable, Sendable {
    /// Counts up over all boots; the order of history.
    package var sequence: Int64
    package var id: JobID
    package var slot: SlotName
    package var bootID: String
    package var deviceSequence: UInt64
    package var image: ImageName
    package var imageSHA256: SHA256Digest
    package var imageByteCount: UInt64
    package var profile: String?
    /// The build that the image is of. A device that runs it has it as BUILD_ID in /etc/flashing-station-release.
    package var build: BuildID?
    package var run: String?
    package var trigger: JobTrigger
    package var isDryRun: Bool
    package var callerUserID: UInt32?
    package var model: String
    /// Seconds since 1970 by the wall clock, which may not have been right.
    package var startedAt: Double
    package var wasClockSynchronised: Bool
    /// Nil while the job is under way.
    package var report: JobReport?
    /// The card, where it is known.
    package var card: CardKey?

    package init(
        sequence: Int64, start: JobStart, startedAt: Double, wasClockSynchronised: Bool, run: String? = nil,
        report: JobReport? = nil, card: CardKey? = nil
    ) {
        self.sequence = sequence
        id = start.id
        slot = start.slot
        bootID = start.token.bootID
        deviceSequence = start.token.deviceSequence
        image = start.assignment.image
        imageSHA256 = start.assignment.sha256
        imageByteCount = start.assignment.byteCount
        profile = start.assignment.profile
        build = start.assignment.build
        self.run = run
        trigger = start.trigger
        isDryRun = start.isDryRun
        callerUserID = start.callerUserID
        model = start.device.model
        self.startedAt = startedAt
        self.wasClockSynchronised = wasClockSynchronised
        self.report = report
        self.card = card
    }
}

/// One image in the library.
package struct ImageRecord: Equatable, Codable, Sendable {
    package var name: ImageName
    package var sha256: SHA256Digest
    package var byteCount: UInt64
    /// Seconds since 1970.
    package var importedAt: Double
    package var importedByUserID: UInt32
    package var origin: ImageOrigin

    package init(
        name: ImageName, sha256: SHA256Digest, byteCount: UInt64, importedAt: Double, importedByUserID: UInt32,
        origin: ImageOrigin = .unknown
    ) {
        self.name = name
        self.sha256 = sha256
        self.byteCount = byteCount
        self.importedAt = importedAt
        self.importedByUserID = importedByUserID
        self.origin = origin
    }
}
