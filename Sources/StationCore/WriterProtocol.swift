/// What one job writes: an image plus patches, so that cards can differ by device.
package struct Content: Equatable, Codable, Sendable {
    /// Bytes that replace those of the image at an offset.
    package struct Patch: Equatable, Codable, Sendable {
        package var offset: UInt64
        package var bytes: [UInt8]

        package init(offset: UInt64, bytes: [UInt8]) {
            self.offset = offset
            self.bytes = bytes
        }
    }

    /// The number of bytes that go onto the card; the last sector is filled with zeros.
    package var byteCount: UInt64
    /// The SHA-256 of those bytes, patches applied: what a card must read back as.
    package var sha256: SHA256Digest
    /// In ascending order, within `byteCount`, not overlapping, 4 KiB each at most.
    package var patches: [Patch]

    package init(byteCount: UInt64, sha256: SHA256Digest, patches: [Patch] = []) {
        self.byteCount = byteCount
        self.sha256 = sha256
        self.patches = patches
    }

    /// - Throws: `content_invalid`.
    package func validate() throws(StationError) {
        guard byteCount > 0, byteCount <= 1 << 44 else {
            throw StationError("content_invalid", "a content of \(byteCount) bytes cannot be written")
        }
        var end: UInt64 = 0
        for patch in patches {
            guard patch.offset >= end, !patch.bytes.isEmpty, patch.bytes.count <= 4096,
                UInt64(patch.bytes.count) <= byteCount, patch.offset <= byteCount - UInt64(patch.bytes.count)
            else { throw StationError("content_invalid", "the patch at \(patch.offset) overlaps or lies outside") }
            end = patch.offset + UInt64(patch.bytes.count)
        }
    }
}

/// What the station asks a writer for, in one message with the image's descriptor beside it.
package struct JobRequest: Equatable, Codable, Sendable {
    /// What must hold of the card, besides the guard, before it is opened for writing.
    package enum Condition: Equatable, Codable, Sendable {
        case none
        /// Not the card that was in before: its first bytes have another SHA-256.
        case unlessHead(SHA256Digest)
        /// Only a card that carries the marker of one of these jobs.
        case onlyIfMarked([JobID])
    }

    /// The version of this protocol.
    package static let currentVersion = 1
    /// The largest message, in bytes.
    package static let messageLimit = 160 * 1024

    package var version: Int
    package var jobID: JobID
    /// The kernel's name of the disk, such as `sda`.
    package var disk: String
    package var deviceSequence: UInt64
    package var content: Content
    package var condition: Condition
    /// Guard only: the card is never opened for writing.
    package var isDryRun: Bool
    /// Whether `Mode=update` of the slot counts: only for a card that has just been put in. What was written in this stay, by an
    /// earlier job or anybody else, might come from the reader's cache and not from the card.
    package var mayUpdate: Bool

    package init(
        jobID: JobID, disk: String, deviceSequence: UInt64, content: Content, condition: Condition = .none,
        isDryRun: Bool = false, mayUpdate: Bool = false
    ) {
        version = Self.currentVersion
        self.jobID = jobID
        self.disk = disk
        self.deviceSequence = deviceSequence
        self.content = content
        self.condition = condition
        self.isDryRun = isDryRun
        self.mayUpdate = mayUpdate
    }
}

/// What the station says after the request.
package enum WriterCommand: String, Codable, Sendable {
    /// End the job as `cancelled`. End of file does the same with `interrupted`.
    case cancel
    /// The answer to `recognised`: the card may be written, as far as the station is concerned.
    case proceed
    /// The answer to `recognised`: end the job as `refused(card_suspect)`.
    case refuse
}

/// The parts of a job, in their order.
package enum JobPhase: String, Codable, Sendable, CaseIterable {
    case guarding, comparing, probing, wiping, writing, verifying, finishing

    /// As a person reads it.
    package var title: String {
        switch self {
        case .guarding: "checking"
        case .comparing: "comparing"
        case .probing: "probing capacity"
        case .wiping: "wiping"
        case .writing: "writing"
        case .verifying: "reading back"
        case .finishing: "finishing"
        }
    }
}

