import Digests
import StationCore
import StationLinux

/// Looks at a card that the guard let through, and compares it with what may be on it. Writes nothing: it has no descriptor
/// that could.
struct CardInspector: Sendable {
    private static let requestByteCount = 1 << 20

    let card: HeldCard
    let device: BlockDevice
    let candidates: [InspectionRequest.Candidate]
    /// The image of each candidate, where it is still there.
    let sources: [ContentSource?]
    let control: JobControl

    /// What the card's tables and first bytes say; the latter from the medium itself. Blocks.
    /// - Parameter device: open past the cache.
    static func contents(of card: HeldCard, _ device: BlockDevice) -> CardContents {
        var contents = CardContents(
            cardByteCount: card.identity.byteCount, sectorByteCount: card.sectorByteCount, cardID: card.record.cardID)
        do {
            let head = AlignedBuffer(byteCount: CardHead.byteCount)
            let bytes = UnsafeRawBufferPointer(head.prefix(try device.read(into: head.bytes, at: 0)))
            contents.headSHA256 = CardHead.fingerprint(bytes)
            contents.marker = Marker(bytes).map {
                CardContents.Mark(job: $0.job, state: $0.state.rawValue, reason: $0.reason.printable(limit: 40))
            }
            try contents.probe(card.holding.descriptor)
        } catch {
            contents.failure = .readError
            contents.detail = "\(error)".printable()
        }
        return contents
    }

    /// Compares the card with the candidates. Blocks for as long as reading the largest takes.
    func run(_ found: CardContents) -> CardContents {
        var contents = found
        guard contents.failure == nil else { return contents }
        do {
            contents.comparisons = try compare()
        } catch JobEnd.failed(let reason, let detail, _, _) {
            contents.failure = reason
            contents.detail = detail.printable()
        } catch {
            // Whoever asked has gone.
        }
        return contents
    }

    /// One pass over the card for all candidates, each hashed and compared up to its own end.
    private func compare() throws(JobEnd) -> [CardContents.Comparison] {
        var running = zip(candidates, sources).map { Running(candidate: $0, source: $1) }
            // One that is longer than the card is not on it.
            .filter { $0.candidate.byteCount <= card.identity.byteCount }
        guard let end = running.map(\.candidate.byteCount).max() else { return [] }
        let access = CardAccess(
            medium: device, identity: card.identity, checks: .all, control: control, removalPatience: 2)
        control.plan(furtherBytes: end)
        control.enter(.verifying, bytes: end)
        let read = AlignedBuffer(byteCount: Self.requestByteCount)
        let expected = AlignedBuffer(byteCount: Self.requestByteCount)
        var offset: UInt64 = 0
        while offset < end {
            // Whole sectors, as direct reads want them; a card ends with one.
            let sector = UInt64(card.sectorByteCount)
            let wanted = (min(UInt64(Self.requestByteCount), end - offset) + sector - 1) / sector * sector
            try access.read(into: read.prefix(Int(wanted)), at: offset)
            for index in running.indices { try running[index].take(read, expected, at: offset, count: wanted) }
            offset += wanted
        }
        try access.verifyIdentity()
        return running.compactMap { $0.comparison }
    }

    /// How far one candidate is.
    private struct Running {
        let candidate: InspectionRequest.Candidate
        let source: ContentSource?
        private let hasher = SHA256Hasher()
        private var firstDifference: UInt64?
        private var differentByteCount: UInt64 = 0

        init(candidate: InspectionRequest.Candidate, source: ContentSource?) {
            self.candidate = candidate
            self.source = source
        }

        mutating func take(
            _ read: AlignedBuffer, _ expected: AlignedBuffer, at offset: UInt64, count: UInt64
        ) throws(JobEnd) {
            guard offset < candidate.byteCount else { return }
            let length = Int(min(count, candidate.byteCount - offset))
            let bytes = read.prefix(length)
            hasher.update(UnsafeRawBufferPointer(bytes))
            guard let source else { return }
            do {
                try source.read(into: expected.prefix(length), at: offset)
            } catch {
                throw .failed(.imageUnreadable, detail: "\(error)")
            }
            guard let difference = Difference(bytes, expected.prefix(length)) else { return }
            firstDifference = firstDifference ?? offset + difference.offset
            let other = expected.prefix(length)
            differentByteCount += UInt64((Int(difference.offset)..<length).count { bytes[$0] != other[$0] })
        }

        var comparison: CardContents.Comparison? {
            guard let digest = hasher.finish() else { return nil }
            var comparison = CardContents.Comparison(
                sha256: candidate.sha256, byteCount: candidate.byteCount, readSHA256: digest)
            if !comparison.isEqual, source != nil {
                comparison.firstDifferentOffset = firstDifference
                comparison.differentByteCount = firstDifference.map { _ in differentByteCount }
            }
            return comparison
        }
    }
}
