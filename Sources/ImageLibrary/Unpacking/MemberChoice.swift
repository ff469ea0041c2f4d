import StationCore

/// Which member of an archive is the image.
enum MemberChoice {
    /// How many names are shown in an error.
    private static let shownLimit = 20

    /// - Parameters:
    ///   - name: the path in the archive that was asked for, or the end of it behind a slash; nil when nobody said.
    ///   - isRaw: a lone file that is none by its looks will do.
    /// - Throws: `member_unknown`, `member_ambiguous`, `member_missing`.
    static func choose(
        from members: [ArchiveMember], named name: String?, isRaw: Bool
    ) throws(StationError) -> ArchiveMember {
        if let name { return try find(name, members) }
        let candidates = members.filter(\.isCandidate)
        if candidates.count == 1 { return candidates[0] }
        if candidates.isEmpty {
            if isRaw, members.count == 1 { return members[0] }
            throw StationError(
                "member_missing", "no file in the archive is an image: \(list(members))",
                remedy: members.isEmpty ? "fetch the file again" : "if one of them is: --member NAME --raw")
        }
        throw StationError(
            "member_ambiguous",
            "the archive holds \(candidates.count) files that may be the image: \(list(candidates))",
            remedy: "name one: --member \(candidates[0].path.printable(limit: 120))")
    }

    private static func find(_ name: String, _ members: [ArchiveMember]) throws(StationError) -> ArchiveMember {
        let exact = members.filter { $0.path == name }
        let found = exact.isEmpty ? members.filter { $0.path.hasSuffix("/" + name) } : exact
        if found.count == 1 { return found[0] }
        guard found.isEmpty else {
            throw StationError(
                "member_ambiguous", "the archive holds \(found.count) files of that name: \(list(found))",
                remedy: "name one with its whole path, in an archive where there is one of it")
        }
        throw StationError(
            "member_unknown", "the archive holds no “\(name.printable(limit: 120))”: \(list(members))",
            remedy: name.nearest(in: members.map(\.path)).map { "did you mean --member \($0.printable(limit: 120))?" }
                ?? "name one of these")
    }

    private static func list(_ members: [ArchiveMember]) -> String {
        guard !members.isEmpty else { return "it has none" }
        let shown = members.prefix(shownLimit).map { $0.path.printable(limit: 120) }.joined(separator: ", ")
        return members.count > shownLimit ? shown + " and \(members.count - shownLimit) more" : shown
    }
}
