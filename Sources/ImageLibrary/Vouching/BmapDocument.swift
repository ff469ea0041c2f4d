import CExpat
import StationCore

/// The XML of a bmap file, by expat, as texts: nothing in it is believed yet.
///
/// A document type is refused, so that no entity can be declared: neither one that grows, nor one that names a file.
final class BmapDocument {
    struct Range {
        var text = ""
        /// Of version 1.4 and newer.
        var checksum: String?
        /// Of version 1.3.
        var sha1: String?
    }

    /// No image for a card has more.
    private static let rangeLimit = 1 << 20
    private static let textLimit = 4096
    private static let depthLimit = 8

    private(set) var version = ""
    private(set) var ranges: [Range] = []
    private var texts: [String: String] = [:]
    /// The elements that are open, the outermost first.
    private var open: [String] = []
    private var refusal: String?

    /// - Throws: `bmap_invalid`.
    init(_ file: [UInt8]) throws(StationError) {
        guard let parser = XML_ParserCreate(nil) else { throw StationError("internal_error", "no memory for expat") }
        defer { XML_ParserFree(parser) }
        // This object outlives the parser: both end with this function, the parser first.
        XML_SetUserData(parser, Unmanaged.passUnretained(self).toOpaque())
        XML_SetElementHandler(
            parser,
            { user, name, attributes in
                BmapDocument.of(user)?.begin(BmapDocument.text(name), BmapDocument.attributes(attributes))
            }, { user, _ in BmapDocument.of(user)?.end() })
        XML_SetCharacterDataHandler(parser) { user, bytes, count in
            let text = UnsafeBufferPointer(start: bytes, count: Int(count)).map { UInt8(bitPattern: $0) }
            BmapDocument.of(user)?.append(String(decoding: text, as: UTF8.self))
        }
        XML_SetStartDoctypeDeclHandler(parser) { user, _, _, _, _ in
            BmapDocument.of(user)?.refuse("it declares a document type")
        }
        // In pieces, so that what is refused is refused soon.
        var rest = file[...]
        repeat {
            let piece = Array(rest.prefix(64 * 1024))
            rest = rest.dropFirst(piece.count)
            let status = piece.withUnsafeBytes { raw in
                XML_Parse(
                    parser, raw.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(raw.count), rest.isEmpty ? 1 : 0
                )
            }
            if let refusal { throw Bmap.invalid(refusal) }
            guard status == XML_STATUS_OK else {
                let why = XML_ErrorString(XML_GetErrorCode(parser)).map { String(cString: $0) } ?? "it is no XML"
                throw Bmap.invalid("line \(XML_GetCurrentLineNumber(parser)): \(why.printable(limit: 120))")
            }
        } while !rest.isEmpty
        guard !version.isEmpty else { throw Bmap.invalid("it is XML, and no bmap") }
    }

    /// The text of an element below `bmap`, without space around it.
    /// - Throws: `bmap_invalid`.
    func text(_ element: String) throws(StationError) -> String {
        guard let text = texts[element]?.trimmed, !text.isEmpty else { throw Bmap.invalid("it has no \(element)") }
        return text
    }

    /// - Throws: `bmap_invalid`.
    func number(_ element: String) throws(StationError) -> UInt64 {
        guard let number = UInt64(try text(element)) else { throw Bmap.invalid("its \(element) is no number") }
        return number
    }

    private func begin(_ name: String, _ attributes: [String: String]) {
        open.append(name)
        if open.count > Self.depthLimit { refuse("its elements stand too deep in each other") }
        if open == ["bmap"] { version = attributes["version"] ?? "" }
        guard open == ["bmap", "BlockMap", "Range"] else { return }
        ranges.append(Range(checksum: attributes["chksum"], sha1: attributes["sha1"]))
        if ranges.count > Self.rangeLimit { refuse("it has more than \(Self.rangeLimit) ranges") }
    }

    private func end() { _ = open.popLast() }

    private func append(_ text: String) {
        if open == ["bmap", "BlockMap", "Range"] {
            ranges[ranges.count - 1].text += text
            if ranges[ranges.count - 1].text.utf8.count > Self.textLimit { refuse("a range is too long") }
        } else if open.count == 2, open[0] == "bmap", open[1] != "BlockMap" {
            texts[open[1], default: ""] += text
            if texts[open[1], default: ""].utf8.count > Self.textLimit { refuse("a text is too long") }
        }
    }

    private func refuse(_ why: String) { refusal = refusal ?? why }

    private static func of(_ user: UnsafeMutableRawPointer?) -> BmapDocument? {
        user.map { Unmanaged<BmapDocument>.fromOpaque($0).takeUnretainedValue() }
    }

    private static func text(_ characters: UnsafePointer<CChar>?) -> String {
        characters.map { String(cString: $0) } ?? ""
    }

    /// Names and values in turn, and a null pointer behind the last.
    private static func attributes(_ list: UnsafeMutablePointer<UnsafePointer<CChar>?>?) -> [String: String] {
        var result: [String: String] = [:]
        guard var next = list else { return result }
        while let name = next[0], let value = next[1] {
            result[String(cString: name)] = String(cString: value)
            next += 2
        }
        return result
    }
}
