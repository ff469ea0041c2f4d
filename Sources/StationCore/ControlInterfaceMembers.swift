extension ControlInterface {
    /// The names of a method's parameters, as the description has them.
    package static func parameterNames(of method: Control.Method) -> [String] { parameterNames[method] ?? [] }

    /// Read once: every call asks for them.
    private static let parameterNames = Dictionary(
        uniqueKeysWithValues: Control.Method.allCases.map {
            ($0, memberNames(after: "method \($0.rawValue)(") ?? [])
        })

    /// The names in the parentheses that follow a text at the beginning of a line, such as `type Problem (`; nil when the
    /// description has no such line.
    package static func memberNames(after beginning: String) -> [String]? {
        let lines = description.split(separator: "\n").map { String($0).trimmed }
        guard let first = lines.firstIndex(where: { $0.hasPrefix(beginning) }) else { return nil }
        let text = ([String(lines[first].dropFirst(beginning.count))] + lines[(first + 1)...])
            .filter { !$0.hasPrefix("#") }.joined(separator: " ")
        return text.prefix { $0 != ")" }.split(separator: ",").compactMap { member in
            member.split(separator: ":").first.map { String($0).trimmed }
        }.filter { !$0.isEmpty }
    }

    /// The names in the parentheses of what a method replies.
    package static func replyNames(of method: Control.Method) -> [String]? {
        let lines = description.split(separator: "\n").map { String($0).trimmed }.filter { !$0.hasPrefix("#") }
        guard let first = lines.firstIndex(where: { $0.hasPrefix("method \(method.rawValue)(") }) else { return nil }
        let text = lines[first...].joined(separator: " ")
        guard let arrow = text.firstIndex(of: ">") else { return nil }
        return text[arrow...].drop { $0 != "(" }.dropFirst().prefix { $0 != ")" }.split(separator: ",")
            .compactMap { member in member.split(separator: ":").first.map { String($0).trimmed } }
            .filter { !$0.isEmpty }
    }
}
