import CCompression
import StationCore

/// zstd, by libzstd, which compares each frame's checksum, where it has one, and its length.
final class ZstdCodec: StreamCodec {
    /// libzstd's own limit for windows, unless it is told otherwise.
    private static let windowLimit: UInt64 = 128 << 20

    private let context: OpaquePointer
    /// The first bytes of the present frame, for its flags.
    private var frameHead: [UInt8] = []
    private(set) var isChecked = true

    init() throws(StationError) {
        guard let context = ZSTD_createDCtx() else { throw Self.unusable(.zstd) }
        self.context = context
    }

    deinit { ZSTD_freeDCtx(context) }

    func step(
        _ input: inout UnsafeRawBufferPointer, _ output: inout UnsafeMutableRawBufferPointer
    ) throws(StationError) -> Bool {
        if frameHead.count < 5 {
            frameHead += input.prefix(5 - frameHead.count)
            // Frames to be skipped have no contents; of the others, bit 2 of the descriptor says whether a checksum follows.
            if frameHead.count == 5, frameHead[0] == 0x28, frameHead[4] & 4 == 0 { isChecked = false }
        }
        var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
        var target = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
        let result = ZSTD_decompressStream(context, &target, &source)
        input = input.dropping(source.pos)
        output = output.dropping(target.pos)
        guard ZSTD_isError(result) == 0 else {
            let why = String(cString: ZSTD_getErrorName(result))
            if ZSTD_getErrorCode(result) == ZSTD_error_frameParameter_windowTooLarge {
                throw Self.needsMemory(.zstd, limit: Self.windowLimit)
            }
            throw Self.corrupt(.zstd, why)
        }
        return result == 0
    }

    func restart() { frameHead = [] }

    func byteCount(head: [UInt8]) -> UInt64? {
        let count = head.withUnsafeBytes { ZSTD_getFrameContentSize($0.baseAddress, $0.count) }
        // The two highest numbers stand for “unknown” and “no frame”; 0 is what a frame to be skipped has.
        return count == 0 || count >= UInt64.max - 1 ? nil : count
    }
}
