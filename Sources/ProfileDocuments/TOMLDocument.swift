import CTOML
package import StationCore

/// Reads TOML by toml++. A number, date or time keeps the text that stands in the file.
package enum TOMLDocument {
    /// - Throws: `document_syntax`, `document_empty`, and what `DocumentLimits` throws. A key that stands twice is
    ///   `document_syntax`, too.
    package static func read(_ bytes: [UInt8]) throws(DocumentProblem) -> DocumentNode {
        var text = try DocumentLimits.text(of: bytes)
        try TOMLKeyDepth.check(text)
        let result = text.withUTF8 { bytes -> Result<DocumentNode, DocumentProblem> in
            let parsed = bytes.withMemoryRebound(to: CChar.self) { station_toml_read($0.baseAddress, $0.count) }
            guard let parsed else {
                return .failure(DocumentProblem("internal_error", "toml++ has no memory", at: .start))
            }
            defer { station_toml_free(parsed) }
            do throws(DocumentProblem) {
                var tree = TOMLTree(parsed, text: bytes)
                return .success(try tree.document())
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}

/// Refuses dotted keys of very many parts. toml++ makes a table inside a table of each part and goes through them by recursion:
/// a line of a megabyte would end the program.
enum TOMLKeyDepth {
    static func check(_ text: String) throws(DocumentProblem) {
        var dots = 0
        var position = DocumentPosition.start
        var rest = Array(text.utf8)[...]
        while let byte = rest.first {
            var count = 1
            switch byte {
            case UInt8(ascii: "#"): count = rest.prefix { $0 != UInt8(ascii: "\n") }.count
            case UInt8(ascii: "\""), UInt8(ascii: "'"): count = stringLength(rest, quote: byte)
            case UInt8(ascii: "."):
                dots += 1
                if dots > DocumentLimits.depth {
                    throw DocumentProblem(
                        "document_too_deep", "a key with more than \(DocumentLimits.depth) parts", at: position)
                }
            case UInt8(ascii: "\n"), UInt8(ascii: "="), UInt8(ascii: ","), UInt8(ascii: "["), UInt8(ascii: "]"),
                UInt8(ascii: "{"), UInt8(ascii: "}"):
                dots = 0
            default: break
            }
            for byte in rest.prefix(count) {
                if byte == UInt8(ascii: "\n") {
                    position = DocumentPosition(line: position.line + 1, column: 1)
                } else if byte & 0xC0 != 0x80 {
                    position.column += 1
                }
            }
            rest = rest.dropFirst(count)
        }
    }

    /// The bytes of a string with its quotes, of one line or of several; to the end of the text where it has no end.
    private static func stringLength(_ text: ArraySlice<UInt8>, quote: UInt8) -> Int {
        let isLong = text.count >= 3 && text.prefix(3).allSatisfy { $0 == quote }
        let width = isLong ? 3 : 1
        var index = text.startIndex + width
        while index < text.endIndex {
            if quote == UInt8(ascii: "\""), text[index] == UInt8(ascii: "\\") {
                index += 2
            } else if text[index...].prefix(width).count == width,
                text[index...].prefix(width).allSatisfy({ $0 == quote })
            {
                return index + width - text.startIndex
            } else if !isLong, text[index] == UInt8(ascii: "\n") {
                return index - text.startIndex
            } else {
                index += 1
            }
        }
        return text.count
    }
}

/// The tree that is made of toml++'s flat list of nodes.
private struct TOMLTree {
    private let parsed: OpaquePointer
    private let nodes: UnsafeBufferPointer<station_toml_node>
    private let text: UnsafeBufferPointer<UInt8>
    /// Where each code point begins, and where the text ends.
    private let codePoints: [Int]
    /// With which of the code points each line begins.
    private let lines: [Int]
    private var index = 0

    init(_ parsed: OpaquePointer, text: UnsafeBufferPointer<UInt8>) {
        self.parsed = parsed
        nodes = UnsafeBufferPointer(start: station_toml_nodes(parsed), count: station_toml_count(parsed))
        self.text = text
        let codePoints = text.indices.filter { text[$0] & 0xC0 != 0x80 }
        lines = [0] + codePoints.indices.filter { text[codePoints[$0]] == UInt8(ascii: "\n") }.map { $0 + 1 }
        self.codePoints = codePoints + [text.count]
    }

    mutating func document() throws(DocumentProblem) -> DocumentNode {
        var line: UInt32 = 1
        var column: UInt32 = 1
        if let message = station_toml_error(parsed, &line, &column) {
            // It quotes what it found, whatever that is.
            throw DocumentProblem(
                "document_syntax", "this is no TOML: " + String(cString: message).printable(limit: 300),
                at: Self.position(line, column))
        }
        var root = try node(depth: 1, otherwise: .start)
        root.position = .start
        if case .table([]) = root.content {
            throw DocumentProblem("document_empty", "nothing stands in it", at: .start)
        }
        return root
    }

    private static func position(_ line: UInt32, _ column: UInt32) -> DocumentPosition {
        DocumentPosition(line: Int(max(1, line)), column: Int(max(1, column)))
    }

    /// The node at `index` with all of its own.
    /// - Parameter otherwise: where it stands if toml++ does not say, as of tables that only dotted keys make.
    private mutating func node(depth: Int, otherwise: DocumentPosition) throws(DocumentProblem) -> DocumentNode {
        let node = nodes[index]
        index += 1
        let position = node.line > 0 ? Self.position(node.line, node.column) : otherwise
        try DocumentLimits.check(depth: depth, nodeCount: index, at: position)
        switch node.kind {
        case station_toml_table:
            var members: [DocumentMember] = []
            for _ in 0..<node.count {
                let next = nodes[index]
                let key = Self.string(next.key, next.key_length)
                let place = next.key_line > 0 ? Self.position(next.key_line, next.key_column) : position
                let value = try self.node(depth: depth + 1, otherwise: place)
                members.append(DocumentMember(key: key, position: place, value: value))
            }
            // toml++ sorts them by name.
            return DocumentNode(.table(members.sorted { $0.position < $1.position }), at: position)
        case station_toml_list:
            var items: [DocumentNode] = []
            for _ in 0..<node.count { items.append(try self.node(depth: depth + 1, otherwise: position)) }
            return DocumentNode(.list(items), at: position)
        case station_toml_string:
            return DocumentNode(.scalar(.init(Self.string(node.text, node.text_length), isQuoted: true)), at: position)
        default:
            var scalar = DocumentScalar(source(of: node), isQuoted: false)
            if node.kind == station_toml_integer { scalar.integer = node.number }
            if node.kind == station_toml_boolean { scalar.boolean = node.number != 0 }
            return DocumentNode(.scalar(scalar), at: position)
        }
    }

    private static func string(_ start: UnsafePointer<CChar>?, _ count: Int) -> String {
        let bytes = UnsafeRawBufferPointer(start: start, count: count)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// What stands in the file for a value without quotes.
    private func source(of node: station_toml_node) -> String {
        let begin = offset(node.line, node.column)
        let end = offset(node.end_line, node.end_column)
        guard begin < end, end <= text.count else { return "" }
        return String(decoding: text[begin..<end], as: UTF8.self).trimmed
    }

    private func offset(_ line: UInt32, _ column: UInt32) -> Int {
        guard line > 0, Int(line) <= lines.count else { return text.count }
        // Looked up, not counted: a line may have thousands of values.
        return codePoints[min(lines[Int(line) - 1] + max(0, Int(column) - 1), codePoints.count - 1)]
    }
}
