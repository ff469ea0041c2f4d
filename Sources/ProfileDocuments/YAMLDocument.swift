import CYAML
package import StationCore

/// Reads YAML by libyaml's events, as far as data needs it: no anchors, no aliases, no tags, one document.
///
/// Aliases are what lets a few lines stand for gigabytes, tags are what makes loaders build objects; no profile needs either.
package enum YAMLDocument {
    /// - Throws: `document_syntax`, `document_empty`, `documents_several`, `key_duplicate`, `key_invalid`, `yaml_alias`,
    ///   `yaml_tag`, and what `DocumentLimits` throws.
    package static func read(_ bytes: [UInt8]) throws(DocumentProblem) -> DocumentNode {
        let text = try DocumentLimits.text(of: bytes)
        let parser = YAMLParser()
        var copy = text
        let result = copy.withUTF8 { text -> Result<DocumentNode, DocumentProblem> in
            parser.begin(text)
            do throws(DocumentProblem) {
                return .success(try parser.document())
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}

/// libyaml's parser, and the tree that is made of its events.
private final class YAMLParser {
    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private var nodeCount = 0

    init() {
        parser = .allocate(capacity: 1)
        // Fails only where there is no memory for a few buffers; then every parse fails, too.
        _ = yaml_parser_initialize(parser)
    }

    deinit {
        yaml_parser_delete(parser)
        parser.deallocate()
    }

    /// - Parameter text: must stay until the document has been read.
    func begin(_ text: UnsafeBufferPointer<UInt8>) {
        yaml_parser_set_input_string(parser, text.baseAddress, text.count)
        yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
    }

    func document() throws(DocumentProblem) -> DocumentNode {
        _ = try next()
        guard try next().type == YAML_DOCUMENT_START_EVENT else {
            throw DocumentProblem("document_empty", "nothing stands in it", at: .start)
        }
        let node = try node(next(), depth: 1)
        _ = try next()
        let end = try next()
        guard end.type == YAML_STREAM_END_EVENT else {
            throw DocumentProblem(
                "documents_several", "a second document begins here", remedy: "one file holds one profile",
                at: end.start)
        }
        return node
    }

    // MARK: Events

    private struct Event {
        var type: yaml_event_type_t
        var start: DocumentPosition
        var text = ""
        var isQuoted = false
        var isMarked = false
        var isTagged = false
    }

    private func next() throws(DocumentProblem) -> Event {
        var event = yaml_event_t()
        guard yaml_parser_parse(parser, &event) == 1 else { throw problem() }
        defer { yaml_event_delete(&event) }
        var result = Event(type: event.type, start: Self.position(event.start_mark))
        switch event.type {
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            result.text = String(
                decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
            result.isQuoted = scalar.style != YAML_PLAIN_SCALAR_STYLE
            result.isMarked = scalar.anchor != nil
            result.isTagged = scalar.tag != nil
        case YAML_SEQUENCE_START_EVENT:
            result.isMarked = event.data.sequence_start.anchor != nil
            result.isTagged = event.data.sequence_start.tag != nil
        case YAML_MAPPING_START_EVENT:
            result.isMarked = event.data.mapping_start.anchor != nil
            result.isTagged = event.data.mapping_start.tag != nil
        case YAML_ALIAS_EVENT: result.isMarked = true
        default: break
        }
        return result
    }

    private static func position(_ mark: yaml_mark_t) -> DocumentPosition {
        DocumentPosition(line: mark.line + 1, column: mark.column + 1)
    }

    private func problem() -> DocumentProblem {
        let state = parser.pointee
        let texts = [state.problem, state.context].compactMap { $0.map { String(cString: $0) } }
        // Of what is no text at all, libyaml says only how many bytes stand before it.
        let position = state.error == YAML_READER_ERROR ? Self.position(state.mark) : Self.position(state.problem_mark)
        return DocumentProblem(
            "document_syntax", "this is no YAML: " + (texts.isEmpty ? "unreadable" : texts.joined(separator: " ")),
            at: position)
    }

    // MARK: Tree

    private func node(_ event: Event, depth: Int) throws(DocumentProblem) -> DocumentNode {
        nodeCount += 1
        try DocumentLimits.check(depth: depth, nodeCount: nodeCount, at: event.start)
        if event.isMarked {
            throw DocumentProblem(
                "yaml_alias", "anchors (&) and aliases (*) are not read", remedy: "write the value out, or in quotes",
                at: event.start)
        }
        if event.isTagged {
            throw DocumentProblem(
                "yaml_tag", "tags (!) are not read", remedy: "leave it away, or put the value in quotes",
                at: event.start)
        }
        switch event.type {
        case YAML_SEQUENCE_START_EVENT: return DocumentNode(.list(try items(depth: depth)), at: event.start)
        case YAML_MAPPING_START_EVENT: return DocumentNode(.table(try members(depth: depth)), at: event.start)
        default: return DocumentNode(.scalar(Self.scalar(event)), at: event.start)
        }
    }

    private func items(depth: Int) throws(DocumentProblem) -> [DocumentNode] {
        var items: [DocumentNode] = []
        while true {
            let event = try next()
            if event.type == YAML_SEQUENCE_END_EVENT { return items }
            items.append(try node(event, depth: depth + 1))
        }
    }

    private func members(depth: Int) throws(DocumentProblem) -> [DocumentMember] {
        var members: [DocumentMember] = []
        var keys: Set<String> = []
        while true {
            let key = try next()
            if key.type == YAML_MAPPING_END_EVENT { return members }
            guard key.type == YAML_SCALAR_EVENT, !key.isMarked, !key.isTagged else {
                throw DocumentProblem("key_invalid", "a key must be plain text", at: key.start)
            }
            guard keys.insert(key.text).inserted else { throw .duplicate(key.text, at: key.start) }
            let value = try node(next(), depth: depth + 1)
            members.append(DocumentMember(key: key.text, position: key.start, value: value))
        }
    }

    /// YAML 1.1's words for truth, as the common loaders have them; its octal numbers and those with a base of 60 are text.
    private static func scalar(_ event: Event) -> DocumentScalar {
        guard !event.isQuoted else { return DocumentScalar(event.text, isQuoted: true) }
        var scalar = DocumentScalar(event.text, isQuoted: false)
        switch event.text {
        case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON": scalar.boolean = true
        case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF": scalar.boolean = false
        case "": scalar.absence = .nothing
        case "~", "null", "Null", "NULL": scalar.absence = .word
        default:
            if event.text == "0" || (event.text.utf8.first != UInt8(ascii: "0") && !event.text.hasPrefix("+")) {
                scalar.integer = Int64(event.text)
            }
        }
        return scalar
    }
}
