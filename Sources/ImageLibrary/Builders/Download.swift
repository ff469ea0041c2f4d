import Digests
import Glibc
import StationCore
import StationLinux

/// Files from mirrors: each is asked in its turn, and asked again where that may help.
struct Download {
    let source: BuilderSource
    let stop: Descriptor?
    /// Told at most so often, and at each beginning.
    let progress: BuildProgressTeller
    /// How long to wait before the first repetition, in seconds; each later one waits twice as long, up to `longestWait`.
    var firstWait = 1.0
    static let longestWait = 30.0

    /// Fetches a small file whole.
    /// - Returns: its bytes, and the mirror that they came from.
    /// - Throws: `download_missing` where no mirror has it, `download_failed`, `tls_failed`, `download_too_large`,
    ///   `import_stopped`.
    func smallFile(_ path: String, limit: Int, mirrors: [String]? = nil) throws(StationError) -> ([UInt8], String) {
        var sink = MemorySink(limit: limit)
        let mirror = try fetch(path, mirrors: mirrors ?? source.mirrors) { url throws(Transfer.Failure) in
            sink = MemorySink(limit: limit)
            try Transfer(source: source, stop: stop).run(url, from: 0, into: sink)
        }
        return (sink.bytes, mirror)
    }

    /// Fetches a file whose SHA-256 is known, and goes on where an earlier attempt ended.
    /// - Parameters:
    ///   - target: keeps what came, also when this throws.
    ///   - check: is asked as soon as the length is known.
    /// - Returns: the mirror that the last of it came from.
    /// - Throws: as `smallFile`, and `hash_mismatch`, `storage_full`, and what `check` throws.
    func file(
        _ path: String, sha256: SHA256Digest, into target: Descriptor,
        check: @escaping (UInt64) throws(StationError) -> Void
    ) throws(StationError) -> String {
        let sink = FileSink(target, check: check) { progress.tell(.downloading, $0, $1) }
        var hasBegunAnew = false
        while true {
            // All of it may be there: who was killed then had only not unpacked it.
            if try sink.position() > 0, try sink.digest() == sha256 { return source.mirrors.first ?? "" }
            var wasResumed = false
            let mirror = try fetch(path, mirrors: source.mirrors) { url throws(Transfer.Failure) in
                let offset: UInt64
                do throws(StationError) { offset = try sink.position() } catch { throw .final(error) }
                if offset > 0 { wasResumed = true }
                do throws(Transfer.Failure) {
                    try Transfer(source: source, stop: stop).run(url, from: offset, into: sink)
                } catch {
                    if case .temporary(_, fromBeginning: true) = error { sink.reset() }
                    throw error
                }
            }
            let digest = try sink.digest()
            if digest == sha256 { return mirror }
            sink.reset()
            // An old half and a new one need not belong together. One attempt from the beginning tells.
            guard wasResumed, !hasBegunAnew else {
                throw StationError(
                    "hash_mismatch",
                    "\(path.printable(limit: 200)) from \(mirror.printable(limit: 100)) has the SHA-256 \(digest), and the list "
                        + "of checksums has \(sha256)",
                    remedy: "try again later, or another mirror: Mirrors= under [ImageBuilder]")
            }
            hasBegunAnew = true
        }
    }

    /// Asks the mirrors, in rounds, until one has sent the file.
    private func fetch(
        _ path: String, mirrors: [String], _ attempt: (String) throws(Transfer.Failure) -> Void
    ) throws(StationError) -> String {
        var candidates = mirrors
        var last = StationError("download_failed", "no mirror is configured", remedy: "Mirrors= under [ImageBuilder]")
        var wait = firstWait
        for round in 0...source.retryCount {
            if round > 0 {
                try pause(wait * Double.random(in: 0.75...1.25))
                wait = min(wait * 2, Self.longestWait)
            }
            for mirror in candidates {
                let base = mirror.hasSuffix("/") ? String(mirror.dropLast()) : mirror
                do throws(Transfer.Failure) {
                    try attempt("\(base)/\(path)")
                    return mirror
                } catch {
                    switch error {
                    case .final(let error): throw error
                    case .permanent(let error):
                        last = error
                        candidates.removeAll { $0 == mirror }
                    case .temporary(let why, _):
                        last = StationError(
                            "download_failed",
                            "\(base.printable(limit: 200))/\(path.printable(limit: 200)): \(why.printable(limit: 200)) "
                                + "(tried \(round + 1) \(round == 0 ? "time" : "times"))",
                            remedy: "check the network and Proxy= under [ImageBuilder]; what came so far is kept")
                    }
                }
            }
            if candidates.isEmpty { break }
        }
        throw last
    }

