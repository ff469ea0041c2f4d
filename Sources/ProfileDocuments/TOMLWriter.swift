import StationCore

/// Writes TOML for people: values first, then tables under `[name]`, then lists of tables under `[[name]]`, since in TOML
/// everything behind such a heading belongs to it.
enum TOMLWriter {
    static func text(of document: DocumentValue) -> String {
        guard case .table(let members) = document else { return "" }
        return table(members, path: "")
    }

    private static func table(_ members: [DocumentValue.Member], path: String) -> String {
        var values = ""
        var sections = ""
        for member in members {
            let name = path.isEmpty ? key(member.key) : "\(path).\(key(member.key))"
            switch member.value {
            case .table(let inner): sections += "\n[\(name)]\n" + table(inner, path: name)
            case .list(let items) where items.contains(where: \.isTable):
                for case .table(let inner) in items { sections += "\n[[\(name)]]\n" + table(inner, path: name) }
            default: values += "\(key(member.key)) = \(value(member.value))\n"
            }
        }
        return values + sections
    }

    private static func value(_ value: DocumentValue) -> String {
        switch value {
        case .text(let text): return string(text)
        case .list(let items):
            let texts = items.map { self.value($0) }
            let line = "[" + texts.joined(separator: ", ") + "]"
            return line.utf8.count <= 80 ? line : "[\n" + texts.map { "  \($0),\n" }.joined() + "]"
        default: return value.canonicalJSON
        }
    }

    private static func key(_ key: String) -> String {
        let isBare =
            !key.isEmpty
            && key.unicodeScalars.allSatisfy { scalar in
                scalar.isASCII
                    && (Character(scalar).isLetter || Character(scalar).isNumber
                        || "_-".unicodeScalars.contains(scalar))
            }
        return isBare ? key : string(key)
    }

    /// One line between double quotes, several between three of them, with TOML's escapes.
    private static func string(_ text: String) -> String {
        let isLong = text.dropLast().contains("\n") && !text.contains("\r")
        var result = isLong ? "\"\"\"\n" : "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += isLong ? "\n" : "\\n"
            case "\t": result += "\\t"
            case _ where scalar.properties.generalCategory == .control: result += "\\u" + scalar.hexadecimal(digits: 4)
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + (isLong ? "\"\"\"" : "\"")
    }
}

extension DocumentValue {
    fileprivate var isTable: Bool {
        if case .table = self { return true }
        return false
    }
}
