@testable import CardWriting
import Digests
import Glibc
import StationCore
import StationTestSupport
import Testing

private let mebibyte = 1 << 20

@Suite("A good card")
struct GoodCardTests {
    private static let imageByteCounts = [
        1, 511, 512, 513, 4095, 4096, 4097, mebibyte - 1, mebibyte, mebibyte + 1, mebibyte + 511, mebibyte + 512,
        mebibyte + 513, mebibyte + 4095, mebibyte + 4096, mebibyte + 4097, 2 * mebibyte, 2 * mebibyte + 1,
        3 * mebibyte - 1, 5 * mebibyte + 12345, 16 * mebibyte - 4097, 16 * mebibyte - 1, 16 * mebibyte,
    ]

    @Test("passes at both sector sizes and at every byte count", arguments: [512, 4096], imageByteCounts)
    func passes(sectorByteCount: Int, imageByteCount: Int) throws {
        var bench = JobBench(imageByteCount: imageByteCount)
        bench.sectorByteCount = sectorByteCount
        let report = try bench.expectPass("sector \(sectorByteCount), image \(imageByteCount)")
        #expect(report.rewrites == 0)
        #expect(report.sectorByteCount == sectorByteCount)
        let last = UInt64(bench.medium.byteCount - mebibyte)..<UInt64(bench.medium.byteCount)
        #expect(bench.medium.isZero(max(last.lowerBound, UInt64(bench.padded.count))..<last.upperBound))
        for request in bench.medium.log where request.kind == .write || request.kind == .read {
            #expect(request.offset % UInt64(sectorByteCount) == 0 && request.count % sectorByteCount == 0)
        }
    }

    @Test("passes with requests of every length and number", arguments: [4096, 12288, 1 << 20, 8 << 20], [1, 2, 7])
    func requestShapes(requestByteCount: Int, requestsInFlight: Int) throws {
        var bench = JobBench(imageByteCount: 5 * mebibyte + 513)
        bench.settings.requestByteCount = requestByteCount
        bench.settings.requestsInFlight = requestsInFlight
        try bench.expectPass()
    }

    @Test("passes when its size is no multiple of 4096", arguments: [512, 1024, 3584])
    func oddSize(rest: Int) throws {
        try JobBench(imageByteCount: 3 * mebibyte, cardByteCount: 16 * mebibyte + rest).expectPass()
        try JobBench(imageByteCount: 16 * mebibyte + rest, cardByteCount: 16 * mebibyte + rest).expectPass()
    }

    @Test("passes behind a reader that caches", arguments: [64 << 10, 1 << 20, 4 << 20])
    func cache(byteCount: Int) throws {
        let bench = JobBench(imageByteCount: 4 * mebibyte)
        bench.medium.cacheByteCount = byteCount
        try bench.expectPass()
    }

    @Test("passes with a content of patches")
    func patches() throws {
        let bench = JobBench(imageByteCount: 3 * mebibyte + 100)
        let patches = [
            Content.Patch(offset: 600, bytes: [1, 2, 3]),
            Content.Patch(offset: UInt64(mebibyte) - 2, bytes: [9, 8, 7, 6]),
            Content.Patch(offset: 3 << 20, bytes: [UInt8](repeating: 5, count: 100)),
        ]
        var wanted = bench.image
        for patch in patches {
            wanted.replaceSubrange(Int(patch.offset)..<Int(patch.offset) + patch.bytes.count, with: patch.bytes)
        }
        let sha256 = try #require(wanted.withUnsafeBytes { SHA256Hasher.digest($0) })
        let source = try ContentSource(
            content: Content(byteCount: UInt64(wanted.count), sha256: sha256, patches: patches),
            image: try TemporaryFile.readOnly(bench.image))
        let report = CardJob(
            id: bench.id, medium: bench.medium, identity: bench.medium.identityNow, sectorByteCount: 512,
            source: source,
            wipe: .signatures, settings: bench.settings, control: bench.control
        ).run()
        #expect(report.verdict == .passed)
        #expect(bench.medium.holds(wanted, at: 0))
    }

    // MARK: Wipe

    @Test("has nothing of its earlier life in the first MiB", arguments: WipeLevel.allCases)
    func firstMebibyte(level: WipeLevel) throws {
        var bench = JobBench(imageByteCount: 1000)
        bench.wipe = level
        try bench.expectPass()
        #expect(bench.medium.isZero(1000..<UInt64(mebibyte)))
    }

