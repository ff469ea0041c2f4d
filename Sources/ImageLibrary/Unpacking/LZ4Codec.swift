import CCompression
import StationCore

/// lz4's frames, by liblz4, which compares the checksums of blocks and contents, where a frame has them.
final class LZ4Codec: StreamCodec {
    private let context: OpaquePointer
    /// The first bytes of the present frame, for its flags.
    private var frameHead: [UInt8] = []
    private(set) var isChecked = true

    init() throws(StationError) {
        var made: OpaquePointer?
        guard LZ4F_isError(LZ4F_createDecompressionContext(&made, UInt32(LZ4F_VERSION))) == 0, let made else {
            throw Self.unusable(.lz4)
        }
        context = made
    }

    deinit { LZ4F_freeDecompressionContext(context) }

    func step(
        _ input: inout UnsafeRawBufferPointer, _ output: inout UnsafeMutableRawBufferPointer
    ) throws(StationError) -> Bool {
        if frameHead.count < 5 {
            frameHead += input.prefix(5 - frameHead.count)
            // Bit 2 of the descriptor: a checksum of the contents follows them.
            if frameHead.count == 5, frameHead[0] == 0x04, frameHead[4] & 4 == 0 { isChecked = false }
        }
        var (consumed, produced) = (input.count, output.count)
        let result = LZ4F_decompress(context, output.baseAddress, &produced, input.baseAddress, &consumed, nil)
        guard LZ4F_isError(result) == 0 else {
            throw Self.corrupt(.lz4, String(cString: LZ4F_getErrorName(result)))
        }
        input = input.dropping(consumed)
        output = output.dropping(produced)
        return result == 0
    }

    func restart() {
        frameHead = []
        LZ4F_resetDecompressionContext(context)
    }
}
