import Digests
import StationCore
import Synchronization

/// What of a job's content is on the card already, as an update job finds before it writes anything.
struct Survey: Sendable {
    /// What is known of one request of the image's body.
    enum Finding: Sendable {
        case unknown
        /// It must be written, whatever it holds.
        case differs
        /// Read from the card, and equal.
        case same
        /// Zeros that were not written, because the card is thought to have zeros there. The read-back shows it.
        case presumedZero
        /// The same when the read-back has shown it: zeros, every byte.
        case readZero
    }

    /// One for each request of the body, in order.
    var body: [Finding]
    /// What of the wipe plan is not zero yet.
    var toZero: [Range<UInt64>]
    /// Where the card was looked at, the image's zeros met zeros.
    var presumesZeros = false
    var isHeadSame = false
    /// The SHA-256 of what was read of the image; nil unless all of it was.
    var readBackSHA256: SHA256Digest?

    /// Nothing is known, so everything is written.
    init(requestCount: Int, wiping plan: [Range<UInt64>]) {
        body = Array(repeating: .unknown, count: requestCount)
        toZero = plan
    }

    /// Nothing has to be written: reading it was the read-back.
    var isAllThere: Bool { isHeadSame && toZero.isEmpty && body.allSatisfy { $0 == .same } }
}

/// Update: the card is read before anything is written to it.
extension CardJob {
    /// So many places of the image are looked at to see whether reading all of it is worth while.
    private static let sampleCount: UInt64 = 48
    private static let sampleByteCount = 16 << 10

    /// Reads what is there, where the job is an update. Blocks; nothing is written.
    /// - Parameters:
    ///   - plan: what must be zero besides the image.
    ///   - isTouched: becomes true where the card is to blame: it gets its marker like every card that failed.
    func survey(
        head: AlignedBuffer, body: Range<UInt64>, plan: [Range<UInt64>], _ report: inout JobReport,
        _ isTouched: inout Bool
    ) throws -> Survey {
        let nothing = Survey(requestCount: requestCount(of: body), wiping: plan)
        guard mode == .update, canForget(body) else { return nothing }
        var seconds = 0.0
        do {
            let found = try timed(&seconds) { try survey(nothing, head: head, body: body) }
            if found.isAllThere {
                report.verifySeconds = seconds
                report.bytesUnchanged = source.content.byteCount
            } else {
                report.compareSeconds = seconds
            }
            return found
        } catch let end as JobEnd {
            if case .failed(let reason, _, _, _) = end, reason.fault == .card { isTouched = true }
            throw end
        }
    }

    /// Whether what is read now can be pushed out of a reader's cache before it is read back. On a card where it cannot, one
    /// that wraps could show what it no longer holds.
    private func canForget(_ body: Range<UInt64>) -> Bool {
        areaBehind(body).count >= settings.readerCacheByteCount
    }

    private func survey(_ nothing: Survey, head: AlignedBuffer, body: Range<UInt64>) throws -> Survey {
        let samples = try sample(body)
        guard samples.isMostlySame else {
            var survey = nothing
            survey.presumesZeros = samples.meetsZeros
            return survey
        }
        return try compare(nothing, head: head, body: body)
    }

    /// What a few places say of the card.
    private struct Samples {
        var same = 0
        var other = 0
        var zerosMet = 0
        var zerosMissed = 0

        /// So much of the image is there that reading all of it spares more than it costs.
        var isMostlySame: Bool {
            // In an image of zeros alone they are the only sign.
            same + other > 0 ? same >= 3 * other : zerosMet >= 3 * zerosMissed
        }
        var meetsZeros: Bool { zerosMet > 0 && zerosMissed == 0 }
    }

    private func sample(_ body: Range<UInt64>) throws -> Samples {
        let samples = Mutex(Samples())
        let distance = max(UInt64(Self.sampleByteCount), UInt64(body.count) / Self.sampleCount / 4096 * 4096)
        let offsets = Array(stride(from: body.lowerBound, to: body.upperBound, by: UInt64.Stride(distance)))
        // A request for each sample, as small as it is: what they cost is mostly the way there and back.
        try forEachRequest(count: offsets.count, byteCount: Self.sampleByteCount) { worker, index in
            let offset = offsets[index]
            let count = Int(min(UInt64(Self.sampleByteCount), body.upperBound - offset))
            let (expected, read) = (worker.piece.prefix(count), worker.request.prefix(count))
            try readSource(into: expected, at: offset)
            try access.read(into: read, at: offset)
            let isSame = Difference(read, expected) == nil
            let isZero = expected.isZero
            samples.withLock {
                switch (isZero, isSame) {
                case (true, true): $0.zerosMet += 1
                case (true, false): $0.zerosMissed += 1
                case (false, true): $0.same += 1
                case (false, false): $0.other += 1
                }
            }
        }
        return samples.withLock { $0 }
    }

    /// Reads everything that the job is about.
    private func compare(_ nothing: Survey, head: AlignedBuffer, body: Range<UInt64>) throws -> Survey {
        var survey = nothing
        let plan = nothing.toZero
        let byteCount = plan.reduce(UInt64(Self.headByteCount) + UInt64(body.count)) { $0 + UInt64($1.count) }
        control.plan(furtherBytes: byteCount)
        control.enter(.comparing, bytes: byteCount)
        let isChecked = checks.contains(.surveyComparison)

        let there = AlignedBuffer(byteCount: Self.headByteCount)
        try access.read(into: there.bytes, at: 0)
        survey.isHeadSame = !isChecked || Difference(there.bytes, head.bytes) == nil
        let hash = OrderedHash()
        hash.update(there.prefix(contentByteCount(at: 0, Self.headByteCount)))

        let findings = Mutex(survey.body)
        try forEachRequest(in: body) { worker, offset, count, index in
            let read = worker.request.prefix(count)
            try access.read(into: read, at: offset)
            let isSame = try difference(read, at: offset, worker.piece) == nil
            findings.withLock { $0[index] = isSame || !isChecked ? .same : .differs }
        } thenInOrder: { worker, offset, count in
            hash.update(worker.request.prefix(contentByteCount(at: offset, count)))
        }
        survey.body = findings.withLock { $0 }
        survey.readBackSHA256 = hash.finish()

        let toZero = Mutex<[Range<UInt64>]>([])
        for range in plan {
            try forEachRequest(in: range) { worker, offset, count, _ in
                let read = worker.request.prefix(count)
                try access.read(into: read, at: offset)
                guard isChecked, !read.isZero else { return }
                toZero.withLock { $0.append(offset..<offset + UInt64(count)) }
            }
        }
        survey.toZero = toZero.withLock { $0.sorted { $0.lowerBound < $1.lowerBound } }
        return survey
    }
}
