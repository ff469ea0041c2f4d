/// What a disk's or an image's first bytes say of its partitions. The bytes are untrusted: nothing here believes an offset.
package struct PartitionTable: Equatable, Sendable {
    package enum Kind: String, Sendable { case mbr, gpt }

    package var kind: Kind
    /// In bytes from the beginning of the disk.
    package var partitions: [Range<UInt64>]

    /// The end of the partition that ends last, in bytes; 0 when there is none.
    package var end: UInt64 { partitions.map(\.upperBound).max() ?? 0 }

    /// Reads the table; nil when the bytes begin with neither MBR nor GPT.
    /// - Parameters:
    ///   - bytes: the first MiB, or what there is of it.
    ///   - sectorByteCount: the unit the table counts in: 512 for nearly all images.
    package init?(_ bytes: [UInt8], sectorByteCount: Int = 512) {
        guard bytes.count >= 512, bytes[510] == 0x55, bytes[511] == 0xAA else { return nil }
        func little(_ offset: Int, _ count: Int) -> UInt64 {
            (0..<count).reduce(0) { $0 | UInt64(bytes[offset + $1]) << (8 * UInt64($1)) }
        }
        let sector = UInt64(sectorByteCount)
        let header = sectorByteCount
        if bytes.count >= header + 92, bytes[header..<header + 8].elementsEqual("EFI PART".utf8) {
            kind = .gpt
            partitions = []
            let tableSector = little(header + 72, 8)
            let count = Int(min(little(header + 80, 4), 256))
            let entry = Int(little(header + 84, 4))
            let (table, overflow) = tableSector.multipliedReportingOverflow(by: sector)
            guard !overflow, (128...4096).contains(entry), table < UInt64(bytes.count) else { return }
            for index in 0..<count {
                let offset = Int(table) + index * entry
                guard offset + 128 <= bytes.count else { break }
                guard bytes[offset..<offset + 16].contains(where: { $0 != 0 }) else { continue }
                Self.append(
                    &partitions, first: little(offset + 32, 8), end: little(offset + 40, 8) &+ 1, sector: sector)
            }
            return
        }
        kind = .mbr
        partitions = []
        for index in 0..<4 {
            let offset = 446 + index * 16
            guard bytes[offset + 4] != 0 else { continue }
            let first = little(offset + 8, 4)
            Self.append(&partitions, first: first, end: first + little(offset + 12, 4), sector: sector)
        }
    }

    private static func append(_ list: inout [Range<UInt64>], first: UInt64, end: UInt64, sector: UInt64) {
        let (lower, lowerOverflow) = first.multipliedReportingOverflow(by: sector)
        let (upper, upperOverflow) = end.multipliedReportingOverflow(by: sector)
        guard !lowerOverflow, !upperOverflow, lower < upper, upper <= 1 << 56 else { return }
        list.append(lower..<upper)
    }
}
