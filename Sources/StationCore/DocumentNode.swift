/// A place in a text file: line and column, both counted from 1, columns in Unicode scalars.
package struct DocumentPosition: Hashable, Comparable, Codable, Sendable {
    package var line: Int
    package var column: Int

    package init(line: Int, column: Int) {
        self.line = line
        self.column = column
    }

    /// Where a file begins.
    package static let start = DocumentPosition(line: 1, column: 1)

    package static func < (left: DocumentPosition, right: DocumentPosition) -> Bool {
        (left.line, left.column) < (right.line, right.column)
    }
}

/// One value of a document, whether it was written as YAML, JSON or TOML, and where it stands.
package struct DocumentNode: Equatable, Sendable {
    package enum Content: Equatable, Sendable {
        case scalar(DocumentScalar)
        case list([DocumentNode])
        /// In the order of the file; no key twice.
        case table([DocumentMember])
    }

    package var content: Content
    package var position: DocumentPosition

    package init(_ content: Content, at position: DocumentPosition) {
        self.content = content
        self.position = position
    }

    /// What it is, for messages: `text`, `a list`, `a table`.
    package var kind: String {
        switch content {
        case .scalar(let scalar):
            if scalar.isQuoted { return "text" }
            return scalar.absence == .nothing ? "nothing" : "“\(scalar.text.printable(limit: 40))”"
        case .list: return "a list"
        case .table: return "a table"
        }
    }
}

/// A key of a table, its value, and where the key stands.
package struct DocumentMember: Equatable, Sendable {
    package var key: String
    package var position: DocumentPosition
    package var value: DocumentNode

    package init(key: String, position: DocumentPosition, value: DocumentNode) {
        self.key = key
        self.position = position
        self.value = value
    }
}

/// A value that is neither list nor table: its text as it was written, and what its format makes of it.
///
/// What was written without quotes keeps its text, so that a field of text reads `23.05`, `yes`, `0644`, `1e3` and
/// `2025-01-01` as exactly that, while a field of numbers or of truth reads the same text as its format means it.
package struct DocumentScalar: Equatable, Sendable {
    /// Whether the format says that there is no value.
    package enum Absence: Equatable, Sendable {
        case no
        /// A word that could be text too: YAML's `null` and `~`.
        case word
        /// JSON's `null`, or nothing at all behind a YAML key.
        case nothing
    }

    package var text: String
    /// In quotes, or a block of text.
    package var isQuoted: Bool
    package var boolean: Bool?
    package var integer: Int64?
    package var absence: Absence

    package init(
        _ text: String, isQuoted: Bool, boolean: Bool? = nil, integer: Int64? = nil, absence: Absence = .no
    ) {
        self.text = text
        self.isQuoted = isQuoted
        self.boolean = boolean
        self.integer = integer
        self.absence = absence
    }
}

/// What is wrong with a document or a value in it, and where.
package struct DocumentProblem: Error, Equatable, Sendable {
    /// A stable word in snake_case, such as `document_syntax`.
    package var code: String
    package var message: String
    package var remedy: String
    package var position: DocumentPosition

    package init(_ code: String, _ message: String, remedy: String = "", at position: DocumentPosition) {
        self.code = code
        self.message = message
        self.remedy = remedy
        self.position = position
    }
}

/// How large a document may be. What is beyond is refused before anybody looks at its meaning.
package enum DocumentLimits {
    /// Of the file.
    package static let byteCount = 1 << 20
    /// Lists and tables inside each other.
    package static let depth = 16
    /// Values of all kinds.
    package static let nodeCount = 50_000

    /// The text of a document: UTF-8, without its byte order mark.
    /// - Throws: `document_too_large`, `document_encoding`.
    package static func text(of bytes: [UInt8]) throws(DocumentProblem) -> String {
        guard bytes.count <= byteCount else {
            throw DocumentProblem(
                "document_too_large", "it has more than \(Quantity.bytes(UInt64(byteCount)))",
                remedy: "large files belong into overlay_dir, not into the profile", at: .start)
        }
        let isMarked = bytes.starts(with: [0xEF, 0xBB, 0xBF])
        guard let text = String(validating: bytes.dropFirst(isMarked ? 3 : 0), as: UTF8.self) else {
            throw DocumentProblem(
                "document_encoding", "it is not UTF-8", remedy: "save it as UTF-8", at: .start)
        }
        return text
    }

    /// Counts a value that a reader has come to.
    /// - Throws: `document_too_deep`, `document_too_many_values`.
    package static func check(depth: Int, nodeCount: Int, at position: DocumentPosition) throws(DocumentProblem) {
        guard depth <= Self.depth else {
            throw DocumentProblem(
                "document_too_deep", "more than \(Self.depth) lists and tables inside each other", at: position)
        }
        guard nodeCount <= Self.nodeCount else {
            throw DocumentProblem(
                "document_too_many_values", "more than \(Self.nodeCount) values", at: position)
        }
    }
}
