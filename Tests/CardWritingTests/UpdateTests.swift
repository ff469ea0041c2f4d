@testable import CardWriting
import Glibc
import StationCore
import StationTestSupport
import Testing

private let mebibyte = 1 << 20
private let request = 256 << 10

/// A job that reads first and writes only what is not there yet.
@Suite("An update")
struct UpdateTests {
    /// A card of 16 MiB that holds the image already, behind a reader that caches 2 MiB at most.
    private static func bench(
        _ image: [UInt8] = JobBench.image(3 * mebibyte), cardByteCount: Int = 16 * mebibyte,
        control: JobControl = JobControl(),
        script: @escaping MemoryMedium.Script = { _, _ in .perform }
    ) -> JobBench {
        var bench = JobBench(image: image, cardByteCount: cardByteCount, control: control, script: script)
        bench.mode = .update
        bench.settings.readerCacheByteCount = 2 << 20
        bench.settings.requestsInFlight = 1
        bench.imagineYesterday()
        return bench
    }

    private static func halfZero(_ mebibytes: Int = 8) -> [UInt8] {
        var image = JobBench.image(mebibytes * mebibyte)
        for start in stride(from: 2 * mebibyte, to: image.count, by: mebibyte) where start / mebibyte % 2 == 0 {
            image.replaceSubrange(start..<start + mebibyte, with: [UInt8](repeating: 0, count: mebibyte))
        }
        return image
    }

    private static func writes(_ bench: JobBench) -> [MemoryMedium.Request] {
        bench.medium.log.filter { $0.kind == .write }
    }

    @Test(
        "of a card that has all of the image writes nothing and reads everything once",
        arguments: [1, 513, mebibyte, mebibyte + 1, 3 * mebibyte, 5 * mebibyte + 12345], [1, 4])
    func unchanged(imageByteCount: Int, requestsInFlight: Int) throws {
        var bench = Self.bench(JobBench.image(imageByteCount))
        bench.settings.requestsInFlight = requestsInFlight
        // The last MiB behind the image is the wipe plan's.
        let report = try bench.run()
        #expect(report.verdict == .passed, "\(report.detail)")
        #expect(bench.medium.holds(bench.padded, at: 0))
        #expect(Self.writes(bench).isEmpty && bench.medium.count(of: .synchronise) == 0)
        #expect(report.bytesWritten == 0 && report.bytesUnchanged == UInt64(imageByteCount))
        #expect(report.bytesVerified == UInt64(imageByteCount) && report.readBackSHA256 == bench.digest)
        let samples = bench.medium.log.filter { $0.kind == .read && $0.count <= 4 << 10 }
        let read = bench.medium.log.reduce(0) { $1.kind == .read ? $0 + $1.count : $0 }
        #expect(read - samples.reduce(0) { $0 + $1.count } <= bench.padded.count + 2 * mebibyte)
    }

