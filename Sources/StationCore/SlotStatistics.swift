/// How the newest jobs of one slot went.
///
/// Counted are jobs that passed, or failed by the card's or the reader's fault; dry runs are not. Two rules say when a slot
/// is conspicuous:
///
/// - It *fails often* when at least 5 of at least 20 jobs failed, the other slots together have at least 50 jobs, its share
///   of failures is at least three times theirs, and chance is ruled out: three standard deviations lie between the shares.
/// - It *is slow* when the median of its last 5 speeds is less than half of the median of those before, of at least 20.
///   Cards differ, so one slow card says nothing of the slot (`SlowCard` says it of the card). Only jobs that wrote all of
///   their image, and moved bytes for a second or longer, have a speed.
package struct SlotStatistics: Equatable, Codable, Sendable {
    /// One job that counts.
    package struct Sample: Equatable, Sendable {
        package var hasPassed: Bool
        /// Of writing and reading back together; nil for one that did not pass or was too short to be measured.
        package var bytesPerSecond: Double?

        package init(hasPassed: Bool, bytesPerSecond: Double? = nil) {
            self.hasPassed = hasPassed
            self.bytesPerSecond = bytesPerSecond
        }
    }

    /// So many of the newest jobs of a slot are looked at.
    package static let window = 200
    static let recentCount = 5
    static let usualCount = 20
    /// So many speeds are enough to tell what is usual.
    static let leastCount = 5
    /// USB 2 moves no more.
    static let usb2Limit = 45e6

    package var slot: SlotName
    package var jobCount: Int
    package var failedCount: Int
    /// Medians; nil until there are enough jobs.
    package var usualBytesPerSecond: Double?
    package var recentBytesPerSecond: Double?

    /// - Parameter samples: newest first.
    package init(slot: SlotName, samples: [Sample]) {
        self.slot = slot
        let counted = samples.prefix(Self.window)
        jobCount = counted.count
        failedCount = counted.count { !$0.hasPassed }
        let speeds = counted.compactMap(\.bytesPerSecond)
        if speeds.count >= Self.recentCount + Self.usualCount {
            recentBytesPerSecond = Self.median(speeds.prefix(Self.recentCount))
            usualBytesPerSecond = Self.median(speeds.dropFirst(Self.recentCount))
        } else if speeds.count >= Self.leastCount {
            usualBytesPerSecond = Self.median(speeds)
        }
    }

    /// The speed of a job that passed; nil for one too short to be measured, and for one that left out what was there.
    package static func bytesPerSecond(_ report: JobReport) -> Double? {
        let seconds = report.writeSeconds + report.verifySeconds
        guard report.verdict == .passed, seconds >= 1, (report.bytesUnchanged ?? 0) == 0 else { return nil }
        // A writer may say any number: their sum need not be one.
        return (Double(report.bytesWritten) + Double(report.bytesVerified)) / seconds
    }

    private static func median(_ values: some Sequence<Double>) -> Double? {
        let sorted = values.sorted()
        return sorted.isEmpty ? nil : sorted[sorted.count / 2]
    }

    // MARK: What is conspicuous

    /// What somebody should know about each slot that is conspicuous among these.
    /// - Parameter places: where the slots are, for what to say about a cable.
    package static func notes(
        _ all: [SlotStatistics], places: [SlotName: Place] = [:]
    ) -> [SlotName: [StationError]] {
        let jobs = all.reduce(0) { $0 + $1.jobCount }
        let failures = all.reduce(0) { $0 + $1.failedCount }
        var notes: [SlotName: [StationError]] = [:]
        for one in all {
            let found = [
                one.failureNote(otherJobs: jobs - one.jobCount, otherFailures: failures - one.failedCount),
                one.speedNote(places[one.slot]),
            ].compactMap { $0 }
            if !found.isEmpty { notes[one.slot] = found }
        }
        return notes
    }

    private func failureNote(otherJobs: Int, otherFailures: Int) -> StationError? {
        guard jobCount >= 20, failedCount >= 5, otherJobs >= 50 else { return nil }
        let mine = Double(failedCount) / Double(jobCount)
        let theirs = Double(otherFailures) / Double(otherJobs)
        let pooled = Double(failedCount + otherFailures) / Double(jobCount + otherJobs)
        let deviation = (pooled * (1 - pooled) * (1 / Double(jobCount) + 1 / Double(otherJobs))).squareRoot()
        guard mine >= 3 * theirs, mine - theirs >= 3 * deviation else { return nil }
        let counts = "\(failedCount) of its last \(jobCount) jobs, \(otherFailures) of \(otherJobs) elsewhere"
        let message =
            otherFailures == 0
            ? "\(slot) fails and the others do not (\(counts))"
            : "\(slot) fails \(Self.times(mine / theirs)) as often as the others (\(counts))"
        return StationError(
            "slot_failing", message, remedy: "try another reader or cable there; cards that failed in it may be good")
    }

    private func speedNote(_ place: Place?) -> StationError? {
        guard let usual = usualBytesPerSecond, let recent = recentBytesPerSecond, recent > 0, recent < usual / 2 else {
            return nil
        }
        var why = ""
        if case .usb(_, let hubSpeed, _, _)? = place, hubSpeed <= 480, usual > Self.usb2Limit {
            why = " (it came up as USB 2)"
        }
        return StationError(
            "slot_slow",
            "\(slot) is at \(Self.share(recent / usual)) of its usual speed: "
                + "\(Quantity.rate(bytesPerSecond: recent)), usually \(Quantity.rate(bytesPerSecond: usual))\(why)",
            remedy: "reseat the reader's cable; then see whether other cards are as slow")
    }

    /// `five times`.
    static func times(_ ratio: Double) -> String {
        let words = ["three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
        let whole = Int(min(ratio, 999).rounded())
        return (3...12).contains(whole) ? "\(words[whole - 3]) times" : "\(whole) times"
    }

    /// `a third`.
    static func share(_ share: Double) -> String {
        let parts = Int((1 / max(share, 0.001)).rounded())
        switch parts {
        case ...2: return "less than half"
        case 3: return "a third"
        case 4: return "a quarter"
        case 5: return "a fifth"
        default: return "1/\(parts)"
        }
    }
}