    @Test("keeps what is neither image nor first MiB at the level none, but for the capacity blocks")
    func levelNone() throws {
        var bench = JobBench(imageByteCount: 2 * mebibyte)
        bench.wipe = .none
        let before = bench.medium.bytes(2 * mebibyte..<16 * mebibyte)
        try bench.expectPass()
        let probe = CapacityProbe(job: bench.id, cardByteCount: 16 << 20)
        let after = bench.medium.bytes(2 * mebibyte..<16 * mebibyte)
        for start in stride(from: 0, to: before.count, by: 4096) {
            guard !probe.offsets.contains(UInt64(start + 2 * mebibyte)) else { continue }
            #expect(before[start..<start + 4096] == after[start..<start + 4096])
        }
    }

    @Test("is all zero behind the image at the level zero", arguments: [1, mebibyte + 513, 16 * mebibyte - 512])
    func levelZero(imageByteCount: Int) throws {
        var bench = JobBench(imageByteCount: imageByteCount)
        bench.wipe = .zero
        try bench.expectPass()
        #expect(bench.medium.isZero(UInt64(bench.padded.count)..<UInt64(bench.medium.byteCount)))
    }

    @Test("passes whether it can discard or not", arguments: [0, EOPNOTSUPP, EINVAL])
    func discard(answer: Int32) throws {
        var bench = JobBench(imageByteCount: 2 * mebibyte) { request, _ in
            request.kind == .discard && answer != 0 ? .fail(answer) : .perform
        }
        bench.wipe = .discard
        try bench.expectPass()
        #expect(bench.medium.log.contains { $0.kind == .discard })
        #expect(bench.medium.isZero(15 << 20..<16 << 20))
    }

    @Test("holds no superblock of the partitions it had")
    func oldPartitions() throws {
        var bench = JobBench(imageByteCount: 2 * mebibyte, cardByteCount: 32 * mebibyte)
        bench.oldPartitions = [1 << 20..<9 << 20, 9 << 20..<20 << 20, 20 << 20..<40 << 20]
        try bench.expectPass()
        for offset: UInt64 in [8 << 20, 9 << 20, 19 << 20, 20 << 20, 31 << 20] {
            #expect(bench.medium.isZero(offset..<offset + 1 << 20), "\(offset)")
        }
        #expect(!bench.medium.isZero(12 << 20..<13 << 20))
    }

    @Test("holds no overlay of an earlier life up to the end of the image's last partition", arguments: [false, true])
    func overlay(isGPT: Bool) throws {
        let entries = [TableBytes.Entry(first: 2048, count: 2048), TableBytes.Entry(first: 4096, count: 12288)]
        var image = JobBench.image(3 * mebibyte + 700, partitions: entries)
        if isGPT {
            let table = TableBytes.gpt(entries)
            image.replaceSubrange(0..<table.count, with: table)
        }
        let bench = JobBench(image: image)
        try bench.expectPass()
        #expect(bench.medium.isZero(UInt64(bench.padded.count)..<8 << 20))
        #expect(!bench.medium.isZero(9 << 20..<10 << 20))
    }

    @Test("passes with an image whose table lies about everything")
    func lyingTable() throws {
        let entries = [
            TableBytes.Entry(first: 1, count: 0xFFFF_FFFF), TableBytes.Entry(first: 0xFFFF_FFFF, count: 0xFFFF_FFFF),
            TableBytes.Entry(first: 0, count: 0),
        ]
        let bench = JobBench(image: JobBench.image(2 * mebibyte, partitions: entries))
        try bench.expectPass()
        #expect(bench.medium.isZero(2 << 20..<16 << 20))
    }

    // MARK: Order

    @Test("holds a marker and no table until everything else is on the card", arguments: WipeLevel.allCases)
    func order(level: WipeLevel) throws {
        let image = JobBench.image(5 * mebibyte)
        let state = Watched()
        var bench = JobBench(image: image, cardByteCount: 32 * mebibyte) { request, medium in
            state.see(request, medium)
            return .perform
        }
        bench.wipe = level
        try bench.expectPass()
        #expect(state.problems == [])

        let log = bench.medium.log
        let headWrites = log.indices.filter { log[$0].kind == .write && log[$0].offset == 0 }
        #expect(headWrites.count == 2)
        let first = try #require(headWrites.first)
        let last = try #require(headWrites.last)
        #expect(
            log[..<first].allSatisfy { $0.kind != .write && $0.kind != .discard },
            "something is written before the marker")
        #expect(log[(last + 1)...].allSatisfy { $0.kind != .write }, "something is written after the head")
        let reads = log.filter { $0.kind == .read }
        #expect(reads.last?.offset == 0 && reads.last?.count == mebibyte, "the head is not read last")

