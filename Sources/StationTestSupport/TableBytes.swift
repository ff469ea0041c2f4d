/// Partition tables as bytes, for images and cards of tests.
package enum TableBytes {
    /// One partition, in sectors.
    package struct Entry: Sendable {
        package var first: UInt64
        package var count: UInt64
        package var kind: UInt8

        package init(first: UInt64, count: UInt64, kind: UInt8 = 0x83) {
            self.first = first
            self.count = count
            self.kind = kind
        }
    }

    /// One sector with boot code, up to four partitions and the boot signature.
    package static func mbr(_ entries: [Entry]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 512)
        for index in 0..<440 { bytes[index] = UInt8(truncatingIfNeeded: index &* 7 &+ 1) }
        for (index, entry) in entries.prefix(4).enumerated() {
            let offset = 446 + index * 16
            bytes[offset + 4] = entry.kind
            put(UInt64(entry.first), 4, at: offset + 8, into: &bytes)
            put(UInt64(entry.count), 4, at: offset + 12, into: &bytes)
        }
        bytes[510] = 0x55
        bytes[511] = 0xAA
        return bytes
    }

    /// A protective MBR, a GPT header and its entries: 34 sectors. Checksums are left out; nobody here looks at them.
    package static func gpt(_ entries: [Entry], sectorByteCount: Int = 512) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: max(34 * 512, 6 * sectorByteCount))
        bytes.replaceSubrange(0..<512, with: mbr([Entry(first: 1, count: 0xFFFF_FFFF, kind: 0xEE)]))
        let header = sectorByteCount
        bytes.replaceSubrange(header..<header + 8, with: Array("EFI PART".utf8))
        put(2, 8, at: header + 72, into: &bytes)
        put(128, 4, at: header + 80, into: &bytes)
        put(128, 4, at: header + 84, into: &bytes)
        for (index, entry) in entries.enumerated() {
            let offset = 2 * sectorByteCount + index * 128
            for byte in 0..<16 { bytes[offset + byte] = UInt8(byte + 1) }
            put(entry.first, 8, at: offset + 32, into: &bytes)
            put(entry.first &+ entry.count &- 1, 8, at: offset + 40, into: &bytes)
        }
        return bytes
    }

    /// Writes a number in little-endian order.
    package static func put(_ value: UInt64, _ count: Int, at offset: Int, into bytes: inout [UInt8]) {
        for index in 0..<count { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(index))) }
    }
}
