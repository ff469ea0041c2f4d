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
    private static let sampleCount: UInt64 = 24
    private static let sampleByteCount = 4 << 10

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
        guard !samples.isMostlySame else { return try compare(nothing, head: head, body: body) }
        var survey = nothing
        // A wrong guess costs more here than other places do.
        survey.presumesZeros = try samples.meetsZeros && sample(body, isBetween: true).meetsZeros
        return survey
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

    /// - Parameter isBetween: half-way between the places that are looked at else.
    private func sample(_ body: Range<UInt64>, isBetween: Bool = false) throws -> Samples {
        let samples = Mutex(Samples())
        let distance = max(UInt64(Self.sampleByteCount), UInt64(body.count) / Self.sampleCount / 4096 * 4096)
        let start = body.lowerBound + (isBetween ? distance / 2 / 4096 * 4096 : 0)
        let offsets = Array(stride(from: start, to: body.upperBound, by: UInt64.Stride(distance)))
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

    /// Reads everything that the job is about, in one pass: the image's first MiB, the rest of it, and what must be zero.
    private func compare(_ nothing: Survey, head: AlignedBuffer, body: Range<UInt64>) throws -> Survey {
        var survey = nothing
        let plan = nothing.toZero
        let bodyEnd = 1 + requestCount(of: body)
        // The number of each range's first request, and one behind the last.
        let starts = plan.reduce(into: [bodyEnd]) { $0.append($0[$0.count - 1] + requestCount(of: $1)) }
        let byteCount = plan.reduce(UInt64(Self.headByteCount) + UInt64(body.count)) { $0 + UInt64($1.count) }
        control.plan(furtherBytes: byteCount)
        control.enter(.comparing, bytes: byteCount)
        let isChecked = checks.contains(.surveyComparison)
        @Sendable func place(_ index: Int) -> Range<UInt64> {
            guard index > 0 else { return 0..<UInt64(Self.headByteCount) }
            guard let range = starts.lastIndex(where: { $0 <= index }) else { return request(index - 1, of: body) }
            return request(index - starts[range], of: plan[range])
        }

        let findings = Mutex((isHeadSame: false, body: survey.body, toZero: [Range<UInt64>]()))
        let hash = OrderedHash()
        let largest = max(Self.headByteCount, settings.requestByteCount)
        try forEachRequest(count: starts[plan.count], byteCount: largest) { worker, index in
            let place = place(index)
            let read = worker.request.prefix(place.count)
            try access.read(into: read, at: place.lowerBound)
            if index == 0 {
                let isSame = !isChecked || Difference(read, head.bytes) == nil
                findings.withLock { $0.isHeadSame = isSame }
            } else if index < bodyEnd {
                let isSame = try difference(read, at: place.lowerBound, worker.piece) == nil
                findings.withLock { $0.body[index - 1] = isSame || !isChecked ? .same : .differs }
            } else if isChecked, !read.isZero {
                findings.withLock { $0.toZero.append(place) }
            }
        } thenInOrder: { worker, index in
            guard index < bodyEnd else { return }
            let place = place(index)
            hash.update(worker.request.prefix(contentByteCount(at: place.lowerBound, place.count)))
        }
        (survey.isHeadSame, survey.body, survey.toZero) = findings.withLock { ($0.isHeadSame, $0.body, $0.toZero) }
        survey.toZero.sort { $0.lowerBound < $1.lowerBound }
        survey.readBackSHA256 = hash.finish()
        return survey
    }
}
