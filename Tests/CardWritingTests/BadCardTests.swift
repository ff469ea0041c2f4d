@testable import CardWriting
import Glibc
import StationCore
import StationTestSupport
import Testing

private let mebibyte = 1 << 20
private let cardByteCount = 8 << 20

@Suite("A bad card")
struct BadCardTests {
    // MARK: Bits

    private static let imageByteCount = 3 * mebibyte + 777
    private static let body = [
        mebibyte + 4096, mebibyte + 4097, mebibyte + 8191, mebibyte + 300_000, 2 * mebibyte - 1, 2 * mebibyte + 4096,
        2 * mebibyte + 262_143, 2 * mebibyte + 262_144, 3 * mebibyte - 1, 3 * mebibyte, 3 * mebibyte + 511,
        3 * mebibyte + 512,
        3 * mebibyte + 776,
    ]
    private static let padding = [3 * mebibyte + 777, 3 * mebibyte + 1023]
    private static let head = [0, 1, 300, 446, 510, 511, 512, 4095, 4096, 65535, 65536, 524_288, mebibyte - 1]

    @Test(
        "with a bit that reads wrong in the image's body never passes, and the report names it",
        arguments: body + padding)
    func persistentBit(offset: Int) throws {
        for bits: UInt8 in [1, 0x80, 0xFF] {
            let bench = JobBench(imageByteCount: Self.imageByteCount, cardByteCount: cardByteCount)
            bench.medium.wrongBits[UInt64(offset)] = bits
            let report = try bench.expectFailure(.dataMismatch, "bits \(bits)")
            #expect(report.firstBadOffset == UInt64(offset))
            #expect(report.badBlocks == 1)
        }
    }

    @Test(
        "with a bit that is wrong on the medium never passes, though its reader still has what was written",
        arguments: body)
    func persistentBitBehindCache(offset: Int) throws {
        let bench = JobBench(imageByteCount: Self.imageByteCount, cardByteCount: cardByteCount)
        bench.medium.wrongBits[UInt64(offset)] = 1
        // All of the image fits into it.
        bench.medium.cacheByteCount = 4 << 20
        try bench.expectFailure(.dataMismatch)
    }

    @Test(
        "with a bit that reads wrong in a capacity block never passes",
        arguments: [mebibyte, 4 << 20, cardByteCount - 1])
    func persistentBitInProbe(offset: Int) throws {
        let bench = JobBench(imageByteCount: Self.imageByteCount, cardByteCount: cardByteCount)
        bench.medium.wrongBits[UInt64(offset)] = 16
        try bench.expectFailure(.capacityFalse)
    }

