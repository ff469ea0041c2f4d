/// What `inspect` says of a card: what is on it, and whether the station wrote it.
package struct CardInspection: Equatable, Codable, Sendable {
    /// What the card is to the station.
    package enum Origin: String, Codable, Sendable, CaseIterable {
        /// Every byte of an image that was written here is as it was.
        case intact
        /// It begins with an image that was written here, or should hold one, and holds other bytes now.
        case changed
        /// It carries the marker of a job that did not pass.
        case unfinished
        /// Nothing that the station remembers is on it.
        case notOurs = "not_ours"
        /// It could not be read.
        case unreadable
    }

    /// Jobs that passed and left the same bytes on their cards; over USB nobody can tell which of them this card was.
    package struct Writing: Equatable, Sendable {
        /// The newest of them.
        package var job: JobRecord
        package var jobCount: Int

        package init(job: JobRecord, jobCount: Int) {
            self.job = job
            self.jobCount = jobCount
        }
    }

    package var slot: SlotName
    package var origin: Origin
    package var contents: CardContents
    /// The newest job that wrote these bytes, or whose marker the card carries.
    package var job: JobRecord?
    /// How many passed jobs left these bytes on a card.
    package var jobCount: Int
    /// What the station remembers of the card.
    package var memory: CardRecord?

    /// Decides what the card is.
    /// - Parameters:
    ///   - writings: what was looked for, in the order of the comparisons.
    ///   - markedBy: the job whose marker the card carries, where the store knows it.
    package init(
        slot: SlotName, contents: CardContents, writings: [Writing], markedBy: JobRecord? = nil,
        memory: CardRecord? = nil
    ) {
        self.slot = slot
        self.contents = contents
        self.memory = memory
        let pairs = contents.comparisons.compactMap { comparison in
            writings.first { $0.job.imageSHA256 == comparison.sha256 && $0.job.imageByteCount == comparison.byteCount }
                .map { (comparison, $0) }
        }
        // The largest that is intact says most; else the one that most is left of.
        let intact = pairs.filter { $0.0.isEqual }.max { $0.0.byteCount < $1.0.byteCount }
        let nearest = pairs.min { ($0.0.differentByteCount ?? .max) < ($1.0.differentByteCount ?? .max) }
        let found = intact ?? nearest
        job = found?.1.job
        jobCount = found?.1.jobCount ?? 0
        if contents.failure != nil {
            origin = .unreadable
        } else if intact != nil {
            origin = .intact
        } else if contents.marker != nil {
            origin = .unfinished
            job = markedBy
            jobCount = 0
        } else {
            origin = found == nil ? .notOurs : .changed
        }
    }

    /// The comparison that `origin` goes by.
    package var comparison: CardContents.Comparison? {
        job.flatMap { job in
            contents.comparisons.first { $0.sha256 == job.imageSHA256 && $0.byteCount == job.imageByteCount }
        }
    }
}
