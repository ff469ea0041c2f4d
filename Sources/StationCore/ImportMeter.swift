/// Makes rates and times left of how far an import is.
package struct ImportMeter: Sendable {
    /// So long after a step began its rate means something, in seconds.
    private static let settlingSeconds = 0.5

    private var step: ImportStep?
    private var beganAt = 0.0
    private var bytesAtBegin: UInt64 = 0
    private var last = Control.ImportProgress(step: .reading, bytesDone: 0, bytesTotal: nil)

    package init() {}

    /// - Parameter now: seconds that only grow.
    package mutating func progress(
        _ step: ImportStep, _ bytesDone: UInt64, _ bytesTotal: UInt64?, now: Double
    ) -> Control.ImportProgress {
        if self.step != step { (self.step, beganAt, bytesAtBegin) = (step, now, bytesDone) }
        last = Control.ImportProgress(step: step, bytesDone: bytesDone, bytesTotal: bytesTotal)
        let seconds = now - beganAt
        guard step != .sealing, seconds >= Self.settlingSeconds, bytesDone > bytesAtBegin else { return last }
        let rate = Double(bytesDone - bytesAtBegin) / seconds
        last.bytesPerSecond = rate
        if let bytesTotal, bytesTotal >= bytesDone { last.secondsLeft = Double(bytesTotal - bytesDone) / rate }
        return last
    }

    /// The last of all.
    package func end(with image: ImageRecord) -> Control.ImportProgress {
        var end = last
        end.bytesDone = last.bytesTotal ?? last.bytesDone
        (end.bytesPerSecond, end.secondsLeft, end.image) = (nil, nil, image)
        return end
    }
}
