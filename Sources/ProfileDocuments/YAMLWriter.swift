import StationCore

/// Writes YAML for people: block style, text without quotes where no reader of YAML 1.1 or 1.2 can take it for anything
/// else, several lines of text as a block.
enum YAMLWriter {
    static func text(of document: DocumentValue) -> String {
        guard case .table(let members) = document, !members.isEmpty else { return "{}\n" }
        return self.members(members, indent: "")
    }

    private static func members(_ members: [DocumentValue.Member], indent: String) -> String {
        members.map { member in indent + scalar(member.key) + ":" + value(member.value, indent: indent) }.joined()
    }

    /// What stands behind `key:`, with the line feed at its end.
    private static func value(_ value: DocumentValue, indent: String) -> String {
        switch value {
        case .table(let members):
            return members.isEmpty ? " {}\n" : "\n" + self.members(members, indent: indent + "  ")
        case .list(let items):
            return items.isEmpty ? " []\n" : "\n" + items.map { item($0, indent: indent + "  ") }.joined()
        case .text(let text): return " " + (block(text, indent: indent + "  ") ?? scalar(text) + "\n")
        case .integer, .boolean: return " \(value.canonicalJSON)\n"
        }
    }

    private static func item(_ item: DocumentValue, indent: String) -> String {
        guard case .table(let members) = item, !members.isEmpty else {
            return indent + "-" + value(item, indent: indent)
        }
        // The first key stands behind the dash, the others below it.
        return indent + "- " + self.members(members, indent: indent + "  ").dropFirst(indent.utf8.count + 2)
    }

    // MARK: Text

    /// Whether a text is the same without quotes in every version of YAML: words of letters, digits and harmless marks, which
    /// begin with a letter and are no word that means something.
    private static func isPlain(_ text: String) -> Bool {
        guard let first = text.unicodeScalars.first, isLetter(first) || first == "/", text.utf8.count <= 100,
            !words.contains(text.lowercased()), !text.hasSuffix(" ")
        else { return false }
        return text.unicodeScalars.allSatisfy { scalar in
            isLetter(scalar) || ("0"..."9").contains(scalar) || " ._+-/(),@".unicodeScalars.contains(scalar)
        }
    }

    private static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
        ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar)
    }

    /// What YAML 1.1 reads as truth or nothing.
    private static let words: Set<String> = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"]

    private static func scalar(_ text: String) -> String { isPlain(text) ? text : quoted(text) }

    /// Between double quotes, with everything escaped that a reader of YAML could change or refuse.
    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            case _ where isRaw(scalar): result.unicodeScalars.append(scalar)
            case _ where scalar.value > 0xFFFF: result += "\\U" + scalar.hexadecimal(digits: 8)
            default: result += "\\u" + scalar.hexadecimal(digits: 4)
            }
        }
        return result + "\""
    }

    /// Printable to YAML, and neither a line break of YAML 1.1 nor a byte order mark.
    private static func isRaw(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x20...0x7E, 0xA0...0x2027, 0x202A...0xD7FF, 0xE000...0xFEFE, 0xFF00...0xFFFD: true
        case 0x10000...0x10FFFF: scalar.value & 0xFFFE != 0xFFFE
        default: false
        }
    }

    /// Several lines as a block behind `|` or `|-`; nil where a block would change them.
    private static func block(_ text: String, indent: String) -> String? {
        let body = text.hasSuffix("\n") ? String(text.dropLast()) : text
        let lines = body.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count > 1 || body != text, let first = lines.first, let last = lines.last else { return nil }
        let isGood = lines.allSatisfy { line in
            line.unicodeScalars.allSatisfy(isRaw) && line.last != " "
        }
        // A space at the very beginning would be taken for indentation, and empty lines at the end are counted by nobody.
        guard isGood, !first.hasPrefix(" "), !first.isEmpty, !last.isEmpty else { return nil }
        let rows = lines.map { $0.isEmpty ? "\n" : "\(indent)\($0)\n" }
        return (body == text ? "|-" : "|") + "\n" + rows.joined()
    }
}
