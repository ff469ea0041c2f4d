import Glibc

/// Memory that direct input and output accepts: aligned to 4096 bytes, filled with zeros at first.
///
/// `@unchecked Sendable` because each buffer is used by the one thread that made it, or handed over before threads start.
package final class AlignedBuffer: @unchecked Sendable {
    package let bytes: UnsafeMutableRawBufferPointer
    /// Who has the memory; nil for one that has its own.
    private let owner: RequestMemory?

    package init(byteCount: Int) {
        bytes = .allocate(byteCount: byteCount, alignment: 4096)
        owner = nil
        zero()
    }

    /// A part of what several requests have together; full of zeros unless it was used before.
    init(_ owner: RequestMemory, from offset: Int, byteCount: Int) {
        bytes = UnsafeMutableRawBufferPointer(rebasing: owner.bytes[offset..<offset + byteCount])
        self.owner = owner
    }

    deinit { if owner == nil { bytes.deallocate() } }

    /// Fills a part, or all, with zeros.
    package func zero(from offset: Int = 0) {
        guard let base = bytes.baseAddress, offset < bytes.count else { return }
        memset(base + offset, 0, bytes.count - offset)
    }

    /// The first `count` bytes.
    package func prefix(_ count: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: bytes[..<count])
    }
}
