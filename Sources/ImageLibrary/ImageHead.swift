import StationCore

/// What the first bytes of an image file must look like. They are untrusted.
enum ImageHead {
    /// How many of the first bytes are looked at, where the file has so many: a GPT header of 4096-byte sectors is in.
    static let byteCount = 8192

    /// - Parameters:
    ///   - head: the first `byteCount` bytes, or the whole file where it is smaller.
    ///   - isRaw: take bytes that begin with no partition table.
    /// - Throws: `image_empty`, `image_no_table`.
    static func check(_ head: [UInt8], isRaw: Bool) throws(StationError) {
        guard !head.isEmpty else {
            throw StationError(
                "image_empty", "the image is empty", remedy: "check the file, or what writes into the pipe")
        }
        guard isRaw || hasPartitionTable(head) else {
            throw StationError(
                "image_no_table", "the image begins with neither MBR nor GPT: no card that boots begins so",
                remedy: "is it the file for a card (not a kernel, a root file system or an archive)? "
                    + "If a card shall hold just that: --raw")
        }
    }

    /// Whether there is an MBR with something in it, or a GPT header at one of the two usual sector sizes.
    static func hasPartitionTable(_ head: [UInt8]) -> Bool {
        for offset in [512, 4096] where head.count >= offset + 92 {
            if head[offset..<offset + 8].elementsEqual("EFI PART".utf8) { return true }
        }
        guard head.count >= 512, head[510] == 0x55, head[511] == 0xAA else { return false }
        // Two bytes of 55 AA prove little. Boot code is anything but zeros where a machine would begin to run.
        return head[0..<440].contains { $0 != 0 } || (0..<4).contains { isPartition(head, entry: 446 + $0 * 16) }
    }

    private static func isPartition(_ head: [UInt8], entry: Int) -> Bool {
        let isActiveOrNot = head[entry] == 0x80 || head[entry] == 0
        let type = head[entry + 4]
        let hasSectors = head[entry + 12..<entry + 16].contains { $0 != 0 }
        return isActiveOrNot && type != 0 && hasSectors
    }
}