/// How far a job is.
package struct JobProgress: Equatable, Codable, Sendable {
    package var phase: JobPhase
    /// Bytes of this phase.
    package var phaseBytesDone: UInt64
    package var phaseBytesTotal: UInt64
    /// Bytes moved to or from the card by the whole job.
    package var bytesDone: UInt64
    package var bytesTotal: UInt64
    /// Since the job began.
    package var elapsedSeconds: Double
    /// Since the last request to the card came back while one is under way; 0 when none is.
    package var silentSeconds: Double

    package init(
        phase: JobPhase, phaseBytesDone: UInt64 = 0, phaseBytesTotal: UInt64 = 0, bytesDone: UInt64 = 0,
        bytesTotal: UInt64 = 0, elapsedSeconds: Double = 0, silentSeconds: Double = 0
    ) {
        self.phase = phase
        self.phaseBytesDone = phaseBytesDone
        self.phaseBytesTotal = phaseBytesTotal
        self.bytesDone = bytesDone
        self.bytesTotal = bytesTotal
        self.elapsedSeconds = elapsedSeconds
        self.silentSeconds = silentSeconds
    }
}

/// Everything a writer found out about a card in one job.
package struct JobReport: Equatable, Codable, Sendable {
    package var verdict: Verdict
    /// What exactly was wrong: device, offset, numbers; made printable.
    package var detail: String = ""
    package var cardByteCount: UInt64 = 0
    package var sectorByteCount: Int = 0
    package var cardID: String?
    /// Bytes of content that were written, and that were read back and found equal.
    package var bytesWritten: UInt64 = 0
    package var bytesVerified: UInt64 = 0
    /// Bytes of content that were on the card already and were not written; nil where everything is written in any case.
    package var bytesUnchanged: UInt64?
    /// From the card's arrival (or the command) to the disk held exclusively; the station's measure, 0 when never held.
    package var heldAfterSeconds: Double = 0
    package var guardSeconds: Double = 0
    /// The capacity blocks, and the reads that push them out of a reader's cache.
    package var capacitySeconds: Double = 0
    package var wipeSeconds: Double = 0
    /// Reading what was there before anything was written; nil where nobody did, or where it was the read-back.
    package var compareSeconds: Double?
    package var writeSeconds: Double = 0
    package var verifySeconds: Double = 0
    package var totalSeconds: Double = 0
    /// Requests that were written once more after a mismatch.
    package var rewrites: Int = 0
    /// The first offset that was wrong, and how many blocks of 4 KiB were.
    package var firstBadOffset: UInt64?
    package var badBlocks: UInt64 = 0
    /// The SHA-256 of what was read back, for `passed`.
    package var readBackSHA256: SHA256Digest?
    /// The SHA-256 of the card's first bytes as the job left them, to know the card again when contact was lost for a moment.
    package var headSHA256: SHA256Digest?
    /// The job whose marker the card carried when it came, and whether that job had failed.
    package var foundMarker: JobID?
    package var foundMarkerFailed: Bool = false

    package init(_ verdict: Verdict, detail: String = "") {
        self.verdict = verdict
        self.detail = detail
    }
}

/// What a writer says, one message each.
package enum WriterMessage: Equatable, Codable, Sendable {
    /// The guard let a card through by which the station may know it. Nothing is opened for writing until the station
    /// answers `proceed` or `refuse`.
    case recognised(CardTraits)
    /// The guard let the card through and the disk is held exclusively.
    case held
    case progress(JobProgress)
    /// How fast the card was read once, in bytes a second, before the image is written.
    case readRate(Double)
    /// The last message.
    case ended(JobReport)
    /// The last message where the card was only looked at.
    case inspected(CardContents)
}
