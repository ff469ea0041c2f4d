@testable import CardWriting
import CLinux
import Glibc
import StationCore
import StationLinux
import StationTestSupport
import Synchronization
import Testing

@Suite("The size of a request")
struct RequestSizeTests {
    /// Largest, optimal, and what fits, in KiB.
    private static let readers: [[Int]] = [
        [120, 0, 960], [240, 64, 960], [512, 0, 1024], [1024, 0, 1024], [32767, 0, 1024], [32768, 384, 768],
        [32768, 4096, 1024],
        // What is tiny or unknown is not followed.
        [0, 0, 1024], [4, 0, 1024], [32768, 4, 1024],
    ]

    @Test("is the most whole ones of what the device takes that a MiB holds", arguments: readers)
    func fitting(reader: [Int]) {
        var settings = CardJob.Settings()
        settings.fit(largest: reader[0] << 10, optimal: reader[1] << 10)
        #expect(settings.requestByteCount == reader[2] << 10)
    }

    @Test("is not one that direct I/O cannot have", arguments: [100_000, 120 << 10 | 512])
    func odd(byteCount: Int) {
        var settings = CardJob.Settings()
        settings.fit(largest: byteCount, optimal: byteCount)
        #expect(settings.requestByteCount == 1 << 20)
    }
}

@Suite("Requests that are under way at one time")
struct RequestLoopTests {
    @Test("do not wait for one that takes long, as far as the window goes, where nothing has an order")
    func slowOne() throws {
        let job = try JobBench(imageByteCount: 4096).job()
        let size = UInt64(job.settings.requestByteCount)
        let last = job.settings.requestWindow - 1
        let begun = Descriptor(owning: station_eventfd())
        let wasBegun = Mutex(false)
        try job.forEachRequest(in: 0..<30 * size) { _, _, _, index in
            if index == last {
                var one: UInt64 = 1
                try withUnsafeBytes(of: &one) { try begun.write(all: $0) }
            }
            guard index == 0 else { return }
            var polled = pollfd(fd: begun.number, events: Int16(POLLIN), revents: 0)
            let isReady = poll(&polled, 1, 20_000) == 1
            wasBegun.withLock { $0 = isReady }
        }
        #expect(wasBegun.withLock { $0 }, "request \(last) did not begin while the first was under way")
    }

    @Test("pass in their order where they have one, whatever their lengths", arguments: [1, 2, 6])
    func order(requestsInFlight: Int) throws {
        var bench = JobBench(imageByteCount: 4096)
        bench.settings.requestsInFlight = requestsInFlight
        bench.settings.requestByteCount = 240 << 10
        let passed = Mutex<[UInt64]>([])
        try bench.job().forEachRequest(in: 4096..<5_000_192) { _, _, _, _ in
        } thenInOrder: { _, offset, count in
            passed.withLock { $0 += [offset, offset + UInt64(count)] }
        }
        let ends = passed.withLock { $0 }
        #expect(ends.first == 4096 && ends.last == 5_000_192 && ends == ends.sorted())
        #expect(zip(ends.dropFirst(), ends.dropFirst(2)).enumerated().allSatisfy { $0 % 2 == 1 || $1.0 == $1.1 })
    }
}

@Suite("The marker")
struct MarkerTests {
    private static let reasons = [""] + Reason.allCases.map(\.rawValue)

    @Test("is read as it was written", arguments: [Marker.State.unfinished, .failed, .cancelled])
    func roundTrip(state: Marker.State) {
        for reason in Self.reasons {
            let marker = Marker(job: JobID(), state: state, reason: reason)
            let buffer = AlignedBuffer(byteCount: 4096)
            marker.fill(buffer.bytes)
            #expect(Marker(UnsafeRawBufferPointer(buffer.bytes)) == marker)
            #expect(marker.text.utf8.count < Marker.byteCount)
            #expect(PartitionTable(Array(buffer.bytes)) == nil)
        }
    }