    @Test("with a bit that reads wrong in the first MiB never passes", arguments: head)
    func persistentBitInHead(offset: Int) throws {
        let bench = JobBench(imageByteCount: Self.imageByteCount, cardByteCount: cardByteCount)
        bench.medium.wrongBits[UInt64(offset)] = 4
        let report = try bench.expectNoPass()
        #expect([.dataMismatch, .markerMissing].contains(report.verdict.reason))
        bench.expectMarker(.failed, try #require(report.verdict.reason).rawValue)
    }

    @Test("with a bit that reads wrong only when the image's head is there never passes", arguments: head)
    func bitInHeadLater(offset: Int) throws {
        let bench = JobBench(imageByteCount: Self.imageByteCount, cardByteCount: cardByteCount) { request, medium in
            if request.kind == .write, request.offset == 0, request.number > 0 { medium.wrongBits[UInt64(offset)] = 1 }
            return .perform
        }
        let report = try bench.expectFailure(.dataMismatch)
        #expect(report.firstBadOffset == UInt64(offset))
    }

    @Test("that reads wrong once is written once more and passes, and the report says so", arguments: body)
    func transientRead(offset: Int) throws {
        let bench = JobBench(imageByteCount: Self.imageByteCount, cardByteCount: cardByteCount) { request, medium in
            guard request.kind == .read, request.count != 4096 else { return .perform }
            let isFirst =
                medium.log.count {
                    $0.kind == .read && $0.count != 4096 && $0.touches(UInt64(offset)..<UInt64(offset) + 1)
                } == 1
            medium.wrongBits =
                isFirst && request.touches(UInt64(offset)..<UInt64(offset) + 1) ? [UInt64(offset): 2] : [:]
            return .perform
        }
        let report = try bench.expectPass()
        #expect(report.rewrites == 1)
    }

    @Test("that takes a request only at the second or third try is repaired, and not at the fourth", arguments: 1...3)
    func spoiledWrites(times: Int) throws {
        let offset = UInt64(mebibyte + 300_000)
        let bench = JobBench(imageByteCount: Self.imageByteCount, cardByteCount: cardByteCount) { request, medium in
            guard request.kind == .write, request.count > 4096, request.touches(offset..<offset + 1) else {
                return .perform
            }
            let number = medium.log.count { $0.kind == .write && $0.count > 4096 && $0.touches(offset..<offset + 1) }
            if number <= times { medium.spoilsNextWrite = offset }
            return .perform
        }
        if times <= 2 {
            #expect(try bench.expectPass().rewrites == 1)
        } else {
            try bench.expectFailure(.dataMismatch)
        }
    }

    @Test("whose rewritten part only the reader's cache has right never passes", arguments: [1 << 20, 2 << 20])
    func rewriteInCache(cacheByteCount: Int) throws {
        let offset = UInt64(3 * mebibyte - 5)
        let bench = JobBench(imageByteCount: Self.imageByteCount, cardByteCount: cardByteCount)
        bench.medium.cacheByteCount = cacheByteCount
        bench.medium.wrongBits[offset] = 1
        let report = try bench.expectFailure(.dataMismatch)
        #expect(report.firstBadOffset == offset)
    }

    @Test("that corrupts random bytes on the way never passes unless every byte was repaired", arguments: 0..<40)
    func randomCorruption(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        let offset = UInt64.random(in: 0..<UInt64(cardByteCount), using: &random)
        let from = Int.random(in: 0..<60, using: &random)
        let bench = JobBench(imageByteCount: Self.imageByteCount, cardByteCount: cardByteCount) { request, medium in
            if request.kind == .write, request.number >= from { medium.spoilsNextWrite = offset }
            return .perform
        }
        let report = try bench.run()
        if report.verdict == .passed {
            #expect(bench.medium.holds(bench.padded, at: 0), "seed \(seed), offset \(offset)")
            let plan = WipePlan.ranges(
                level: .signatures, cardByteCount: UInt64(cardByteCount), imageByteCount: UInt64(3 * mebibyte + 1024),
                imagePartitionEnd: 0, oldPartitions: [])
            for range in plan { #expect(bench.medium.isZero(range), "seed \(seed), offset \(offset)") }
        } else {
            #expect(report.verdict.reason?.fault == .card, "seed \(seed)")
            if offset >= 512 { #expect(!bench.medium.hasTable) }
        }
    }

    // MARK: Writes that do not arrive

    @Test(
        "that ignores every write never passes, cache or not", arguments: [0, 256 << 10, 1 << 20, 2 << 20],
        [false, true])
    func ignoresAll(cacheByteCount: Int, isYesterdays: Bool) throws {
        let bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: cardByteCount)
        if isYesterdays { bench.imagineYesterday() }
        bench.medium.cacheByteCount = cacheByteCount
        bench.medium.ignoredWrites = 0..<UInt64(cardByteCount)
        let before = bench.medium.bytes(0..<cardByteCount)
        let report = try bench.expectNoPass()
        #expect(bench.medium.bytes(0..<cardByteCount) == before)
        if isYesterdays { #expect([.capacityFalse, .markerMissing].contains(report.verdict.reason)) }
    }

    @Test(
        "that ignores writes from some offset on never passes",
        arguments: [0, 512, 4096, 65536, 1 << 20, 5 << 19, 3 << 20, 5 << 20, 7 << 20, (8 << 20) - 4096], [0, 512 << 10])
    func ignoresBehind(offset: UInt64, cacheByteCount: Int) throws {
        for isYesterdays in [false, true] {
            let bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: cardByteCount)
            if isYesterdays { bench.imagineYesterday() }
            bench.medium.cacheByteCount = cacheByteCount
            bench.medium.ignoredWrites = offset..<UInt64(cardByteCount)
            try bench.expectNoPass("yesterday's image: \(isYesterdays)")
        }
    }

    @Test("that ignores some writes in the middle never passes", arguments: 0..<30)
    func ignoresSome(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        let start = UInt64.random(in: 0..<8192, using: &random) * 512
        let count = UInt64.random(in: 1...64, using: &random) * 512
        let bench = JobBench(imageByteCount: 5 * mebibyte, cardByteCount: cardByteCount)
        bench.medium.ignoredWrites = start..<min(start + count, 5 << 20)
        try bench.expectNoPass("seed \(seed)")
    }

    @Test(
        "that ignores writes to its first MiB does not pass, and is left as it was", arguments: [false, true],
        [0, 512 << 10])
    func ignoresHead(isYesterdays: Bool, cacheByteCount: Int) throws {
        let bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: cardByteCount)
        if isYesterdays { bench.imagineYesterday() }
        bench.medium.cacheByteCount = cacheByteCount
        bench.medium.ignoredWrites = 0..<UInt64(mebibyte)
        let before = bench.medium.bytes(0..<mebibyte)
        try bench.expectFailure(.markerMissing, leavesMarker: false)
        #expect(bench.medium.bytes(0..<mebibyte) == before)
    }

    @Test("that takes no image head any more does not pass, cache or not", arguments: [0, 256 << 10, 2 << 20])
    func ignoresSecondHead(cacheByteCount: Int) throws {
        let bench = JobBench(imageByteCount: 2 * mebibyte, cardByteCount: cardByteCount) { request, _ in
            request.kind == .write && request.offset == 0 && request.number > 0
                && request.firstByte != UInt8(ascii: "f")
                ? .pretend : .perform
        }
        bench.medium.cacheByteCount = cacheByteCount
        try bench.expectFailure(.dataMismatch)
    }

    @Test(
        "that ignores zeros does not pass, cache or not", arguments: [0, 256 << 10, 1 << 20, 2 << 20],
        [WipeLevel.signatures, .discard, .zero])
    func ignoresZeros(cacheByteCount: Int, level: WipeLevel) throws {
        var bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: cardByteCount) { request, _ in
            request.kind == .write && request.isAllZero ? .pretend : .perform
        }
        bench.wipe = level
        bench.medium.cacheByteCount = cacheByteCount
        let report = try bench.expectFailure(.wipeIncomplete)
        #expect(try #require(report.firstBadOffset) >= 3 << 20)
    }

