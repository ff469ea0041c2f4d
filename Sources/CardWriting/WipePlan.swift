package import StationCore

/// Which parts of a card are zeroed besides the image, as ascending ranges that do not touch.
package enum WipePlan {
    private static let mebibyte: UInt64 = 1 << 20

    /// - Parameters:
    ///   - imageByteCount: the image, filled up to whole sectors.
    ///   - imagePartitionEnd: the end of the image's last partition; an OpenWrt overlay of an earlier life hides between
    ///     the image's end and there, and would come back as the *old* configuration.
    ///   - oldPartitions: what the card's present table shows; a RAID or LVM member in one of them has its superblocks near
    ///     the partition's ends.
    package static func ranges(
        level: WipeLevel, cardByteCount: UInt64, imageByteCount: UInt64, imagePartitionEnd: UInt64,
        oldPartitions: [Range<UInt64>]
    ) -> [Range<UInt64>] {
        // The first MiB is the marker's, and then the image's, at every level.
        let start = max(mebibyte, imageByteCount)
        var wanted: [Range<UInt64>]
        switch level {
        case .none: return []
        case .zero: wanted = [0..<cardByteCount]
        case .signatures, .discard:
            wanted = [cardByteCount - min(cardByteCount, mebibyte)..<cardByteCount]
            // btrfs keeps mirrors of its superblock at 64 MiB and at 256 GiB.
            for mirror: UInt64 in [64 << 20, 256 << 30] { wanted.append(mirror..<mirror + 65536) }
            wanted.append(imageByteCount..<max(imageByteCount, imagePartitionEnd))
            for partition in oldPartitions.prefix(128) where partition.lowerBound < cardByteCount {
                let end = min(partition.upperBound, cardByteCount)
                wanted.append(partition.lowerBound..<min(end, partition.lowerBound + mebibyte))
                wanted.append(max(partition.lowerBound, end - min(end, mebibyte))..<end)
                let mirror = partition.lowerBound + (64 << 20)
                if mirror < end { wanted.append(mirror..<min(end, mirror + 65536)) }
            }
        }
        return merged(wanted.map { clamp($0, start, cardByteCount) }.filter { !$0.isEmpty })
    }

    private static func clamp(_ range: Range<UInt64>, _ start: UInt64, _ end: UInt64) -> Range<UInt64> {
        // Whole 4 KiB, so that every sector size is served.
        let lower = max(range.lowerBound / 4096 * 4096, start)
        let upper = min((range.upperBound + 4095) / 4096 * 4096, end)
        return lower < upper ? lower..<upper : lower..<lower
    }

    private static func merged(_ ranges: [Range<UInt64>]) -> [Range<UInt64>] {
        var result: [Range<UInt64>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let last = result.last, range.lowerBound <= last.upperBound {
                result[result.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
            } else {
                result.append(range)
            }
        }
        return result
    }
}
