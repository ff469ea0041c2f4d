import Glibc
import StationCore
import StationLinux

/// What a build prints: kept in a file, shown to who listens, its end remembered for the explanation of a failure.
final class BuildLog {
    /// What is kept of it, in bytes.
    static let byteLimit: UInt64 = 64 << 20
    private static let tailByteCount = 64 * 1024
    private static let pieceByteCount = 16 * 1024
    private static let interval = 0.2

    private let file: Descriptor
    private let send: (String) -> Void
    private(set) var byteCount: UInt64 = 0
    private(set) var lineCount: UInt64 = 0
    private var tail: [UInt8] = []
    private var pending: [UInt8] = []
    private var lastSent = 0.0

    /// - Parameter send: takes whole lines, made printable, a few times a second at most.
    init(path: String, send: @escaping (String) -> Void) throws(StationError) {
        do {
            file = try Descriptor(opening: path, O_WRONLY | O_CREAT | O_EXCL, mode: 0o640)
        } catch { throw ImageVault.unusable(path, error) }
        self.send = send
    }

    /// The last of it.
    var end: String { String(decoding: tail, as: UTF8.self) }

    func say(_ line: String) {
        let bytes = Array("\(line)\n".utf8)
        bytes.withUnsafeBytes { take($0) }
    }

    func take(_ bytes: UnsafeRawBufferPointer) {
        let room = Self.byteLimit - min(byteCount, Self.byteLimit)
        if room > 0 {
            try? file.write(all: UnsafeRawBufferPointer(rebasing: bytes.prefix(Int(min(room, UInt64(bytes.count))))))
            if UInt64(bytes.count) >= room {
                let note = Array("\n[the log is longer than is kept]\n".utf8)
                note.withUnsafeBytes { try? file.write(all: $0) }
            }
        }
        byteCount += UInt64(bytes.count)
        lineCount += UInt64(bytes.count { $0 == 0x0A })
        tail += bytes.suffix(Self.tailByteCount)
        if tail.count > 2 * Self.tailByteCount { tail.removeFirst(tail.count - Self.tailByteCount) }
        pending += bytes
        flush(isForced: false)
    }

    /// Sends what was not sent yet.
    func finish() { flush(isForced: true) }

    private func flush(isForced: Bool) {
        let now = SystemClock.monotonicSeconds()
        guard isForced || pending.count >= Self.pieceByteCount || now - lastSent >= Self.interval else { return }
        let end = isForced ? pending.count : (pending.lastIndex(of: 0x0A) ?? -1) + 1
        guard end > 0 else {
            if pending.count > Self.pieceByteCount { pending = [] }
            return
        }
        let text = String(decoding: pending[..<end], as: UTF8.self)
        pending.removeFirst(end)
        lastSent = now
        var piece = ""
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast(isForced ? 0 : 1) {
            piece += "\(String(line).replacing("\t", with: "        ").printable(limit: 1000))\n"
            if piece.utf8.count >= Self.pieceByteCount {
                send(piece)
                piece = ""
            }
        }
        if !piece.isEmpty { send(piece) }
    }
}
