import Glibc
import StationCore
import StationLinux
import StationTestSupport

@testable import CardWriting
@testable import ImageLibrary

extension FuzzTarget {
    /// What stands on cards, and at the beginning of images.
    static let cardTargets = [
        FuzzTarget("partition-table", lengthLimit: 8192, words: ["EFI PART", "\u{55}"]) { bytes in
            var old: [Range<UInt64>] = []
            for sector in [512, 1024, 4096] {
                guard let table = PartitionTable(bytes, sectorByteCount: sector) else { continue }
                old = table.partitions
                try demand(
                    table.partitions.allSatisfy { !$0.isEmpty && $0.upperBound <= 1 << 56 }, "a partition is none")
            }
            _ = try accepted { try ImageHead.check(Array(bytes.prefix(ImageHead.byteCount)), isRaw: false) }
            let (card, image) = (UInt64(8_000_000_000), UInt64(120_000_000))
            for level in WipeLevel.allCases {
                let ranges = WipePlan.ranges(
                    level: level, cardByteCount: card, imageByteCount: image,
                    imagePartitionEnd: old.map(\.upperBound).max() ?? 0, oldPartitions: old)
                var end = image
                for range in ranges {
                    try demand(range.lowerBound >= end && !range.isEmpty, "what is wiped lies over the image, or twice")
                    end = range.upperBound
                }
                try demand(end <= card || ranges.isEmpty, "what is wiped lies behind the card")
            }
        },
        FuzzTarget(
            "card-marker", lengthLimit: 600,
            words: [
                "flashing-station marker 1\n", "job=", "state=failed\n", "reason=", String(repeating: "0", count: 32),
            ]
        ) { bytes in
            guard let marker = bytes.withUnsafeBytes({ Marker($0) }) else { return }
            try demand(marker.reason.unicodeScalars.allSatisfy(isShowable), "a marker has control characters in it")
            let buffer = AlignedBuffer(byteCount: 4096)
            marker.fill(buffer.bytes)
            let again = Marker(UnsafeRawBufferPointer(buffer.bytes))
            try demand(again == marker, "a marker is another when it is read again")
        },
        FuzzTarget("card-probe", lengthLimit: 8192, words: ["EFI PART", "hsqs", "LABELONE", "XFSB", "_BHRfS_M"]) {
            bytes in
            // libblkid on what may be a card, as the guard and `inspect` ask it.
            let file = try TemporaryFile.writable(bytes)
            _ = try retrying("ftruncate", "card") { ftruncate(file.number, 1 << 20) }
            let probe = try accepted { try SignatureProbe(reading: file) }
            for partition in probe?.partitions ?? [] {
                try demand(!partition.isEmpty && partition.upperBound <= 1 << 20, "a partition lies behind the card")
            }
            var contents = CardContents(cardByteCount: 1 << 20, sectorByteCount: 512)
            _ = try accepted { try contents.probe(file) }
            try demandSameAsJSON(contents)
            let texts = [contents.table] + contents.partitions.flatMap { [$0.name, $0.type, $0.signature.label] }
            for text in texts.compactMap({ $0 }) {
                try demand(text.unicodeScalars.allSatisfy(isShowable), "control characters come from a card")
            }
        },
    ]
}