    @Test(
        "finds every difference, in head, body and each range that must be zero, several requests at a time",
        arguments: 0..<40)
    func anywhere(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        var bench = Self.bench(cardByteCount: 48 * mebibyte)
        bench.settings.requestsInFlight = 6
        // No power of two, and none of its multiples is a MiB.
        bench.settings.requestByteCount = 240 << 10
        bench.oldPartitions = [1 << 20..<9 << 20, 9 << 20..<20 << 20, 20 << 20..<40 << 20]
        let plan = WipePlan.ranges(
            level: .signatures, cardByteCount: 48 << 20, imageByteCount: UInt64(bench.padded.count),
            imagePartitionEnd: 0,
            oldPartitions: bench.oldPartitions)
        let ranges = [0..<1 << 20, 1 << 20..<UInt64(bench.padded.count)] + plan
        let range = ranges[seed / 3 % ranges.count]
        // Where it begins, where it ends, and anywhere in it.
        let spoilt = Int(
            [range.lowerBound, range.upperBound - 1, UInt64.random(in: range, using: &random)][seed % 3])
        let was = spoilt < bench.padded.count ? bench.padded[spoilt] : 0
        bench.medium.put([was ^ 0x20], at: spoilt)
        let report = try bench.run()
        #expect(report.verdict == .passed, "\(report.detail)")
        #expect(!Self.writes(bench).isEmpty, "nothing was written, though byte \(spoilt) was another")
        #expect(bench.medium.holds(bench.padded, at: 0))
        for range in plan { #expect(bench.medium.isZero(range), "\(range)") }
        #expect(report.readBackSHA256 == bench.digest && report.rewrites == 0)
    }

    @Test(
        "writes what differs and nothing else of the image",
        arguments: [0, 511, mebibyte - 1, mebibyte, 2 * mebibyte + 77_777, 3 * mebibyte - 1])
    func differing(offset: Int) throws {
        let bench = Self.bench()
        bench.medium.put([bench.image[offset] ^ 0x40], at: offset)
        let report = try bench.run()
        #expect(report.verdict == .passed, "\(report.detail)")
        #expect(bench.medium.holds(bench.padded, at: 0))
        #expect(report.readBackSHA256 == bench.digest && report.rewrites == 0)
        #expect(report.bytesWritten + (report.bytesUnchanged ?? 0) == UInt64(bench.image.count))
        // Capacity blocks lie in some requests, and the one that differs is another one at most; the head comes on top.
        let probe = CapacityProbe(job: bench.id, cardByteCount: 16 << 20)
        let hit = Set(probe.offsets.map { Int($0) / request } + [offset / request])
        let written = Self.writes(bench).filter { $0.count == request && $0.offset > 0 && $0.offset < 3 << 20 }
        #expect(Set(written.map { Int($0.offset) / request }).isSubset(of: hit))
        #expect(written.contains { Int($0.offset) / request == offset / request } == (offset >= mebibyte))
        #expect(Set(written.map(\.offset)).count == written.count)
    }

    @Test("takes away what an earlier life left behind the image", arguments: [3 * mebibyte, 15 * mebibyte + 5])
    func leftovers(offset: Int) throws {
        var bench = Self.bench(JobBench.image(3 * mebibyte, partitions: [.init(first: 2048, count: 6144)]))
        bench.sectorByteCount = 512
        bench.medium.put([1], at: offset)
        #expect(try bench.run().verdict == .passed)
        #expect(bench.medium.isZero(UInt64(offset)..<UInt64(offset + 1)))
        #expect(bench.medium.holds(bench.padded, at: 0))
    }

    @Test("of a card with something else writes everything")
    func other() throws {
        let bench = Self.bench()
        bench.medium.put([UInt8](repeating: 0xA5, count: 16 * mebibyte), at: 0)
        let report = try bench.expectPass()
        #expect(report.bytesUnchanged == 0)
    }

    @Test("of a blank card leaves out the image's zeros, but for what capacity blocks took the place of")
    func blank() throws {
        let bench = Self.bench(Self.halfZero())
        bench.medium.put([UInt8](repeating: 0, count: 16 * mebibyte), at: 0)
        let report = try bench.run()
        #expect(report.verdict == .passed, "\(report.detail)")
        #expect(bench.medium.holds(bench.padded, at: 0))
        #expect(report.readBackSHA256 == bench.digest && report.rewrites == 0)
        let leftOut = try #require(report.bytesUnchanged)
        #expect(leftOut > 0 && leftOut + report.bytesWritten == UInt64(bench.image.count))
        let zeros = Self.writes(bench).filter { $0.isAllZero && $0.offset >= 1 << 20 && $0.offset < 8 << 20 }
        let probe = CapacityProbe(job: bench.id, cardByteCount: 16 << 20)
        #expect(zeros.allSatisfy { $0.count == 4096 && probe.offsets.contains($0.offset) } && !zeros.isEmpty)
        // All of it is read back once, and as much as ever lies between the writing of the first MiB and its being read.
        let head = try #require(bench.medium.log.lastIndex { $0.kind == .write && $0.offset == 0 })
        let after = bench.medium.log[head...].filter { $0.kind == .read }
        #expect(after.dropLast().reduce(0) { $0 + $1.count } >= min(64 << 20, 8 * mebibyte))
    }

    @Test("that took a card for blank where it is not writes the zeros after all", arguments: [0, 1, 2, 3, 4, 5])
    func staleZeros(seed: UInt64) throws {
        let image = Self.halfZero()
        let bench = Self.bench(image)
        bench.medium.put([UInt8](repeating: 0, count: 16 * mebibyte), at: 0)
        // Where no sample is taken.
        var random = SeededRandom(seed: seed)
        for _ in 0..<12 {
            let place = mebibyte + Int(random.next() % UInt64(7 * mebibyte - 600))
            let step = 7 * mebibyte / 24 / 4096 * 4096
            guard (place - mebibyte) % step > 32 << 10, (place - mebibyte) % step < step - 512 else { continue }
            bench.medium.put([UInt8](repeating: 0x77, count: 512), at: place)
        }
        let report = try bench.run()
        #expect(report.verdict == .passed, "\(report.detail)")
        #expect(bench.medium.holds(bench.padded, at: 0))
        #expect(report.readBackSHA256 == bench.digest && report.rewrites == 0)
    }

    /// The hash is of what was read, for zeros that were left out as well: without the comparison it is what fails the card.
    @Test("that leaves zeros out has their bytes in its hash, wherever they are", arguments: [2, 4, 6])
    func staleZerosInHash(mebibytes: Int) throws {
        var bench = Self.bench(Self.halfZero())
        bench.checks.remove(.comparison)
        bench.medium.put([UInt8](repeating: 0, count: 16 * mebibyte), at: 0)
        let step = 7 * mebibyte / 24 / 4096 * 4096
        // Between two samples, and not half-way, where another is.
        let place = mebibyte + ((mebibytes - 1) * mebibyte / step + 2) * step + step / 4
        try #require(place / mebibyte == mebibytes)
        bench.medium.put([0x77], at: place)
        try bench.expectFailure(.hashMismatch)
    }

    @Test("that is stopped while it reads leaves the card as it was", arguments: [JobControl.Stop.cancel, .interrupt])
    func stopped(cause: JobControl.Stop) throws {
        let control = JobControl()
        let bench = Self.bench(control: control) { asked, _ in
            if asked.kind == .read, asked.offset == 2 << 20, asked.count == request { control.stop(cause) }
            return .perform
        }
        let report = try bench.run()
        #expect(report.verdict == (cause == .cancel ? .cancelled : .interrupted))
        #expect(Self.writes(bench).isEmpty && bench.medium.holds(bench.padded, at: 0))
    }

    @Test("that cannot read a card fails, and marks it as every job does")
    func readError() throws {
        let bench = Self.bench { asked, _ in
            asked.kind == .read && asked.touches(2 << 20..<2 << 20 | 512) ? .fail(EIO) : .perform
        }
        try bench.expectFailure(.readError)
    }

    @Test("of a card that is exchanged while it is read writes to neither")
    func exchanged() throws {
        let bench = Self.bench { asked, medium in
            if asked.kind == .read, asked.offset == 2 << 20, asked.count == request { medium.exchange() }
            return .perform
        }
        try bench.expectFailure(.cardChanged, leavesMarker: false)
        #expect(Self.writes(bench).isEmpty)
    }

    @Test("of a card too small to push what was read out of the reader's cache writes everything")
    func small() throws {
        var bench = Self.bench()
        bench.settings.readerCacheByteCount = 64 << 20
        try bench.expectPass()
    }

    @Test("fails a card whose unwritten part is wrong when it is read back")
    func spoiltElsewhere() throws {
        let bench = Self.bench { asked, medium in
            // Writing the head's marker changes a bit far away, in a request that no capacity block touches.
            if asked.kind == .write, asked.offset == 0, asked.firstByte == UInt8(ascii: "f") {
                medium.put([0xEE], at: 2 * mebibyte + 300_000)
            }
            return .perform
        }
        bench.medium.put([0x55], at: 5)
        let probe = CapacityProbe(job: bench.id, cardByteCount: 16 << 20)
        let place = (2 * mebibyte + 300_000) / request
        try #require(!probe.offsets.contains { Int($0) / request == place })
        try bench.expectFailure(.dataMismatch)
        #expect(!Self.writes(bench).contains { Int($0.offset) / request == place && $0.count == request })
    }

    /// Cards that hold less than they claim, whatever is on them and whatever their reader's cache answers.
    @Test("never passes a card that does not show the image, and passes some that do", arguments: 0..<8)
    func neverFalse(group: Int) throws {
        let passed = try (group * 20..<group * 20 + 20).count { try passes(seed: $0) }
        #expect(passed > 0)
    }

    private func passes(seed: Int) throws -> Bool {
        var random = SeededRandom(seed: UInt64(seed))
        let image =
            random.next() % 2 == 0
            ? Self.halfZero(4) : JobBench.image(mebibyte + Int(1 + random.next() % 4) * (mebibyte / 2) + 512)
        var bench = Self.bench(image, cardByteCount: 8 * mebibyte)
        bench.settings.requestsInFlight = 1 + Int(random.next() % 2)
        // Every fourth writes everything: what holds for an update holds there, too.
        bench.mode = seed % 4 == 0 ? .full : .update
        let medium = bench.medium
        switch random.next() % 3 {
        case 0: medium.put([UInt8](repeating: 0, count: medium.byteCount), at: 0)
        case 1: medium.put([UInt8](repeating: 0xA5, count: medium.byteCount), at: 0)
        default: break
        }
        for _ in 0..<random.next() % 6 {
            medium.put([UInt8(truncatingIfNeeded: random.next())], at: Int(random.next() % UInt64(medium.byteCount)))
        }
        medium.cacheByteCount = [0, 1 << 20, 2 << 20, 2 << 20][Int(random.next() % 4)]
        switch random.next() % 3 {
        case 0:
            medium.realByteCount = (2 << 20) + random.next() % (6 << 20) / 512 * 512
            medium.beyond = random.next() % 2 == 0 ? .wraps : .limbo
        case 1:
            let start = random.next() % (4 << 20)
            medium.ignoredWrites = start..<start + random.next() % (2 << 20)
        default:
            medium.wrongBits[random.next() % (4 << 20)] = 4
        }
        let report = try bench.run()
        guard report.verdict == .passed else { return false }
        #expect(medium.shows(bench.padded, at: 0), "seed \(seed): \(report)")
        // Where anything was written, the capacity was probed.
        #expect(Self.writes(bench).isEmpty || medium.realByteCount == nil, "seed \(seed)")
        return true
    }
}
