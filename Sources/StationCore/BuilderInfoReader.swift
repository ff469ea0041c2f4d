/// Reads what `make info` prints.
///
/// ```
/// Current Target: "ath79/nand"
/// Current Revision: "r28739-d9340319c6"
/// Default Packages: base-files …
/// Available Profiles:
///
/// netgear_wndr3700-v4:
///     NETGEAR WNDR3700 v4
///     Packages: kmod-usb2
///     hasImageMetadata: 1
///     SupportedDevices: netgear,wndr3700-v4
/// ```
extension BuilderInfo {
    private static let profileLimit = 10_000
    private static let wordLimit = 10_000

    /// - Throws: `builder_info_invalid`.
    package init(parsing text: String) throws(StationError) {
        self.init(target: "", architecture: nil, revision: "", defaultPackages: [], profiles: [])
        var isInProfiles = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: true) {
            if !isInProfiles {
                if let value = Self.value(of: "Current Target", in: line) { target = Self.unquoted(value) }
                if let value = Self.value(of: "Current Architecture", in: line) { architecture = Self.unquoted(value) }
                if let value = Self.value(of: "Current Revision", in: line) { revision = Self.unquoted(value) }
                if let value = Self.value(of: "Default Packages", in: line) { defaultPackages = Self.words(value) }
                isInProfiles = line.trimmed == "Available Profiles:"
                continue
            }
            try takeProfileLine(line)
        }
        let parts = target.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, ProfileRules.target.problem(with: parts[0]) == nil,
            ProfileRules.subtarget.problem(with: parts[1]) == nil
        else { throw Self.invalid("it names no target") }
        guard !revision.isEmpty, revision.utf8.count <= 100 else { throw Self.invalid("it names no revision") }
        guard !profiles.isEmpty else { throw Self.invalid("it lists no profiles") }
    }

    private mutating func takeProfileLine(_ line: Substring) throws(StationError) {
        if line.first != " ", line.first != "\t" {
            guard line.last == ":" else { return }
            let name = String(line.dropLast())
            guard ProfileRules.imageBuilderProfile.problem(with: name) == nil else {
                throw Self.invalid("“\(name.printable(limit: 60))” is no profile's name")
            }
            guard profiles.count < Self.profileLimit else { throw Self.invalid("it lists too many profiles") }
            profiles.append(
                BuilderProfile(name: name, title: "", packages: [], hasImageMetadata: false, supportedDevices: []))
            return
        }
        guard var profile = profiles.popLast() else { return }
        let line = line.drop { $0 == " " || $0 == "\t" }
        if let value = Self.value(of: "Packages", in: line) {
            profile.packages = Self.words(value)
        } else if let value = Self.value(of: "hasImageMetadata", in: line) {
            profile.hasImageMetadata = value.trimmed == "1"
        } else if let value = Self.value(of: "SupportedDevices", in: line) {
            profile.supportedDevices = Self.words(value)
        } else if profile.title.isEmpty {
            profile.title = String(line).printable(limit: 200)
        }
        profiles.append(profile)
    }

    private static func value(of key: String, in line: Substring) -> Substring? {
        line.hasPrefix("\(key):") ? line.dropFirst(key.utf8.count + 1) : nil
    }

    private static func unquoted(_ text: Substring) -> String {
        let text = String(text).trimmed
        let isQuoted = text.count >= 2 && text.first == "\"" && text.last == "\""
        return String(isQuoted ? text.dropFirst().dropLast() : text[...]).printable(limit: 200)
    }

    private static func words(_ text: Substring) -> [String] {
        text.split { $0 == " " || $0 == "\t" }.prefix(wordLimit).map { String($0).printable(limit: 200) }
    }

    private static func invalid(_ why: String) -> StationError {
        StationError(
            "builder_info_invalid", "what the Image Builder says of itself makes no sense: \(why)",
            remedy: "stationctl builder ensure RELEASE TARGET SUBTARGET fetches it anew")
    }
}

extension Substring {
    fileprivate var trimmed: String { String(self).trimmed }
}
