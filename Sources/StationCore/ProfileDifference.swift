/// A field in which two profiles differ.
package struct ProfileDifference: Equatable, Codable, Sendable {
    /// Such as `policies.filesystem`.
    package var field: String
    /// As JSON; nil where the field is not there.
    package var before: JSONValue?
    package var after: JSONValue?
    /// For lists of text: what came, and what went. Both are empty where only the order changed.
    package var added: [String]?
    package var removed: [String]?

    package init(
        field: String, before: JSONValue?, after: JSONValue?, added: [String]? = nil, removed: [String]? = nil
    ) {
        self.field = field
        self.before = before
        self.after = after
        self.added = added
        self.removed = removed
    }
}

extension Profile {
    /// What changed from an older profile to this one, in the schema's order.
    package func differences(from older: Profile) -> [ProfileDifference] {
        let before = Self.flat(older.document())
        let after = Self.flat(document())
        let old = Dictionary(before, uniquingKeysWith: { first, _ in first })
        let new = Dictionary(after, uniquingKeysWith: { first, _ in first })
        let names = after.map(\.0) + before.map(\.0).filter { new[$0] == nil }
        return names.filter { old[$0] != new[$0] }.map { name in
            var difference = ProfileDifference(field: name, before: old[name]?.json, after: new[name]?.json)
            if let was = Self.texts(old[name]), let is_ = Self.texts(new[name]) {
                difference.added = is_.filter { !was.contains($0) }
                difference.removed = was.filter { !is_.contains($0) }
            }
            return difference
        }
    }

    /// Fields and values, those of tables under their own names.
    private static func flat(_ value: DocumentValue, under prefix: String = "") -> [(String, DocumentValue)] {
        guard case .table(let members) = value else { return [] }
        return members.flatMap { member in
            let name = prefix.isEmpty ? member.key : "\(prefix).\(member.key)"
            if case .table = member.value { return flat(member.value, under: name) }
            return [(name, member.value)]
        }
    }

    /// A list's texts; none for a field that is not there; nil for what is no list of text.
    private static func texts(_ value: DocumentValue?) -> [String]? {
        guard let value else { return [] }
        guard case .list(let items) = value else { return nil }
        let texts: [String] = items.compactMap { item in
            if case .text(let text) = item { return text }
            return nil
        }
        return texts.count == items.count ? texts : nil
    }
}
