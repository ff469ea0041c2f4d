/// Makes of the log of a build that failed what went wrong, and what to do about it.
package enum BuildFailure {
    /// - Parameters:
    ///   - log: its end, where it is long.
    ///   - packages: names of packages that there are, for a near one.
    ///   - isOnline: whether the build was let at the network.
    package static func explain(log: String, isOnline: Bool, packages: [String] = []) -> StationError {
        let lines = log.split(separator: "\n").map { String($0).trimmed }
        return unknownPackage(lines, packages) ?? tooBig(lines) ?? missingTool(lines) ?? network(lines, isOnline)
            ?? unknownProfile(lines) ?? other(lines)
    }

    private static func unknownPackage(_ lines: [String], _ packages: [String]) -> StationError? {
        var names: [String] = []
        for (index, line) in lines.enumerated() {
            // opkg, then apk.
            if let name = between(line, "opkg_install_cmd: Cannot install package ", ".") { names.append(name) }
            if line == "ERROR: unable to select packages:" {
                names += lines[(index + 1)...].compactMap { between($0, "", " (no such package)") }
            }
        }
        guard let first = names.first else { return nil }
        let list = names.reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
        return StationError(
            "package_unknown",
            "this release has no package \(list.map { $0.printable(limit: 80) }.joined(separator: ", "))",
            remedy: first.nearest(in: packages).map { "did you mean \($0)?" }
                ?? "correct packages in the profile; names differ from release to release")
    }

    private static func tooBig(_ lines: [String]) -> StationError? {
        guard
            let line = lines.first(where: { $0.contains("is too big") || $0.contains("out of space?") })
        else { return nil }
        return StationError(
            "image_too_big", "the packages do not fit into the device's storage: \(line.printable(limit: 200))",
            remedy: "take packages out, or raise rootfs_partsize where the device has a card")
    }

    private static func missingTool(_ lines: [String]) -> StationError? {
        let tools = lines.compactMap { between($0, "Build dependency: Please install ", "") }
        guard !tools.isEmpty else { return nil }
        return StationError(
            "host_tool_missing",
            "the Image Builder misses \(tools.prefix(8).joined(separator: ", ").printable()) on this host",
            remedy: "sudo apt install build-essential gawk unzip bzip2 wget python3 rsync file git zstd xz-utils perl")
    }

    private static func network(_ lines: [String], _ isOnline: Bool) -> StationError? {
        let signs = [
            "Failed to download", "network error", "temporary error (try again later)", "could not resolve",
            "Name or service not known", "Connection refused",
        ]
        guard let line = lines.first(where: { line in signs.contains { line.contains($0) } }) else { return nil }
        return StationError(
            "build_network", "packages could not be fetched: \(line.printable(limit: 200))",
            remedy: isOnline
                ? "check the network, and build again"
                : "Network=offline under [Build] lets no build fetch packages; Network=online does")
    }

    private static func unknownProfile(_ lines: [String]) -> StationError? {
        guard let name = lines.compactMap({ between($0, "Profile \"", "\" does not exist!") }).first else { return nil }
        return StationError(
            "builder_profile_unknown", "the Image Builder has no profile “\(name.printable(limit: 80))”",
            remedy: "stationctl builder info lists those that it has")
    }

    private static func other(_ lines: [String]) -> StationError {
        // make says last where it failed, and what failed has said before that why.
        let said = lines.filter { !$0.isEmpty && !$0.hasPrefix("make:") && !$0.hasPrefix("make[") }
        let telling = said.last { $0.contains("ERROR") || $0.contains("rror:") } ?? said.last ?? lines.last
        return StationError(
            "build_failed", "make image failed: \((telling ?? "without a word").printable(limit: 200))",
            remedy: "stationctl builds log BUILD")
    }

    private static func between(_ line: String, _ before: String, _ after: String) -> String? {
        guard let start = before.isEmpty ? line.startIndex : line.firstRange(of: before)?.upperBound else { return nil }
        let rest = line[start...]
        if after.isEmpty { return rest.isEmpty ? nil : String(rest) }
        // A package's name may have dots in it; the sentence ends with the last.
        guard let end = rest.ranges(of: after).last?.lowerBound, end > rest.startIndex else { return nil }
        return String(rest[..<end])
    }
}
