import Digests
import StationCore
import StationLinux

/// The second half of a job: everything that was written is read from the medium and compared.
extension CardJob {
    /// What lies behind the image, as much of it as a reader might cache: reading it pushes out what the cache has.
    func areaBehind(_ body: Range<UInt64>) -> Range<UInt64> {
        let start = min((body.upperBound + 4095) / 4096 * 4096, cardByteCount)
        return start..<max(start, min(cardByteCount / 4096 * 4096, start + settings.readerCacheByteCount))
    }

    /// How much of it is read before the image is, so that between the writing of each request and its being read back as much
    /// goes through the reader as it might cache, where the card has so much.
    func evictionByteCount(_ writing: Writing, body: Range<UInt64>) -> UInt64 {
        // Requests that are under way together may overtake each other, when they are written and when they are read.
        let slack = UInt64(2 * settings.requestWindow * settings.requestByteCount)
        let there = writing.leastDistance(tail: writing.tail(limit: Self.tailByteCount).range)
        let missing = settings.readerCacheByteCount + slack - min(settings.readerCacheByteCount + slack, there)
        return min(missing, UInt64(areaBehind(body).count))
    }

    /// What else is read before the image's first MiB is, so that 64 MiB lie between its writing and its reading.
    func headDistance(_ writing: Writing, body: Range<UInt64>) -> UInt64 {
        let there = UInt64(areaBehind(body).count) + UInt64(body.count)
        return min(there, Self.tailByteCount - writing.tail(limit: Self.tailByteCount).readByteCount)
    }

