@testable import CardWriting
import Glibc
import StationCore
import StationTestSupport
import Testing

private let mebibyte = 1 << 20

/// A fault that one check of the job notices, or several do; with those taken out it slips through.
struct JobFault: Sendable, CustomTestStringConvertible {
    var name: String
    var checks: Set<Check>
    var reason: Reason
    var bench: @Sendable (_ without: Set<Check>) throws -> JobBench

    init(
        _ name: String, _ checks: Set<Check>, _ reason: Reason,
        bench: @escaping @Sendable (_ without: Set<Check>) throws -> JobBench
    ) {
        self.name = name
        self.checks = checks
        self.reason = reason
        self.bench = bench
    }

    var testDescription: String { name }

    private static func plain(_ without: Set<Check>, script: @escaping MemoryMedium.Script = { _, _ in .perform })
        -> JobBench
    {
        var bench = JobBench(
            imageByteCount: 3 * mebibyte, cardByteCount: 8 * mebibyte, without: without, script: script)
        bench.settings.requestsInFlight = 1
        return bench
    }

    static let all: [JobFault] = [
        JobFault(
            "another card from the first write on (both identity checks)", [.identityBeforeRequest, .identityAtEnd],
            .cardChanged
        ) {
            plain($0) { request, medium in
                if !medium.isExchanged { medium.exchange() }
                return .perform
            }
        },
        JobFault("another card right before the verdict (identityAtEnd)", [.identityAtEnd], .cardChanged) { without in
            let good = plain([])
            _ = try good.run()
            let last = good.medium.count(of: .synchronise) - 1
            return plain(without) { request, medium in
                if request.kind == .synchronise, request.number == last { medium.exchange() }
                return .perform
            }
        },
        JobFault("a short write over yesterday's identical image (fullRequest)", [.fullRequest], .shortWrite) {
            let bench = plain($0) { request, _ in
                request.kind == .write && request.offset == UInt64(7 * mebibyte / 4) && request.count > 4096
                    ? .short(512) : .perform
            }
            bench.imagineYesterday()
            return bench
        },
        JobFault(
            "a write that fails over yesterday's identical image (inputOutputError)", [.inputOutputError], .writeError
        ) {
            let bench = plain($0) { request, _ in
                request.kind == .write && request.offset == UInt64(7 * mebibyte / 4) && request.count > 4096
                    ? .fail(EIO) : .perform
            }
            bench.imagineYesterday()
            return bench
        },
        JobFault("a failed fsync (inputOutputError)", [.inputOutputError], .writeError) {
            plain($0) { request, _ in request.kind == .synchronise && request.number == 2 ? .fail(EIO) : .perform }
        },
        JobFault("zeros that do not arrive (wipeReadBack)", [.wipeReadBack], .wipeIncomplete) {
            plain($0) { request, _ in
                request.kind == .write && request.isAllZero && request.count > 4096 ? .pretend : .perform
            }
        },
        JobFault(
            "nothing behind the real end (capacityBefore and capacityAfter)", [.capacityBefore, .capacityAfter],
            .capacityFalse
        ) {
            let bench = plain($0)
            bench.medium.realByteCount = 5 << 20
            bench.medium.beyond = .limbo
            return bench
        },
        JobFault(
            "nothing behind the real end, and a cache that hides it at first (capacityAfter)", [.capacityAfter],
            .capacityFalse
        ) {
            let bench = plain($0)
            bench.medium.realByteCount = 5 << 20
            bench.medium.beyond = .limbo
            bench.medium.cacheByteCount = 512 << 10
            return bench
        },
        JobFault("a dead first MiB that shows yesterday's identical image (marker)", [.marker], .markerMissing) {
            let bench = plain($0)
            bench.imagineYesterday()
            bench.medium.ignoredWrites = 0..<UInt64(mebibyte)
            return bench
        },
        JobFault(
            "a dead card that shows yesterday's image, and a cache that hides it at first (marker and capacityAfter)",
            [.marker, .capacityAfter], .capacityFalse
        ) {
            let bench = plain($0)
            bench.imagineYesterday()
            bench.medium.ignoredWrites = 0..<UInt64(8 * mebibyte)
            bench.medium.cacheByteCount = 512 << 10
            return bench
        },
        JobFault("lost writes, and a cache that has what was written (cacheDistance)", [.cacheDistance], .dataMismatch)
        {
            var bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: 16 * mebibyte, without: $0)
            bench.settings.requestsInFlight = 1
            bench.medium.ignoredWrites = UInt64(2 * mebibyte)..<UInt64(2 * mebibyte + 65_536)
            bench.medium.cacheByteCount = 6 << 20
            return bench
        },
        JobFault(
            "a reader that says it wrote and read and moved nothing, in a run of zeros (freshBuffer)", [.freshBuffer],
            .dataMismatch
        ) { without in
            var image = JobBench.image(3 * mebibyte)
            image.replaceSubrange(2 * mebibyte..<3 * mebibyte, with: [UInt8](repeating: 0, count: mebibyte))
            let dead = UInt64(9 * mebibyte / 4)..<UInt64(11 * mebibyte / 4)
            var bench = JobBench(image: image, cardByteCount: 8 * mebibyte, without: without) { request, _ in
                [.write, .read].contains(request.kind) && request.touches(dead) && request.count == 256 << 10
                    ? .pretend : .perform
            }
            bench.settings.requestsInFlight = 1
            return bench
        },
        JobFault("a wrong bit in the image (comparison and hash)", [.comparison, .hash], .dataMismatch) {
            let bench = plain($0)
            bench.medium.wrongBits[UInt64(2 * mebibyte + 77_777)] = 1
            return bench
        },
        JobFault("a wrong bit in the padding (comparison)", [.comparison], .dataMismatch) {
            var bench = JobBench(imageByteCount: 3 * mebibyte + 10, cardByteCount: 8 * mebibyte, without: $0)
            bench.wipe = .none
            bench.medium.wrongBits[UInt64(3 * mebibyte + 11)] = 1
            return bench
        },
        JobFault(
            "a wrong bit in an image that was there already (surveyComparison and hash)", [.surveyComparison, .hash],
            .dataMismatch
        ) {
            var bench = plain($0)
            bench.mode = .update
            bench.settings.readerCacheByteCount = 1 << 20
            bench.imagineYesterday()
            bench.medium.wrongBits[UInt64(2 * mebibyte + 77_777)] = 1
            return bench
        },
        JobFault("an image head that does not arrive (headComparison)", [.headComparison], .dataMismatch) {
            plain($0) { request, _ in
                request.kind == .write && request.offset == 0 && request.firstByte != UInt8(ascii: "f")
                    ? .pretend : .perform
            }
        },
        JobFault("an image that is not the one assigned (hash)", [.hash], .hashMismatch) {
            var bench = plain($0)
            bench.sha256 = try Samples.digest("0")
            return bench
        },
    ]
}

