/// A card that goes much slower than cards in its slot do: somebody may want to take another one.
package struct SlowCard: Equatable, Sendable {
    /// What it moves in the direction that it is busy with, in bytes a second.
    package var bytesPerSecond: Double
    /// The slot's usual speed, of writing and reading back together.
    package var usualBytesPerSecond: Double
    package var isWriting: Bool

    /// How long a phase is watched before anything is said of it, in seconds: cards pause now and then.
    static let patience = 10.0

    /// Nil unless the card is conspicuous.
    ///
    /// A speed of both directions together is their harmonic mean, and so at most twice that of either. One that is at less than
    /// a quarter of it goes at less than half of what it must have gone at usually, whichever of the two it is.
    /// - Parameters:
    ///   - phaseBeganAt: in the seconds of the job.
    ///   - usual: of the slot; nil where it has too few jobs.
    package init?(_ progress: JobProgress, phaseBeganAt: Double, usual: Double?) {
        let seconds = progress.elapsedSeconds - phaseBeganAt
        guard progress.phase == .writing || progress.phase == .verifying, let usual, seconds >= Self.patience else {
            return nil
        }
        let rate = Double(progress.phaseBytesDone) / seconds
        guard rate.isFinite, rate < usual / 4 else { return nil }
        bytesPerSecond = rate
        usualBytesPerSecond = usual
        isWriting = progress.phase == .writing
    }

    package init(bytesPerSecond: Double, usualBytesPerSecond: Double, isWriting: Bool) {
        self.bytesPerSecond = bytesPerSecond
        self.usualBytesPerSecond = usualBytesPerSecond
        self.isWriting = isWriting
    }

    static let remedy = "let it go on, or pull it and take another card"

    /// `the card writes 1.2 MB/s; cards usually go at 26 MB/s here`.
    package var explanation: String {
        "the card \(isWriting ? "writes" : "reads") \(Quantity.rate(bytesPerSecond: bytesPerSecond)); "
            + "cards usually go at \(Quantity.rate(bytesPerSecond: usualBytesPerSecond)) here"
    }

    /// What the slot's status says while such a card is written.
    package var note: StationError { StationError("card_slow", explanation, remedy: Self.remedy) }
}