    /// Reads for the reader's cache: from behind the image first, then from the image.
    /// - Parameters:
    ///   - probe: is looked for where it does not belong.
    ///   - again: what is to be pushed out, and so is not read here.
    private func readPast(
        _ byteCount: UInt64, body: Range<UInt64>, probe: CapacityProbe? = nil, but again: [Range<UInt64>] = []
    ) throws {
        guard checks.contains(.cacheDistance) else { return }
        var left = byteCount / 4096 * 4096
        var start = body.lowerBound
        var ranges = [areaBehind(body)]
        for range in again.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if start < range.lowerBound { ranges.append(start..<range.lowerBound) }
            start = range.upperBound
        }
        ranges.append(start..<max(start, body.upperBound))
        for range in ranges {
            let count = min(left, UInt64(range.count) / 4096 * 4096)
            left -= count
            try forEachRequest(in: range.lowerBound..<range.lowerBound + count) { worker, offset, count, _ in
                let read = worker.request.prefix(count)
                try access.read(into: read, at: offset)
                guard let stray = probe?.stray(in: read, at: offset) else { return }
                throw JobEnd.failed(
                    .capacityFalse,
                    detail: "what was written elsewhere turned up at \(stray); the card claims \(cardByteCount) bytes",
                    offset: stray)
            }
        }
    }

    func readBack(
        head: AlignedBuffer, body: Range<UInt64>, probe: CapacityProbe, wiping: Wiping, _ writing: Writing,
        _ report: inout JobReport
    ) throws {
        let (tail, tailByteCount) = writing.tail(limit: Self.tailByteCount)
        let eviction = evictionByteCount(writing, body: body)
        let distance = headDistance(writing, body: body)
        control.plan(furtherBytes: eviction + UInt64(body.count) + wiping.byteCount + distance)

        let hash = OrderedHash()
        hash.update(head.prefix(contentByteCount(at: 0, Self.headByteCount)))
        control.enter(.probing, bytes: eviction)
        try timed(&report.capacitySeconds) {
            try readPast(eviction, body: body, probe: checks.contains(.capacityAfter) ? probe : nil)
        }
        control.enter(.verifying, bytes: UInt64(body.count) - tailByteCount)
        try timed(&report.verifySeconds) {
            try verify(body.lowerBound..<tail.lowerBound, hash, writing)
            // What has to be written of them after all comes before the checks that show a card that wraps.
            try verify(tail, nil, writing) { $0 == .presumedZero }
        }
        try timed(&report.capacitySeconds) {
            if checks.contains(.capacityAfter) {
                try verify(probe, at: probe.offsets.filter { $0 >= body.upperBound })
            }
            if checks.contains(.marker) { try verifyMarker() }
        }
        control.enter(.wiping, bytes: wiping.byteCount)
        try timed(&report.wipeSeconds) {
            try verifyZero(wiping.first)
            try zero(wiping.last)
        }
        try timed(&report.writeSeconds) {
            try access.write(head.bytes, at: 0)
            try access.synchronise()
        }
        writing.add(contentByteCount(at: 0, Self.headByteCount))
        control.enter(.verifying, bytes: tailByteCount)
        try timed(&report.verifySeconds) { try verify(tail, hash, writing) { $0 != .readZero } }
        // What was written last, or once more, is read when the reader's cache holds other things.
        let again = writing.writtenAgain
        let between = again.isEmpty ? distance : settings.readerCacheByteCount
        if between > 0 { control.enter(.probing, bytes: between) }
        try timed(&report.capacitySeconds) { try readPast(between, body: body, but: again) }
        try timed(&report.wipeSeconds) { try verifyZero(wiping.last) }
        control.enter(.verifying, bytes: UInt64(Self.headByteCount))
        try timed(&report.verifySeconds) {
            for range in again { try verify(range, nil, nil) }
            if checks.contains(.headComparison) { try verifyHead(head) }
            control.enter(.finishing, bytes: 0)
            try access.synchronise()
        }

        report.rewrites = writing.rewriteCount
        if mode == .update { report.bytesUnchanged = source.content.byteCount - writing.contentBytesWritten }
        try conclude(hash.finish(), head: head, &report)
    }

    /// What is left when everything was read: is it what was assigned, and is it still that card?
    func conclude(_ digest: SHA256Digest?, head: AlignedBuffer, _ report: inout JobReport) throws {
        report.readBackSHA256 = digest
        if checks.contains(.hash), report.readBackSHA256 != source.content.sha256 {
            throw JobEnd.failed(
                .hashMismatch,
                detail: "the card is as the image is now, and that has the SHA-256 "
                    + "\(report.readBackSHA256?.short ?? "of nothing")…; assigned was \(source.content.sha256.short)…"
            )
        }
        if checks.contains(.identityAtEnd) { try access.verifyIdentity() }
        report.bytesVerified = source.content.byteCount
        report.headSHA256 = CardHead.fingerprint(UnsafeRawBufferPointer(head.bytes))
    }

    /// Reads a range, compares it with the content, and adds it to the hash in order.
    /// - Parameters:
    ///   - writing: notes what was written once more; nil makes every mismatch final.
    ///   - isMeant: which requests are read. The hash gets zeros for the others: for nothing but what was read as zeros.
    private func verify(
        _ range: Range<UInt64>, _ hash: OrderedHash?, _ writing: Writing?,
        where isMeant: @escaping @Sendable (Survey.Finding) -> Bool = { _ in true }
    ) throws {
        try forEachRequest(in: range) { worker, offset, count, _ in
            let read = worker.request.prefix(count)
            if let writing, !isMeant(writing.finding(at: offset)) {
                worker.request.zero()
                return
            }
            try access.read(into: read, at: offset)
            if checks.contains(.comparison), let difference = try difference(read, at: offset, worker.piece) {
                try repair(difference, read, at: offset, writing)
            } else if read.isZero {
                writing?.addZero(at: offset)
            }
        } thenInOrder: { worker, offset, count in
            hash?.update(worker.request.prefix(contentByteCount(at: offset, count)))
        }
    }

    /// Compares what was read of the card with the content, piece by piece. Blocks.
    /// - Parameters:
    ///   - offset: where it was read.
    ///   - piece: for the content.
    /// - Returns: nil when they are equal.
    func difference(
        _ read: UnsafeMutableRawBufferPointer, at offset: UInt64, _ piece: AlignedBuffer
    ) throws(JobEnd) -> Difference? {
        var found: Difference?
        for start in stride(from: 0, to: read.count, by: piece.bytes.count) {
            let end = min(start + piece.bytes.count, read.count)
            let expected = piece.prefix(end - start)
            try readSource(into: expected, at: offset + UInt64(start))
            let part = UnsafeMutableRawBufferPointer(rebasing: read[start..<end])
            guard let difference = Difference(part, expected) else { continue }
            found = found?.adding(difference) ?? difference.shifted(by: UInt64(start))
        }
        return found
    }

    /// Writes a request once more that read back wrong, and reads it again.
    private func repair(
        _ difference: Difference, _ read: UnsafeMutableRawBufferPointer, at offset: UInt64, _ writing: Writing?
    ) throws {
        let expected = AlignedBuffer(byteCount: read.count)
        try readSource(into: expected.bytes, at: offset)
        let finding = writing?.finding(at: offset)
        // What was right, was not written and is wrong now was spoilt by writing elsewhere, or is not read reliably.
        let attempts = writing == nil || finding == .same ? 0 : settings.rewriteLimit
        for _ in 0..<attempts {
            try access.write(expected.bytes, at: offset)
            try access.synchronise()
            try access.read(into: read, at: offset)
            if Difference(read, expected.bytes) == nil {
                writing?.addLate(offset..<offset + UInt64(read.count), contentByteCount(at: offset, read.count))
                return
            }
        }
        throw JobEnd.failed(
            .dataMismatch,
            detail: "\(difference.blockCount) of the blocks of 4 KiB differ, from \(offset + difference.offset) on",
            offset: offset + difference.offset, badBlocks: difference.blockCount)
    }

    /// The marker must have arrived: the first that was written of all, and so much was read since that no cache has it.
    /// Behind it everything is zero still: on a card that wraps, a capacity block came down here.
    private func verifyMarker() throws {
        let read = AlignedBuffer(byteCount: Self.headByteCount)
        try access.read(into: read.bytes, at: 0)
        guard Marker(UnsafeRawBufferPointer(read.bytes)) == Marker(job: id, state: .unfinished) else {
            throw JobEnd.failed(
                .markerMissing, detail: "the first MiB does not hold the marker of this job", offset: 0)
        }
        let expected = AlignedBuffer(byteCount: Self.headByteCount)
        Marker(job: id, state: .unfinished).fill(expected.bytes)
        guard let difference = Difference(read.bytes, expected.bytes) else { return }
        let isProbe = CapacityProbe.begins(read.bytes[Int(difference.offset)...])
        throw JobEnd.failed(
            isProbe ? .capacityFalse : .dataMismatch,
            detail: isProbe
                ? "what was written far behind turned up at \(difference.offset); the card claims \(cardByteCount) bytes"
                : "the first MiB holds something besides the marker at \(difference.offset)",
            offset: difference.offset, badBlocks: difference.blockCount)
    }

    private func verifyHead(_ head: AlignedBuffer) throws {
        let read = AlignedBuffer(byteCount: Self.headByteCount)
        try access.read(into: read.bytes, at: 0)
        if let difference = Difference(read.bytes, head.bytes) {
            throw JobEnd.failed(
                .dataMismatch, detail: "the first MiB differs from \(difference.offset) on", offset: difference.offset,
                badBlocks: difference.blockCount)
        }
    }
}

/// The hash of what was read, fed by one thread at a time.
///
/// `@unchecked Sendable` because the turnstile lets the threads of one pass in one after the other, and passes follow each
/// other.
final class OrderedHash: @unchecked Sendable {
    private let hasher = SHA256Hasher()

    func update(_ bytes: UnsafeMutableRawBufferPointer) { hasher.update(UnsafeRawBufferPointer(bytes)) }
    func finish() -> SHA256Digest? { hasher.finish() }
}
