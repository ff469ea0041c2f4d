import Digests
import Glibc
import StationCore
import StationLinux

/// The file that somebody handed in: a regular one, read from its beginning, or a pipe, read to its end.
final class ImageSource: OriginStream {
    private let descriptor: Descriptor
    private let hasher = SHA256Hasher()
    private(set) var bytesRead: UInt64 = 0
    /// What a regular file looked like when the import began; nil for a pipe.
    private let statusAtStart: FileState?
    private let stop: Descriptor?

    /// Nil where the length is not known, as of a pipe.
    var byteCount: UInt64? { statusAtStart?.byteCount }

    /// - Parameter stop: the import ends as soon as there is something to read from it, or its other end is gone.
    /// - Throws: `source_unsuitable`, `source_unreadable`.
    init(_ descriptor: Descriptor, stop: Descriptor?) throws(StationError) {
        let state = try FileState(descriptor)
        switch state.type {
        case S_IFREG: statusAtStart = state
        case S_IFIFO: statusAtStart = nil
        default:
            let what: [mode_t: String] = [
                S_IFDIR: "a directory", S_IFBLK: "a block device", S_IFCHR: "a character device or a terminal",
                S_IFSOCK: "a socket",
            ]
            throw StationError(
                "source_unsuitable", "\(what[state.type] ?? "what was handed in") is no image file",
                remedy: "name a regular file, or pipe the bytes in: … | stationctl image import -")
        }
        self.descriptor = descriptor
        self.stop = stop
    }

    /// Nobody vouches for what was handed in, but what it is packed in.
    var isChecked: Bool { false }

    /// Blocks, but not when it is to stop.
    /// - Throws: `import_stopped`, `source_unreadable`.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(StationError) -> Int {
        let count = try readOn(into: buffer)
        hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        bytesRead += UInt64(count)
        return count
    }

    private func readOn(into buffer: UnsafeMutableRawBufferPointer) throws(StationError) -> Int {
        if statusAtStart != nil {
            try checkStop()
            do {
                // A regular file's own position is never trusted.
                return try descriptor.read(into: buffer, at: bytesRead)
            } catch { throw Self.unreadable(error) }
        }
        var done = 0
        while done < buffer.count {
            try waitForBytes()
            do {
                let got = try descriptor.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[done...]))
                if got == 0 { break }
                done += got
            } catch {
                // Somebody else's non-blocking pipe: its other reader was quicker.
                if error.number != EAGAIN { throw Self.unreadable(error) }
            }
        }
        return done
    }

    /// - Throws: `import_stopped`.
    func checkStop() throws(StationError) {
        if let stop, stop.hasInput { throw Self.stopped }
    }

    /// The SHA-256 of the file, which has been read to its end.
    ///
    /// A regular file must be what it was when the import began: else the image may be of two halves that never were one.
    /// - Throws: `source_changed`.
    func finish() throws(StationError) -> SHA256Digest {
        if let statusAtStart {
            let now = try FileState(descriptor)
            guard now == statusAtStart, bytesRead == now.byteCount else {
                throw StationError(
                    "source_changed", "the file was changed while it was read",
                    remedy: "import it again when nothing writes into it any more")
            }
        }
        guard let digest = hasher.finish() else { throw noDigest }
        return digest
    }

    private func waitForBytes() throws(StationError) {
        // A negative number is one that poll(2) passes over.
        var events = [
            pollfd(fd: descriptor.number, events: Int16(POLLIN), revents: 0),
            pollfd(fd: stop?.number ?? -1, events: Int16(POLLIN), revents: 0),
        ]
        do {
            _ = try retrying("poll", "pipe") { poll(&events, 2, -1) }
        } catch { throw Self.unreadable(error) }
        if events[1].revents != 0 { throw Self.stopped }
    }

    private static let stopped = StationError("import_stopped", "the import was stopped")

    private static func unreadable(_ error: SystemError) -> StationError {
        StationError(
            "source_unreadable", "the image cannot be read: \(SystemError.text(error.number))",
            remedy: "check the file system that the file is on, or what writes into the pipe")
    }

    /// What tells a file from itself changed.
    private struct FileState: Equatable {
        var type: mode_t
        var byteCount: UInt64
        var changedSeconds: Int
        var changedNanoseconds: Int

        init(_ descriptor: Descriptor) throws(StationError) {
            var status = stat()
            do {
                _ = try retrying("fstat", "image") { fstat(descriptor.number, &status) }
            } catch { throw ImageSource.unreadable(error) }
            type = status.st_mode & S_IFMT
            byteCount = UInt64(max(0, status.st_size))
            changedSeconds = status.st_mtim.tv_sec
            changedNanoseconds = status.st_mtim.tv_nsec
        }
    }
}

/// OpenSSL does not do what it always does.
let noDigest = StationError("internal_error", "OpenSSL computes no SHA-256")
