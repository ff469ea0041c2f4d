/// What one text of a profile may look like.
///
/// Whatever reaches make, a path or a command is held to a set of characters that none of them expands: letters, digits and a
/// few marks, never `$`, backquotes, quotes, `#`, `;`, spaces or control characters. Text for people may say anything that
/// does not look like a make or shell expansion.
package struct TextRule: Sendable {
    /// In UTF-8 bytes.
    package var byteLimit: Int
    /// What it may look like, for remedies, with an example.
    package var form: String
    /// Nil for a good text, else what is wrong with it: `has “$” in it`.
    package var objection: @Sendable (String) -> String?

    package init(byteLimit: Int, form: String, objection: @escaping @Sendable (String) -> String?) {
        self.byteLimit = byteLimit
        self.form = form
        self.objection = objection
    }

    /// A code and a sentence about a text that breaks the rule; nil for a good one.
    package func problem(with text: String) -> (code: String, message: String)? {
        if text.isEmpty { return ("value_empty", "is empty") }
        guard text.utf8.count <= byteLimit else {
            return ("value_too_long", "has \(text.utf8.count) bytes, and at most \(byteLimit) are allowed")
        }
        return objection(text).map { ("value_invalid", "“\(text.printable(limit: 60))” \($0)") }
    }
}

