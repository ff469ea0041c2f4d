import Glibc

/// The memory of several requests: in huge pages, where the kernel has some, and back with the kernel when nobody needs it any more.
///
/// In huge pages a request lies in one piece. In single pages it lies in hundreds, and a disk that takes fewer of them in one command
/// gets the request in parts, each with a latency of its own. Corresponds to `MADV_HUGEPAGE` and `max_segments` of the queue.
///
/// `@unchecked Sendable` because it is only handed out in parts that do not overlap, one to each thread, and nobody else reads it.
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
