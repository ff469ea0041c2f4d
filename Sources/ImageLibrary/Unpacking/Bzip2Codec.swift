import CCompression
import StationCore

/// bzip2, by libbz2, which compares the CRC-32 of each block and of the whole member.
final class Bzip2Codec: StreamCodec {
    /// libbz2 keeps a pointer to it.
    private let stream: UnsafeMutablePointer<bz_stream>
    let isChecked = true

    init() throws(StationError) {
        stream = .allocate(capacity: 1)
        stream.initialize(to: bz_stream())
        guard BZ2_bzDecompressInit(stream, 0, 0) == BZ_OK else {
            stream.deallocate()
            throw Self.unusable(.bzip2)
        }
    }

    deinit {
        BZ2_bzDecompressEnd(stream)
        stream.deallocate()
    }

    func step(
        _ input: inout UnsafeRawBufferPointer, _ output: inout UnsafeMutableRawBufferPointer
    ) throws(StationError) -> Bool {
        let (available, room) = (UInt32(clamping: input.count), UInt32(clamping: output.count))
        stream.pointee.next_in = UnsafeMutablePointer(
            mutating: input.baseAddress?.assumingMemoryBound(to: CChar.self))
        stream.pointee.avail_in = available
        stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: CChar.self)
        stream.pointee.avail_out = room
        let result = BZ2_bzDecompress(stream)
        input = input.dropping(Int(available - stream.pointee.avail_in))
        output = output.dropping(Int(room - stream.pointee.avail_out))
        switch result {
        case BZ_OK: return false
        case BZ_STREAM_END: return true
        case BZ_DATA_ERROR_MAGIC: throw Self.corrupt(.bzip2, "its beginning is none")
        case BZ_DATA_ERROR: throw Self.corrupt(.bzip2, "a checksum is wrong, or the data are")
        case BZ_MEM_ERROR: throw Self.needsMemory(.bzip2, limit: 8 << 20)
        default: throw Self.corrupt(.bzip2, "libbz2 error \(result)")
        }
    }

    func restart() throws(StationError) {
        BZ2_bzDecompressEnd(stream)
        stream.initialize(to: bz_stream())
        guard BZ2_bzDecompressInit(stream, 0, 0) == BZ_OK else { throw Self.unusable(.bzip2) }
    }
}