    /// Waits, but not when it is to stop.
    private func pause(_ seconds: Double) throws(StationError) {
        var events = [pollfd(fd: stop?.number ?? -1, events: Int16(POLLIN), revents: 0)]
        let until = SystemClock.monotonicSeconds() + seconds
        while true {
            let left = until - SystemClock.monotonicSeconds()
            if left <= 0 { return }
            if poll(&events, 1, Int32(left * 1000) + 1) > 0 {
                throw StationError("import_stopped", "the download was stopped")
            }
        }
    }
}

/// A body that is kept in memory.
private final class MemorySink: Transfer.Sink {
    private let limit: Int
    private(set) var bytes: [UInt8] = []

    init(limit: Int) { self.limit = limit }

    func begin(at start: UInt64, byteCount: UInt64?) throws(StationError) {
        if let byteCount, byteCount > UInt64(limit) { throw tooLarge }
    }

    func take(_ bytes: UnsafeRawBufferPointer) throws(StationError) {
        guard self.bytes.count + bytes.count <= limit else { throw tooLarge }
        self.bytes += bytes
    }

    private var tooLarge: StationError {
        StationError("download_too_large", "the server's file is longer than \(Quantity.bytes(UInt64(limit)))")
    }
}

/// A body that goes behind what is in a file already.
private final class FileSink: Transfer.Sink {
    private let file: Descriptor
    private let check: (UInt64) throws(StationError) -> Void
    private let progress: (UInt64, UInt64?) -> Void
    private var done: UInt64 = 0
    private var total: UInt64?

    init(
        _ file: Descriptor, check: @escaping (UInt64) throws(StationError) -> Void,
        progress: @escaping (UInt64, UInt64?) -> Void
    ) {
        self.file = file
        self.check = check
        self.progress = progress
    }

    func position() throws(StationError) -> UInt64 {
        do { return try file.status().byteCount } catch { throw ImageVault.unusable("the library", error) }
    }

    func reset() { _ = ftruncate(file.number, 0) }

    func begin(at start: UInt64, byteCount: UInt64?) throws(StationError) {
        if let byteCount { try check(byteCount) }
        // A server that knows no parts sends all of it.
        if start == 0 { reset() }
        (done, total) = (start, byteCount)
        progress(done, total)
    }

    func take(_ bytes: UnsafeRawBufferPointer) throws(StationError) {
        do {
            try file.write(all: bytes, at: done)
        } catch { throw ImageVault.unusable("the library", error) }
        done += UInt64(bytes.count)
        // One that sends for ever is not waited for until the disk is full.
        if total.map({ done > $0 }) ?? (done % (64 << 20) < UInt64(bytes.count)) { try check(done) }
        progress(done, total)
    }

    func digest() throws(StationError) -> SHA256Digest {
        let hasher = SHA256Hasher()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        var offset: UInt64 = 0
        while true {
            let count: Int
            do {
                count = try file.read(into: buffer, at: offset)
            } catch { throw ImageVault.unusable("the library", error) }
            if count == 0 { break }
            hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            offset += UInt64(count)
        }
        guard let digest = hasher.finish() else { throw noDigest }
        return digest
    }
}

/// Tells how far something is: at each new step, and else so often that somebody can watch it.
final class BuildProgressTeller {
    static let interval = 0.25

    private let send: (BuildStep, UInt64, UInt64?) -> Void
    private var last: (step: BuildStep, time: Double)?

    init(send: @escaping (BuildStep, UInt64, UInt64?) -> Void) { self.send = send }

    func tell(_ step: BuildStep, _ bytesDone: UInt64, _ bytesTotal: UInt64?) {
        let now = SystemClock.monotonicSeconds()
        if let last, last.step == step, now - last.time < Self.interval, bytesTotal != bytesDone { return }
        last = (step, now)
        send(step, bytesDone, bytesTotal)
    }
}