        let markerRead = try #require(log[..<last].indices.last { log[$0].kind == .read && log[$0].offset == 0 })
        let lastBody = try #require(log.indices.last { log[$0].kind == .write && $0 < markerRead })
        let between = log[lastBody..<markerRead].filter { $0.kind == .read }.reduce(0) { $0 + $1.count }
        #expect(between >= 27 * mebibyte, "the marker is read behind \(between) bytes of other reads only")
    }

    @Test("has the marker read behind all of a larger card", arguments: [96, 160])
    func eviction(cardMebibytes: Int) throws {
        let bench = JobBench(imageByteCount: 2 * mebibyte, cardByteCount: cardMebibytes * mebibyte)
        try bench.expectPass()
        let log = bench.medium.log
        let headWrite = try #require(log.indices.last { log[$0].kind == .write && log[$0].offset == 0 })
        let markerRead = try #require(log[..<headWrite].indices.last { log[$0].kind == .read && log[$0].offset == 0 })
        let lastWrite = try #require(log[..<markerRead].indices.last { log[$0].kind == .write })
        let between = log[lastWrite..<markerRead].filter { $0.kind == .read }.reduce(0) { $0 + $1.count }
        #expect(between >= 64 * mebibyte)
    }

    @Test("has the image read behind 256 MiB where the card is large enough, unless a test says otherwise")
    func readerCache() { #expect(CardJob.Settings().readerCacheByteCount == 256 * UInt64(mebibyte)) }

    @Test("has its head read behind 64 MiB of other reads where the card is large enough")
    func headEviction() throws {
        let bench = JobBench(imageByteCount: 2 * mebibyte, cardByteCount: 96 * mebibyte)
        try bench.expectPass()
        let log = bench.medium.log
        let headWrite = try #require(log.indices.last { log[$0].kind == .write })
        let between = log[headWrite...].filter { $0.kind == .read && $0.offset > 0 }.reduce(0) { $0 + $1.count }
        #expect(between >= 64 * mebibyte, "only \(between >> 20) MiB")
    }

    @Test("adds up in its progress")
    func progress() throws {
        let bench = JobBench(imageByteCount: 4 * mebibyte)
        try bench.expectPass()
        let progress = bench.control.progress()
        #expect(progress.phase == .finishing)
        #expect(progress.bytesDone <= progress.bytesTotal)
        #expect(progress.silentSeconds == 0)
        let moved = bench.medium.log.filter { $0.kind == .read || $0.kind == .write }.reduce(0) {
            $0 + UInt64($1.count)
        }
        #expect(progress.bytesDone == moved)
    }

    @Test("is read once before the image is written, so that the time left can be told")
    func sample() throws {
        let bench = JobBench(imageByteCount: 4 * mebibyte)
        try bench.expectPass()
        let rate = try #require(bench.control.takeReadRate())
        #expect(rate > 0)
        #expect(bench.control.takeReadRate() == nil)
        let log = bench.medium.log
        let read = try #require(log.indices.first { log[$0].kind == .read && log[$0].count == mebibyte })
        let written = try #require(
            log.indices.first { log[$0].kind == .write && log[$0].count == bench.settings.requestByteCount })
        #expect(read < written)
    }
}

/// Looks at the card before each request of a job.
private final class Watched: @unchecked Sendable {
    // Touched under the medium's lock only.
    private(set) var problems: [String] = []
    private var hasMarker = false

    func see(_ request: MemoryMedium.Request, _ medium: MemoryMedium) {
        guard request.kind != .identity else { return }
        if request.kind == .write, request.offset == 0, !hasMarker {
            hasMarker = true
        } else if request.kind == .write, request.offset == 0 {
            hasMarker = false
            if medium.marker?.state != .unfinished { problems.append("the marker is gone before the head is written") }
        } else if hasMarker, medium.hasTable || medium.marker?.state != .unfinished || !medium.isZero(512..<1 << 20) {
            problems.append("\(request.kind) at \(request.offset): the head is not the marker")
        }
    }
}
