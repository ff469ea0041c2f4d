@testable import CardWriting
import Digests
import Glibc
import StationCore
import StationLinux
import StationTestSupport
import Synchronization
import Testing

private let mebibyte = 1 << 20

/// A job with small figures whose requests come one after the other.
private func bench(script: @escaping MemoryMedium.Script) -> JobBench {
    var bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: 8 * mebibyte, script: script)
    bench.settings.requestsInFlight = 1
    return bench
}

/// How often a job that goes well asks which card it is.
private func identityCount() throws -> Int {
    let good = bench { _, _ in .perform }
    #expect(try good.run().verdict == .passed)
    return good.medium.count(of: .identity)
}

@Suite("A card that changes while the job runs")
struct ExchangeTests {
    @Test(
        "ends the job before any question of it, and not one byte is written to the other card",
        arguments: [false, true])
    func exchanged(isOtherSize: Bool) throws {
        for moment in 0..<(try identityCount()) {
            let bench = bench { request, medium in
                if request.kind == .identity, request.number == moment {
                    medium.exchange(byteCount: isOtherSize ? 4 << 20 : nil)
                }
                return .perform
            }
            let report = try bench.run()
            #expect(report.verdict == .failed(.cardChanged), "at \(moment)")
            #expect(bench.medium.bytesWrittenToOther == 0, "at \(moment)")
            #expect(report.bytesVerified == 0)
            #expect(report.headSHA256 == nil)
        }
    }

    @Test("is another one too when only its size changed")
    func resized() throws {
        for moment in stride(from: 0, to: try identityCount(), by: 5) {
            let bench = bench { request, medium in
                if request.kind == .identity, request.number == moment { medium.identityNow.byteCount += 512 }
                return .perform
            }
            try bench.expectFailure(.cardChanged, leavesMarker: false)
        }
    }

    @Test(
        "is never written by several requests in flight for longer than those take",
        arguments: stride(from: 0, to: 60, by: 4).map(\.self))
    func inFlight(moment: Int) throws {
        var bench = bench { request, medium in
            if request.kind == .identity, request.number == moment { medium.exchange() }
            return .perform
        }
        bench.settings.requestsInFlight = 4
        let report = try bench.run()
        #expect(report.verdict == .failed(.cardChanged))
        #expect(bench.medium.bytesWrittenToOther <= 3 * UInt64(bench.settings.requestByteCount))
    }

    @Test("counts as removed when it is gone at any question", arguments: [ENODEV, ENXIO, ENOMEDIUM, 0])
    func removed(number: Int32) throws {
        for moment in 0..<(try identityCount()) {
            let bench = bench { request, medium in
                guard request.kind == .identity, request.number >= moment else { return .perform }
                medium.identityNow = MediumIdentity(sequence: medium.identityNow.sequence, byteCount: 0)
                return number == 0 ? .perform : .fail(number)
            }
            try bench.expectFailure(.cardRemoved, leavesMarker: false, "at \(moment)")
        }
    }

    @Test("is not blamed for what another card reads like", arguments: stride(from: 0, to: 80, by: 2).map(\.self))
    func exchangedBehindTheQuestion(requestNumber: Int) throws {
        let bench = bench { request, medium in
            if request.kind == .read, request.number == requestNumber { medium.exchange() }
            return .perform
        }
        let report = try bench.run()
        guard bench.medium.isExchanged else { return #expect(report.verdict == .passed) }
        #expect(report.verdict == .failed(.cardChanged))
        #expect(bench.medium.bytesWrittenToOther == 0)
    }

    @Test(
        "that is pulled in the middle of a request counts as removed",
        arguments: [MemoryMedium.Kind.read, .write, .synchronise], [EIO, ENODEV, 0])
    func pulled(kind: MemoryMedium.Kind, number: Int32) throws {
        for requestNumber in stride(from: 0, to: 40, by: 9) {
            let bench = bench { request, medium in
                if medium.identityNow.byteCount == 0 { return .fail(ENODEV) }
                guard request.kind == kind, request.number == requestNumber else { return .perform }
                medium.identityNow.byteCount = 0
                return number == 0 && kind != .synchronise ? .short(0) : .fail(EIO)
            }
            let report = try bench.run()
            let isPulled = bench.medium.identityNow.byteCount == 0
            #expect(report.verdict == (isPulled ? .failed(.cardRemoved) : .passed), "at \(requestNumber)")
        }
    }

    @Test("that fails first and leaves a moment later counts as removed", arguments: [false, true])
    func leavesLater(isShort: Bool) throws {
        let questions = Mutex(0)
        var bench = bench { request, medium in
            if request.kind == .read, request.number == 30 {
                questions.withLock { $0 = 1 }
                return isShort ? .short(512) : .fail(EIO)
            }
            guard request.kind == .identity else { return .perform }
            let count = questions.withLock { count -> Int in
                if count > 0 { count += 1 }
                return count
            }
            return count > 4 ? .fail(ENODEV) : .perform
        }
        bench.settings.removalPatience = 30
        try bench.expectFailure(.cardRemoved, leavesMarker: false)
    }
}

@Suite("A job that is stopped")
struct StopTests {
    /// Where a stop comes: before the request of this number.
    private static let moments = stride(from: 0, to: 140, by: 5).map(\.self)

