import CCompression
import StationCore

/// xz, by liblzma, which compares the check of each block, and the index behind them.
final class XZCodec: StreamCodec {
    private static let memoryLimit: UInt64 = 256 << 20

    /// liblzma keeps a pointer to it.
    private let stream: UnsafeMutablePointer<lzma_stream>
    private(set) var isChecked = true

    init() throws(StationError) {
        stream = .allocate(capacity: 1)
        stream.initialize(to: lzma_stream())
        do {
            try restart()
        } catch {
            stream.deallocate()
            throw error
        }
    }

    deinit {
        lzma_end(stream)
        stream.deallocate()
    }

    func step(
        _ input: inout UnsafeRawBufferPointer, _ output: inout UnsafeMutableRawBufferPointer
    ) throws(StationError) -> Bool {
        stream.pointee.next_in = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_in = input.count
        stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_out = output.count
        let result = lzma_code(stream, LZMA_RUN)
        input = input.dropping(input.count - stream.pointee.avail_in)
        output = output.dropping(output.count - stream.pointee.avail_out)
        switch result {
        case LZMA_OK, LZMA_BUF_ERROR: return false
        case LZMA_STREAM_END: return true
        case LZMA_NO_CHECK, LZMA_UNSUPPORTED_CHECK:
            isChecked = false
            return false
        case LZMA_MEMLIMIT_ERROR, LZMA_MEM_ERROR: throw Self.needsMemory(.xz, limit: Self.memoryLimit)
        case LZMA_OPTIONS_ERROR: throw Self.corrupt(.xz, "it uses what this liblzma does not know")
        case LZMA_FORMAT_ERROR: throw Self.corrupt(.xz, "its beginning is none")
        default: throw Self.corrupt(.xz, "a checksum is wrong, or the data are")
        }
    }

    func restart() throws(StationError) {
        guard lzma_stream_decoder(stream, Self.memoryLimit, lzma_tell_missing_checks) == LZMA_OK else {
            throw Self.unusable(.xz)
        }
    }
}
