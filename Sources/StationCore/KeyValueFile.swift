/// A file of `Key=value` lines under `[Section]` headings, as systemd's are: `#` and `;` begin a comment, a line that ends
/// in a backslash goes on in the next, and a key may be given several times.
package struct KeyValueFile: Sendable {
    /// One assignment and the line it stands in, counted from 1.
    package struct Entry: Equatable, Sendable {
        package var section: String
        package var key: String
        package var value: String
        package var line: Int
    }

    /// What the file is called in messages.
    package let name: String
    package let entries: [Entry]

    /// The largest file that is read, in bytes.
    package static let byteLimit = 64 * 1024

    /// - Throws: `config_syntax`, naming file and line.
    package init(name: String, text: String) throws(StationError) {
        guard text.utf8.count <= Self.byteLimit else {
            throw StationError("config_syntax", "\(name) is larger than \(Self.byteLimit) bytes")
        }
        var entries: [Entry] = []
        var section = ""
        var pending = ""
        var pendingLine = 0
        // To Swift a carriage return and a line feed are one character. The empty line ends what a backslash left open.
        let lines: [Substring] = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" } + [""]
        for (index, raw) in lines.enumerated() {
            var line = String(raw).trimmed
            if line.hasPrefix("#") || line.hasPrefix(";") { continue }
            if pending.isEmpty {
                if line.isEmpty { continue }
                pendingLine = index + 1
            }
            if line.hasSuffix("\\") {
                line.removeLast()
                pending += line + " "
                continue
            }
            let whole = (pending + line).trimmed
            pending = ""
            if whole.hasPrefix("["), whole.hasSuffix("]") {
                section = String(whole.dropFirst().dropLast())
                continue
            }
            guard let equals = whole.firstIndex(of: "="), equals != whole.startIndex else {
                throw StationError(
                    "config_syntax", "\(name):\(pendingLine): “\(whole.printable(limit: 60))” is no Key=value line",
                    remedy: "write Key=value, or begin a comment with #")
            }
            entries.append(
                Entry(
                    section: section, key: String(whole[..<equals]).trimmed,
                    value: String(whole[whole.index(after: equals)...]).trimmed, line: pendingLine))
        }
        self.name = name
        self.entries = entries
    }

    /// An error about one entry that names file, line and key.
    package func error(_ code: String, _ entry: Entry, _ problem: String, remedy: String = "") -> StationError {
        StationError(code, "\(name):\(entry.line): \(entry.key.printable(limit: 40))= \(problem)", remedy: remedy)
    }

    /// An error about a key that nobody knows, with the nearest one that is known.
    package func unknownKey(_ entry: Entry, known: [String]) -> StationError {
        let near =
            entry.key.nearest(in: known).map { "did you mean \($0)=?" } ?? "known are: \(known.joined(separator: ", "))"
        return StationError(
            "config_key_unknown",
            "\(name):\(entry.line): \(entry.key.printable(limit: 40))= is not known in [\(entry.section.printable(limit: 40))]",
            remedy: near)
    }
}
