/// How fast a job moves bytes, and about how long the rest of it will take.
///
/// Cards are written and read at different rates, so each direction has a pace of its own. A job begins with what the slot's
/// last job showed, as if five seconds of it had been seen already; what it sees itself soon weighs more, and the last minute
/// most, for a card whose cache is full is slower from then on.
package struct JobPace: Equatable, Sendable {
    /// Bytes moved in one direction, and the seconds that took; both fade.
    private struct Stretch: Equatable, Sendable {
        var bytes = 0.0
        var seconds = 0.0

        /// Nil until there is enough to tell.
        var rate: Double? { bytes > 0 && seconds >= JobPace.leastSeconds ? bytes / seconds : nil }

        mutating func add(bytes: Double, seconds: Double) {
            let kept = max(0, 1 - seconds / JobPace.memorySeconds)
            self.bytes = self.bytes * kept + bytes
            self.seconds = self.seconds * kept + seconds
        }

        /// The same rate, counting as no more than so many seconds of it.
        func fading(to limit: Double) -> Stretch {
            guard let rate else { return Stretch() }
            let seconds = min(limit, self.seconds)
            return Stretch(bytes: rate * seconds, seconds: seconds)
        }
    }

    private static let leastSeconds = 0.5
    private static let memorySeconds = 60.0
    /// How much of itself a job hands on to the next.
    private static let inheritedSeconds = 5.0
    /// What is read for the reader's cache at most, besides the image; see `CapacityProbe` and `CardJob`.
    private static let evictionByteCount = 336.0 * 1024 * 1024
    /// The image's first MiB goes last and hardly counts.
    private static let headByteCount: UInt64 = 1 << 20

    private var writing = Stretch()
    private var reading = Stretch()
    /// What one read before the image showed; this job's own, for want of anything better.
    private var sampledReadRate: Double?
    private var hasBegunWriting = false
    /// The image is written: all that is left is read.
    private var isReadingBack = false

    package init() {}

    /// The pace that a slot's next job begins with.
    package func inherited() -> JobPace {
        var next = JobPace()
        next.writing = writing.fading(to: Self.inheritedSeconds)
        next.reading = reading.fading(to: Self.inheritedSeconds)
        return next
    }

    /// The pace that a job of which only the report is left hands on.
    package init(_ report: JobReport) {
        writing = Stretch(bytes: Double(report.bytesWritten), seconds: report.writeSeconds)
        reading = Stretch(bytes: Double(report.bytesVerified), seconds: report.verifySeconds)
        self = inherited()
    }

    /// Takes in what happened between two reports of one job. The time belongs to the phase that it began in.
    package mutating func advance(from before: JobProgress, to now: JobProgress) {
        let seconds = now.elapsedSeconds - before.elapsedSeconds
        if now.phase == .writing { hasBegunWriting = true }
        // The second probing reads for the reader's cache, before the first of the image is read back.
        if now.phase == .verifying || now.phase == .probing && hasBegunWriting { isReadingBack = true }
        guard seconds > 0, now.bytesDone >= before.bytesDone else { return }
        let bytes = Double(now.bytesDone - before.bytesDone)
        switch before.phase {
        case .comparing, .verifying: reading.add(bytes: bytes, seconds: seconds)
        // What was zeroed is read back as well, and so is what lies behind the image.
        case .probing where isReadingBack, .wiping where isReadingBack: reading.add(bytes: bytes, seconds: seconds)
        case .wiping, .writing: writing.add(bytes: bytes, seconds: seconds)
        // Checks, and the capacity's small blocks all over the card, say nothing about either.
        case .guarding, .probing, .finishing: break
        }
    }

    /// Takes a sample of reading, which stands in until something better is known. A reader that caches may answer faster than its
    /// card can be read; then the time left is told too short until the image is read back.
    /// - Parameter bytesPerSecond: of one read, made before the image is written.
    package mutating func learn(readRate bytesPerSecond: Double) {
        guard bytesPerSecond.isFinite, bytesPerSecond > 0 else { return }
        sampledReadRate = bytesPerSecond
    }

    /// About how long the rest takes, in seconds; nil while nothing is known to tell it by: no rate of writing, where there is
    /// something to write. Where no rate of reading is known, not even from a sample, that of writing stands in for it: reading
    /// is seldom slower, so that it is rather too long than too short.
    /// - Parameter contentByteCount: of the image.
    package func secondsLeft(_ progress: JobProgress, contentByteCount: UInt64) -> Double? {
        guard progress.bytesTotal > 0, let read = reading.rate ?? sampledReadRate ?? writing.rate else { return nil }
        let left = Double(progress.bytesTotal - min(progress.bytesTotal, progress.bytesDone))
        let toWrite = min(left, bytesToWrite(progress, contentByteCount))
        guard toWrite > 0 else { return left / read }
        return writing.rate.map { toWrite / $0 + (left - toWrite) / read }
    }

    private func bytesToWrite(_ progress: JobProgress, _ contentByteCount: UInt64) -> Double {
        guard !isReadingBack else { return 0 }
        let body = Double(contentByteCount - min(contentByteCount, Self.headByteCount))
        let phaseLeft = Double(progress.phaseBytesTotal - min(progress.phaseBytesTotal, progress.phaseBytesDone))
        return switch progress.phase {
        case .writing: phaseLeft
        case .wiping: phaseLeft + body
        case .guarding, .probing:
            // What is wiped is written and read; how much it is, only the total tells yet.
            body + max(0, Double(progress.bytesTotal) - 2 * body - Self.evictionByteCount) / 2
        // What is compared is thought to be there.
        case .comparing, .verifying, .finishing: 0
        }
    }
}