    @Test(
        "whose writes stop arriving at some moment never passes", arguments: Array(stride(from: 0, to: 44, by: 2)),
        [0, 512 << 10])
    func worksUntil(requestNumber: Int, cacheByteCount: Int) throws {
        let bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: cardByteCount) { request, _ in
            request.kind == .write && request.number >= requestNumber ? .pretend : .perform
        }
        bench.medium.cacheByteCount = cacheByteCount
        // The marker is the first write, and 21 capacity blocks, 4 wiped and 8 image requests and the head follow.
        let report = try bench.run()
        let written = bench.medium.log.count { $0.kind == .write }
        if report.verdict == .passed {
            #expect(written <= requestNumber)
            #expect(bench.medium.holds(bench.padded, at: 0))
        } else {
            #expect(report.verdict.reason?.fault == .card)
        }
    }

    // MARK: Capacity

    private static let realByteCounts: [UInt64] = [
        1 << 20, 3 << 19, 2 << 20, 5 << 19, 3 << 20, 4 << 20, 5 << 20, 6 << 20, 7 << 20, 8 << 20, 12 << 20, 15 << 20,
        (16 << 20) - 4096, (16 << 20) - 512, 4_000_256, 5_000_192, 7_777_280, 10_000_384, 14_999_552,
    ]

    @Test("that wraps never passes, whatever it really holds", arguments: realByteCounts, [0, 512 << 10])
    func wraps(realByteCount: UInt64, cacheByteCount: Int) throws {
        for imageByteCount in [1000, mebibyte, 2 * mebibyte + 1, 12 * mebibyte, 16 * mebibyte] {
            let bench = JobBench(imageByteCount: imageByteCount)
            bench.medium.realByteCount = realByteCount
            bench.medium.cacheByteCount = cacheByteCount
            let report = try bench.expectNoPass("image of \(imageByteCount)")
            if cacheByteCount == 0, imageByteCount < realByteCount, realByteCount <= 8 << 20 {
                #expect(report.verdict == .failed(.capacityFalse))
            }
        }
    }

    @Test("that wraps never passes when it is large and the image is small", arguments: [301, 333, 500], [0, 2 << 20])
    func wrapsLarge(realMebibytes: UInt64, cacheByteCount: Int) throws {
        var bench = JobBench(imageByteCount: 1000, cardByteCount: 512 << 20)
        bench.settings.requestByteCount = 4 << 20
        bench.medium.realByteCount = realMebibytes << 20 + 512 * 1357
        bench.medium.cacheByteCount = cacheByteCount
        try bench.expectFailure(.capacityFalse)
    }

    @Test("that wraps at a random place never passes", arguments: 0..<40)
    func wrapsAnywhere(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        let real = UInt64.random(in: 2048...32767, using: &random) * 512
        let bench = JobBench(imageByteCount: Int.random(in: 1...4 * mebibyte, using: &random))
        bench.medium.realByteCount = real
        bench.medium.cacheByteCount = random.chance(percent: 50) ? 512 << 10 : 0
        try bench.expectNoPass("seed \(seed), real \(real)")
    }

    @Test("with nothing behind its real end never passes", arguments: realByteCounts, [0, 512 << 10])
    func limbo(realByteCount: UInt64, cacheByteCount: Int) throws {
        for imageByteCount in [1000, 2 * mebibyte + 1, 16 * mebibyte] {
            let bench = JobBench(imageByteCount: imageByteCount)
            bench.medium.realByteCount = realByteCount
            bench.medium.beyond = .limbo
            bench.medium.cacheByteCount = cacheByteCount
            try bench.expectNoPass("image of \(imageByteCount)")
        }
    }

    // MARK: Errors

    @Test(
        "that fails a write ends the job with the offset", arguments: [EIO, ENOSPC, ETIMEDOUT, EREMOTEIO],
        [1 << 20, 9 << 18, 5 << 19, 7 << 20])
    func writeError(number: Int32, offset: UInt64) throws {
        let bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: cardByteCount) { request, _ in
            request.kind == .write && request.touches(offset..<offset + 1) ? .fail(number) : .perform
        }
        let report = try bench.expectFailure(.writeError)
        let bad = try #require(report.firstBadOffset)
        #expect(bad <= offset && offset < bad + 256 << 10)
        #expect(bench.medium.log.last?.kind == .synchronise)
    }

    @Test(
        "that fails a read ends the job with the offset", arguments: [EIO, EILSEQ, ENODATA],
        [1 << 20, 9 << 18, 5 << 19, 6 << 20, 8388607])
    func readError(number: Int32, offset: UInt64) throws {
        let bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: cardByteCount) { request, _ in
            request.kind == .read && request.touches(offset..<offset + 1) ? .fail(number) : .perform
        }
        let report = try bench.expectFailure(.readError)
        let bad = try #require(report.firstBadOffset)
        #expect(bad <= offset && offset < bad + 256 << 10)
    }

    @Test(
        "that fails any one request never passes and is not asked again",
        arguments: [MemoryMedium.Kind.write, .read, .synchronise], Array(stride(from: 0, to: 60, by: 3)))
    func anyError(kind: MemoryMedium.Kind, requestNumber: Int) throws {
        var bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: cardByteCount) { request, _ in
            request.kind == kind && request.number == requestNumber ? .fail(EIO) : .perform
        }
        bench.settings.requestsInFlight = 1
        let report = try bench.run()
        let made = bench.medium.log.count { $0.kind == kind }
        guard made > requestNumber else {
            #expect(report.verdict == .passed)
            return
        }
        #expect(report.verdict == .failed(kind == .read ? .readError : .writeError))
        bench.expectMarker(.failed, kind == .read ? "read_error" : "write_error")
        let failed = try #require(bench.medium.log.firstIndex { $0.kind == kind && $0.number == requestNumber })
        let after = bench.medium.log[(failed + 1)...].filter { $0.kind != .synchronise }
        #expect(after.map(\.kind) == [.write] && after.first?.offset == 0)
    }

    @Test(
        "that takes or gives a part of a request ends the job", arguments: [MemoryMedium.Kind.write, .read],
        [0, 512, 4096])
    func shortRequests(kind: MemoryMedium.Kind, count: Int) throws {
        for requestNumber in stride(from: 0, to: 50, by: 7) {
            let bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: cardByteCount) { request, _ in
                request.kind == kind && request.number == requestNumber && request.count > count
                    ? .short(count) : .perform
            }
            let report = try bench.run()
            let isMet = bench.medium.log.contains { $0.kind == kind && $0.number == requestNumber && $0.count > count }
            #expect(
                report.verdict == (isMet ? .failed(kind == .write ? .shortWrite : .readError) : .passed),
                "\(requestNumber)")
            if isMet { #expect(!bench.medium.hasTable) }
        }
    }

    @Test("that cannot write its first MiB is left alone", arguments: [EIO, EROFS, EPERM])
    func headUnwritable(number: Int32) throws {
        let bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: cardByteCount) { request, _ in
            request.kind == .write && request.offset == 0 ? .fail(number) : .perform
        }
        let before = bench.medium.bytes(0..<cardByteCount)
        try bench.expectFailure(.writeError, leavesMarker: false)
        #expect(bench.medium.bytes(0..<cardByteCount) == before)
    }

    @Test("that fails the discard for a reason of its own is a write error")
    func discardError() throws {
        var bench = JobBench(imageByteCount: mebibyte, cardByteCount: cardByteCount) { request, _ in
            request.kind == .discard ? .fail(EIO) : .perform
        }
        bench.wipe = .discard
        try bench.expectFailure(.writeError)
    }

    // MARK: The image

    @Test("is not blamed for an image that changed: the hash is compared with the job's")
    func imageChanged() throws {
        var bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: cardByteCount)
        bench.sha256 = try Samples.digest("0")
        let report = try bench.expectFailure(.hashMismatch)
        #expect(report.readBackSHA256 == bench.digest)
        #expect(Reason.hashMismatch.fault == .station)
    }
}