    @Test("is none in anything else", arguments: 0..<30)
    func garbage(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let buffer = AlignedBuffer(byteCount: 4096)
        for _ in 0..<50 {
            Marker(job: JobID(), state: .unfinished).fill(buffer.bytes)
            let text = Array(buffer.bytes.prefix(512))
            let place = Int.random(in: 0..<60, using: &random)
            buffer.bytes[place] = UInt8.random(in: 0...255, using: &random)
            guard Array(buffer.bytes.prefix(512)) != text else { continue }
            // A changed job id may be another job's; nothing else may be read from a changed marker.
            if let marker = Marker(UnsafeRawBufferPointer(buffer.bytes)) {
                #expect((30..<62).contains(place) && marker.state == .unfinished, "seed \(seed), byte \(place)")
            }
        }
        random.bytes(4096).withUnsafeBytes { #expect(Marker($0) == nil) }
        [UInt8]().withUnsafeBytes { #expect(Marker($0) == nil) }
    }
}

@Suite("The capacity probe")
struct CapacityProbeTests {
    private static let byteCounts: [UInt64] = [
        0, 1 << 20, 1 << 20 + 4095, 1 << 20 + 4096, 16 << 20, 16 << 20 + 512, 256_000_000, 8_000_000_000,
        31_914_983_424,
        64_000_000_000, 256_000_000_000, 1 << 44,
    ]

    @Test("has its blocks in order, apart, and on the card", arguments: byteCounts)
    func offsets(cardByteCount: UInt64) {
        let offsets = CapacityProbe(job: JobID(), cardByteCount: cardByteCount).offsets
        #expect(offsets == offsets.sorted() && Set(offsets).count == offsets.count)
        #expect(offsets.allSatisfy { $0 % 4096 == 0 && $0 >= 1 << 20 && $0 + 4096 <= cardByteCount })
        guard cardByteCount >= 1 << 20 + 4096 else { return #expect(offsets.isEmpty) }
        #expect(offsets.last == cardByteCount / 4096 * 4096 - 4096)
        var power: UInt64 = 1 << 20
        while power + 4096 <= cardByteCount {
            #expect(offsets.contains(power))
            power <<= 1
        }
    }

    @Test("leaves no gap as long as what is looked through for strays", arguments: byteCounts.dropFirst(4))
    func gaps(cardByteCount: UInt64) {
        let offsets = [0] + CapacityProbe(job: JobID(), cardByteCount: cardByteCount).offsets
        let gap = zip(offsets, offsets.dropFirst()).map { $1 - $0 }.max() ?? 0
        #expect(gap + 4096 <= CapacityProbe.cacheByteCount)
        #expect(offsets.count <= max(420, Int(cardByteCount >> 27)))
    }

    @Test("has no two blocks alike")
    func blocks() {
        let job = JobID()
        let probe = CapacityProbe(job: job, cardByteCount: 64 << 20)
        var seen: Set<[UInt8]> = []
        let buffer = AlignedBuffer(byteCount: CapacityProbe.blockByteCount)
        for offset in probe.offsets {
            probe.fill(buffer.bytes, offset: offset)
            #expect(seen.insert(Array(buffer.bytes)).inserted)
            #expect(CapacityProbe.begins(buffer.bytes))
            #expect(probe.stray(in: buffer.bytes, at: offset) == nil)
            #expect(probe.stray(in: buffer.bytes, at: offset + 512) == offset + 512)
        }
        let other = CapacityProbe(job: JobID(), cardByteCount: 64 << 20)
        other.fill(buffer.bytes, offset: probe.offsets[0])
        #expect(seen.insert(Array(buffer.bytes)).inserted)
        #expect(probe.stray(in: buffer.bytes, at: 0) == nil)
    }
}

@Suite("The wipe plan")
struct WipePlanTests {
    @Test(
        "is in order, apart, behind the image and on the card, whatever is asked", arguments: WipeLevel.allCases, 0..<40
    )
    func shape(level: WipeLevel, seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        for _ in 0..<20 {
            let card = UInt64.random(in: 2...1 << 30, using: &random) * 512
            let image = UInt64.random(in: 0...card / 512, using: &random) * 512
            let partitions = (0..<Int.random(in: 0...6, using: &random)).map { _ -> Range<UInt64> in
                let start = UInt64.random(in: 0...1 << 56, using: &random) >> UInt64.random(in: 0...50, using: &random)
                return start..<start + UInt64.random(in: 0...1 << 55, using: &random)
                    >> UInt64.random(in: 0...50, using: &random)
            }
            let ranges = WipePlan.ranges(
                level: level, cardByteCount: card, imageByteCount: image,
                imagePartitionEnd: UInt64.random(in: 0...card, using: &random), oldPartitions: partitions)
            #expect(zip(ranges, ranges.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound }, "seed \(seed)")
            #expect(
                ranges.allSatisfy { !$0.isEmpty && $0.lowerBound >= max(image, 1 << 20) && $0.upperBound <= card },
                "seed \(seed)")
            #expect(ranges.allSatisfy { $0.lowerBound % 512 == 0 && $0.upperBound % 512 == 0 })
        }
    }

    @Test("covers ends, mirrors, the image's last partition and the ends of old partitions")
    func covers() {
        let mebibyte: UInt64 = 1 << 20
        let ranges = WipePlan.ranges(
            level: .signatures, cardByteCount: 300 << 30, imageByteCount: 100 * mebibyte + 512,
            imagePartitionEnd: 200 * mebibyte,
            oldPartitions: [mebibyte..<900 * mebibyte, 900 * mebibyte..<1000 * mebibyte + 100])
        func isWiped(_ range: Range<UInt64>) -> Bool {
            ranges.contains { $0.lowerBound <= range.lowerBound && $0.upperBound >= range.upperBound }
        }
        #expect(isWiped(100 * mebibyte + 512..<200 * mebibyte))
        #expect(isWiped(899 * mebibyte..<901 * mebibyte))
        #expect(isWiped(1000 * mebibyte - mebibyte + 100..<1000 * mebibyte + 100))
        #expect(isWiped(964 * mebibyte..<964 * mebibyte + 65536))
        #expect(isWiped(256 << 30..<256 << 30 + 65536))
        #expect(isWiped(300 << 30 - mebibyte..<300 << 30))
        #expect(!isWiped(500 * mebibyte..<500 * mebibyte + 1))
    }

    @Test("is the rest of the card at the level zero, and nothing at the level none")
    func levels() {
        func plan(_ level: WipeLevel) -> [Range<UInt64>] {
            WipePlan.ranges(
                level: level, cardByteCount: 1 << 30 + 512, imageByteCount: 5 << 20 + 512, imagePartitionEnd: 0,
                oldPartitions: [])
        }
        #expect(plan(.none).isEmpty)
        let rest: [Range<UInt64>] = [5_243_392..<1_073_742_336]
        #expect(plan(.zero) == rest)
    }
}

@Suite("The content of a job")
struct ContentSourceTests {
    private static func source(_ bytes: [UInt8], patches: [Content.Patch] = []) throws -> ContentSource {
        try ContentSource(
            content: Content(byteCount: UInt64(bytes.count), sha256: Samples.digest("a"), patches: patches),
            image: TemporaryFile.readOnly(bytes))
    }

    @Test("is the image with its patches and zeros behind, however it is cut", arguments: [1, 7, 512, 4096, 10_000])
    func cuts(length: Int) throws {
        var random = SeededRandom(seed: 3)
        let bytes = random.bytes(20_001)
        let patches: [Content.Patch] = [
            .init(offset: 0, bytes: [1]), .init(offset: 1, bytes: [2, 3]),
            .init(offset: 4090, bytes: [UInt8](repeating: 9, count: 12)),
            .init(offset: 8000, bytes: [UInt8](repeating: 7, count: 4096)), .init(offset: 20_000, bytes: [5]),
        ]
        var wanted = bytes + [UInt8](repeating: 0, count: 5000)
        for patch in patches {
            wanted.replaceSubrange(Int(patch.offset)..<Int(patch.offset) + patch.bytes.count, with: patch.bytes)
        }
        let source = try Self.source(bytes, patches: patches)
        var offset = 0
        while offset < wanted.count {
            let buffer = AlignedBuffer(byteCount: min(length, wanted.count - offset))
            buffer.bytes.copyBytes(from: [UInt8](repeating: 0xEE, count: buffer.bytes.count))
            try source.read(into: buffer.bytes, at: UInt64(offset))
            try #require(buffer.bytes.elementsEqual(wanted[offset..<offset + buffer.bytes.count]))
            offset += buffer.bytes.count
        }
        let far = AlignedBuffer(byteCount: 100)
        try source.read(into: far.bytes, at: 1 << 50)
        #expect(far.bytes.allSatisfy { $0 == 0 })
    }

    @Test("is refused when the file is not what the job says")
    func refused() throws {
        let bytes: [UInt8] = [1, 2, 3]
        let content = Content(byteCount: 3, sha256: try Samples.digest("a"))
        for byteCount: UInt64 in [0, 2, 4] {
            var other = content
            other.byteCount = byteCount
            #expect(throws: StationError.self) {
                try ContentSource(content: other, image: TemporaryFile.readOnly(bytes))
            }
        }
        #expect(throws: StationError.self) { try ContentSource(content: content, image: TemporaryFile.writable(bytes)) }
        #expect(throws: StationError.self) {
            try ContentSource(content: content, image: Descriptor(opening: "/tmp", O_RDONLY))
        }
        #expect(throws: StationError.self) {
            try ContentSource(content: content, image: Descriptor(opening: "/dev/zero", O_RDONLY))
        }
        var patched = content
        patched.patches = [.init(offset: 2, bytes: [1, 2])]
        #expect(throws: StationError.self) { try ContentSource(content: patched, image: TemporaryFile.readOnly(bytes)) }
    }

    @Test("ends the job when the file becomes shorter")
    func truncated() throws {
        let file = try TemporaryFile.writable(JobBench.image(3 << 20))
        let reopened = try Descriptor(opening: "/proc/self/fd/\(file.number)", O_RDONLY)
        let bench = JobBench(imageByteCount: 3 << 20, cardByteCount: 8 << 20) { request, _ in
            if request.kind == .write, request.number == 20 { _ = ftruncate(file.number, 2 << 20) }
            return .perform
        }
        let source = try ContentSource(
            content: Content(byteCount: 3 << 20, sha256: try #require(bench.digest)), image: reopened)
        let report = CardJob(
            id: bench.id, medium: bench.medium, identity: bench.medium.identityNow, sectorByteCount: 512,
            source: source,
            wipe: .signatures, settings: bench.settings, control: bench.control
        ).run()
        #expect(report.verdict == .failed(.imageUnreadable))
        bench.expectMarker(.failed, "image_unreadable")
    }
}

@Suite("The difference of two buffers")
struct DifferenceTests {
    @Test("is the first byte and the number of blocks", arguments: 0..<30)
    func found(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        let length = Int.random(in: 1...40_000, using: &random)
        let (left, right) = (AlignedBuffer(byteCount: length), AlignedBuffer(byteCount: length))
        #expect(Difference(left.bytes, right.bytes) == nil)
        let places = Set(
            (0..<Int.random(in: 1...20, using: &random)).map { _ in Int.random(in: 0..<length, using: &random) })
        for place in places { right.bytes[place] = 1 }
        let difference = try #require(Difference(left.bytes, right.bytes), "seed \(seed)")
        #expect(difference.offset == UInt64(try #require(places.min())))
        #expect(difference.blockCount == UInt64(Set(places.map { $0 / 4096 }).count))
    }

    @Test("put together from those of pieces is that of the whole", arguments: 0..<30)
    func pieces(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        let length = Int.random(in: 1...40_000, using: &random)
        let (left, right) = (AlignedBuffer(byteCount: length), AlignedBuffer(byteCount: length))
        for _ in 0..<Int.random(in: 1...20, using: &random) {
            right.bytes[Int.random(in: 0..<length, using: &random)] = 1
        }
        let pieceByteCount = 4096 * Int.random(in: 1...4, using: &random)
        var found: Difference?
        for start in stride(from: 0, to: length, by: pieceByteCount) {
            let range = start..<min(start + pieceByteCount, length)
            let (one, other) = (left.bytes[range], right.bytes[range])
            guard
                let part = Difference(
                    UnsafeMutableRawBufferPointer(rebasing: one), UnsafeMutableRawBufferPointer(rebasing: other))
            else { continue }
            found = found?.adding(part) ?? part.shifted(by: UInt64(start))
        }
        #expect(found == Difference(left.bytes, right.bytes), "seed \(seed)")
    }

    @Test("is there when the lengths differ")
    func lengths() {
        #expect(Difference(AlignedBuffer(byteCount: 10).bytes, AlignedBuffer(byteCount: 11).bytes) != nil)
    }
}
