/// Which artifact of a build goes onto a card.
///
/// From the best to the last: an image made for cards; a factory image that is a disk; a disk for a PC or a virtual machine; the
/// upgrade image where that is a whole disk. What is for a device's own flash memory never is one, and whatever is chosen must
/// still begin with a partition table when it is unpacked.
package enum CardImageChoice {
    /// - Parameter filesystem: the profile's policy; an image without a file system of its own fits any.
    /// - Throws: `no_card_image`, with what there is instead.
    package static func choose(
        from images: [ImagesOverview.Image], device: String, filesystem: Profile.Filesystem?
    ) throws(StationError) -> ImagesOverview.Image {
        let candidates = images.filter { rank($0) != nil }
        guard !candidates.isEmpty else {
            let names = images.map(\.type).reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
            let list = names.isEmpty ? "nothing" : names.prefix(8).joined(separator: ", ")
            throw StationError(
                "no_card_image",
                "OpenWrt has no image of \(device.printable(limit: 80)) for a card: the build has \(list), which are for the "
                    + "device's own flash memory",
                remedy: "flash that device as its page at openwrt.org says; stationctl artifact list shows the files")
        }
        let fitting = candidates.filter { image in
            filesystem.map { image.filesystem == nil || image.filesystem == $0.rawValue } ?? true
        }
        // The first of the best: `min(by:)` keeps the order of profiles.json among equals.
        guard let best = fitting.min(by: { (rank($0) ?? .max) < (rank($1) ?? .max) }) else {
            let there = candidates.compactMap(\.filesystem).reduce(into: [String]()) {
                if !$0.contains($1) { $0.append($1) }
            }
            throw StationError(
                "no_card_image",
                "the card images of \(device.printable(limit: 80)) have \(there.joined(separator: " and ")), and the profile asks "
                    + "for \(filesystem?.rawValue ?? "none")",
                remedy: "set policies.filesystem to \(there.first ?? "squashfs"), or leave it out")
        }
        return best
    }

    /// Nil for what does not go onto a card; less is better.
    private static func rank(_ image: ImagesOverview.Image) -> Int? {
        let name = image.name.lowercased()
        let type = image.type.lowercased()
        // Packed: a plain factory.img is what the boot loader of a router with NAND memory takes.
        let isDisk = ["gz", "xz", "zst", "bz2"].contains { name.hasSuffix(".img.\($0)") }
        guard !type.hasPrefix("emmc"), image.filesystem != "initramfs" else { return nil }
        switch type {
        case "sdcard", "sdcard.img", "sdcard.img.gz": return 0
        case "factory" where isDisk, "factory.img.gz" where isDisk: return 1
        case "combined-efi" where isDisk: return 2
        case "combined" where isDisk || name.hasSuffix(".bin"), "combined.bin": return 3
        case "sysupgrade" where isDisk, "sysupgrade.img.gz" where isDisk: return 4
        default: return nil
        }
    }
}
