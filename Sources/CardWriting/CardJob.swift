package import StationCore
package import StationLinux

/// One card, one content, one attempt, from the first write to the verdict. The guard has let the card through already.
///
/// 1. The first MiB becomes the marker: no boot code, no table.
/// 2. Capacity blocks are written all over the card, then read; and the marker once, to see how fast the card reads.
/// 3. The wipe plan is zeroed, but for the capacity blocks in it.
/// 4. The image is written but for its first MiB.
/// 5. What lies behind the image is read, until as much has gone through the reader as it might cache. Then the image is read
///    back but for its last 64 MiB, then what was zeroed, the capacity blocks that the image left, and the marker.
/// 6. The image's first MiB is written; from here on the card could boot.
/// 7. The rest is read back, the first MiB last and behind 64 MiB of other reads where the card has them. The SHA-256 of what
///    was read is compared with the job's.
///
/// An update job reads the card first. Where everything is there already, that was the read-back, and nothing is written. Else
/// the steps are the same, but 3 and 4 leave out what is there, and zeros that the card is thought to have already. Where those
/// are in what 7 reads, they are read with 5, so that whatever must be written of them after all comes before the checks.
///
/// Every way out but `passed` puts the marker back, unless the card is no longer the one of the job.
package struct CardJob: Sendable {
    /// How the work is cut.
    package struct Settings: Sendable {
        /// Bytes of one request; a multiple of 4096.
        package var requestByteCount = 1 << 20
        /// Bytes that are compared at once; a multiple of 4096.
        package var pieceByteCount = 32 << 10
        /// Requests under way at one time.
        package var requestsInFlight = 6
        /// How far a request may be ahead of one that still runs, counted in requests: what is written in between must push
        /// what was written before out of a reader's cache, so nothing may come late.
        var requestWindow: Int { requestsInFlight + 2 }
        /// How often a request that reads back wrong is written once more.
        package var rewriteLimit = 2
        package var removalPatience = 2.0
        /// How much a reader may cache at most, in bytes.
        package var readerCacheByteCount = CapacityProbe.cacheByteCount

        package init() {}

        /// Makes requests as large as a MiB allows that the device need not cut in unequal parts: a high-speed USB reader
        /// takes 120 KiB at a time, and a MiB would be eight of those and a small one.
        /// - Parameters:
        ///   - largest: the most that the device takes in one request, in bytes.
        ///   - optimal: what it likes a request to be a multiple of, in bytes; 0 where it has no opinion.
        package mutating func fit(largest: Int, optimal: Int) {
            let unit = largest < requestByteCount ? largest : optimal
            // Direct I/O wants multiples of 4096, and less than a piece is no size that anybody would cut for.
            guard unit >= pieceByteCount, unit % 4096 == 0, unit < requestByteCount else { return }
            requestByteCount -= requestByteCount % unit
        }
    }

    /// The wipe plan in two parts.
    struct Wiping: Sendable {
        /// What is zeroed before the image.
        var first: [Range<UInt64>]
        /// Capacity blocks in it, which are zeroed when they have been read behind the image: where the card has nothing, a
        /// zero reads back as well. What is lost of their zeros leaves a capacity block, and no old signature.
        var last: [Range<UInt64>]

        init(plan: [Range<UInt64>], probe: [UInt64]) {
            first = []
            last = []
            for range in plan {
                var start = range.lowerBound
                for offset in probe where range.contains(offset) {
                    if start < offset { first.append(start..<offset) }
                    start = min(offset + UInt64(CapacityProbe.blockByteCount), range.upperBound)
                    last.append(offset..<start)
                }
                if start < range.upperBound { first.append(start..<range.upperBound) }
            }
        }

        var byteCount: UInt64 { (first + last).reduce(0) { $0 + UInt64($1.count) } }
    }

    static let headByteCount = 1 << 20
    /// What is read back after the image's first MiB was written, and the least that is read before the marker is.
    static let tailByteCount: UInt64 = 64 << 20

    let id: JobID
    let source: ContentSource
    let mode: WriteMode
    private let wipe: WipeLevel
    private let oldPartitions: [Range<UInt64>]
    private let sectorByteCount: Int
    let settings: Settings
    let checks: Set<Check>
    let control: JobControl
    let access: CardAccess

    /// - Parameters:
    ///   - identity: what the guard found.
    ///   - oldPartitions: those of the table that was on the card, in bytes.
    package init(
        id: JobID, medium: any CardMedium, identity: MediumIdentity, sectorByteCount: Int, source: ContentSource,
        mode: WriteMode = .full, wipe: WipeLevel, oldPartitions: [Range<UInt64>] = [], checks: Set<Check> = .all,
        settings: Settings = Settings(),
        control: JobControl
    ) {
        self.id = id
        self.source = source
        self.mode = mode
        self.wipe = wipe
        self.oldPartitions = oldPartitions
        self.sectorByteCount = sectorByteCount
        self.settings = settings
        self.checks = checks
        self.control = control
        access = CardAccess(
            medium: medium, identity: identity, checks: checks, control: control,
            removalPatience: settings.removalPatience)
    }

    var cardByteCount: UInt64 { access.identity.byteCount }

    /// Does the job. Blocks for as long as the card takes.
    package func run() -> JobReport {
        var report = JobReport(.failed(.internalError))
        report.cardByteCount = cardByteCount
        report.sectorByteCount = sectorByteCount
        let began = SystemClock.monotonicSeconds()
        var isTouched = false
        do {
            try perform(&report, &isTouched)
            report.verdict = .passed
        } catch let end as JobEnd {
            describe(blamed(end), in: &report)
            if isTouched { leaveMarker(after: report.verdict, in: &report) }
        } catch {
            report.detail = "\(error)".printable()
        }
        report.totalSeconds = SystemClock.monotonicSeconds() - began
        return report
    }

    private func perform(_ report: inout JobReport, _ isTouched: inout Bool) throws {
        let sector = UInt64(sectorByteCount)
        let imageByteCount = (source.content.byteCount + sector - 1) / sector * sector
        let head = AlignedBuffer(byteCount: Self.headByteCount)
        try readSource(into: head.bytes, at: 0)
        let table = PartitionTable(Array(head.bytes))
        let plan = WipePlan.ranges(
            level: wipe, cardByteCount: cardByteCount, imageByteCount: imageByteCount,
            imagePartitionEnd: min(table?.end ?? 0, cardByteCount), oldPartitions: oldPartitions)
        let body = UInt64(Self.headByteCount)..<max(UInt64(Self.headByteCount), imageByteCount)
        let probe = CapacityProbe(job: id, cardByteCount: cardByteCount)
        let wiping = Wiping(plan: plan, probe: probe.offsets.filter { $0 >= body.upperBound })

        let survey = try survey(head: head, body: body, plan: plan, &report, &isTouched)
        if survey.isAllThere { return try conclude(survey.readBackSHA256, head: head, &report) }
        let writing = Writing(survey, body: body, probe: probe, requestByteCount: settings.requestByteCount)
        let toZero = Wiping(plan: survey.toZero, probe: probe.offsets).first
        let zeroByteCount = toZero.reduce(0) { $0 + UInt64($1.count) }
        let evicting = evictionByteCount(writing, body: body) + headDistance(writing, body: body)
        control.plan(
            furtherBytes: zeroByteCount + wiping.byteCount + writing.byteCount() + UInt64(body.count) + evicting
        )

        // A job that was stopped before its first write leaves the card as it is.
        if let cause = control.stopCause { throw JobEnd.stopped(cause) }
        isTouched = true
        try timed(&report.capacitySeconds) { try prepare(probe) }
        try timed(&report.wipeSeconds) {
            control.enter(.wiping, bytes: zeroByteCount)
            try zero(toZero)
            try access.synchronise()
        }
        defer { report.bytesWritten = writing.contentBytesWritten }
        try timed(&report.writeSeconds) { try write(body, writing, probe) }
        try readBack(head: head, body: body, probe: probe, wiping: wiping, writing, &report)
    }

    private func write(_ body: Range<UInt64>, _ writing: Writing, _ probe: CapacityProbe) throws {
        control.enter(.writing, bytes: writing.byteCount())
        try forEachRequest(in: body) { worker, offset, count, index in
            guard writing.finding(index) != .same else { return }
            let buffer = worker.request.prefix(count)
            try readSource(into: buffer, at: offset)
            if writing.presumesZero(index, buffer) {
                let blocks = probe.blocks(in: offset..<offset + UInt64(count))
                for block in blocks { try access.write(worker.request.prefix(block.count), at: block.lowerBound) }
                let byteCount = blocks.reduce(0) { $0 + $1.count }
                writing.leaveOut(index, blockByteCount: byteCount)
                control.spare(bytes: count - byteCount)
                return
            }
            try access.write(buffer, at: offset)
            writing.add(contentByteCount(at: offset, count))
        }
        try access.synchronise()
    }

    /// How many of so many bytes from an offset on are the content's, and not what fills up its last sector.
    func contentByteCount(at offset: UInt64, _ count: Int) -> Int {
        offset < source.content.byteCount ? Int(min(UInt64(count), source.content.byteCount - offset)) : 0
    }

    // MARK: Before the image

    /// Adds the time that a part takes to a figure of the report, also when it ends in an error.
    func timed<Value>(_ seconds: inout Double, _ body: () throws -> Value) rethrows -> Value {
        let began = SystemClock.monotonicSeconds()
        defer { seconds += SystemClock.monotonicSeconds() - began }
        return try body()
    }

    private func prepare(_ probe: CapacityProbe) throws {
        control.enter(.probing, bytes: 0)
        try writeMarker(Marker(job: id, state: .unfinished))
        if wipe == .discard {
            // The marker stays: a station that goes away in the middle must know the card again.
            try access.synchronise()
            var offset = UInt64(Self.headByteCount)
            while offset < cardByteCount {
                let count = min(cardByteCount - offset, 1 << 30)
                guard try access.discard(at: offset, count: count) else { break }
                offset += count
            }
        }
        try forEachRequest(count: probe.offsets.count, byteCount: CapacityProbe.blockByteCount) { worker, index in
            probe.fill(worker.request.bytes, offset: probe.offsets[index])
            try access.write(worker.request.bytes, at: probe.offsets[index])
        }
        try access.synchronise()
        if checks.contains(.capacityBefore) { try verify(probe, at: probe.offsets) }
        try sampleReading()
    }

    /// Reads one request, so that the time left can be told: before the image is read back, nothing else shows how fast the
    /// card is read. It is the marker, for what was on the card before may be unreadable without being anybody's fault.
    private func sampleReading() throws {
        let marker = AlignedBuffer(byteCount: Self.headByteCount)
        let began = SystemClock.monotonicSeconds()
        try access.read(into: marker.bytes, at: 0)
        control.sample(readRate: Double(Self.headByteCount) / max(1e-6, SystemClock.monotonicSeconds() - began))
    }

    func zero(_ ranges: [Range<UInt64>]) throws {
        for range in ranges {
            try forEachRequest(in: range) { worker, offset, count, _ in
                // It is full of zeros here: nothing has used it in this pass.
                try access.write(worker.request.prefix(count), at: offset)
            }
        }
    }

    /// What was zeroed must read as zeros, from the medium and not from the reader's cache.
    func verifyZero(_ ranges: [Range<UInt64>]) throws {
        for range in ranges {
            try forEachRequest(in: range) { worker, offset, count, _ in
                let read = worker.request.prefix(count)
                try access.read(into: read, at: offset)
                guard checks.contains(.wipeReadBack), !read.isZero else { return }
                let zeros = AlignedBuffer(byteCount: count)
                if let difference = Difference(read, zeros.bytes) {
                    throw JobEnd.failed(
                        .wipeIncomplete, detail: "what was zeroed at \(offset + difference.offset) is not zero",
                        offset: offset + difference.offset, badBlocks: difference.blockCount)
                }
            }
        }
    }

    func verify(_ probe: CapacityProbe, at offsets: [UInt64]) throws {
        try forEachRequest(count: offsets.count, byteCount: CapacityProbe.blockByteCount) { worker, index in
            let (offset, expected) = (offsets[index], worker.piece.prefix(CapacityProbe.blockByteCount))
            try access.read(into: worker.request.bytes, at: offset)
            probe.fill(expected, offset: offset)
            guard Difference(worker.request.bytes, expected) == nil else {
                throw JobEnd.failed(
                    .capacityFalse,
                    detail: "what was written at \(offset) did not stay there; the card claims \(cardByteCount) bytes",
                    offset: offset)
            }
        }
    }

    private func writeMarker(_ marker: Marker, isLast: Bool = false) throws(JobEnd) {
        let buffer = AlignedBuffer(byteCount: Self.headByteCount)
        marker.fill(buffer.bytes)
        try access.write(buffer.bytes, at: 0, isLast: isLast)
    }

    // MARK: The end

    /// A card is blamed only while it is the card: one that came in between two looks shows bytes that nobody wrote.
    private func blamed(_ end: JobEnd) -> JobEnd {
        guard checks.contains(.identityAtEnd), case .failed(let reason, _, _, _) = end, reason.fault == .card else {
            return end
        }
        do {
            try access.verifyIdentity()
            return end
        } catch {
            return error
        }
    }

    private func describe(_ end: JobEnd, in report: inout JobReport) {
        switch end {
        case .failed(let reason, let detail, let offset, let badBlocks):
            report.verdict = .failed(reason)
            report.detail = detail.printable()
            report.firstBadOffset = offset
            report.badBlocks = badBlocks
        case .stopped(.cancel): report.verdict = .cancelled
        case .stopped(.interrupt):
            report.verdict = .interrupted
            report.detail = "the station hung up"
        }
    }

    /// Takes the boot code away again and says on the card whose it was. Best effort: the verdict stands already.
    private func leaveMarker(after verdict: Verdict, in report: inout JobReport) {
        let state: Marker.State =
            switch verdict {
            case .cancelled: .cancelled
            case .interrupted: .unfinished
            default: .failed
            }
        do {
            // Whatever is in the reader now, it is not written unless it is this job's card.
            try access.verifyIdentity()
            try writeMarker(Marker(job: id, state: state, reason: verdict.reason?.rawValue ?? ""), isLast: true)
            try access.synchronise(isLast: true)
            let head = AlignedBuffer(byteCount: Self.headByteCount)
            Marker(job: id, state: state, reason: verdict.reason?.rawValue ?? "").fill(head.bytes)
            report.headSHA256 = CardHead.fingerprint(UnsafeRawBufferPointer(head.bytes))
        } catch {
            report.headSHA256 = nil
        }
    }

    func readSource(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(JobEnd) {
        do {
            try source.read(into: buffer, at: offset)
        } catch {
            throw .failed(.imageUnreadable, detail: "\(error)")
        }
    }
}
