/// What a writer is asked for that shall only look at the card: nothing is opened for writing.
///
/// Goes in one message, with the descriptors of the images that are still in the library beside it, in their order.
package struct InspectionRequest: Equatable, Codable, Sendable {
    /// Bytes that may be on the card, from its beginning on.
    package struct Candidate: Equatable, Codable, Sendable {
        package var sha256: SHA256Digest
        package var byteCount: UInt64
        /// Whether a descriptor of the image comes beside the message.
        package var hasImage: Bool

        package init(sha256: SHA256Digest, byteCount: UInt64, hasImage: Bool) {
            self.sha256 = sha256
            self.byteCount = byteCount
            self.hasImage = hasImage
        }
    }

    /// One message carries so many descriptors at most.
    package static let candidateLimit = 4

    package var version: Int
    /// The kernel's name of the disk, such as `sda`.
    package var disk: String
    package var deviceSequence: UInt64
    /// Empty: only tables, file systems and first bytes are looked at.
    package var candidates: [Candidate]

    package init(disk: String, deviceSequence: UInt64, candidates: [Candidate]) {
        version = JobRequest.currentVersion
        self.disk = disk
        self.deviceSequence = deviceSequence
        self.candidates = candidates
    }
}

/// What is on a card, as a writer found it. Every text in it came from the card and has been made printable.
package struct CardContents: Equatable, Codable, Sendable {
    /// What libblkid says of a card or of one partition; nil is what it does not say.
    package struct Signature: Equatable, Codable, Sendable {
        /// Such as `ext4`, `squashfs` or `vfat`.
        package var type: String?
        package var label: String?
        package var uuid: String?

        package init(type: String? = nil, label: String? = nil, uuid: String? = nil) {
            self.type = type
            self.label = label
            self.uuid = uuid
        }
    }

    /// One entry of the partition table.
    package struct Partition: Equatable, Codable, Sendable {
        package var number: Int
        /// In bytes from the card's beginning.
        package var offset: UInt64
        package var byteCount: UInt64
        /// The table's own word for what is in it: `0x83`, or a GPT type's UUID.
        package var type: String?
        /// GPT's name for it.
        package var name: String?
        package var signature: Signature

        package init(
            number: Int, offset: UInt64, byteCount: UInt64, type: String?, name: String?, signature: Signature
        ) {
            self.number = number
            self.offset = offset
            self.byteCount = byteCount
            self.type = type
            self.name = name
            self.signature = signature
        }
    }

    /// The marker of a job that did not pass.
    package struct Mark: Equatable, Codable, Sendable {
        package var job: JobID
        /// `unfinished`, `failed` or `cancelled`.
        package var state: String
        package var reason: String

        package init(job: JobID, state: String, reason: String) {
            self.job = job
            self.state = state
            self.reason = reason
        }
    }

    /// The card beside bytes that may be on it.
    package struct Comparison: Equatable, Codable, Sendable {
        /// What was looked for.
        package var sha256: SHA256Digest
        package var byteCount: UInt64
        /// What was read from the medium.
        package var readSHA256: SHA256Digest
        /// The first byte that differs, and how many do; nil where they are equal, or the image was not there to compare.
        package var firstDifferentOffset: UInt64?
        package var differentByteCount: UInt64?

        package init(sha256: SHA256Digest, byteCount: UInt64, readSHA256: SHA256Digest) {
            self.sha256 = sha256
            self.byteCount = byteCount
            self.readSHA256 = readSHA256
        }

        package var isEqual: Bool { readSHA256 == sha256 }
    }

    package var cardByteCount: UInt64
    package var sectorByteCount: Int
    package var cardID: String?
    /// Why the guard would not let the card be looked at; nothing else is known then.
    package var refusal: Reason?
    /// What exactly was wrong where the card was refused, or could not be read.
    package var detail: String = ""
    /// `dos` or `gpt`; nil where there is no table.
    package var table: String?
    package var signature = Signature()
    package var partitions: [Partition] = []
    package var marker: Mark?
    /// Of the first 64 KiB.
    package var headSHA256: SHA256Digest?
    package var comparisons: [Comparison] = []
    /// Why the card could not be read to the end; nil when it could.
    package var failure: Reason?

    package init(cardByteCount: UInt64 = 0, sectorByteCount: Int = 0, cardID: String? = nil) {
        self.cardByteCount = cardByteCount
        self.sectorByteCount = sectorByteCount
        self.cardID = cardID
    }
}
