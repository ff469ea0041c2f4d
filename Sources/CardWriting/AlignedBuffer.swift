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

/// The memory of several requests: in huge pages, where the kernel has some, and back with the kernel when nobody needs it any more.
///
/// In huge pages a request lies in one piece. In single pages it lies in hundreds, and a disk that takes fewer of them in one command
/// gets the request in parts, each with a latency of its own. Corresponds to `MADV_HUGEPAGE` and `max_segments` of the queue.
final class RequestMemory: @unchecked Sendable {
    private static let hugePageByteCount = 2 << 20

    let bytes: UnsafeMutableRawBufferPointer
    private let mapping: UnsafeMutableRawBufferPointer

    /// Full of zeros. Nil where there is no memory.
    init?(byteCount: Int) {
        // A huge page must be aligned to its own size; what lies before and behind is never touched, and so is no memory.
        let count = byteCount + Self.hugePageByteCount
        guard
            let start = mmap(nil, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            start != MAP_FAILED
        else { return nil }
        mapping = UnsafeMutableRawBufferPointer(start: start, count: count)
        let offset = -Int(bitPattern: start) & (Self.hugePageByteCount - 1)
        bytes = UnsafeMutableRawBufferPointer(rebasing: mapping[offset..<offset + byteCount])
        // A wish; where it is not granted, everything works, a little slower.
        madvise(bytes.baseAddress, byteCount, MADV_HUGEPAGE)
    }

    deinit { munmap(mapping.baseAddress, mapping.count) }
}
