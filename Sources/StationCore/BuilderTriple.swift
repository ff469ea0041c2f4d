/// Which Image Builder: OpenWrt has one archive for each release, target and subtarget.
package struct BuilderTriple: Hashable, Comparable, Codable, Sendable, CustomStringConvertible {
    package let release: String
    package let target: String
    package let subtarget: String

    /// Each part is held to the profile schema's rule for it: they become parts of URLs and of paths.
    /// - Throws: `builder_name_invalid`.
    package init(release: String, target: String, subtarget: String) throws(StationError) {
        let parts = [
            (release, ProfileRules.release), (target, ProfileRules.target), (subtarget, ProfileRules.subtarget),
        ]
        for (text, rule) in parts {
            guard let problem = rule.problem(with: text) else { continue }
            throw StationError("builder_name_invalid", problem.message, remedy: "write \(rule.form)")
        }
        // Written one way or another, it is one archive.
        let isMainSnapshot = release.lowercased() == Self.mainSnapshot
        self.release = isMainSnapshot ? Self.mainSnapshot : release
        (self.target, self.subtarget) = (target, subtarget)
    }

    /// The one that a profile is for.
    package init(_ profile: Profile) throws(StationError) {
        try self.init(release: profile.release, target: profile.target, subtarget: profile.subtarget)
    }

    private enum CodingKeys: String, CodingKey { case release, target, subtarget }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        try self.init(
            release: container.decode(String.self, forKey: .release),
            target: container.decode(String.self, forKey: .target),
            subtarget: container.decode(String.self, forKey: .subtarget))
    }

    /// Whether it changes from day to day: `snapshot`, `23.05-SNAPSHOT`.
    package var isSnapshot: Bool { Profile.isSnapshot(release) }

    /// The directory of its files below a mirror's base URL.
    package var serverPath: String {
        isMainSnapshot
            ? "snapshots/targets/\(target)/\(subtarget)" : "releases/\(release)/targets/\(target)/\(subtarget)"
    }

    /// The archive's name without what its packing adds: `openwrt-imagebuilder-24.10.2-x86-64.Linux-x86_64`.
    package var archiveStem: String {
        let version = isMainSnapshot ? "" : "\(release)-"
        return "openwrt-imagebuilder-\(version)\(target)-\(subtarget).Linux-x86_64"
    }

    /// The newest development state, as against the snapshot of a release's branch.
    private var isMainSnapshot: Bool { release == Self.mainSnapshot }
    private static let mainSnapshot = "snapshot"

    package static func < (left: BuilderTriple, right: BuilderTriple) -> Bool {
        left.description.comparesNaturally(before: right.description)
    }

    package var description: String { "\(release)/\(target)/\(subtarget)" }
}
