/// Reads JSON (RFC 8259) with the place of every value, which decoders of JSON do not tell.
///
/// Strict: no comments, no commas at the end, no key twice, no half a surrogate pair.
package struct JSONDocument {
    private let bytes: [UInt8]
    private var index = 0
    private var position = DocumentPosition.start
    private var nodeCount = 0

    /// - Throws: `document_syntax`, `key_duplicate`, and what `DocumentLimits` throws.
    package static func read(_ bytes: [UInt8]) throws(DocumentProblem) -> DocumentNode {
        var reader = JSONDocument(bytes: Array(try DocumentLimits.text(of: bytes).utf8))
        reader.skipSpace()
        guard reader.next != nil else { throw DocumentProblem("document_empty", "nothing stands in it", at: .start) }
        let node = try reader.value(depth: 1)
        reader.skipSpace()
        guard reader.next == nil else { throw reader.syntax("something stands behind the end of the document") }
        return node
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private var next: UInt8? { index < bytes.count ? bytes[index] : nil }

    private func syntax(_ message: String) -> DocumentProblem {
        DocumentProblem("document_syntax", message, at: position)
    }

    /// Goes on by one byte, and with it line and column.
    private mutating func advance() {
        let byte = bytes[index]
        index += 1
        if byte == UInt8(ascii: "\n") {
            position = DocumentPosition(line: position.line + 1, column: 1)
        } else if byte & 0xC0 != 0x80 {
            position.column += 1
        }
    }

    private mutating func skipSpace() {
        while let byte = next, [0x20, 0x09, 0x0A, 0x0D].contains(byte) { advance() }
    }

    /// Takes one character that must stand here.
    private mutating func take(_ character: Unicode.Scalar, _ message: String) throws(DocumentProblem) {
        guard next == UInt8(ascii: character) else { throw syntax(message) }
        advance()
    }

    private mutating func takes(_ character: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: character) else { return false }
        advance()
        return true
    }

    private mutating func value(depth: Int) throws(DocumentProblem) -> DocumentNode {
        let start = position
        nodeCount += 1
        try DocumentLimits.check(depth: depth, nodeCount: nodeCount, at: start)
        switch next {
        case UInt8(ascii: "{"): return DocumentNode(.table(try members(depth: depth)), at: start)
        case UInt8(ascii: "["): return DocumentNode(.list(try items(depth: depth)), at: start)
        case UInt8(ascii: "\""): return DocumentNode(.scalar(.init(try string(), isQuoted: true)), at: start)
        default: return DocumentNode(.scalar(try bare()), at: start)
        }
    }

    private mutating func members(depth: Int) throws(DocumentProblem) -> [DocumentMember] {
        advance()
        var members: [DocumentMember] = []
        var keys: Set<String> = []
        skipSpace()
        if takes("}") { return members }
        while true {
            skipSpace()
            let start = position
            guard next == UInt8(ascii: "\"") else { throw syntax("a key in double quotes is missing") }
            let key = try string()
            guard keys.insert(key).inserted else { throw .duplicate(key, at: start) }
            skipSpace()
            try take(":", "“:” is missing behind a key")
            skipSpace()
            members.append(DocumentMember(key: key, position: start, value: try value(depth: depth + 1)))
            skipSpace()
            if takes("}") { return members }
            try take(",", "“,” or “}” is missing")
        }
    }

    private mutating func items(depth: Int) throws(DocumentProblem) -> [DocumentNode] {
        advance()
        var items: [DocumentNode] = []
        skipSpace()
        if takes("]") { return items }
        while true {
            skipSpace()
            items.append(try value(depth: depth + 1))
            skipSpace()
            if takes("]") { return items }
            try take(",", "“,” or “]” is missing")
        }
    }

    /// A number, `true`, `false` or `null`.
    private mutating func bare() throws(DocumentProblem) -> DocumentScalar {
        let start = self
        var text = ""
        while let byte = next, Self.isBare(byte) {
            text.unicodeScalars.append(Unicode.Scalar(byte))
            advance()
        }
        switch text {
        case "true": return DocumentScalar(text, isQuoted: false, boolean: true)
        case "false": return DocumentScalar(text, isQuoted: false, boolean: false)
        case "null": return DocumentScalar(text, isQuoted: false, absence: .nothing)
        default:
            guard Self.isNumber(text) else { throw start.syntax("there is no value here that JSON knows") }
            return DocumentScalar(text, isQuoted: false, integer: Int64(text))
        }
    }

    private static func isBare(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."):
            true
        default: false
        }
    }

    /// Whether a text is a number of JSON's: `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`.
    private static func isNumber(_ text: String) -> Bool {
        var rest = Array(text.utf8)[...]
        func isDigit(_ byte: UInt8) -> Bool { (48...57).contains(byte) }
        if rest.first == UInt8(ascii: "-") { rest = rest.dropFirst() }
        let whole = rest.prefix(while: isDigit)
        guard whole.count == 1 || (whole.count > 1 && whole.first != UInt8(ascii: "0")) else { return false }
        rest = rest.dropFirst(whole.count)
        if rest.first == UInt8(ascii: ".") {
            let fraction = rest.dropFirst().prefix(while: isDigit)
            guard !fraction.isEmpty else { return false }
            rest = rest.dropFirst(1 + fraction.count)
        }
        if let exponent = rest.first, exponent | 0x20 == UInt8(ascii: "e") {
            rest = rest.dropFirst()
            if let sign = rest.first, sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") { rest = rest.dropFirst() }
            let digits = rest.prefix(while: isDigit)
            guard !digits.isEmpty else { return false }
            rest = rest.dropFirst(digits.count)
        }
        return rest.isEmpty
    }

    // MARK: Strings

    private mutating func string() throws(DocumentProblem) -> String {
        advance()
        var content: [UInt8] = []
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                advance()
                return String(decoding: content, as: UTF8.self)
            case UInt8(ascii: "\\"): content += Array(String(Character(try escape())).utf8)
            case 0..<0x20: throw syntax("a control character stands in a string: write it as \\n, \\t or \\u00XX")
            default:
                content.append(byte)
                advance()
            }
        }
        throw syntax("a string has no end")
    }

    private mutating func escape() throws(DocumentProblem) -> Unicode.Scalar {
        let start = self
        advance()
        guard let byte = next else { throw syntax("a string has no end") }
        advance()
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            let unit = try hexadecimal()
            if let scalar = Unicode.Scalar(unit) { return scalar }
            // The first half of a pair; the second must follow.
            if unit < 0xDC00, takes("\\"), takes("u") {
                let low = try hexadecimal()
                if (0xDC00...0xDFFF).contains(low),
                    let scalar = Unicode.Scalar(0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00))
                {
                    return scalar
                }
            }
            throw start.syntax("half a surrogate pair is no character")
        default: throw start.syntax("JSON has no such escape")
        }
    }

    private mutating func hexadecimal() throws(DocumentProblem) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw syntax("\\u needs four hexadecimal digits")
            }
            value = value << 4 | UInt32(digit)
            advance()
        }
        return value
    }
}

extension DocumentProblem {
    /// A key that a table has twice.
    package static func duplicate(_ key: String, at position: DocumentPosition) -> DocumentProblem {
        DocumentProblem(
            "key_duplicate", "“\(key.printable(limit: 60))” stands here a second time", remedy: "keep one of them",
            at: position)
    }
}
