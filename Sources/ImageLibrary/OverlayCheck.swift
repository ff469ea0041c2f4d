import StationCore

/// Reads the archive of a profile's files as it passes by, and lets nothing through that stationctl would not have packed: ustar,
/// sorted by path, each directory before what is in it, regular files, directories and links that stay inside, nothing else.
///
/// So one tree has one archive and one SHA-256, whoever packed it.
struct OverlayCheck {
    private var block: [UInt8] = []
    /// Of the present file's content with its padding, still to come.
    private var left: UInt64 = 0
    private var emptyBlocks = 0
    private var last: [UInt8] = []
    private var directories: Set<[UInt8]> = []

    /// - Throws: `overlay_invalid`.
    mutating func take(_ bytes: UnsafeRawBufferPointer) throws(StationError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            if left > 0 {
                let count = Int(min(left, UInt64(rest.count)))
                left -= UInt64(count)
                rest = rest.dropFirst(count)
                continue
            }
            let count = min(512 - block.count, rest.count)
            block += rest.prefix(count)
            rest = rest.dropFirst(count)
            if block.count == 512 {
                try header()
                block = []
            }
        }
    }

    /// - Throws: `overlay_invalid` unless the archive ended as it should.
    func finish() throws(StationError) {
        guard emptyBlocks == 2, block.isEmpty, left == 0 else { throw Self.invalid("it has no end") }
    }

    private static func invalid(_ why: String) -> StationError {
        StationError(
            "overlay_invalid", "the archive of the profile's files is not as stationctl packs it: \(why)",
            remedy: "stationctl profile import FILE packs and sends it")
    }

    private mutating func header() throws(StationError) {
        guard emptyBlocks < 2 else { throw Self.invalid("something stands behind its end") }
        if block.allSatisfy({ $0 == 0 }) {
            emptyBlocks += 1
            return
        }
        guard emptyBlocks == 0 else { throw Self.invalid("it has a gap") }
        let sum = block.indices.reduce(0) { $0 + ((148..<156).contains($1) ? 0x20 : Int(block[$1])) }
        guard Array(block[257..<265]) == Array("ustar\0".utf8) + Array("00".utf8), number(148..<154) == UInt64(sum),
            let mode = number(100..<107), mode <= 0o7777, let size = number(124..<135), number(108..<115) == 0,
            number(116..<123) == 0, number(136..<147) == 0, let name = text(0..<100), let prefix = text(345..<500),
            let target = text(157..<257), text(265..<297) != nil, text(297..<329) != nil,
            // Numbers of devices, of which there are none.
            block[329..<345].allSatisfy({ $0 == 0 || $0 == 0x30 })
        else { throw Self.invalid("a header is damaged") }
        let path = prefix.isEmpty ? name : "\(prefix)/\(name)"
        try entry(path, type: block[156], target: target, byteCount: size)
    }

    private mutating func entry(
        _ path: String, type: UInt8, target: String, byteCount: UInt64
    ) throws(StationError) {
        let shown = "“\(path.printable())”"
        let isDirectory = type == UInt8(ascii: "5")
        let bytes = path.utf8.last == UInt8(ascii: "/") && isDirectory ? path.utf8.dropLast() : path.utf8[...]
        let plain = String(decoding: bytes, as: UTF8.self)
        let parts = Path.parts(plain, omittingEmpty: false)
        guard !parts.contains(""), !parts.contains("."), !parts.contains(".."), plain.printable() == plain else {
            throw Self.invalid("\(shown) is no path inside a tree")
        }
        let order = Array(plain.utf8)
        guard last.lexicographicallyPrecedes(order) else { throw Self.invalid("\(shown) is out of order") }
        guard parts.count == 1 || directories.contains(Array(Path.parent(plain).utf8)) else {
            throw Self.invalid("the directory of \(shown) is not there")
        }
        last = order
        switch type {
        case UInt8(ascii: "5") where byteCount == 0 && target.isEmpty && path != plain: directories.insert(order)
        case UInt8(ascii: "0") where target.isEmpty: left = (byteCount + 511) / 512 * 512
        case UInt8(ascii: "2") where byteCount == 0 && Path.staysInside(target, depth: parts.count - 1): break
        default: throw Self.invalid("\(shown) is neither file nor directory, or a link that leads out")
        }
    }

    /// Octal digits with a zero byte behind them; nil for anything else.
    private func number(_ range: Range<Int>) -> UInt64? {
        guard block[range].allSatisfy({ (48...55).contains($0) }), block[range.upperBound] == 0 else { return nil }
        return UInt64(String(decoding: block[range], as: UTF8.self), radix: 8)
    }

    /// Bytes up to the first zero; nil where they are not UTF-8, or something stands behind the zero.
    private func text(_ range: Range<Int>) -> String? {
        let bytes = block[range].prefix { $0 != 0 }
        guard block[range].dropFirst(bytes.count).allSatisfy({ $0 == 0 }) else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }
}
