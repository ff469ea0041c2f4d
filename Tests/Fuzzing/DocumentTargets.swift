import FoundationEssentials
import ProfileDocuments
import StationCore

extension FuzzTarget {
    /// Profiles in the formats that people write, and in the one that goes on from there.
    static let documentTargets =
        DocumentFormat.allCases.map { format in
            FuzzTarget("profile-\(format.rawValue)", lengthLimit: 4096, words: words + marks(of: format)) { bytes in
                guard let node = try accepted({ try format.read(bytes) }) else { return }
                try demandPlaced(node, lineCount: bytes.count { $0 == 0x0A } + 1)
                if format == .json { try demandJSON(node, bytes) }
                try demandProfile(ProfileReader.read(node))
            }
        } + [
            FuzzTarget("profile-canonical", lengthLimit: 4096, words: words + marks(of: .json)) { bytes in
                // As it comes over the control socket, and lies in the store.
                guard let value = try? JSONDecoder().decode(JSONValue.self, from: Data(bytes)) else { return }
                _ = DocumentValue(value).canonicalJSON
                let reading = ProfileReader.read(DocumentNode(value))
                try demandProfile(reading)
                let decoded = try accepted { try JSONDecoder().decode(Profile.self, from: Data(bytes)) }
                try demand(decoded == reading.profile, "a profile is another where it is decoded")
            }
        ]

    private static let words = [
        "profile_id", "name", "description", "device_id", "tags", "openwrt_release", "target", "subtarget",
        "imagebuilder_profile", "packages", "packages_remove", "files", "source", "destination", "mode", "owner",
        "overlay_dir", "policies", "filesystem", "auto_resize_rootfs", "allow_snapshot", "build_defaults",
        "rebuild_if_cached", "bin_dir", "extra_image_name", "disabled_services", "rootfs_partsize", "add_local_key",
        "created_by", "created_at", "updated_at", "notes", "meta", "snapshot", "squashfs", "2025-11-28T12:34:56Z",
        "root:root", "/etc/banner",
    ]

    private static func marks(of format: DocumentFormat) -> [String] {
        switch format {
        case .yaml:
            ["---\n", "...\n", "- ", ": ", "|-\n", ">+\n", "&a ", "*a", "!!str ", "? ", "%YAML 1.1\n", "\u{85}"]
        case .json: ["\\u", "\\ud83d\\ude00", "1e400", "-0", "true", "null", "\u{FEFF}"]
        case .toml: ["[[", "]]", "\"\"\"", "'''", "a.b.c", "0x", "inf", "1979-05-27", "\\U0001F600"]
        }
    }
}

/// Every value of a document stands somewhere in it.
private func demandPlaced(_ node: DocumentNode, lineCount: Int) throws {
    // toml++ and YAML count some line breaks that are no line feeds, but none that is no character.
    try demand(node.position >= .start, "a value stands before the document")
    switch node.content {
    case .scalar: break
    case .list(let items): for item in items { try demandPlaced(item, lineCount: lineCount) }
    case .table(let members):
        try demand(Set(members.map(\.key)).count == members.count, "a table has a key twice")
        for member in members { try demandPlaced(member.value, lineCount: lineCount) }
    }
}

/// What our own reader of JSON takes, another takes, too, and for the same.
private func demandJSON(_ node: DocumentNode, _ bytes: [UInt8]) throws {
    let text = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes.dropFirst(3) : bytes[...]
    // A number beyond what others can hold is only a text to us.
    guard let value = try? JSONDecoder().decode(JSONValue.self, from: Data(text)) else {
        try demand(node.hasNumber, "another reader refuses this JSON")
        return
    }
    try demand(node.isSame(as: value), "to another reader this JSON says something else")
}

