package import StationCore

/// The formats that profiles are written in.
package enum DocumentFormat: String, CaseIterable, Sendable {
    case yaml, json, toml

    /// By the end of a file's name; nil for any other.
    package init?(fileName: String) {
        let parts = fileName.split(separator: ".", omittingEmptySubsequences: false)
        switch parts.dropFirst().last?.lowercased() {
        case "yaml", "yml": self = .yaml
        case "json": self = .json
        case "toml": self = .toml
        default: return nil
        }
    }

    /// The tree of a document.
    /// - Throws: what is wrong with it as a document; the first thing only, since what follows is guesswork.
    package func read(_ bytes: [UInt8]) throws(DocumentProblem) -> DocumentNode {
        switch self {
        case .yaml: try YAMLDocument.read(bytes)
        case .json: try JSONDocument.read(bytes)
        case .toml: try TOMLDocument.read(bytes)
        }
    }

    /// The text of a document, with a line feed at its end. Reading it gives the same values.
    /// - Parameter document: a table.
    package func write(_ document: DocumentValue) -> String {
        switch self {
        case .yaml: YAMLWriter.text(of: document)
        case .json: JSONWriter.text(of: document)
        case .toml: TOMLWriter.text(of: document)
        }
    }
}
