import Glibc

/// Where two buffers of one length differ.
struct Difference: Equatable {
    private static let blockByteCount = 4096

    /// The first byte that differs.
    var offset: UInt64
    /// How many blocks of 4 KiB differ.
    var blockCount: UInt64

    /// Nil when they are equal.
    init?(_ left: UnsafeMutableRawBufferPointer, _ right: UnsafeMutableRawBufferPointer) {
        guard left.count == right.count, let first = left.baseAddress, let second = right.baseAddress else {
            guard left.count != right.count else { return nil }
            self.init(offset: 0, blockCount: 1)
            return
        }
        guard memcmp(first, second, left.count) != 0 else { return nil }
        var firstBad: Int?
        var blocks: UInt64 = 0
        for start in stride(from: 0, to: left.count, by: Self.blockByteCount) {
            let length = min(Self.blockByteCount, left.count - start)
            guard memcmp(first + start, second + start, length) != 0 else { continue }
            blocks += 1
            if firstBad == nil { firstBad = (start..<start + length).first { left[$0] != right[$0] } }
        }
        self.init(offset: UInt64(firstBad ?? 0), blockCount: blocks)
    }

    /// The same, seen from buffers that begin so much earlier.
    func shifted(by start: UInt64) -> Difference { Difference(offset: start + offset, blockCount: blockCount) }

    /// This one and one of the blocks behind it.
    func adding(_ other: Difference) -> Difference {
        Difference(offset: offset, blockCount: blockCount + other.blockCount)
    }

    private init(offset: UInt64, blockCount: UInt64) {
        self.offset = offset
        self.blockCount = blockCount
    }
}

extension UnsafeMutableRawBufferPointer {
    /// Whether all bytes are zero; true of none.
    var isZero: Bool {
        guard let base = baseAddress, count > 0 else { return true }
        return self[0] == 0 && memcmp(base, base + 1, count - 1) == 0
    }
}
