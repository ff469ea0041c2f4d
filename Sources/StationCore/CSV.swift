/// Tables for spreadsheets and scripts, as RFC 4180 has them.
package enum CSV {
    /// One record, with its line end.
    ///
    /// A text that a spreadsheet would take for a formula gets an apostrophe in front: what a card or a reader calls itself
    /// must not be carried out on the desk of whoever opens the file. Numbers are not texts, and stay as they are.
    package static func record(_ fields: [Field]) -> String { fields.map(\.text).joined(separator: ",") + "\r\n" }

    /// One field of a record.
    package enum Field: Equatable, Sendable {
        case text(String)
        case number(Double, digits: Int)
        case count(UInt64)
        case flag(Bool)
        case none

        fileprivate var text: String {
            switch self {
            case .text(let text): CSV.quoted(CSV.harmless(text))
            case .number(let value, let digits): value.isFinite ? Quantity.fixed(value, digits: digits) : ""
            case .count(let count): String(count)
            case .flag(let flag): flag ? "true" : "false"
            case .none: ""
            }
        }
    }

    private static func harmless(_ text: String) -> String {
        guard let first = text.unicodeScalars.first(where: { $0 != " " }) else { return text }
        // The wide forms count, too: spreadsheets of East Asia take them for the narrow ones.
        let isFormula = "=+-@\t\r\n＝＋－＠|%".unicodeScalars.contains(first)
        return isFormula ? "'" + text : text
    }

    private static func quoted(_ text: String) -> String {
        let needsQuotes =
            text.unicodeScalars.contains { "\",\r\n".unicodeScalars.contains($0) }
            || text.first == " " || text.last == " "
        guard needsQuotes else { return text }
        // By scalars: a quote with an accent on it is a quote all the same.
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars { result += scalar == "\"" ? [scalar, scalar] : [scalar] }
        return "\"" + String(result) + "\""
    }
}
