import StationCore

/// Writes JSON for people: in the given order, with two spaces, short lists in one line.
enum JSONWriter {
    static func text(of document: DocumentValue) -> String { value(document, indent: "") + "\n" }

    private static func value(_ value: DocumentValue, indent: String) -> String {
        let inner = indent + "  "
        switch value {
        case .list(let items):
            if items.allSatisfy(\.isScalar) {
                let line = "[" + items.map(\.canonicalJSON).joined(separator: ", ") + "]"
                if line.utf8.count <= 80 { return line }
            }
            return lines("[", items.map { inner + self.value($0, indent: inner) }, "]", indent)
        case .table(let members):
            let rows = members.map { "\(inner)\(DocumentValue.quoted($0.key)): \(self.value($0.value, indent: inner))" }
            return lines("{", rows, "}", indent)
        default: return value.canonicalJSON
        }
    }

    private static func lines(_ open: String, _ rows: [String], _ close: String, _ indent: String) -> String {
        rows.isEmpty ? open + close : open + "\n" + rows.joined(separator: ",\n") + "\n" + indent + close
    }
}

extension DocumentValue {
    var isScalar: Bool {
        switch self {
        case .list, .table: false
        default: true
        }
    }
}