    @Test(
        "ends at once, says so on the card and leaves no table", arguments: [JobControl.Stop.cancel, .interrupt],
        moments)
    func stopped(cause: JobControl.Stop, moment: Int) throws {
        for requestsInFlight in [1, 4] {
            let control = JobControl()
            let met = Mutex<Int?>(nil)
            var bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: 8 * mebibyte, control: control) {
                request, medium in
                if request.kind != .identity, medium.log.count - 1 == moment {
                    control.stop(cause)
                    met.withLock { $0 = medium.log.count }
                }
                return .perform
            }
            bench.settings.requestsInFlight = requestsInFlight
            let report = try bench.run()
            guard let at = met.withLock({ $0 }) else {
                #expect(report.verdict == .passed)
                continue
            }
            let after = bench.medium.log[at...]
            if report.verdict == .passed {
                #expect(after.isEmpty && bench.medium.holds(bench.padded, at: 0))
                continue
            }
            #expect(report.verdict == (cause == .cancel ? .cancelled : .interrupted))
            bench.expectMarker(cause == .cancel ? .cancelled : .unfinished)
            #expect(
                report.headSHA256
                    == bench.medium.bytes(0..<CardHead.byteCount).withUnsafeBytes { SHA256Hasher.digest($0) })
            #expect(after.count <= requestsInFlight - 1 + 2, "\(after.count) requests more")
            #expect(after.last?.kind == .synchronise)
            #expect(bench.medium.bytesWrittenToOther == 0)
        }
    }

    @Test("before its first write leaves the card as it was", arguments: [JobControl.Stop.cancel, .interrupt])
    func stoppedBefore(cause: JobControl.Stop) throws {
        let bench = JobBench(imageByteCount: mebibyte, cardByteCount: 8 * mebibyte)
        let before = bench.medium.bytes(0..<8 * mebibyte)
        bench.control.stop(cause)
        let report = try bench.run()
        #expect(report.verdict == (cause == .cancel ? .cancelled : .interrupted))
        #expect(bench.medium.log.isEmpty)
        #expect(bench.medium.bytes(0..<8 * mebibyte) == before)
    }

    @Test("twice is stopped for the first cause")
    func twice() {
        let control = JobControl()
        control.stop(.cancel)
        control.stop(.interrupt)
        #expect(control.stopCause == .cancel)
    }

    @Test("while the card is exchanged writes nothing to the other card")
    func stoppedAndExchanged() throws {
        for moment in stride(from: 0, to: 100, by: 9) {
            let control = JobControl()
            var bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: 8 * mebibyte, control: control) {
                request, medium in
                if request.kind == .identity, request.number == moment {
                    control.stop(.cancel)
                    medium.exchange()
                }
                return .perform
            }
            bench.settings.requestsInFlight = 1
            let report = try bench.run()
            #expect(report.verdict == .failed(.cardChanged) || report.verdict == .cancelled)
            #expect(bench.medium.bytesWrittenToOther == 0)
        }
    }

    @Test("on a card that fails to take the marker still ends with its verdict")
    func markerFails() throws {
        let control = JobControl()
        let bench = JobBench(imageByteCount: 3 * mebibyte, cardByteCount: 8 * mebibyte, control: control) {
            request, _ in
            if request.kind == .write, request.number == 30 { control.stop(.cancel) }
            return control.stopCause != nil && request.kind == .write ? .fail(EIO) : .perform
        }
        let report = try bench.run()
        #expect(report.verdict == .failed(.writeError) || report.verdict == .cancelled)
        #expect(report.headSHA256 == nil)
    }
}
