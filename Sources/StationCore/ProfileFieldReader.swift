/// The parts of `ProfileReader` that know about kinds of fields and nothing about the schema.
extension ProfileReader {
    /// A table of the document and where it stands in the profile.
    struct Table {
        var members: [DocumentMember]
        var position: DocumentPosition
        /// Such as `files[0]`; empty for the profile itself.
        var field: String

        func field(_ key: String) -> String { field.isEmpty ? key : "\(field).\(key)" }

        /// The value of a key; nil where there is none, or nothing in it.
        func value(_ key: String) -> DocumentNode? {
            guard let node = members.first(where: { $0.key == key })?.value else { return nil }
            if case .scalar(let scalar) = node.content, scalar.absence != .no { return nil }
            return node
        }

        func has(_ key: String) -> Bool { value(key) != nil }

        /// The value of a key whose text may be YAML's `null`, since it must be something.
        func requiredValue(_ key: String) -> DocumentNode? {
            guard let node = members.first(where: { $0.key == key })?.value else { return nil }
            if case .scalar(let scalar) = node.content, scalar.absence == .nothing { return nil }
            return node
        }
    }

    /// Nobody reads more than so many; a document of nothing but mistakes must not cost minutes.
    static let violationLimit = 1000

    mutating func complain(
        _ code: String, field: String, _ message: String, remedy: String = "", at position: DocumentPosition
    ) {
        guard violations.count < Self.violationLimit else { return }
        violations.append(ProfileViolation(code, field: field, message, remedy: remedy, at: position))
    }

    /// About a field that was read, where it stands.
    mutating func complain(_ code: String, _ table: Table, _ key: String, _ message: String, remedy: String) {
        let field = table.field(key)
        complain(code, field: field, message, remedy: remedy, at: positions[field] ?? table.position)
    }

    private mutating func complain(_ field: String, _ node: DocumentNode, wants what: String, remedy: String = "") {
        complain(
            "value_type", field: field, "is \(node.kind), and should be \(what)", remedy: remedy, at: node.position)
    }

    // MARK: Texts

    /// A text that must be there; empty where it is wrong, which has been said then.
    mutating func required(_ table: Table, _ key: String, _ rule: TextRule) -> String {
        guard let node = table.requiredValue(key) else {
            complain(
                "field_missing", field: table.field(key), "is missing", remedy: "it holds \(rule.form)",
                at: table.members.first { $0.key == key }?.position ?? table.position)
            return ""
        }
        return text(node, table.field(key), rule) ?? ""
    }

    /// A text that may be missing or empty; both are nil.
    mutating func text(_ table: Table, _ key: String, _ rule: TextRule) -> String? {
        guard let node = table.value(key) else { return nil }
        if case .scalar(let scalar) = node.content, scalar.text.isEmpty { return nil }
        return text(node, table.field(key), rule)
    }

    private mutating func text(_ node: DocumentNode, _ field: String, _ rule: TextRule) -> String? {
        positions[field] = node.position
        guard case .scalar(let scalar) = node.content, scalar.absence != .nothing else {
            complain(field, node, wants: "text", remedy: "use \(rule.form)")
            return nil
        }
        guard let problem = rule.problem(with: scalar.text) else { return scalar.text }
        complain(problem.code, field: field, problem.message, remedy: "use \(rule.form)", at: node.position)
        return nil
    }

    // MARK: Lists and tables

    /// A list's texts, empty ones in place of those that are wrong.
    mutating func texts(_ table: Table, _ key: String, _ rule: TextRule, limit: Int) -> [String] {
        var texts: [String] = []
        for (index, node) in list(table, key, limit: limit).enumerated() {
            texts.append(text(node, "\(table.field(key))[\(index)]", rule) ?? "")
        }
        return texts
    }

    /// The members of a list; none where it is missing or wrong.
    mutating func list(_ table: Table, _ key: String, limit: Int) -> [DocumentNode] {
        guard let node = table.value(key) else { return [] }
        guard case .list(let items) = node.content else {
            complain(table.field(key), node, wants: "a list")
            return []
        }
        guard items.count <= limit else {
            complain(
                "list_too_long", field: table.field(key),
                "has \(items.count) members, and at most \(limit) are allowed",
                at: node.position)
            return []
        }
        return items
    }

    mutating func subtable(_ table: Table, _ key: String, keys: [String]) -> Table? {
        table.value(key).flatMap { self.table($0, table.field(key), keys: keys) }
    }

    /// A table that has no keys but these.
    mutating func table(_ node: DocumentNode, _ field: String, keys: [String]) -> Table? {
        guard case .table(let members) = node.content else {
            complain(field, node, wants: "a table of keys and values")
            return nil
        }
        let table = Table(members: members, position: node.position, field: field)
        for member in members where !keys.contains(member.key) {
            guard violations.count < Self.violationLimit else { break }
            let near = String(member.key.prefix(40)).nearest(in: keys)
            complain(
                "field_unknown", field: table.field(member.key.printable(limit: 60)), "is no field of a profile",
                remedy: near.map { "did you mean \($0)?" } ?? "one of: \(keys.joined(separator: ", "))",
                at: member.position)
        }
        return table
    }

    // MARK: Flags, numbers, words

    mutating func flag(_ table: Table, _ key: String) -> Bool? {
        guard let node = table.value(key) else { return nil }
        guard case .scalar(let scalar) = node.content, let value = scalar.boolean else {
            complain(table.field(key), node, wants: "true or false, without quotes")
            return nil
        }
        return value
    }

    mutating func integer(_ table: Table, _ key: String, _ range: ClosedRange<Int64>, unit: String) -> Int? {
        guard let node = table.value(key) else { return nil }
        guard case .scalar(let scalar) = node.content, let value = scalar.integer else {
            complain(table.field(key), node, wants: "a whole number (\(unit)), without quotes")
            return nil
        }
        guard range.contains(value) else {
            complain(
                "value_out_of_range", field: table.field(key),
                "\(value) is not between \(range.lowerBound) and \(range.upperBound) \(unit)", at: node.position)
            return nil
        }
        return Int(value)
    }

    mutating func choice<Value: RawRepresentable<String> & CaseIterable>(_ table: Table, _ key: String) -> Value? {
        guard let node = table.value(key) else { return nil }
        let names = Value.allCases.map(\.rawValue)
        guard case .scalar(let scalar) = node.content else {
            complain(table.field(key), node, wants: "one of: \(names.joined(separator: ", "))")
            return nil
        }
        if let value = Value(rawValue: scalar.text) { return value }
        let text = scalar.text.printable(limit: 40)
        complain(
            "value_unknown", field: table.field(key), "“\(text)” is not known here",
            remedy: String(scalar.text.prefix(40)).nearest(in: names).map { "did you mean \($0)?" }
                ?? "one of: \(names.joined(separator: ", "))", at: node.position)
        return nil
    }
}
