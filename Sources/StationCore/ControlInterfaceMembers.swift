extension ControlInterface {
    /// The names of a method's parameters, as the description has them.
    package static func parameterNames(of method: Control.Method) -> [String] { parameterNames[method] ?? [] }

    /// Read once: every call asks for them.
    private static let parameterNames = Dictionary(
        uniqueKeysWithValues: Control.Method.allCases.map {
            ($0, memberNames(after: "method \($0.rawValue)(") ?? [])
        })

    /// The description's lines, without their indentation and without comments.
    private static let lines = description.split(separator: "\n").map { String($0).trimmed }.filter {
        !$0.hasPrefix("#")
    }

    /// The names in the parentheses that follow a text at the beginning of a line, such as `type Problem (`; nil when the
    /// description has no such line.
    package static func memberNames(after beginning: String) -> [String]? {
        guard let line = lines.firstIndex(where: { $0.hasPrefix(beginning) }) else { return nil }
        return names(lines[line].dropFirst(beginning.count), lines[(line + 1)...])
    }

    /// The names in the parentheses of what a method replies.
    package static func replyNames(of method: Control.Method) -> [String]? {
        let arrow = "-> ("
        guard let first = lines.firstIndex(where: { $0.hasPrefix("method \(method.rawValue)(") }),
            let line = lines[first...].firstIndex(where: { $0.contains(arrow) }),
            let range = lines[line].firstRange(of: arrow)
        else { return nil }
        return names(lines[line][range.upperBound...], lines[(line + 1)...])
    }

    /// The names before the colons, up to the first closing parenthesis.
    private static func names(_ beginning: Substring, _ following: ArraySlice<String>) -> [String] {
        var text = String(beginning)
        for line in following where !text.contains(")") { text += " " + line }
        return text.prefix { $0 != ")" }.split(separator: ",").compactMap { member in
            member.split(separator: ":").first.map { String($0).trimmed }
        }.filter { !$0.isEmpty }
    }
}
