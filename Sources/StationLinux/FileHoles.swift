import CLinux
import Glibc

extension Descriptor {
    /// The ranges of a file that hold bytes, in their order: all of it where the file system knows of no holes.
    package func dataRanges(byteCount: UInt64) -> [Range<UInt64>] {
        var ranges: [Range<UInt64>] = []
        var position = off_t(0)
        while position < byteCount {
            let start = station_next_data(number, position)
            if start < 0 {
                // ENXIO: nothing but a hole to the end.
                if errno == ENXIO { break }
                return [0..<byteCount]
            }
            let end = station_next_hole(number, start)
            guard end > start else { return [0..<byteCount] }
            if start < byteCount { ranges.append(UInt64(start)..<min(UInt64(end), byteCount)) }
            position = end
        }
        return ranges
    }
}