/// The rules of the schema, field by field.
package enum ProfileRules {
    package static let profileID = word(
        "_.-", byteLimit: 128, form: "letters, digits, _ . and -, such as home.ap-livingroom.23.05")
    package static let name = line(byteLimit: 200)
    package static let description = prose
    package static let notes = prose
    package static let createdBy = line(byteLimit: 200)
    package static let deviceID = word(
        "_.:+-", byteLimit: 128, form: "letters, digits and _ . : + -, such as home-ap-livingroom")
    package static let tag = word("_.:+-", byteLimit: 64, form: "letters, digits and _ . : + -, such as wifi or 23.05")

    package static let release = word(".-", byteLimit: 32, form: "a release, such as 24.10.2, 25.12.0-rc1 or snapshot")
    package static let target = word("_-", byteLimit: 64, form: "a target, such as bcm27xx")
    package static let subtarget = word("_-", byteLimit: 64, form: "a subtarget, such as bcm2711")
    package static let imageBuilderProfile = word(
        "_.+-", byteLimit: 128, form: "a profile as make info lists it, such as rpi-4 or tplink_archer-c6-v3")

    package static let package = TextRule(byteLimit: 128, form: "a package's name, such as luci-ssl or libstdc++6") {
        text in
        text.hasPrefix("-") ? "begins with “-”: packages_remove has names without it" : alphanumeric(text, "_.+-")
    }

    package static let source = TextRule(
        byteLimit: 1024, form: "a path of letters, digits and _ . @ + , : = ~ % -, such as profiles/files/ap/etc/banner"
    ) { text in path(text, "_.@+,:=~%-", isAbsolute: nil) }
    package static let destination = TextRule(
        byteLimit: 200, form: "a path from / of letters, digits and _ . @ + , : = ~ % -, such as /etc/banner"
    ) { text in path(text, "_.@+,:=~%-", isAbsolute: true) }
    package static let binDirectory = TextRule(
        byteLimit: 1024, form: "a path from / of letters, digits and _ . + -, such as /srv/openwrt-images"
    ) { text in path(text, "_.+-", isAbsolute: true) }

    package static let mode = TextRule(byteLimit: 4, form: "three or four octal digits, such as \"0644\"") { text in
        let isOctal = text.utf8.allSatisfy { (48...55).contains($0) }
        return isOctal && text.utf8.count >= 3 ? nil : "is no file mode"
    }
    package static let owner = TextRule(byteLimit: 64, form: "user or user:group, such as root:root") { text in
        let names = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let isGood = names.allSatisfy { (1...31).contains($0.utf8.count) && alphanumeric(String($0), "_-") == nil }
        return isGood ? nil : "is no user and group"
    }

    package static let extraImageName = word(
        "_.+-", byteLimit: 64, form: "letters, digits and _ . + -, such as lab-debug")
    package static let service = word("_.-", byteLimit: 64, form: "a name in /etc/init.d, such as dnsmasq")
    package static let timestamp = TextRule(byteLimit: 40, form: "a time as of RFC 3339, such as 2025-11-28T12:34:56Z")
    { text in
        isTimestamp(text) ? nil : "is no time"
    }

    /// In MiB: up to 256 GiB, the largest card.
    package static let rootfsPartitionMebibytes: ClosedRange<Int64> = 1...(256 << 10)

    /// Of a whole profile as canonical JSON: it must fit into one message.
    package static let byteCount = 48 * 1024
    package static let tagCount = 64
    package static let packageCount = 1000
    package static let fileCount = 1000
    package static let serviceCount = 100

    // MARK: Kinds of text

    /// ASCII letters, digits and some marks, the first a letter or digit.
    private static func word(_ marks: String, byteLimit: Int, form: String) -> TextRule {
        TextRule(byteLimit: byteLimit, form: form) { alphanumeric($0, marks) }
    }

    private static func alphanumeric(_ text: String, _ marks: String) -> String? {
        if let stranger = stranger(in: text, marks) { return stranger }
        return text.utf8.first.map(isAlphanumeric) == true ? nil : "does not begin with a letter or digit"
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
    }

    /// The first character that is neither an ASCII letter or digit nor one of some marks.
    private static func stranger(in text: String, _ marks: String) -> String? {
        text.unicodeScalars.first { scalar in
            !(scalar.isASCII && isAlphanumeric(UInt8(truncatingIfNeeded: scalar.value)))
                && !marks.unicodeScalars.contains(scalar)
        }.map(named)
    }

    private static func named(_ scalar: Unicode.Scalar) -> String {
        let shown = String(Character(scalar)).printable()
        switch scalar {
        case " ": return "has a space in it"
        case _ where shown != String(Character(scalar)):
            return "has a control character in it (U+\(scalar.hexadecimal(digits: 4)))"
        default: return "has “\(shown)” in it"
        }
    }

    /// - Parameter isAbsolute: nil for both.
    private static func path(_ text: String, _ marks: String, isAbsolute: Bool?) -> String? {
        if let stranger = stranger(in: text, marks + "/") { return stranger }
        if let isAbsolute, text.hasPrefix("/") != isAbsolute { return "does not begin with /" }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).dropFirst(text.hasPrefix("/") ? 1 : 0)
        if text.hasPrefix("-") { return "begins with “-”" }
        if parts.contains("..") { return "has “..” in it" }
        return parts.contains("") || parts.contains(".") ? "has an empty part or “.” in it, or ends in /" : nil
    }

    /// One line for people.
    private static func line(byteLimit: Int) -> TextRule {
        TextRule(byteLimit: byteLimit, form: "one line of text, without backquotes, $( and ${") { text in
            if text.unicodeScalars.allSatisfy({ $0.properties.isWhitespace }) { return "is nothing but spaces" }
            return unprintable(in: text, except: []) ?? expansion(in: text, ["$(", "${", "`"])
        }
    }

    /// Lines for people.
    private static let prose = TextRule(byteLimit: 16 * 1024, form: "text, without control characters, $( and ${") {
        text in
        unprintable(in: text, except: ["\n", "\t"]) ?? expansion(in: text, ["$(", "${"])
    }

    private static func expansion(in text: String, _ beginnings: [String]) -> String? {
        // In bytes: to Swift a bracket with an accent on it is another character, to make it is a bracket.
        beginnings.first { contains(Array(text.utf8), Array($0.utf8)) }.map {
            "has “\($0)” in it, as make and shells expand it"
        }
    }

    private static func contains(_ text: [UInt8], _ part: [UInt8]) -> Bool {
        text.indices.contains { text[$0...].starts(with: part) }
    }

    /// Control characters, line separators, and what turns the direction of writing round.
    private static func unprintable(in text: String, except: Set<Unicode.Scalar>) -> String? {
        text.unicodeScalars.first { scalar in
            guard !except.contains(scalar) else { return false }
            switch scalar.properties.generalCategory {
            case .control, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned, .privateUse: return true
            case .format: return scalar.properties.isBidiControl || scalar == "\u{FEFF}"
            default: return false
            }
        }.map { "has a control character in it (U+\($0.hexadecimal(digits: 4)))" }
    }

    /// `2025-11-28`, with a time behind `T` or a space, with `Z` or an offset behind that.
    private static func isTimestamp(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        let digits: (Range<Int>) -> Int? = { range in
            guard range.upperBound <= bytes.count, bytes[range].allSatisfy({ (48...57).contains($0) }) else {
                return nil
            }
            return bytes[range].reduce(0) { $0 * 10 + Int($1) - 48 }
        }
        let has: (Int, Unicode.Scalar) -> Bool = { index, mark in
            index < bytes.count && bytes[index] == UInt8(ascii: mark)
        }
        guard digits(0..<4) != nil, has(4, "-"), let month = digits(5..<7), has(7, "-"), let day = digits(8..<10),
            (1...12).contains(month), (1...31).contains(day)
        else { return false }
        guard bytes.count > 10 else { return true }
        guard has(10, "T") || has(10, "t") || has(10, " "), let hour = digits(11..<13), has(13, ":"),
            let minute = digits(14..<16), has(16, ":"), let second = digits(17..<19), hour < 24, minute < 60,
            second < 61
        else { return false }
        var index = 19
        if has(index, ".") {
            let fraction = bytes[(index + 1)...].prefix { (48...57).contains($0) }
            guard !fraction.isEmpty else { return false }
            index += 1 + fraction.count
        }
        if index == bytes.count || (index + 1 == bytes.count && (has(index, "Z") || has(index, "z"))) { return true }
        return (has(index, "+") || has(index, "-")) && digits(index + 1..<index + 3).map { $0 < 24 } == true
            && has(index + 3, ":") && digits(index + 4..<index + 6).map { $0 < 60 } == true && index + 6 == bytes.count
    }
}
