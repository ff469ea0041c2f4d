import CCompression
import StationCore

/// zstd, by libzstd, which compares each frame's checksum, where it has one. Its length is compared here as well: libzstd does not where
/// the last block is empty.
final class ZstdCodec: StreamCodec {
    /// libzstd's own limit for windows, unless it is told otherwise.
    private static let windowLimit: UInt64 = 128 << 20

    private let context: OpaquePointer
    /// The most that a frame's header has, in bytes: `ZSTD_FRAMEHEADERSIZE_MAX`.
    private static let headLimit = 18
    /// Bit 2 of a header's fifth byte says whether a checksum follows the frame.
    private static let checksumFlag: UInt8 = 4

    /// The first bytes of the present frame.
    private var frameHead: [UInt8] = []
    /// What it has unpacked to so far, in bytes.
    private var frameByteCount: UInt64 = 0
    private(set) var isChecked = true

    init() throws(StationError) {
        guard let context = ZSTD_createDCtx() else { throw Self.unusable(.zstd) }
        self.context = context
    }

    deinit { ZSTD_freeDCtx(context) }

    func step(
        _ input: inout UnsafeRawBufferPointer, _ output: inout UnsafeMutableRawBufferPointer
    ) throws(StationError) -> Bool {
        var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: 0)
        var target = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
        let result = ZSTD_decompressStream(context, &target, &source)
        frameHead += input.prefix(min(source.pos, Self.headLimit - frameHead.count))
        frameByteCount += UInt64(target.pos)
        input = input.dropping(source.pos)
        output = output.dropping(target.pos)
        guard ZSTD_isError(result) == 0 else {
            let why = String(cString: ZSTD_getErrorName(result))
            if ZSTD_getErrorCode(result) == ZSTD_error_frameParameter_windowTooLarge {
                throw Self.needsMemory(.zstd, limit: Self.windowLimit)
            }
            throw Self.corrupt(.zstd, why)
        }
        guard result == 0 else { return false }
        try frameEnded()
        return true
    }

    private func frameEnded() throws(StationError) {
        // A frame to be skipped has no contents.
        guard frameHead.count > 4, frameHead[0] == 0x28 else { return }
        if frameHead[4] & Self.checksumFlag == 0 { isChecked = false }
        let declared = frameHead.withUnsafeBytes { ZSTD_getFrameContentSize($0.baseAddress, $0.count) }
        guard declared >= UInt64.max - 1 || declared == frameByteCount else {
            throw Self.corrupt(.zstd, "a frame has \(frameByteCount) bytes and declares \(declared)")
        }
    }

    func restart() {
        frameHead = []
        frameByteCount = 0
    }

    func byteCount(head: [UInt8]) -> UInt64? {
        let count = head.withUnsafeBytes { ZSTD_getFrameContentSize($0.baseAddress, $0.count) }
        // The two highest numbers stand for “unknown” and “no frame”; 0 is what a frame to be skipped has.
        return count == 0 || count >= UInt64.max - 1 ? nil : count
    }
}
