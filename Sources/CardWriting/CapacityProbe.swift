import Glibc
import StationCore

/// Blocks that say where they are, written all over a card before any is read: a card that holds less than it claims gives
/// them back changed, moved, or not at all.
///
/// They stand at power-of-two offsets, at odd ones, at the end, and evenly over the whole card. Even spacing catches a card
/// that wraps at any real size: the first block behind the real end lands less than one spacing from the beginning, where
/// the image overwrites it, or where it is found as a stray while what lies behind the image is read.
struct CapacityProbe {
    /// The length of one block.
    static let blockByteCount = 4096
    /// How much else must have gone through the reader before the blocks are read again, in bytes: no reader caches more.
    static let cacheByteCount: UInt64 = 256 << 20

    private static let evenCount: UInt64 = 128
    /// Less than the image and what is read behind it are together.
    private static let largestSpacing: UInt64 = 255 << 20

    let job: JobID
    /// Ascending, aligned to the block, none in the first MiB.
    let offsets: [UInt64]

    init(job: JobID, cardByteCount: UInt64) {
        self.job = job
        let block = UInt64(Self.blockByteCount)
        guard cardByteCount >= (1 << 20) + block else {
            offsets = []
            return
        }
        let last = cardByteCount / block * block - block
        var found: Set<UInt64> = [last]
        var power: UInt64 = 1 << 20
        while power <= last {
            // The power itself, and odd places beyond it that no power-of-two wrap maps onto another block.
            found.insert(power)
            found.insert(power + power / 2 + 3 * block)
            found.insert(power + power / 3 / block * block + 7 * block)
            power <<= 1
        }
        let spacing = min(max(cardByteCount / Self.evenCount / block * block, 1 << 20), Self.largestSpacing)
        for index in 0...cardByteCount / spacing { found.insert(index * spacing + 11 * block) }
        offsets = found.filter { $0 >= 1 << 20 && $0 <= last }.sorted()
    }

    /// What of the blocks lies in a range.
    func blocks(in range: Range<UInt64>) -> [Range<UInt64>] {
        offsets.filter(range.contains).map { $0..<min($0 + UInt64(Self.blockByteCount), range.upperBound) }
    }

    private static let title = "flashing-station probe 1\n"

    /// Whether bytes begin like a block of a probe.
    static func begins(_ bytes: some Collection<UInt8>) -> Bool { bytes.starts(with: title.utf8) }

    /// Where among bytes that were read at an offset a block of this job stands that belongs elsewhere; nil when none does.
    func stray(in buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) -> UInt64? {
        let start = Array("\(Self.title)job=\(job)\noffset=".utf8)
        guard let base = buffer.baseAddress else { return nil }
        var position = 0
        // The real end of a card is the end of a sector.
        while position + 512 <= buffer.count {
            if memcmp(base + position, start, start.count) == 0 {
                let digits = buffer[(position + start.count)...].prefix { $0 != 10 }
                if !digits.elementsEqual("\(offset + UInt64(position))".utf8) { return offset + UInt64(position) }
            }
            position += 512
        }
        return nil
    }

    /// Fills a block for an offset: whose it is and where it belongs, then bytes that follow from both.
    func fill(_ buffer: UnsafeMutableRawBufferPointer, offset: UInt64) {
        var state = offset &* 0x9E37_79B9_7F4A_7C15
        for byte in job.text.utf8 { state = (state ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        buffer.withMemoryRebound(to: UInt64.self) { words in
            for index in words.indices {
                // xorshift64: no compression and no constant fill can imitate it.
                state ^= state << 13
                state ^= state >> 7
                state ^= state << 17
                words[index] = state
            }
        }
        buffer.copyBytes(from: Array("\(Self.title)job=\(job)\noffset=\(offset)\n".utf8))
    }
}
