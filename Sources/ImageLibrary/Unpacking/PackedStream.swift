import Glibc
import StationCore

/// What is packed in a stream, of however many members.
///
/// libarchive's filters would do for this, but for what they do not tell: that of gzip compares no checksum, and those of
/// gzip, bzip2 and lz4 take whatever stands behind the last member for its end. A damaged file must never pass for a good
/// one, so the libraries that they call are called here.
final class PackedStream: ByteStream {
    /// More members than a file of the largest card has in 64 KiB each.
    static let memberLimit = 1 << 22
    private static let inputByteCount = 128 * 1024
    /// Enough of what follows a member to tell what it is.
    private static let lookAhead = 16

    private let upstream: any ByteStream
    private let format: PackingFormat
    private let codec: any StreamCodec
    private let buffer: UnsafeMutableRawBufferPointer
    /// What of the buffer is not unpacked yet.
    private var input: UnsafeRawBufferPointer
    private var upstreamEnded = false
    private var members = 0
    private var hasEnded = false
    let byteCount: UInt64?

    /// - Parameter upstream: begins with a stream of the format.
    init(_ upstream: PeekedStream, _ format: PackingFormat) throws(StationError) {
        self.upstream = upstream
        self.format = format
        codec = try format.codec()
        byteCount = codec.byteCount(head: upstream.head)
        buffer = .allocate(byteCount: Self.inputByteCount, alignment: 16)
        input = UnsafeRawBufferPointer(rebasing: buffer[..<0])
    }

    deinit { buffer.deallocate() }

    var isChecked: Bool { codec.isChecked || upstream.isChecked }

    /// - Throws: `image_truncated`, `image_corrupt`, `image_trailing_bytes`, `image_memory`, `image_bomb`.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(StationError) -> Int {
        var output = buffer
        while !hasEnded, output.count > 0 {
            let before = (input.count, output.count)
            if try codec.step(&input, &output) {
                try endMember()
            } else if (input.count, output.count) == before {
                guard !upstreamEnded, try fill(atLeast: input.count + 1) else { throw truncated }
            }
        }
        return buffer.count - output.count
    }

    private func endMember() throws(StationError) {
        members += 1
        guard members <= Self.memberLimit else {
            throw StationError("image_bomb", "the \(format.rawValue) data have more than \(Self.memberLimit) members")
        }
        if format == .xz { try skipPadding() }
        guard try fill(atLeast: Self.lookAhead) || input.count > 0 else {
            hasEnded = true
            return
        }
        if format.begins(Array(input.prefix(Self.lookAhead))) { return try codec.restart() }
        try checkTail()
        hasEnded = true
    }

    /// Zeros in fours belong to an xz file; see section 2.2 of its specification.
    private func skipPadding() throws(StationError) {
        while try fill(atLeast: 4), input.prefix(4).allSatisfy({ $0 == 0 }) { input = input.dropping(4) }
    }

    /// - Throws: `image_trailing_bytes` unless what is left is what OpenWrt puts behind its gzip streams.
    private func checkTail() throws(StationError) {
        var tail = Array(input)
        if !upstreamEnded { tail += try upstream.take(FwtoolTrailer.byteLimit) }
        if format == .gzip, tail.count <= FwtoolTrailer.byteLimit, FwtoolTrailer.isTrailer(tail[...]) { return }
        let count = tail.count < FwtoolTrailer.byteLimit ? "\(tail.count)" : "\(FwtoolTrailer.byteLimit) or more"
        throw StationError(
            "image_trailing_bytes",
            "behind the end of the \(format.rawValue) data stand \(count) bytes that do not belong to them",
            remedy: "fetch the file again: it is damaged, or was put together wrongly")
    }

    /// Reads on, so that so many bytes of input are there.
    /// - Returns: false when there are fewer in all.
    private func fill(atLeast count: Int) throws(StationError) -> Bool {
        guard input.count < count else { return true }
        let kept = input.count
        // The two may overlap, which memmove(3) allows.
        if let target = buffer.baseAddress, let start = input.baseAddress { memmove(target, start, kept) }
        if !upstreamEnded {
            let free = UnsafeMutableRawBufferPointer(rebasing: buffer[kept...])
            guard free.count > 0 else { throw type(of: codec).corrupt(format, "they make no sense") }
            let got = try upstream.read(into: free)
            upstreamEnded = got < free.count
            input = UnsafeRawBufferPointer(rebasing: buffer[..<(kept + got)])
        } else {
            input = UnsafeRawBufferPointer(rebasing: buffer[..<kept])
        }
        return input.count >= count
    }

    private var truncated: StationError {
        StationError(
            "image_truncated", "the \(format.rawValue) data end before their end: the file is cut off",
            remedy: "fetch the file again")
    }
}