@Suite("Each check of the job")
struct CheckTests {
    @Test("notices its fault, and without it the fault slips through", arguments: JobFault.all)
    func isNeeded(fault: JobFault) throws {
        let report = try fault.bench([]).run()
        #expect(report.verdict == .failed(fault.reason), "\(report.detail)")
        let slipped = try fault.bench(fault.checks).run()
        #expect(slipped.verdict == .passed, "\(slipped.verdict): \(slipped.detail)")
    }

    @Test("together with another one notices the fault alone", arguments: JobFault.all.filter { $0.checks.count > 1 })
    func coversAlone(fault: JobFault) throws {
        for left in fault.checks {
            let report = try fault.bench(fault.checks.subtracting([left])).run()
            #expect(report.verdict.word == "failed", "only \(left) was left")
        }
    }

    @Test("of identity before a request keeps the other card from being written, which the check at the end cannot")
    func identityBeforeRequest() throws {
        for without: Set<Check> in [[], [.identityBeforeRequest]] {
            let fault = try #require(JobFault.all.first)
            let bench = try fault.bench(without)
            #expect(try bench.run().verdict == .failed(.cardChanged))
            #expect((bench.medium.bytesWrittenToOther > 0) == without.contains(.identityBeforeRequest))
        }
    }

    @Test("of capacity before the image ends the job before the image is written")
    func capacityBefore() throws {
        for without: Set<Check> in [[], [.capacityBefore]] {
            var bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: 8 * mebibyte, without: without)
            bench.settings.requestsInFlight = 1
            bench.medium.realByteCount = 5 << 20
            bench.medium.beyond = .limbo
            try bench.expectFailure(.capacityFalse)
            let imageRequests = bench.medium.log.count { $0.kind == .write && $0.offset > 0 && $0.count > 4096 }
            #expect((imageRequests > 0) == without.contains(.capacityBefore))
        }
    }

    @Test("and each check of the guard has a fault that only it notices")
    func everyCheckIsCovered() {
        let covered = (JobFault.all.flatMap(\.checks) + GuardFault.all.map(\.check)).reduce(into: Set<Check>()) {
            $0.insert($1)
        }
        // Whose a file is and what the kernel remembers of a disk are matters of real files and disks: the integration tests take
        // these out.
        #expect(Set(Check.allCases).subtracting(covered) == [.trust, .pageCache])
    }
}
