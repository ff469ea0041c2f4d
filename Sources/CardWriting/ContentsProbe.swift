import CBlkid
import StationCore
import StationLinux

extension CardContents {
    /// More than any card has; a table that names more is not shown to its end.
    private static let partitionLimit: Int32 = 64

    /// Asks libblkid what tables and file systems the card has, through a descriptor that is open already. Blocks.
    /// - Throws: `probe_failed`.
    mutating func probe(_ descriptor: Descriptor) throws(StationError) {
        guard let probe = blkid_new_probe() else { throw StationError("probe_failed", "libblkid has no memory") }
        defer { blkid_free_probe(probe) }
        guard blkid_probe_set_device(probe, descriptor.number, 0, 0) == 0 else {
            throw StationError("probe_failed", "libblkid cannot read the disk")
        }
        signature = try Signature(probe)
        guard let list = blkid_probe_get_partitions(probe) else { return }
        if let root = blkid_partlist_get_table(list), let type = blkid_parttable_get_type(root) {
            table = String(cString: type).printable(limit: 16)
        }
        for index in 0..<min(blkid_partlist_numof_partitions(list), Self.partitionLimit) {
            guard let entry = blkid_partlist_get_partition(list, index) else { continue }
            partitions.append(try partition(entry, descriptor))
        }
    }

    private func partition(
        _ entry: blkid_partition, _ descriptor: Descriptor
    ) throws(StationError) -> Partition {
        // libblkid counts in 512 bytes; what an old table says of places behind the card's end is only shown.
        let start = UInt64(max(0, blkid_partition_get_start(entry))).multipliedReportingOverflow(by: 512).partialValue
        let length = UInt64(max(0, blkid_partition_get_size(entry))).multipliedReportingOverflow(by: 512).partialValue
        let word =
            blkid_partition_get_type_string(entry).map { String(cString: $0) }
            ?? "0x" + String(blkid_partition_get_type(entry), radix: 16)
        return Partition(
            number: Int(blkid_partition_get_partno(entry)), offset: start, byteCount: length,
            type: word.printable(limit: 40),
            name: blkid_partition_get_name(entry).map { String(cString: $0).printable(limit: 72) },
            signature: try signature(at: start, length, descriptor))
    }

    private func signature(
        at start: UInt64, _ length: UInt64, _ descriptor: Descriptor
    ) throws(StationError) -> Signature {
        guard start < cardByteCount, length > 0 else { return Signature() }
        guard let probe = blkid_new_probe() else { throw StationError("probe_failed", "libblkid has no memory") }
        defer { blkid_free_probe(probe) }
        let count = Int64(min(length, cardByteCount - start))
        guard blkid_probe_set_device(probe, descriptor.number, Int64(start), count) == 0 else { return Signature() }
        return try Signature(probe)
    }
}

extension CardContents.Signature {
    /// - Throws: `probe_failed` when the card cannot be read there.
    fileprivate init(_ probe: blkid_probe) throws(StationError) {
        self.init()
        blkid_probe_enable_superblocks(probe, 1)
        blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID)
        // The first that is found; a card on which several file systems claim one place has been written over.
        guard blkid_do_probe(probe) >= 0 else {
            throw StationError("probe_failed", "the disk cannot be read where signatures lie")
        }
        func value(_ key: String) -> String? {
            var value: UnsafePointer<CChar>?
            var length = 0
            guard blkid_probe_lookup_value(probe, key, &value, &length) == 0, let value else { return nil }
            return String(cString: value).printable(limit: 72)
        }
        type = value("TYPE")
        label = value("LABEL")
        uuid = value("UUID")
    }
}
