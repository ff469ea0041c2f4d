import Glibc
import StationCore
import StationLinux
import Testing

@testable import StationService

/// A directory of its own for a test of the store, gone with this object; and jobs to put into the store.
final class StoreBench: Sendable {
    let directory: String
    var path: String { "\(directory)/station.db" }

    init() throws {
        var template = Array("/tmp/station-store-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { $0.baseAddress.flatMap { mkdtemp($0) } }
        directory = String(cString: try #require(made))
    }

    deinit {
        for name in SmallFile.names(in: directory) ?? [] { unlink("\(directory)/\(name)") }
        rmdir(directory)
    }

    /// At noon of some day, by a clock that was set.
    func open(path: String? = nil, bootID: String = "boot1", at seconds: Double = 1000) throws -> Store {
        try Store(path: path ?? self.path, bootID: bootID) { WallTime(seconds: seconds, isSynchronised: true) }
    }

    var names: [String] { (SmallFile.names(in: directory) ?? []).filter { !$0.hasSuffix(".lock") } }

    func bytes(_ name: String) throws -> [UInt8] {
        try SmallFile.read("\(directory)/\(name)", limit: 64 << 20)
    }

    func write(_ bytes: [UInt8], to name: String) throws {
        let file = try Descriptor(opening: "\(directory)/\(name)", O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        try bytes.withUnsafeBytes { try file.write(all: $0) }
    }

    /// Waits until no store has the file open: the last one closes it on its own queue.
    func waitUntilClosed() throws {
        let lock = try Descriptor(opening: path + ".lock", O_RDWR)
        _ = try retrying("flock", path) { flock(lock.number, LOCK_EX) }
    }

    /// What would be on the disk if the power failed now: the file and its log as they are, copied.
    func pullThePlug() throws -> StoreBench {
        let other = try StoreBench()
        for name in names where !name.hasSuffix("-shm") { try other.write(bytes(name), to: name) }
        return other
    }

    static func digest(_ digit: Character) throws -> SHA256Digest {
        try #require(SHA256Digest(String(repeating: digit, count: 64)))
    }

    static func assignment(_ image: String = "router", _ digit: Character = "a") throws -> Assignment {
        Assignment(image: try ImageName(image), sha256: try digest(digit), byteCount: 4096, profile: nil)
    }

    static func image(_ name: String, _ digit: Character, by userID: UInt32 = 1000) throws -> ImageRecord {
        ImageRecord(
            name: try ImageName(name), sha256: try digest(digit), byteCount: 4096, importedAt: 500,
            importedByUserID: userID)
    }

    static func start(
        _ slot: String = "slot1", id: JobID = JobID(), sequence: UInt64 = 7, trigger: JobTrigger = .insertion,
        userID: UInt32? = nil
    ) throws -> JobStart {
        JobStart(
            id: id, slot: try SlotName(slot), token: InsertionToken(bootID: "boot1", deviceSequence: sequence),
            device: DeviceRecord(
                name: "sda", devicePath: "/devices/pci0000:00/usb1/1-2/sda", deviceSequence: sequence,
                byteCount: 8_000_000_000, place: .usb(controller: "pci0000:00", hubSpeed: 480, ports: "2", lun: 0),
                reader: Reader(vendor: "0bda", product: "0316", lunCount: 1), model: "Generic SD"),
            assignment: try assignment(), condition: .onlyIfMarked([JobID()]), isDryRun: false, trigger: trigger,
            callerUserID: userID)
    }
}

extension Store {
    /// One job from its beginning to its verdict.
    @discardableResult
    func finish(_ start: JobStart, _ verdict: Verdict, at seconds: Double = 1000) async throws -> JobReport {
        try await beginJob(start, startedAt: seconds, isClockSynchronised: true, startedMonotonic: 5)
        var report = JobReport(verdict, detail: "as told")
        report.bytesWritten = 4096
        report.headSHA256 = SHA256Digest(String(repeating: "e", count: 64))
        try await endJob(start.id, report)
        return report
    }
}

/// The error of a body that has to fail; nil when it does not.
func storeFailure(_ body: () async throws -> Void) async -> StationError? {
    do {
        try await body()
        return nil
    } catch { return error as? StationError ?? StationError("untyped", "\(error)") }
}
