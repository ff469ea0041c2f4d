import StationCore

/// Bytes that are read once, from the first to the last: of a file, of what is packed in it, of what is packed in that.
protocol ByteStream: AnyObject {
    /// Fills a buffer as far as there are bytes; fewer come only at the end. Blocks.
    ///
    /// Whatever is known to be wrong with the bytes is thrown at the end at the latest: who got less than was asked for has
    /// read bytes that are whole.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(StationError) -> Int

    /// How many bytes will come, where that is known beforehand.
    var byteCount: UInt64? { get }

    /// Whether a checksum covered all bytes that were read.
    var isChecked: Bool { get }
}

/// A stream out of a file: how far it is read says how far the import is.
protocol OriginStream: ByteStream {
    /// How much of the file was read.
    var bytesRead: UInt64 { get }
}

/// A stream whose first bytes can be looked at before they are read.
final class PeekedStream: ByteStream {
    private let upstream: any ByteStream
    /// The first bytes; fewer than asked for only when there are no more.
    let head: [UInt8]
    private var taken = 0

    /// - Parameter headByteCount: how many bytes to look at.
    init(_ upstream: any ByteStream, headByteCount: Int) throws(StationError) {
        self.upstream = upstream
        head = try upstream.take(headByteCount)
    }

    var byteCount: UInt64? { upstream.byteCount }
    var isChecked: Bool { upstream.isChecked }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(StationError) -> Int {
        let count = min(buffer.count, head.count - taken)
        if count > 0 {
            UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]).copyBytes(from: head[taken..<taken + count])
            taken += count
        }
        guard count < buffer.count else { return count }
        return count + (try upstream.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[count...])))
    }
}

extension ByteStream {
    /// Reads so many bytes; fewer where the stream ends before.
    func take(_ count: Int) throws(StationError) -> [UInt8] {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
        defer { buffer.deallocate() }
        let got = try read(into: buffer)
        return Array(buffer[..<got])
    }
}
