/// What OpenWrt's `fwtool` appends to an image file: metadata and a signature, in blocks that are read from the end.
///
/// Each block is its data and 16 bytes behind them, numbers with their high byte first: `FWx0`, a CRC-32, a type, three
/// zeros, and the length of the block with these 16. The metadata begin with a version and flags of 4 bytes each. The CRC is
/// not compared: what it covers of the image is covered by gzip's, and the metadata are not used.
enum FwtoolTrailer {
    /// fwtool takes 30 KiB of metadata and 1 KiB of signature; two of each are plenty.
    static let byteLimit = 64 * 1024

    private static let magic = Array("FWx0".utf8)
    private static let endByteCount = 16
    /// By type: a signature, metadata.
    private static let dataLimits: [Int] = [1024, 8 + 30 * 1024]

    /// Whether bytes are such blocks from the first to the last.
    static func isTrailer(_ bytes: ArraySlice<UInt8>) -> Bool {
        var rest = bytes
        while rest.count >= endByteCount {
            let end = Array(rest.suffix(endByteCount))
            let byteCount = end[12...].reduce(0) { $0 << 8 | Int($1) }
            let type = Int(end[8])
            guard end.starts(with: magic), type < dataLimits.count, end[9...11].allSatisfy({ $0 == 0 }),
                byteCount >= endByteCount, byteCount <= rest.count, byteCount - endByteCount <= dataLimits[type]
            else { return false }
            let data = rest.suffix(byteCount).dropLast(endByteCount)
            // Metadata of a version that fwtool would not read are none.
            if type == 1, data.count < 8 || data.prefix(4).contains(where: { $0 != 0 }) { return false }
            rest = rest.dropLast(byteCount)
        }
        return rest.isEmpty && !bytes.isEmpty
    }
}
