/// Everything that makes a difference to what a build yields, and the key that stands for it.
///
/// Lists that have no order are sorted, so that who writes `[b, a]` gets the build of `[a, b]`. The whole profile counts, with its
/// name and notes: its digest stands in the image, so that a device can be matched to its recipe.
package struct BuildInputs: Equatable, Sendable {
    /// Counts up when the station puts something else into images.
    package static let formatVersion: Int64 = 1

    package var profile: Profile
    package var builder: SHA256Digest
    package var versionCode: String
    package var overlaySHA256: SHA256Digest?
    package var extraPackages: [String]
    /// Of the station's own key, for a profile that asks for it; nil while there is none.
    package var localKey: SHA256Digest?

    package init(
        profile: Profile, builder: SHA256Digest, versionCode: String, overlaySHA256: SHA256Digest?,
        extraPackages: [String], localKey: SHA256Digest?
    ) {
        self.profile = profile
        self.builder = builder
        self.versionCode = versionCode
        self.overlaySHA256 = overlaySHA256
        self.extraPackages = extraPackages
        self.localKey = profile.addLocalKey == true ? localKey : nil
    }

    /// One entry for each input, by name, as people read it.
    package var document: DocumentValue {
        var sorted = profile
        sorted.tags.sort()
        sorted.packages = Array(Set(profile.packages)).sorted()
        sorted.packagesRemove = Array(Set(profile.packagesRemove)).sorted()
        sorted.disabledServices = Array(Set(profile.disabledServices)).sorted()
        sorted.files.sort { $0.destination < $1.destination }
        let packages = Set(MakeArguments.effectivePackages(of: profile, extraPackages: extraPackages)).sorted()
        return .table([
            .init("format", .integer(Self.formatVersion)),
            .init("builder_sha256", .text(builder.hexadecimal)),
            .init("builder_version_code", .text(versionCode)),
            .init("effective_packages", .list(packages.map { .text($0) })),
            .init("overlay_sha256", .text(overlaySHA256?.hexadecimal ?? "")),
            .init("local_key", .text(localKey?.hexadecimal ?? "")),
            .init("profile", sorted.document()),
        ])
    }

    package var key: SHA256Digest { SHA256.digest(of: document.canonicalJSON.utf8) }

    /// What differs between two builds' inputs, each as `name: before → after`.
    package static func differences(_ before: JSONValue, _ after: JSONValue, prefix: String = "") -> [String] {
        guard case .object(let old) = before, case .object(let new) = after else {
            return before == after ? [] : ["\(prefix): \(text(before)) → \(text(after))"]
        }
        return Set(old.keys).union(new.keys).sorted().flatMap { name in
            let path = prefix.isEmpty ? name : "\(prefix).\(name)"
            return differences(old[name] ?? .null, new[name] ?? .null, prefix: path)
        }
    }

    private static func text(_ value: JSONValue) -> String {
        switch value {
        case .null: "–"
        case .string(let text): text.isEmpty ? "–" : text.printable(limit: 80)
        case .integer(let number): "\(number)"
        case .number(let number): "\(number)"
        case .bool(let flag): "\(flag)"
        case .array(let items): "[" + items.map(text).joined(separator: " ") + "]"
        case .object(let members): "{" + members.keys.sorted().joined(separator: " ") + "}"
        }
    }
}
