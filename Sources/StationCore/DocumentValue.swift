/// A value that is to be written as a document, in whichever format.
package indirect enum DocumentValue: Equatable, Sendable {
    case text(String)
    case integer(Int64)
    case boolean(Bool)
    case list([DocumentValue])
    /// In the order in which it shall be written.
    case table([Member])

    package struct Member: Equatable, Sendable {
        package var key: String
        package var value: DocumentValue

        package init(_ key: String, _ value: DocumentValue) {
            self.key = key
            self.value = value
        }
    }

    /// JSON without spaces, its keys sorted, with the fewest escapes: the one text that a digest is taken of.
    package var canonicalJSON: String {
        switch self {
        case .text(let text): Self.quoted(text)
        case .integer(let value): "\(value)"
        case .boolean(let value): "\(value)"
        case .list(let items): "[" + items.map(\.canonicalJSON).joined(separator: ",") + "]"
        case .table(let members):
            "{"
                + members.sorted { $0.key < $1.key }.map { Self.quoted($0.key) + ":" + $0.value.canonicalJSON }
                .joined(separator: ",") + "}"
        }
    }

    /// A text between double quotes with the escapes that JSON wants.
    package static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            case _ where scalar.value < 0x20: result += "\\u" + scalar.hexadecimal(digits: 4)
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

extension Unicode.Scalar {
    /// Its number with at least so many hexadecimal digits.
    package func hexadecimal(digits: Int) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
    }
}

extension DocumentNode {
    /// A document that came as decoded JSON, which does not know any more where things stood.
    package init(_ value: JSONValue) {
        let content: Content =
            switch value {
            case .null: .scalar(.init("null", isQuoted: false, absence: .nothing))
            case .bool(let value): .scalar(.init("\(value)", isQuoted: false, boolean: value))
            case .integer(let value): .scalar(.init("\(value)", isQuoted: false, integer: value))
            case .number(let value): .scalar(.init("\(value)", isQuoted: false))
            case .string(let text): .scalar(.init(text, isQuoted: true))
            case .array(let items): .list(items.map { DocumentNode($0) })
            case .object(let members):
                .table(
                    members.sorted { $0.key < $1.key }.map { key, value in
                        DocumentMember(key: key, position: .start, value: DocumentNode(value))
                    })
            }
        self.init(content, at: .start)
    }
}

extension DocumentValue {
    /// JSON as a document; what JSON has and a profile does not becomes text.
    package init(_ value: JSONValue) {
        switch value {
        case .null: self = .text("null")
        case .bool(let value): self = .boolean(value)
        case .integer(let value): self = .integer(value)
        case .number(let value): self = .text("\(value)")
        case .string(let text): self = .text(text)
        case .array(let items): self = .list(items.map { DocumentValue($0) })
        case .object(let members):
            self = .table(members.sorted { $0.key < $1.key }.map { Member($0.key, DocumentValue($0.value)) })
        }
    }
}
