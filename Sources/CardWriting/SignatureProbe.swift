import CBlkid
package import StationCore
package import StationLinux

/// What libblkid finds on a card, through a descriptor that is open already.
package struct SignatureProbe: Equatable, Sendable {
    /// Labels and UUIDs of the file systems and partitions on the card, and of the whole card.
    package var names: [String] = []
    /// The partitions that the present table shows, in bytes, and the overlays in them.
    package var partitions: [Range<UInt64>] = []

    package init(names: [String] = [], partitions: [Range<UInt64>] = []) {
        self.names = names
        self.partitions = partitions
    }

    /// The part of either end of a card where nearly all signatures are, in bytes.
    private static let endByteCount: UInt64 = 528 << 10
    /// Of more than a device takes at once the kernel reads the beginning only; a high-speed USB reader takes so much.
    private static let pieceByteCount: UInt64 = 120 << 10

    /// Begins to read what a probe will look at, so that it comes while something else is done. libblkid asks for single blocks,
    /// one after the other, and a card takes its time for each; to be ahead of that the kernel would have read as much anyway.
    static func prepare(_ descriptor: Descriptor, cardByteCount: UInt64) {
        let count = min(endByteCount, cardByteCount)
        for end in [0..<count, cardByteCount - count..<cardByteCount] {
            for offset in stride(from: end.lowerBound, to: end.upperBound, by: UInt64.Stride(pieceByteCount)) {
                descriptor.willRead(offset..<min(offset + pieceByteCount, end.upperBound))
            }
        }
    }

    /// Reads the card. Blocks.
    /// - Throws: `probe_failed` when a part of the card cannot be looked at: what was not seen is not taken for harmless.
    package init(reading descriptor: Descriptor) throws(StationError) {
        self.init()
        guard let probe = blkid_new_probe() else { throw StationError("probe_failed", "libblkid has no memory") }
        defer { blkid_free_probe(probe) }
        guard blkid_probe_set_device(probe, descriptor.number, 0, 0) == 0 else {
            throw StationError("probe_failed", "libblkid cannot read the disk")
        }
        let cardEnd = UInt64(max(0, blkid_probe_get_size(probe)))
        try collectNames(probe)
        // The table is asked for a second time, for its entries.
        guard let table = blkid_probe_get_partitions(probe) else { return }
        let count = blkid_partlist_numof_partitions(table)
        guard count <= 256 else {
            throw StationError("probe_failed", "the disk's table has \(count) partitions, more than are looked at")
        }
        for index in 0..<count {
            guard let partition = blkid_partlist_get_partition(table, index) else { continue }
            let start = UInt64(max(0, blkid_partition_get_start(partition))) * 512
            let length = UInt64(max(0, blkid_partition_get_size(partition))) * 512
            let (claimedEnd, overflow) = start.addingReportingOverflow(length)
            // Old tables often reach past the end of a card: of such a partition the part that is there counts.
            let end = overflow ? cardEnd : min(claimedEnd, cardEnd)
            if let name = blkid_partition_get_name(partition) { names.append(String(cString: name)) }
            if let uuid = blkid_partition_get_uuid(partition) { names.append(String(cString: uuid)) }
            guard start < end else { continue }
            partitions.append(start..<end)
            if let overlay = Self.overlay(in: start..<end, descriptor) { partitions.append(overlay..<end) }
            guard let inner = blkid_new_probe() else { throw StationError("probe_failed", "libblkid has no memory") }
            defer { blkid_free_probe(inner) }
            guard blkid_probe_set_device(inner, descriptor.number, Int64(start), Int64(end - start)) == 0 else {
                throw StationError("probe_failed", "libblkid cannot look at the partition at \(start)")
            }
            try collectNames(inner)
        }
    }

    /// Where the overlay of an OpenWrt system begins: at the next 64 KiB behind the squashfs that its partition begins with.
    private static func overlay(in partition: Range<UInt64>, _ descriptor: Descriptor) -> UInt64? {
        let header = AlignedBuffer(byteCount: 4096)
        guard let got = try? descriptor.read(into: header.bytes, at: partition.lowerBound), got == 4096,
            header.bytes.prefix(4).elementsEqual("hsqs".utf8)
        else { return nil }
        let used = UInt64(littleEndian: header.bytes.loadUnaligned(fromByteOffset: 40, as: UInt64.self))
        guard used < UInt64(partition.count) else { return nil }
        let start = partition.lowerBound + (used + 65535) / 65536 * 65536
        return start < partition.upperBound ? start : nil
    }

    private mutating func collectNames(_ probe: blkid_probe) throws(StationError) {
        blkid_probe_enable_superblocks(probe, 1)
        blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID)
        blkid_probe_enable_partitions(probe, 1)
        // Each call finds the next signature; several file systems may claim one place.
        while true {
            let outcome = blkid_do_probe(probe)
            guard outcome >= 0 else {
                throw StationError("probe_failed", "the disk cannot be read where signatures lie")
            }
            guard outcome == 0 else { return }
            for key in ["LABEL", "UUID", "PTUUID"] {
                var value: UnsafePointer<CChar>?
                var length = 0
                if blkid_probe_lookup_value(probe, key, &value, &length) == 0, let value {
                    names.append(String(cString: value))
                }
            }
        }
    }
}