extension DocumentNode {
    fileprivate var hasNumber: Bool {
        switch content {
        case .scalar(let scalar): !scalar.isQuoted && scalar.boolean == nil && scalar.absence == .no
        case .list(let items): items.contains(where: \.hasNumber)
        case .table(let members): members.contains { $0.value.hasNumber }
        }
    }

    fileprivate func isSame(as value: JSONValue) -> Bool {
        switch (content, value) {
        case (.scalar(let scalar), .null): scalar.absence == .nothing
        case (.scalar(let scalar), .bool(let flag)): scalar.boolean == flag
        case (.scalar(let scalar), .string(let text)): scalar.isQuoted && Array(scalar.text.utf8) == Array(text.utf8)
        case (.scalar(let scalar), .integer(let number)):
            // `1.0` is an integer to the other reader.
            !scalar.isQuoted && (scalar.integer == number || scalar.integer == nil)
        case (.scalar(let scalar), .number): !scalar.isQuoted && scalar.integer == nil
        case (.list(let items), .array(let others)):
            items.count == others.count && zip(items, others).allSatisfy { $0.isSame(as: $1) }
        case (.table(let members), .object(let others)):
            members.count == others.count && members.allSatisfy { $0.value.isSame(as: others[$0.key] ?? .null) }
        default: false
        }
    }
}

/// A profile or what is wrong with it, and a profile that is the same in every format, and harmless to make and to shells.
private func demandProfile(_ reading: ProfileReading) throws {
    try demand((reading.profile == nil) != reading.violations.isEmpty, "a profile is neither good nor bad")
    for violation in reading.violations {
        try demandReadable(violation.code, violation.text, violation.remedy)
        try demand(violation.line > 0 && violation.column > 0, "something is wrong nowhere")
    }
    guard let profile = reading.profile else { return }
    for format in DocumentFormat.allCases {
        let text = format.write(profile.document(meta: reading.meta))
        let again = (try? format.read(Array(text.utf8))).map { ProfileReader.read($0) }
        try demand(
            again?.profile == profile, "as \(format.rawValue) it is another profile: \(text.printable(limit: 4000))")
        try demand(again?.meta?.createdAt == reading.meta?.createdAt, "as \(format.rawValue) it is of another time")
    }
    let canonical = Array(profile.canonicalJSON.utf8)
    try demand(canonical.count <= ProfileRules.byteCount, "a profile does not fit into a message")
    let again = (try? JSONDocument.read(canonical)).map { ProfileReader.read($0) }
    try demand(again?.profile == profile, "its canonical text says something else")
    try demand(again?.profile?.digest == profile.digest, "its canonical text has another digest")
    let decoded = try? JSONDecoder().decode(Profile.self, from: Data(canonical))
    try demand(decoded == profile, "another reader makes another profile of its canonical text")

    for name in [profile.profileID, profile.target, profile.subtarget, profile.release] { try demandInside(name) }
    for file in profile.files { try demandInside(Array(file.destination.utf8.dropFirst())) }
    // Held to their rules, all values may go to make.
    let arguments = try? MakeArguments.image(of: profile, extraPackages: [], files: "/files", binDirectory: "/bin")
    try demand(arguments != nil, "a value of the profile is not fit for make")
    for (path, text) in FirstBootScripts.scripts(for: profile) where path.hasSuffix("owners") {
        for line in text.split(separator: "\n").dropFirst(2).dropLast() {
            let words = line.split(separator: " ", omittingEmptySubsequences: false)
            let isOne = words.count == 4 && words[0] == "chown" && words[1] == "-h" && line.count { $0 == "'" } == 2
            try demand(isOne && !line.utf8.contains { "$`\\;&|<>\"".utf8.contains($0) }, "a script is made to do more")
        }
    }
    _ = profile.remarks
    _ = profile.exportProblem(roots: ["/srv"])
    try demand(profile.differences(from: profile).isEmpty, "a profile differs from itself")
    try demand((try? BuilderTriple(profile)) != nil, "a profile is for an Image Builder that cannot be named")
}
