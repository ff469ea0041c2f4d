@testable import CardWriting
import Digests
import StationCore
import StationLinux
import StationTestSupport
import Testing

/// One job on one card in memory.
struct JobBench: Sendable {
    static let mebibyte = 1 << 20

    var image: [UInt8]
    var medium: MemoryMedium
    var sectorByteCount = 512
    var wipe = WipeLevel.signatures
    var mode = WriteMode.full
    var oldPartitions: [Range<UInt64>] = []
    var checks = Set<Check>.all
    var settings = CardJob.Settings()
    /// What the job says the image's SHA-256 is; nil for what it is.
    var sha256: SHA256Digest?
    let id = JobID()
    let control: JobControl

    init(
        imageByteCount: Int = 3 * mebibyte, cardByteCount: Int = 16 * mebibyte, without: Set<Check> = [],
        control: JobControl = JobControl(), script: @escaping MemoryMedium.Script = { _, _ in .perform }
    ) {
        self.init(
            image: Self.image(imageByteCount), cardByteCount: cardByteCount, without: without, control: control,
            script: script)
    }

    init(
        image: [UInt8], cardByteCount: Int = 16 * mebibyte, without: Set<Check> = [],
        control: JobControl = JobControl(),
        script: @escaping MemoryMedium.Script = { _, _ in .perform }
    ) {
        self.image = image
        self.control = control
        medium = MemoryMedium(byteCount: cardByteCount, script: script)
        checks.subtract(without)
        settings.requestByteCount = 256 << 10
        settings.removalPatience = 0
    }

    /// An image that begins like a bootable one and has other bytes everywhere.
    static func image(_ byteCount: Int, partitions: [TableBytes.Entry] = [.init(first: 2048, count: 1024)]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(byteCount + 4096)
        var random = SeededRandom(seed: UInt64(byteCount))
        let pattern = random.bytes(4096)
        while bytes.count < byteCount {
            let start = bytes.count
            bytes += pattern
            for index in 0..<8 { bytes[start + 100 + index] = UInt8(truncatingIfNeeded: start >> (8 * index)) }
        }
        bytes.removeLast(bytes.count - byteCount)
        if byteCount >= 512 { bytes.replaceSubrange(0..<512, with: TableBytes.mbr(partitions)) }
        return bytes
    }

    var digest: SHA256Digest? { image.withUnsafeBytes { SHA256Hasher.digest($0) } }

    /// The image, filled up with zeros to whole sectors and to the first MiB.
    var padded: [UInt8] {
        let whole = (image.count + sectorByteCount - 1) / sectorByteCount * sectorByteCount
        return image + [UInt8](repeating: 0, count: min(max(whole, Self.mebibyte), medium.byteCount) - image.count)
    }

    func run() throws -> JobReport { try job().run() }

    func job() throws -> CardJob {
        let source = try ContentSource(
            content: Content(byteCount: UInt64(image.count), sha256: try sha256 ?? #require(digest)),
            image: try TemporaryFile.readOnly(image))
        return CardJob(
            id: id, medium: medium, identity: medium.identityNow, sectorByteCount: sectorByteCount, source: source,
            mode: mode, wipe: wipe, oldPartitions: oldPartitions, checks: checks, settings: settings, control: control)
    }

    /// Runs the job and sees that it failed for this reason and left the card as a failed job leaves it.
    @discardableResult
    func expectFailure(
        _ reason: Reason, leavesMarker: Bool = true, _ note: String = "",
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> JobReport {
        let report = try run()
        #expect(report.verdict == .failed(reason), "\(report.detail) \(note)", sourceLocation: sourceLocation)
        #expect(
            report.readBackSHA256 == nil || reason == .hashMismatch || reason == .cardChanged || reason == .cardRemoved)
        if leavesMarker { expectMarker(.failed, reason.rawValue, sourceLocation: sourceLocation) }
        #expect(medium.bytesWrittenToOther == 0, "\(note)", sourceLocation: sourceLocation)
        return report
    }

    func expectMarker(
        _ state: Marker.State, _ reason: String = "", sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(medium.marker == Marker(job: id, state: state, reason: reason), sourceLocation: sourceLocation)
        #expect(!medium.hasTable, sourceLocation: sourceLocation)
        #expect(
            medium.isZero(512..<UInt64(min(Self.mebibyte, medium.byteCount))), "the first MiB holds more than a marker",
            sourceLocation: sourceLocation)
    }

    /// Makes the card one that an earlier job wrote this very image onto.
    func imagineYesterday() {
        medium.put(padded, at: 0)
        medium.put([UInt8](repeating: 0, count: medium.byteCount - padded.count), at: padded.count)
    }

    /// Runs the job and sees that it did not pass, for a reason that is the card's.
    @discardableResult
    func expectNoPass(_ note: String = "", sourceLocation: SourceLocation = #_sourceLocation) throws -> JobReport {
        let report = try run()
        #expect(report.verdict.word == "failed", "\(note)", sourceLocation: sourceLocation)
        #expect(report.verdict.reason?.fault == .card, "\(report.verdict) \(note)", sourceLocation: sourceLocation)
        return report
    }

    /// Runs the job and sees that it passed and that the card is what it must be.
    @discardableResult
    func expectPass(_ note: String = "", sourceLocation: SourceLocation = #_sourceLocation) throws -> JobReport {
        let report = try run()
        #expect(report.verdict == .passed, "\(report.detail) \(note)", sourceLocation: sourceLocation)
        #expect(medium.holds(padded, at: 0), "\(note)", sourceLocation: sourceLocation)
        #expect(report.readBackSHA256 == digest, sourceLocation: sourceLocation)
        #expect(report.bytesWritten == UInt64(image.count), sourceLocation: sourceLocation)
        #expect(report.bytesVerified == UInt64(image.count), sourceLocation: sourceLocation)
        #expect(report.cardByteCount == UInt64(medium.byteCount), sourceLocation: sourceLocation)
        #expect(report.headSHA256 == medium.bytes(0..<CardHead.byteCount).withUnsafeBytes { SHA256Hasher.digest($0) })
        return report
    }
}
