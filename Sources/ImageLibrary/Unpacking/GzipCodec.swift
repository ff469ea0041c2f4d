import CCompression
import StationCore

/// gzip, by zlib: which, unlike libarchive, compares each member's CRC-32 and length.
final class GzipCodec: StreamCodec {
    /// zlib keeps a pointer to it.
    private let stream: UnsafeMutablePointer<z_stream>
    let isChecked = true

    init() throws(StationError) {
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        // 15 bits of window are the most there is; 16 means: a gzip header, and nothing else.
        guard inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            stream.deallocate()
            throw Self.unusable(.gzip)
        }
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
    }

    func step(
        _ input: inout UnsafeRawBufferPointer, _ output: inout UnsafeMutableRawBufferPointer
    ) throws(StationError) -> Bool {
        let (available, room) = (UInt32(clamping: input.count), UInt32(clamping: output.count))
        stream.pointee.next_in = UnsafeMutablePointer(
            mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
        stream.pointee.avail_in = available
        stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_out = room
        let result = inflate(stream, Z_NO_FLUSH)
        input = input.dropping(Int(available - stream.pointee.avail_in))
        output = output.dropping(Int(room - stream.pointee.avail_out))
        switch result {
        case Z_OK, Z_BUF_ERROR: return false
        case Z_STREAM_END: return true
        default:
            throw Self.corrupt(.gzip, stream.pointee.msg.map { String(cString: $0) } ?? "zlib error \(result)")
        }
    }

    func restart() throws(StationError) {
        guard inflateReset(stream) == Z_OK else { throw Self.unusable(.gzip) }
    }
}

extension UnsafeRawBufferPointer {
    func dropping(_ count: Int) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: self[count...]) }
}

extension UnsafeMutableRawBufferPointer {
    func dropping(_ count: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: self[count...])
    }
}
